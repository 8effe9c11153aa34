"""Model of DISCA and its file: a network and the projection of its features."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError
from cryopipe.features import model_file
from cryopipe.features.learners.transfer import SHIPPED_WEIGHTS, load_encoder
from cryopipe.features.model_file import BoxFacts
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.yopo import Yopo
from cryopipe.features.options import FeatureOptions
from cryopipe.features.training.reduced_boxes import reduced_boxes
from cryopipe.files.weights import load_weights
from cryopipe.mixtures.components import Projection

KIND = "disca"
RANDOM = "random"
_REDUCED = "reduced_size"
"""Key of the note with `DiscaModel.reduced_size` in the file."""


@dataclass
class DiscaModel:
    """Network and projection that compute features.

    Attributes
    ----------
    network
        Boxes (n, 1, z, y, x) -> features (n, width).
    projection
        Projection on principal components; None before the first fit.
    facts
        The boxes that it was trained on.
    reduced_size
        Edge to which boxes are reduced for the network, voxels; None for boxes as they are.
    random
        Whether the weights are random ones that were not trained.
    """

    network: TransferEncoder | Yopo
    projection: Projection | None = None
    facts: BoxFacts = field(default_factory=BoxFacts)
    reduced_size: int | None = None
    random: bool = False

    def reduced(self, boxes: Boxes) -> Boxes:
        """Return `boxes` as the network takes them."""
        return reduced_boxes(boxes, self.reduced_size)


def build_model(options: FeatureOptions, device: torch.device, seed: int) -> DiscaModel:
    """Return the initial model, as set by `options.disca.network` and `options.weights`."""
    if options.weights not in (None, RANDOM):
        model = load_model(str(options.weights), device)
        if model.projection is None:
            model.reduced_size = options.disca.reduced_size
        return model
    random = options.disca.network == "yopo" or options.weights == RANDOM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: TransferEncoder | Yopo
        if options.disca.network == "yopo":
            network = Yopo(options.disca.widths, options.disca.feature_width)
        elif random:
            network = TransferEncoder()
        else:
            network = load_encoder(SHIPPED_WEIGHTS)
    return DiscaModel(network.to(device), reduced_size=options.disca.reduced_size, random=random)


def save_model(path: str | os.PathLike[str], model: DiscaModel) -> None:
    """Write a model."""
    tensors = {}
    if model.projection is not None:
        tensors = {"projection.mean": model.projection.mean, "projection.axes": model.projection.axes}
    notes = {} if model.reduced_size is None else {_REDUCED: str(model.reduced_size)}
    model_file.save_model(path, KIND, model.network, model.facts, tensors, notes)


def load_model(path: str | os.PathLike[str], device: torch.device) -> DiscaModel:
    """Read a model that `save_model` wrote, or the network from a file of a transfer encoder.

    Raises
    ------
    FileError
        If the file contains neither.
    """
    if load_weights(path)[1].get("kind") != KIND:
        return DiscaModel(load_encoder(path).to(device))
    types = {"TransferEncoder": TransferEncoder, "Yopo": Yopo}
    found = model_file.load_model(path, KIND, types, device)
    network: TransferEncoder | Yopo = found.network
    projection = None
    if "projection.mean" in found.tensors:
        mean, axes = found.tensors["projection.mean"], found.tensors.get("projection.axes")
        width = network.feature_width
        if axes is None or axes.ndim != 2 or mean.shape != (width,) or axes.shape[0] != width:
            raise FileError(
                "the projection is missing or does not fit the network", file=path, remedy="train again"
            )
        projection = Projection(mean, axes)
    return DiscaModel(network, projection, found.facts, _reduced_size(path, found.notes.get(_REDUCED)))


def _reduced_size(path: str | os.PathLike[str], text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdecimal() and 8 <= int(text[:9]) <= 512):
        raise FileError(f"{_REDUCED} is {text[:20]!r}; expected is 8 to 512", file=path, remedy="train again")
    return None if text is None else int(text)
