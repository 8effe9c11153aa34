"""Model of DISCA and its file: a network and the projection of its features."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import torch

from cryopipe.errors import FileError
from cryopipe.features.learners.transfer import SHIPPED_WEIGHTS, load_encoder
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.restoring import restore_network
from cryopipe.features.networks.yopo import Yopo
from cryopipe.features.options import FeatureOptions
from cryopipe.files.weights import load_weights, save_weights
from cryopipe.mixtures.components import Projection

KIND = "disca"
RANDOM = "random"
NETWORKS: dict[str, type[TransferEncoder] | type[Yopo]] = {"encoder": TransferEncoder, "yopo": Yopo}


@dataclass
class DiscaModel:
    """Network and projection that compute features.

    Attributes
    ----------
    network
        Boxes (n, 1, z, y, x) -> features (n, width).
    projection
        Projection on principal components; None before the first fit.
    """

    network: TransferEncoder | Yopo
    projection: Projection | None = None


def build_model(options: FeatureOptions, device: torch.device, seed: int) -> DiscaModel:
    """Return the initial model, as set by `options.disca.network` and `options.weights`."""
    if options.weights not in (None, RANDOM):
        return load_model(str(options.weights), device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: TransferEncoder | Yopo
        if options.disca.network == "yopo":
            network = Yopo(options.disca.widths, options.disca.feature_width)
        elif options.weights == RANDOM:
            network = TransferEncoder()
        else:
            network = load_encoder(SHIPPED_WEIGHTS)
    return DiscaModel(network.to(device))


def save_model(path: str | os.PathLike[str], model: DiscaModel) -> None:
    """Write a model."""
    tensors = {f"network.{name}": value for name, value in model.network.state_dict().items()}
    if model.projection is not None:
        tensors |= {"projection.mean": model.projection.mean, "projection.axes": model.projection.axes}
    network = {
        "type": "yopo" if isinstance(model.network, Yopo) else "encoder",
        "widths": model.network.widths,
        "feature_width": model.network.feature_width,
    }
    save_weights(path, tensors, {"kind": KIND, "network": json.dumps(network)})


def load_model(path: str | os.PathLike[str], device: torch.device) -> DiscaModel:
    """Read a model that `save_model` wrote, or the network from a file of a transfer encoder.

    Raises
    ------
    FileError
        If the file contains neither.
    """
    tensors, metadata = load_weights(path)
    if metadata.get("kind") != KIND:
        return DiscaModel(load_encoder(path).to(device))
    own = {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
    network: TransferEncoder | Yopo = restore_network(path, metadata.get("network", ""), own, NETWORKS)
    projection = None
    if "projection.mean" in tensors:
        mean, axes = tensors["projection.mean"], tensors.get("projection.axes")
        width = network.feature_width
        if axes is None or axes.ndim != 2 or mean.shape != (width,) or axes.shape[0] != width:
            raise FileError(
                "the projection is missing or does not fit the network", file=path, remedy="train again"
            )
        projection = Projection(mean.to(device), axes.to(device))
    return DiscaModel(network.to(device), projection)
