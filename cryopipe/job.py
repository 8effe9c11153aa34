"""Execution of a workflow script: logging, thread limit, and errors reported in one line."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from cryopipe.errors import CryopipeError, one_line
from cryopipe.files.records import write_record
from cryopipe.progress import __name__ as PROGRESS
from cryopipe.provenance import OPTIONS, record_path
from cryopipe.usage import peak_memory_bytes, processor_seconds

ELEMENTARY_FUNCTIONS = (
    "acos", "asin", "atan", "cos", "erf", "erfc", "erfinv", "exp", "expm1",
    "log", "log10", "log1p", "log2", "sin", "sqrt", "tan", "tanh", "trunc",
)  # fmt: skip
"""Functions of torch that Intel's vector mathematics library computes."""


def run(work: Callable[[Any], None], job: Any) -> None:
    """Run one workflow job with a log, and report an error in one line.

    Log messages are written to the rule's log file. Standard error gets warnings, the progress of long tasks and one line
    at the end, each with the rule and its tomogram or cluster. If `work` raises an exception, one line is written to
    standard error and the traceback to the log, and the process ends with status 1.

    Parameters
    ----------
    work
        The job's function; its argument is `job`.
    job
        The workflow's description of the job: `.input`, `.output`, `.params`, `.wildcards`, `.threads`, `.log`.
    """
    log = Path(str(job.log[0]))
    name, started = " ".join([str(job.rule), *map(str, job.wildcards)]), time.monotonic()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        console = start_logging(log, name)
    except OSError as error:
        remedy = "free space on that disk or change the directory's permissions, and run again"
        sys.exit(f"Error: {one_line(str(log))}: cannot be written ({error.strerror}); {remedy}")
    limit_threads(int(job.threads))
    try:
        work(job)
        _record(job)
    except Exception as error:  # the outermost level, so that every error becomes one line
        sys.exit(report(error, log))
    # The workflow's own table of costs (`costs/`) samples the memory at intervals and misses short peaks.
    used = (processor_seconds(), peak_memory_bytes() / 1e6)
    logging.info("done: %.1f s of processor time, at most %.0f MB of memory", *used)
    result = f"; {console.latest}" if console.latest else ""
    print(f"{name}: done in {time.monotonic() - started:.0f} s{result}", file=sys.stderr)


def _record(job: Any) -> None:
    """Write the record of the options that the job's results were made with, if its rule is in `OPTIONS`."""
    values = list(job.wildcards)
    name = str(values[0]) if values else "all"
    rule = f"{job.rule}_{name}" if job.rule == "export" else job.rule
    if rule in OPTIONS and all(Path(file).exists() for file in job.output):
        write_record(record_path(rule, name, job.config), dict(job.params.items()), job.output)


class Brief(logging.Filter):
    """Passes warnings and the progress of long tasks, and keeps the latest other message.

    Attributes
    ----------
    latest
        The latest message that did not pass, usually the counts of the result.
    """

    latest = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is for the terminal."""
        if record.levelno >= logging.WARNING:
            return True
        if record.name == PROGRESS:
            return not getattr(record, "quick", False)
        if not record.getMessage().startswith("done: "):
            self.latest = record.getMessage()
        return False


def start_logging(log: Path | None = None, name: str = "") -> Brief:
    """Send log messages with their time to the file `log`, and warnings and the progress of long tasks to standard error.

    Parameters
    ----------
    log
        The file; without it, standard error gets all messages.
    name
        Begins each line on standard error.

    Returns
    -------
    The filter of standard error.
    """
    console, brief = logging.StreamHandler(sys.stderr), Brief()
    handlers: list[logging.Handler] = [console]
    if log is not None:
        console.addFilter(brief)
        console.setFormatter(logging.Formatter(f"{name.replace('%', '%%')}: %(message)s"))
        handlers.append(logging.FileHandler(log, encoding="utf-8"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.raiseExceptions = False  # otherwise a full disk prints one traceback per log message
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    logging.captureWarnings(True)
    return brief


def report(error: Exception, log: Path | None) -> int:
    """Print the error on standard error in one line, append the traceback to `log`, and return the exit status."""
    if log is not None:
        with suppress(OSError), log.open("a", encoding="utf-8") as stream:  # the disk may be full
            traceback.print_exception(error, file=stream)
    print(f"Error: {_describe(error, log)}", file=sys.stderr)
    return 1


def _describe(error: Exception, log: Path | None) -> str:
    if isinstance(error, CryopipeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; lower `memory_gb` in config.yaml or request more memory for the job"
    where = "" if log is None else f"; the traceback is in {log}"
    return f"{type(error).__name__}: {one_line(str(error))}{where}"


def limit_threads(threads: int) -> None:
    """Limit numerical libraries to `threads` processor cores."""
    from threadpoolctl import threadpool_limits

    # The environment limits child processes and libraries that are loaded later; loaded ones do not read it again.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
        _choose_kernels(sys.modules["torch"])


def _choose_kernels(torch: ModuleType) -> None:
    """Make torch select its kernels for elementary functions in one thread, before several threads call them.

    Intel's library selects the kernel for the processor at the first call of a function. If two threads make that call
    at the same time, one of them may use a kernel of three to four digits for that call: in one process of thirty, the
    results differed (PyTorch issue 188792, MKL 2024.2). An array of one element is computed by the calling thread alone.
    """
    for name in ELEMENTARY_FUNCTIONS:
        for kind in (torch.float32, torch.float64):
            getattr(torch, name)(torch.zeros(1, dtype=kind))
