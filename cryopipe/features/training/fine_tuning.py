"""Fine-tuning: a network that was trained without labels, with a linear classifier, is trained on labelled boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.devices import autocast
from cryopipe.features.training.distributed import Draws
from cryopipe.features.training.fitting import Schedule, fit_network
from cryopipe.features.training.loop import Apply
from cryopipe.features.training.views import PROBABILITY, View

MOMENTUM = 0.9
"""Momentum of the gradient descent (not published; the usual value)."""
HELD_OUT = 0.2
"""Fraction of the labelled boxes of each class that chooses the best epoch."""
_AT_ONCE = 32


@dataclass(frozen=True)
class FineTuning:
    """Length and learning rate of fine-tuning.

    Attributes
    ----------
    epochs, batch_size
        Length.
    learning_rate
        At the start; it is lowered to 0 along a cosine.
    weight_decay
        Of all weights.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, from 0."""
        return self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


class Classifier(nn.Module):
    """Boxes (n, 1, z, y, x) -> logits (n, K), by a linear layer on the features of a network.

    The features are scaled to the length sqrt(width), which the transfer encoder's have: those of rb3d have any length
    after training on cosines, and the gradients would have it, too.
    """

    def __init__(self, backbone: nn.Module, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.feature_width), classes)  # type: ignore[arg-type]

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the logits of `boxes`."""
        return classifier_logits(self.head, self.backbone(boxes))


def classifier_logits(head: nn.Linear, features: Tensor) -> Tensor:
    """Return the logits (n, K) of features (n, width) of the network, scaled to the length sqrt(width)."""
    return head(F.normalize(features.float()) * head.in_features**0.5)


def held_out_examples(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return which boxes (n,) choose the best epoch: a fifth of the labelled boxes of each class.

    Parameters
    ----------
    labels
        (n,) class numbers, -1 where unknown.
    seed
        Random seed.

    Returns
    -------
    All False if some class has fewer than five labelled boxes; the last epoch is used then.
    """
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), bool)
    numbers = np.unique(labels[labels >= 0])
    counts = [int((labels == number).sum()) for number in numbers]
    if min(counts, default=0) * HELD_OUT < 1:
        return chosen
    for number, count in zip(numbers, counts, strict=True):
        members = np.flatnonzero(labels == number)
        chosen[rng.choice(members, int(HELD_OUT * count), replace=False)] = True
    return chosen


def fine_tune(
    classifier: Classifier,
    source: BoxSource,
    labels: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    recipe: FineTuning,
    seed: int,
    *,
    view: View | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> pd.DataFrame:
    """Train `classifier` with cross-entropy; afterwards it has the weights of the best epoch on the held-out boxes.

    Parameters
    ----------
    classifier
        On the device of `source`.
    source
        n boxes.
    labels
        (n,) class numbers, -1 where unknown; boxes without a label take no part.
    held_out
        (n,) which boxes choose the epoch with the lowest cross-entropy; if there are none, the last one is used.
    recipe
        Length and learning rate.
    seed
        Random seed.
    view
        Replaces half of the boxes by views; None for none.
    checkpoint, fingerprint
        See `fit_network`.

    Returns
    -------
    The history, one row per epoch.
    """
    targets = torch.from_numpy(labels).to(source.device)
    training, chosen = (
        torch.from_numpy(np.flatnonzero((labels >= 0) & wanted)) for wanted in (~held_out, held_out)
    )

    def batch_loss(apply: Apply, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        if view is not None:
            viewed = (draws.uniform() < PROBABILITY).view(-1, 1, 1, 1)
            boxes = torch.where(viewed, view(boxes, indices, draws), boxes)
        return F.cross_entropy(apply(boxes).float(), targets[indices.to(targets.device)])

    return fit_network(
        classifier,
        torch.optim.SGD(
            classifier.parameters(), recipe.learning_rate, MOMENTUM, weight_decay=recipe.weight_decay
        ),
        source,
        batch_loss,
        Schedule(recipe.epochs, recipe.batch_size, recipe.rate),
        seed,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        validate=_validation(classifier, source, targets, chosen) if len(chosen) else None,
        members=training,
        what="fine-tuning",
    )


def _validation(
    classifier: Classifier, source: BoxSource, targets: Tensor, chosen: Tensor
) -> Callable[[], float]:
    """Return a function for the mean cross-entropy of the boxes `chosen` (m,)."""

    def validate() -> float:
        classifier.eval()
        parts, total = chosen.split(_AT_ONCE), 0.0
        with torch.no_grad(), autocast(source.device):
            for indices, boxes in zip(parts, source.batches(parts), strict=True):
                logits = classifier(boxes[:, None]).float()
                total += float(F.cross_entropy(logits, targets[indices.to(targets.device)], reduction="sum"))
        return total / len(chosen)

    return validate
