"""Options of DISCA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class DiscaOptions(Options):
    """DISCA: alternate clustering and training on the dataset's own boxes."""

    SECTION: ClassVar[str] = "features.disca"

    network: str = option(
        "encoder",
        "Network to train: encoder, the transfer encoder's, or yopo, the one published with DISCA.",
        choices=["encoder", "yopo"],
    )
    train: bool = option(
        True,
        "Whether the network is trained. With false the weights are used unchanged, for instance those of an earlier "
        "run on new tomograms.",
    )
    iterations: int = option(
        10,
        "Largest number of iterations of clustering and training (published: 20).",
        minimum=0,
        maximum=10_000,
    )
    copies: int = option(
        1,
        "How many times each box is trained on in each iteration, every time with another rotation.",
        minimum=1,
        maximum=1000,
    )
    steps: int = option(
        100,
        "Smallest number of training steps in each iteration, if the weights are random; with few boxes, copies is "
        "increased to reach it.",
        minimum=1,
        maximum=100_000,
    )
    warm_up: int = option(
        200,
        "Training steps before the first iteration, if the weights are random. In them, two views of a box (randomly "
        "rotated, with the noise layer) must be more similar than views of different boxes. The features of random "
        "weights contain nothing that clustering could find; 0 starts from them all the same, as published.",
        minimum=0,
        maximum=1_000_000,
    )
    originals: float = option(
        0.5,
        "Fraction of the boxes in a training step that are not rotated (published: 0, although features are computed "
        "of boxes that are not rotated).",
        minimum=0,
        maximum=1,
    )
    reduced_size: int | None = option(
        None,
        "Edge to which boxes are reduced, with the same extent and larger voxels, for the network; null for the boxes "
        "as they are. A network is trained eight times as fast on boxes of half the edge.",
        unit="voxels",
        minimum=8,
        maximum=512,
    )
    batch_size: int = option(64, "Boxes per training step.", minimum=2, maximum=65_536)
    learning_rate: float = option(
        1e-4,
        "Learning rate of the first iteration (published: 1.0e-5, for the full yopo and 100 times as many boxes).",
        above=0,
        maximum=1,
    )
    learning_rate_decay: float = option(
        0.95, "Factor on the learning rate after each iteration.", above=0, maximum=1
    )
    label_smoothing: float = option(
        0.2, "Fraction of each training target that is distributed over all clusters.", minimum=0, below=1
    )
    smoothing_decay: float = option(
        0.9, "Factor on the label smoothing before each iteration.", minimum=0, maximum=1
    )
    loss: str = option(
        "hinge",
        "Loss that training minimises; the categorical hinge is the published one.",
        choices=["hinge", "cross_entropy"],
    )
    stop_agreement: float = option(
        0.999,
        "Training ends when at least this fraction of labels is unchanged from one iteration to the next, and all "
        "numbers of clusters have been considered. Above 1 it never ends early.",
        minimum=0,
        maximum=2,
    )
    widths: Sequence[int] = option(
        (16, 24, 32, 40, 48, 56),
        "Filters in each block of yopo; every block removes one voxel from each face of the box (published: 64, 80, "
        "96, 112, 128, 144, 160, 176, 192, 208).",
        minimum=1,
        maximum=4096,
        length=(1, 50),
    )
    feature_width: int = option(
        256, "Length of yopo's feature vector (published: 1024).", minimum=1, maximum=65_536
    )
    noise: bool = option(
        True,
        "Whether yopo's noise layer is used in training (half of the voxels are set to 0, the rest doubled and "
        "multiplied by noise of mean 1 and standard deviation 1).",
    )
