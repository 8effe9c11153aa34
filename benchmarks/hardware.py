"""Hardware description and peak memory of a measurement."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from cryopipe.usage import peak_memory_bytes


@dataclass
class Peak:
    """Peak memory in gigabytes; of the GPU for work on a GPU."""

    gigabytes: float = float("nan")


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the peak memory of the process (or of the GPU) while the block runs."""
    peak = Peak()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _reset_peak()
    yield peak
    peak.gigabytes = (torch.cuda.max_memory_allocated(device) if on_gpu else peak_memory_bytes()) / 1e9


def _reset_peak() -> None:
    """Reset the kernel's peak counter; without permission, the peak is that of the whole process."""
    switch = Path("/proc/self/clear_refs")
    if os.access(switch, os.W_OK):
        switch.write_text("5")


def describe_hardware(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
