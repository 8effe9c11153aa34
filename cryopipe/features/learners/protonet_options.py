"""Options of the few-shot learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ProtonetOptions(Options):
    """Few-shot classification by prototypes of the particles in `features.labels`."""

    SECTION: ClassVar[str] = "features.protonet"

    network: str = option(
        "encoder",
        "Network of the features: encoder, the transfer encoder's, protonet3d (ProtoNet3D), or protonet_ce (ProtoNet-CE, "
        "which adapts the prototypes to each particle).",
        choices=["encoder", "protonet3d", "protonet_ce"],
    )
    train: bool = option(
        False,
        "Whether the network is trained in episodes on the labelled particles; this needs at least 20 of each class. With "
        "false the weights are used unchanged, and a model of an earlier run also without labels.",
    )
    epochs: int = option(
        20, "Epochs of this training, of 25 episodes each (published: up to 100).", minimum=1, maximum=10_000
    )
    shots: Sequence[int] = option(
        (1, 5),
        "Lowest and highest number of examples of each class in an episode.",
        minimum=1,
        maximum=100,
        length=(2, 2),
        order="ascending",
    )
    queries: int = option(
        15, "Particles of each class that are classified in an episode.", minimum=1, maximum=1000
    )
    ways: int = option(5, "Largest number of classes in an episode.", minimum=2, maximum=100)
    learning_rate: float = option(
        1e-3, "Learning rate at the beginning; it is halved every 20 epochs.", above=0, maximum=1
    )
    width: int = option(
        64, "Filters of each block of a protonet3d with random weights.", minimum=1, maximum=4096
    )
