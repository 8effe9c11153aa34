"""Number formats and memory layouts by device."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import nn


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 faster than in single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network runs in bfloat16 where that is faster."""
    if has_fast_bfloat16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def set_memory_format(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Convert the weights of `network` to the layout with the fastest convolutions; return the layout, for the volumes.

    On a GPU this is channels last. On a CPU channels last is faster if all `widths` are multiples of 16, the
    length of its vectors, and slower otherwise.
    """
    widths: Sequence[int] = next(
        (vars(part)["widths"] for part in network.modules() if "widths" in vars(part)), (1,)
    )
    layout = torch.contiguous_format
    if device.type == "cuda" or all(width % 16 == 0 for width in widths):
        layout = torch.channels_last_3d
    network.to(memory_format=layout)  # type: ignore[call-overload]
    return layout
