"""Options of the learners; the schema's section `features` has the same keys and their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureOptions:
    """How boxes become features.

    Attributes
    ----------
    learner
        "transfer": the encoder as it ships, nothing is trained. "disca": clustering and training in turn.
    network
        What "disca" trains: "encoder", the transfer encoder's network, or "yopo", the published one.
    weights
        What to start from: None for the shipped weights (encoder) or random ones (yopo), "random", or
        the file of an earlier run.
    train
        False applies the weights as they are.
    widths
        Filters of each block of yopo.
    feature_width
        Length of yopo's feature vector.
    clusters
        (lowest, highest) number of clusters to consider in training.
    iterations
        Highest number of rounds of clustering and training.
    copies
        Randomly turned copies of each box to train on, per iteration.
    batch_size
        Boxes per training step.
    learning_rate
        Of the first iteration.
    learning_rate_decay
        Factor on the learning rate after each iteration.
    label_smoothing
        Share of each target that is spread over all clusters.
    smoothing_decay
        Factor on the smoothing before each iteration.
    noise
        Whether yopo's input passes through the noise layer in training.
    loss
        "hinge", the published categorical hinge, or "cross_entropy".
    principal_components
        Dimensions in which the mixtures are fitted.
    mixture_starts
        Random starts per number of clusters.
    centre
        Whether the particles of each kind are brought to the centres of their boxes, see `centring`.
    stop_agreement
        Training ends when this share of labels stays the same.
    """

    learner: str = "transfer"
    centre: bool = True
    network: str = "encoder"
    weights: str | None = None
    train: bool = True
    widths: Sequence[int] = (16, 24, 32, 40, 48, 56)
    feature_width: int = 256
    clusters: Sequence[int] = (2, 20)
    iterations: int = 10
    copies: int = 1
    batch_size: int = 64
    learning_rate: float = 1e-4
    learning_rate_decay: float = 0.95
    label_smoothing: float = 0.2
    smoothing_decay: float = 0.9
    noise: bool = True
    loss: str = "hinge"
    principal_components: int = 16
    mixture_starts: int = 5
    stop_agreement: float = 0.999

    @property
    def candidates(self) -> range:
        """The numbers of clusters to consider."""
        return range(self.clusters[0], self.clusters[1] + 1)
