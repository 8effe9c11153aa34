"""Options of the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option

LARGEST_SMOOTHING = 10
"""Voxels."""


@dataclass(frozen=True)
class AutoencoderOptions(Options):
    """Autoencoder: compress every box to a short code from which it can be reconstructed."""

    SECTION: ClassVar[str] = "features.autoencoder"

    train: bool = option(
        True,
        "Whether the network is trained. With false the model in features.weights is used unchanged, for instance that "
        "of an earlier run on new tomograms.",
    )
    widths: Sequence[int] = option(
        (32, 32),
        "Filters of the encoder's convolutions; each is followed by pooling, which halves the edge of the maps.",
        minimum=1,
        maximum=4096,
        length=(1, 6),
    )
    feature_width: int = option(32, "Length of the code.", minimum=1, maximum=65_536)
    epochs: int = option(100, "Largest number of epochs.", minimum=0, maximum=1_000_000)
    batch_size: int = option(128, "Boxes per training step.", minimum=2, maximum=65_536)
    learning_rate: float = option(1e-3, "Learning rate of the first step.", above=0, maximum=1)
    learning_rate_decay: float = option(
        2e-6,
        "After n steps the learning rate is divided by 1 + n times this.",
        minimum=0,
        maximum=1,
    )
    activity_penalty: float = option(
        1e-4,
        "Weight of the code's sum of absolute values in the loss, beside the mean squared error of a voxel.",
        minimum=0,
        maximum=1000,
    )
    copies: int = option(
        0,
        "Randomly rotated copies of each box to train on in each epoch, beside the box (published: none).",
        minimum=0,
        maximum=100,
    )
    validation_fraction: float = option(
        0.1,
        "Fraction of the boxes that are not trained on; the epoch with the lowest loss on these is kept. With 0 the last "
        "epoch is kept.",
        minimum=0,
        maximum=0.9,
    )
    patience: int = option(
        20,
        "Training ends after this many epochs without a lower loss on the boxes that are not trained on.",
        minimum=1,
        maximum=1_000_000,
    )
    smoothing: float = option(
        1.5,
        "Standard deviation of a Gaussian with which boxes are smoothed first, voxels (published: 0, none). Without it, "
        "noisy boxes have too little to reconstruct, and the code becomes 0 for all of them.",
        minimum=0,
        maximum=LARGEST_SMOOTHING,
    )
    pose_normalisation: bool = option(
        False,
        "Whether boxes are first centred and rotated by the centre of mass and principal axes of their density. Helps "
        "only where single particles are clearly visible and not spherical.",
    )
