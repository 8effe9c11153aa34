"""Checkpoints of training: tensors by part, the optimiser's among them, numbers, and the fingerprint of the run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError, one_line
from cryopipe.files.weights import load_weights, save_weights

logger = logging.getLogger(__name__)


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


def resume(path: Path, fingerprint: str, device: torch.device, restore: Callable[[Checkpoint], None]) -> bool:
    """Restore the state of a training from its checkpoint.

    Parameters
    ----------
    path
        Path of the file.
    fingerprint
        Text that identifies the run.
    device
        Device of the tensors.
    restore
        Sets the state; any error in it means that the checkpoint is damaged.

    Returns
    -------
    Whether the state was restored. If not, the reason is in the log, and the state may be changed in part: set it anew.
    """
    try:
        found = read_checkpoint(path, fingerprint, device)
        try:
            restore(found)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise FileError(f"the checkpoint is damaged ({one_line(repr(error))})", file=path) from error
    except FileError as error:
        logger.warning("%s; training restarts", error)
        return False
    return True


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments and learning rates as named tensors."""
    state = optimiser.state_dict()
    tensors = {
        f"{number}.{name}": torch.as_tensor(value).clone()
        for number, moments in state["state"].items()
        for name, value in moments.items()
    }
    rates = [group["lr"] for group in state["param_groups"]]
    return tensors | {"rates": torch.tensor(rates, dtype=torch.float64)}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore moments and learning rates from `optimiser_tensors`; `optimiser` must be of the same parameters."""
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name != "rates":
            number, key = name.split(".", 1)
            moments.setdefault(int(number), {})[key] = value
    for group, rate in zip(state["param_groups"], tensors["rates"], strict=True):
        group["lr"] = float(rate)
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
