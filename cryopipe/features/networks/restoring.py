"""Networks restored from files, after a check that the tensors fit the description in the file."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cryopipe.errors import CryopipeError, FileError, one_line

MAX_BLOCKS = 64
MAX_WIDTH = 2**16
REMEDY = "give an unchanged file that cryopipe wrote, or train again"


def restore_network(
    path: str | os.PathLike[str],
    description: str,
    tensors: Mapping[str, Tensor],
    types: Mapping[str, type[nn.Module]],
) -> Any:
    """Return the network in a file of weights, in single precision on the CPU.

    No memory is allocated if the tensors do not fit the description.

    Parameters
    ----------
    path
        Path of the file, for error messages.
    description
        JSON object with the arguments of the network's constructor, whole numbers and lists of them, and with `type`
        if there are several.
    tensors
        The network's parameters and buffers by name.
    types
        Class of each type; without `type`, the first is used. The time to construct it must not grow with any
        argument but the lists' lengths.

    Raises
    ------
    FileError
        If the description is malformed, or the tensors do not fit it.
    """
    network_type, sizes = _sizes(path, description, next(iter(types)))
    if network_type not in types:
        raise FileError(
            f"the network type {network_type!r} is unknown (known: {', '.join(types)})",
            file=path,
            remedy=REMEDY,
        )
    expected_names = list(inspect.signature(types[network_type]).parameters)
    if sorted(expected_names) != sorted(sizes):
        raise FileError(
            f"the network is described by {', '.join(map(repr, sizes))[:80] or 'nothing'}, not by "
            f"{', '.join(expected_names)}",
            file=path,
            remedy=REMEDY,
        )
    try:
        with torch.device("meta"):  # shapes without memory
            network = types[network_type](**sizes)
    except (TypeError, ValueError, LookupError, RuntimeError, ArithmeticError, CryopipeError) as error:
        raise FileError(
            f"the description of the network is damaged ({one_line(str(error))[:80]})",
            file=path,
            remedy=REMEDY,
        ) from error
    expected = network.state_dict()
    for name in [*expected, *tensors]:
        wanted, found = (list(group[name].shape) if name in group else None for group in (expected, tensors))
        if wanted != found:
            raise FileError(
                f"weights do not fit the network described in the file: {name} has shape {found or 'none'}, "
                f"not {wanted or 'none'}",
                file=path,
                remedy=REMEDY,
            )
    fitting = {name: tensors[name].to(value.dtype).clone() for name, value in expected.items()}
    network.load_state_dict(fitting, assign=True)
    return network


def _sizes(path: str | os.PathLike[str], description: str, default: str) -> tuple[str, dict[str, Any]]:
    """Return the type of the network and the arguments of its constructor."""
    try:
        sizes = json.loads(description)
        if not isinstance(sizes, dict):
            raise TypeError("not an object")
        network_type = sizes.pop("type", default)
    except (ValueError, TypeError, RecursionError) as error:
        raise FileError(
            f"the description of the network is missing or damaged ({error!r})", file=path, remedy=REMEDY
        ) from error
    for name, value in sizes.items():
        widths = value if isinstance(value, list) else [value]
        if not (0 < len(widths) <= MAX_BLOCKS and all(_is_width(width) for width in widths)):
            raise FileError(
                f"{one_line(str(name))[:40]} of the network is {json.dumps(value)[:80]}; expected is a whole number "
                f"from 0 to {MAX_WIDTH}, or a list of at most {MAX_BLOCKS} of them",
                file=path,
                remedy=REMEDY,
            )
    return str(network_type), sizes


def _is_width(width: object) -> bool:
    return isinstance(width, int) and not isinstance(width, bool) and 0 <= width <= MAX_WIDTH
