"""Checkpoints of training: tensors by part, numbers, and the fingerprint of the run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError
from cryopipe.files.weights import load_weights, save_weights


def fingerprint_of(options: object, seed: int, boxes: Boxes, network: nn.Module) -> str:
    """Return a text that identifies a training: options, seed, boxes and initial weights."""
    count = len(boxes)
    content = hashlib.sha256()
    if count:
        some = np.unique([0, count // 2, count - 1])
        content.update(np.asarray(boxes[some], np.float32).tobytes())
    for value in network.state_dict().values():
        content.update(value.cpu().contiguous().numpy().tobytes())
    return f"{options} seed={seed} boxes={count} {content.hexdigest()}"


@dataclass(frozen=True)
class Checkpoint:
    """State of training.

    Attributes
    ----------
    tensors
        Tensors by name; those of a part, such as the network, are named PART.NAME.
    numbers
        Values that JSON can represent.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a part, by name within the part; empty if there are none."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)
        }


def write_checkpoint(
    path: str | os.PathLike[str],
    parts: Mapping[str, Mapping[str, Tensor]],
    numbers: Mapping[str, Any],
    fingerprint: str,
) -> None:
    """Write a checkpoint; the file is complete or unchanged.

    Parameters
    ----------
    path
        Path of the file.
    parts
        Tensors by name, for each part of the training; those of the part "" keep their own names.
    numbers
        Values that JSON can represent.
    fingerprint
        Text that identifies the run.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    tensors = {
        f"{part}.{name}" if part else name: v for part, named in parts.items() for name, v in named.items()
    }
    metadata = {
        "fingerprint": fingerprint,
        "numbers": json.dumps(numbers),
        "tensors": json.dumps(list(tensors)),
    }
    save_weights(path, tensors, metadata)


def read_fingerprint(path: str | os.PathLike[str]) -> str | None:
    """Return the fingerprint in a checkpoint; None if it has none or the file cannot be read."""
    try:
        return load_weights(path)[1].get("fingerprint")
    except FileError:
        return None


def read_checkpoint(path: str | os.PathLike[str], fingerprint: str, device: torch.device) -> Checkpoint:
    """Read a checkpoint, with the tensors on `device`.

    Raises
    ------
    FileError
        If the file is missing, damaged, or belongs to another run.
    """
    tensors, metadata = load_weights(path)
    if metadata.get("fingerprint") != fingerprint:
        raise FileError("the checkpoint belongs to another run", file=path)
    try:
        numbers, expected = json.loads(metadata["numbers"]), json.loads(metadata["tensors"])
    except (LookupError, ValueError) as error:
        raise FileError(f"the checkpoint is damaged ({error!r})", file=path) from error
    missing = sorted(set(expected) - set(tensors))
    if missing:
        # An optimiser accepts the state of fewer parameters and would continue differently, without an error.
        raise FileError(
            f"the checkpoint is damaged (missing tensors: {len(missing)}, such as {missing[0]})", file=path
        )
    return Checkpoint({name: value.to(device) for name, value in tensors.items()}, numbers)
