"""Options of contrastive learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ContrastiveOptions(Options):
    """Contrastive learning: two views of a particle have similar features, views of different particles do not."""

    SECTION: ClassVar[str] = "features.contrastive"

    method: str = option(
        "moco",
        "Loss: moco compares with a queue of earlier boxes, simclr with the boxes of the batch, swav compares "
        "assignments to prototypes.",
        choices=["moco", "simclr", "swav"],
    )
    network: str = option(
        "encoder",
        "Network to train: encoder, the transfer encoder's, or rb3d, the published one.",
        choices=["encoder", "rb3d"],
    )
    widths: Sequence[int] = option(
        (32, 32, 32, 32, 32),
        "Filters of rb3d's first convolution and of each bottleneck, even numbers (these are the published ones). The "
        "encoder has its own.",
        minimum=2,
        maximum=4096,
        length=(2, 20),
    )
    augmentation: str = option(
        "uniform",
        "Views: uniform rotates the particle to any orientation and keeps the missing wedge of its tomogram in place, "
        "published crops, rotates by up to 45 degrees about z, shifts and scales the box with its wedge.",
        choices=["uniform", "published"],
    )
    noise: float = option(
        0.5,
        "Largest standard deviation of the noise added to a uniform view, relative to that of the box.",
        minimum=0,
        maximum=10,
    )
    shift: float = option(
        1.0, "Largest shift of a uniform view along each axis.", unit="voxels", minimum=0, maximum=100
    )
    second_wedge: float = option(
        0.0,
        "Largest angle removed from each end of the tilt range in half of the uniform views, for datasets with several "
        "tilt ranges.",
        unit="degrees",
        minimum=0,
        maximum=45,
    )
    defocus: Sequence[float] = option(
        (),
        "Lowest and highest defocus of a contrast transfer function, from its first maximum on, that is applied to "
        "half of the uniform views; [] for none. It needs boxes with a known voxel size.",
        unit="micrometre",
        above=0,
        maximum=50,
        length=(0, 2),
        order="ascending",
    )
    train: bool = option(
        True,
        "Whether the network is trained. With false the weights are used unchanged, for instance those of an earlier "
        "run on new tomograms.",
    )
    epochs: int = option(
        30, "Epochs of training without labels (published: 200).", minimum=0, maximum=100_000
    )
    batch_size: int = option(64, "Boxes per training step (published: 16).", minimum=2, maximum=65_536)
    learning_rate: float = option(
        1e-3, "Learning rate of Adam (published: 1.0e-4, for rb3d).", above=0, maximum=1
    )
    weight_decay: float = option(1e-4, "Weight decay of both trainings (published).", minimum=0, maximum=1)
    temperature: float = option(
        0.2, "Temperature of the loss (published for moco; chosen for the others).", above=0, maximum=10
    )
    projection_width: int = option(
        128, "Length of the vector that the loss compares (published).", minimum=2, maximum=65_536
    )
    queue: int = option(
        512,
        "Boxes of earlier batches that moco compares with (published: 128), and that balance swav's assignments.",
        minimum=1,
        maximum=1_000_000,
    )
    momentum: float = option(
        0.99,
        "Fraction of moco's second encoder that is kept in a step (published: 0.999); lower in the first steps.",
        minimum=0,
        below=1,
    )
    prototypes: int = option(
        60, "Prototypes of swav, a few times the number of classes.", minimum=2, maximum=65_536
    )
    fine_tuning_epochs: int = option(
        50,
        "Epochs of training on labelled particles, if there are any (published).",
        minimum=1,
        maximum=100_000,
    )
    fine_tuning_batch_size: int = option(
        16, "Boxes per step of fine-tuning (published).", minimum=2, maximum=65_536
    )
    fine_tuning_learning_rate: float = option(
        5e-3,
        "First learning rate of fine-tuning, lowered to 0 along a cosine (published: 5.0e-4).",
        above=0,
        maximum=10,
    )
    fine_tuning_views: bool = option(
        True, "Whether half of the boxes in fine-tuning are replaced by views (published: no)."
    )
