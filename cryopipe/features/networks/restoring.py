"""Networks from files: built as the file describes them, once its tensors are known to fit the description."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cryopipe.errors import FileError

MOST_WIDTHS = 64
LARGEST_WIDTH = 2**16
REMEDY = "give the file as it was written, or train again"


def restore_network(
    path: str | os.PathLike[str],
    description: str,
    tensors: Mapping[str, Tensor],
    types: Mapping[str, type[nn.Module]],
) -> Any:
    """Return the network that a file of weights holds, in single precision on the CPU.

    Nothing is allocated for a description that the tensors do not fit, whatever sizes it states.

    Parameters
    ----------
    path
        The file, for messages.
    description
        JSON object of `widths` and `feature_width`, and of `type` where there are several.
    tensors
        The network's parameters and buffers by name.
    types
        The class of each type, made from `widths` and `feature_width`; without `type`, the first is meant.

    Raises
    ------
    FileError
        If the description is malformed, or the tensors do not fit it.
    """
    kind, widths, feature_width = _sizes(path, description, next(iter(types)))
    if kind not in types:
        raise FileError(
            f"describes a network of type {kind!r}; known: {', '.join(types)}", file=path, remedy=REMEDY
        )
    with torch.device("meta"):  # shapes without memory
        network = types[kind](widths, feature_width)
    expected = network.state_dict()
    for name in [*expected, *tensors]:
        wanted, found = (list(group[name].shape) if name in group else None for group in (expected, tensors))
        if wanted != found:
            raise FileError(
                f"weights do not fit their own description: {name} has shape {found or 'none'}, "
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
        kind, widths, feature_width = sizes.get("type", default), sizes["widths"], sizes["feature_width"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"describes no network ({error!r})", file=path, remedy=REMEDY) from error
    fits = isinstance(widths, list) and 0 < len(widths) <= MOST_WIDTHS
    if not fits or not all(_is_width(width) for width in [*widths, feature_width]):
        stated = json.dumps([widths, feature_width])[:80]
        raise FileError(
            f"describes a network of impossible sizes: widths and feature_width are {stated}; "
            f"1 to {MOST_WIDTHS} whole numbers from 1 to {LARGEST_WIDTH}, and one, are expected",
            file=path,
            remedy=REMEDY,
        )
    return str(kind), widths, feature_width


def _is_width(width: object) -> bool:
    return isinstance(width, int) and not isinstance(width, bool) and 0 < width <= LARGEST_WIDTH
