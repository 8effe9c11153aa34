"""Options of affinity-VAE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class AffinityOptions(Options):
    """affinity-VAE: a latent space in which known structures are as near as their maps are similar."""

    SECTION: ClassVar[str] = "features.affinity"

    train: bool = option(
        True,
        "Whether the network is trained. With false the model in features.weights is used unchanged, for instance that "
        "of an earlier run on new tomograms.",
    )
    maps: str | None = option(
        None,
        "Directory of MRC maps of known structures, or results/averages of another run, that define the latent space; "
        "null for built-in artificial structures. With features.labels, a map is that of the class with its name.",
    )
    align: bool = option(
        True,
        "Whether the maps are rotated to fit each other before they are compared; false only if their orientations "
        "correspond.",
    )
    boxes_per_class: int = option(
        500,
        "Boxes to simulate of each map for training. Not used with features.labels: then the labelled boxes are.",
        minimum=10,
        maximum=100_000,
    )
    snr: Sequence[float] = option(
        (0.05, 0.3),
        "Lowest and highest signal-to-noise ratio of simulated boxes.",
        above=0,
        maximum=1000,
        length=(2, 2),
        order="ascending",
    )
    depth: int = option(
        3,
        "Number of convolutions of stride 2 in encoder and decoder (published: 3).",
        minimum=1,
        maximum=6,
    )
    channels: int = option(
        16,
        "Filters of the first convolution; each further one has twice as many (published: 64).",
        minimum=1,
        maximum=4096,
    )
    latent_width: int = option(
        8, "Length of the latent code, which is the feature (published: 8).", minimum=2, maximum=1024
    )
    pose_width: int = option(
        1, "Length of the pose beside the latent code (published: 1); 0 for none.", minimum=0, maximum=1024
    )
    beta: float = option(
        5.0,
        "Weight of the divergence of the latent codes from N(0, 1) (published: 5).",
        minimum=0,
        maximum=1e6,
    )
    gamma: float = option(
        10.0,
        "Weight of the affinity: the difference between cosines of latent codes and similarities of maps (published: 8 "
        "or 10). With 0 the network is a beta-VAE.",
        minimum=0,
        maximum=1e6,
    )
    cycles: int = option(
        0,
        "Cycles of annealing: in each, beta and gamma rise from 0 to their values in the first half (published: "
        "optional). With 0 they are constant.",
        minimum=0,
        maximum=10_000,
    )
    copies: int = option(
        0,
        "Randomly rotated copies of each box to train on in each epoch, beside the box. Of use with few labelled boxes.",
        minimum=0,
        maximum=100,
    )
    epochs: int = option(20, "Number of epochs (published: 20).", minimum=0, maximum=1_000_000)
    batch_size: int = option(128, "Boxes per training step (published: 128).", minimum=2, maximum=65_536)
    learning_rate: float = option(1e-3, "Learning rate (published: 1.0e-3).", above=0, maximum=1)
