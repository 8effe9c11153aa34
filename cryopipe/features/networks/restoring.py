"""Networks restored from files, after a check that the tensors fit the description in the file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cryopipe.errors import FileError

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
        JSON object with `widths` and `feature_width`, and with `type` if there are several.
    tensors
        The network's parameters and buffers by name.
    types
        Class of each type, constructed from `widths` and `feature_width`; without `type`, the first is used.

    Raises
    ------
    FileError
        If the description is malformed, or the tensors do not fit it.
    """
    network_type, widths, feature_width = _sizes(path, description, next(iter(types)))
    if network_type not in types:
        raise FileError(
            f"the network type {network_type!r} is unknown (known: {', '.join(types)})",
            file=path,
            remedy=REMEDY,
        )
    with torch.device("meta"):  # shapes without memory
        network = types[network_type](widths, feature_width)
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


def _sizes(path: str | os.PathLike[str], description: str, default: str) -> tuple[str, list[int], int]:
    try:
        sizes = json.loads(description)
        network_type, widths, feature_width = (
            sizes.get("type", default),
            sizes["widths"],
            sizes["feature_width"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(
            f"the description of the network is missing or damaged ({error!r})", file=path, remedy=REMEDY
        ) from error
    fits = isinstance(widths, list) and 0 < len(widths) <= MAX_BLOCKS
    if not fits or not all(_is_width(width) for width in [*widths, feature_width]):
        stated = json.dumps([widths, feature_width])[:80]
        raise FileError(
            f"the widths and feature_width of the network are {stated}; "
            f"expected are 1 to {MAX_BLOCKS} widths and one feature_width, whole numbers from 1 to {MAX_WIDTH}",
            file=path,
            remedy=REMEDY,
        )
    return str(network_type), widths, feature_width


def _is_width(width: object) -> bool:
    return isinstance(width, int) and not isinstance(width, bool) and 0 < width <= MAX_WIDTH
