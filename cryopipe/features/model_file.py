"""Files of learners' models: the network with its sizes, and the boxes that it was trained on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cryopipe.boxes import Boxes, voxel_size_of
from cryopipe.errors import FileError, LearningError
from cryopipe.features.networks.restoring import REMEDY, restore_network
from cryopipe.files.weights import load_weights, save_weights

_TOLERANCE = 0.01
"""Largest relative difference of voxel sizes that are taken as equal."""


@dataclass(frozen=True)
class BoxFacts:
    """Boxes that a model fits.

    Attributes
    ----------
    box_size
        Voxels along every edge; None for any.
    voxel_size
        Angstrom; None if unknown.
    """

    box_size: int | None = None
    voxel_size: float | None = None

    def __str__(self) -> str:
        size = "boxes" if self.box_size is None else f"boxes of {self.box_size} voxels"
        return size if self.voxel_size is None else f"{size} at {self.voxel_size:g} angstrom"


@dataclass(frozen=True)
class LoadedModel:
    """Content of a model file.

    Attributes
    ----------
    network
        In single precision on the requested device.
    facts
        The boxes that it was trained on.
    tensors
        Further tensors by name.
    notes
        Texts by name.
    """

    network: Any
    facts: BoxFacts
    tensors: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def facts_of(boxes: Boxes, any_size: bool = False) -> BoxFacts:
    """Return box size and voxel size of `boxes`; with `any_size`, a model trained on them fits any box size."""
    return BoxFacts(None if any_size else int(boxes.shape[-1]), voxel_size_of(boxes))


def check_boxes(facts: BoxFacts, boxes: Boxes) -> None:
    """Check that a model trained on boxes of `facts` fits `boxes`.

    Raises
    ------
    LearningError
        If box size or voxel size differ.
    """
    found = facts_of(boxes)
    sizes = facts.box_size is None or facts.box_size == found.box_size
    known = facts.voxel_size is not None and found.voxel_size is not None
    scales = not known or math.isclose(facts.voxel_size or 0, found.voxel_size or 0, rel_tol=_TOLERANCE)
    if not (sizes and scales):
        raise LearningError(
            f"the model was trained on {facts}, these are {found}",
            remedy="set subtomograms.box_size and subtomograms.voxel_size to those of the model, or train a new model",
        )


def save_model(
    path: str | os.PathLike[str],
    kind: str,
    network: nn.Module,
    facts: BoxFacts,
    tensors: Mapping[str, Tensor] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a model.

    Parameters
    ----------
    path
        The safetensors file.
    kind
        Name of the learner, which `load_model` checks.
    network
        Its attribute `sizes` holds the arguments of its constructor: whole numbers and tuples of them.
    facts
        See `facts_of`.
    tensors, notes
        Further tensors and texts by name.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    sizes: Mapping[str, Any] = network.sizes  # type: ignore[assignment]
    description = {"type": type(network).__name__, **sizes}
    own = {f"network.{name}": value for name, value in network.state_dict().items()}
    texts = {
        "kind": kind,
        "network": json.dumps(description),
        "boxes": json.dumps({"box_size": facts.box_size, "voxel_size": facts.voxel_size}),
    }
    save_weights(path, own | dict(tensors or {}), {**(notes or {}), **texts})


def load_model(
    path: str | os.PathLike[str], kind: str, types: Mapping[str, type[nn.Module]], device: torch.device
) -> LoadedModel:
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    path
        The file.
    kind
        Name of the learner.
    types
        Class of each network by its name.
    device
        Device of the network and the tensors.

    Raises
    ------
    FileError
        If the file is missing or damaged, or contains a model of another learner.
    """
    tensors, notes = load_weights(path)
    if notes.get("kind") != kind:
        raise FileError(
            f"contains {notes.get('kind', 'unknown weights')!r}, not {kind!r}",
            file=path,
            remedy=f"give the model.safetensors of a run with features.learner: {kind}, or set features.weights to null",
        )
    own = {n.removeprefix("network."): value for n, value in tensors.items() if n.startswith("network.")}
    network = restore_network(path, notes.get("network", ""), own, types).to(device)
    others = {n: value.to(device) for n, value in tensors.items() if not n.startswith("network.")}
    return LoadedModel(network, _read_facts(path, notes.get("boxes", "")), others, notes)


def _read_facts(path: str | os.PathLike[str], text: str) -> BoxFacts:
    try:
        values = json.loads(text)
        size, scale = values["box_size"], values["voxel_size"]
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(f"box_size {size!r}")
        if scale is not None and not (math.isfinite(float(scale)) and float(scale) > 0):
            raise ValueError(f"voxel_size {scale!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"the description of the boxes is missing or damaged ({str(error)[:80]})",
            file=path,
            remedy=REMEDY,
        ) from error
    return BoxFacts(size, None if scale is None else float(scale))
