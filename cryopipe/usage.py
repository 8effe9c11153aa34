"""Peak memory and processor time of this process. Imports only the standard library, because every job imports it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory_bytes() -> float:
    """Return the peak resident memory of this process, bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux, getrusage may report the peak of the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    # macOS reports bytes, other systems kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def processor_seconds() -> float:
    """Return the processor time, seconds, of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
