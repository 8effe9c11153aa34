"""Base class of learners that train one network and keep it in a model file."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from torch import nn

from cryopipe.boxes import Boxes
from cryopipe.errors import ConfigError, LearningError
from cryopipe.features.learner import Learner
from cryopipe.features.model_file import BoxFacts, check_boxes, facts_of
from cryopipe.features.training.distributed import synchronise_batch_norm

logger = logging.getLogger(__name__)

MIN_BOXES = 10
"""With fewer boxes a network is not trained."""
Network = TypeVar("Network", bound=nn.Module)


def enough_boxes(count: int, what: str = "boxes") -> bool:
    """Return whether `count` boxes are enough to train on; if not, say so in the log."""
    if count < MIN_BOXES:
        logger.warning(
            "%d %s: at least %d are needed for training; the network is not trained", count, what, MIN_BOXES
        )
    return count >= MIN_BOXES


class NetworkLearner(Learner, Generic[Network]):
    """Learner with a network of its own.

    Attributes
    ----------
    SECTION
        Name of the learner and of its section of options, which has the option `train`.
    TITLE
        Name of the learner in messages.
    network
        None before `fit` or `load`.
    facts
        Boxes that the network was trained on.
    """

    SECTION: ClassVar[str]
    TITLE: ClassVar[str]
    network: Network | None = None
    facts = BoxFacts()

    @abstractmethod
    def new_network(self, boxes: Boxes) -> Network:
        """Return a network for `boxes` with initial weights; random numbers come from torch's global generator."""

    def needs_training(self) -> bool:
        """Return whether a new network is of no use before it is trained."""
        return True

    def existing_network(self) -> Network:
        """Return the network.

        Raises
        ------
        LearningError
            Before `fit` or `load`.
        """
        if self.network is None:
            raise LearningError(f"{self.TITLE} has no weights", remedy="call fit or load first")
        return self.network

    def initial_network(self, boxes: Boxes) -> Network:
        """Return the present network, that of `features.weights`, or a new one for `boxes`.

        Raises
        ------
        ConfigError
            If a new network would be needed but is not to be trained.
        LearningError
            If the network does not fit `boxes`.
        """
        weights = self.options.weights
        if self.network is None and weights not in (None, "random"):
            self.load(str(weights))
        if self.network is None:
            if self.needs_training() and not getattr(self.options, self.SECTION).train:
                raise ConfigError(
                    f"features.{self.SECTION}.train is false, but features.weights names no model",
                    remedy="set features.weights to the model.safetensors of an earlier run",
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.network = self.new_network(boxes).to(self.device)
        check_boxes(self.facts, boxes)
        if self.facts == BoxFacts():  # of a new network, or of one that fits all boxes
            self.facts = facts_of(boxes)
        synchronise_batch_norm(self.network)
        return self.network
