"""Options of the learners: those that serve all of them, and a section for each that has its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cryopipe.config.option import Options, option
from cryopipe.features.register import LEARNERS


@dataclass(frozen=True)
class DiscaOptions(Options):
    """DISCA: clustering and training in turns on the dataset's own boxes."""

    SECTION: ClassVar[str] = "features.disca"

    network: str = option(
        "encoder",
        "What is trained: the transfer encoder's network, or yopo, the one that was published with DISCA.",
        choices=["encoder", "yopo"],
    )
    train: bool = option(
        True,
        "Whether anything is trained. With false the weights are applied as they are, for instance those of an earlier "
        "run to new tomograms.",
    )
    iterations: int = option(
        10, "Most rounds of clustering and training. Published are 20.", minimum=0, maximum=10_000
    )
    copies: int = option(
        1, "Randomly rotated copies of each box to train on in each iteration.", minimum=1, maximum=1000
    )
    batch_size: int = option(64, "Boxes per training step.", minimum=2, maximum=65_536)
    learning_rate: float = option(
        1e-4,
        "Learning rate of the first iteration. Published are 1.0e-5 for the full yopo and 100 times as many boxes.",
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
        "What training minimises; the categorical hinge is the published one.",
        choices=["hinge", "cross_entropy"],
    )
    stop_agreement: float = option(
        0.999,
        "Training ends when this fraction of labels stays the same from one iteration to the next. Above 1, it never "
        "ends early.",
        minimum=0,
        maximum=2,
    )
    widths: Sequence[int] = option(
        (16, 24, 32, 40, 48, 56),
        "Filters in each block of yopo; every block takes one voxel off each face of the box. Published are 64, 80, "
        "96, 112, 128, 144, 160, 176, 192, 208.",
        minimum=1,
        maximum=4096,
        length=(1, 50),
    )
    feature_width: int = option(
        256, "Length of yopo's feature vector. Published are 1024.", minimum=1, maximum=65_536
    )
    noise: bool = option(
        True,
        "Whether yopo's input passes through the noise layer in training (half of the voxels silenced, the rest "
        "multiplied by noise of mean 1 and standard deviation 1).",
    )


@dataclass(frozen=True)
class FeatureOptions(Options):
    """The learner that makes features of boxes, and the centring of the particles in their boxes."""

    SECTION: ClassVar[str] = "features"

    learner: str = option(
        "transfer",
        " ".join(f"{name}: {learner.meaning}." for name, learner in LEARNERS.items()),
        choices=list(LEARNERS),
    )
    weights: str | None = option(
        None,
        "What to start from: null for the weights that ship (random ones for yopo), random, or the model.safetensors "
        "of an earlier run.",
    )
    centre: bool = option(
        True,
        "Whether the particles are brought to the centres of their boxes. A mixture on the features sorts them into "
        "classes, and the radial profile that the particles of a class have in common shows where their centres are. "
        "It corrects picks beside hollow or crowded particles.",
    )
    clusters: Sequence[int] = option(
        (2, 20),
        "Lowest and highest number of classes that the mixtures of centring (up to 8 of them) and of disca's training "
        "consider. The final clusters have options of their own, in the section clustering.",
        minimum=1,
        maximum=99,
        length=(2, 2),
        order="ascending",
    )
    principal_components: int = option(
        16,
        "Dimensions of the features in which the mixtures of centring and of disca's training are fitted.",
        minimum=1,
        maximum=1000,
    )
    mixture_starts: int = option(
        5,
        "Random starts of these mixtures for each number of classes.",
        minimum=1,
        maximum=1000,
    )
    disca: DiscaOptions = field(default_factory=DiscaOptions)

    @property
    def candidates(self) -> range:
        """The numbers of clusters to consider."""
        return range(self.clusters[0], self.clusters[1] + 1)
