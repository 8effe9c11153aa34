"""Number formats and memory layouts that suit the device."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 faster than single precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network runs in bfloat16 where that is faster."""
    if has_fast_bfloat16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the layout of volumes that convolutions prefer: channels last on a GPU, as they are on a CPU."""
    return torch.channels_last_3d if device.type == "cuda" else torch.contiguous_format
