"""The frame of a job: its log, and errors as one line; progress; messages that stay on one line."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch.utils._python_dispatch import TorchDispatchMode

from cryopipe.errors import CryopipeError, DataError, FileError, TableError, one_line
from cryopipe.job import run
from cryopipe.progress import Progress, progress


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Any]:
    root, environment = logging.getLogger(), dict(os.environ)
    level, handlers, shown = root.level, list(root.handlers), warnings.showwarning
    raising, threads = logging.raiseExceptions, torch.get_num_threads()
    with threadpool_limits():  # restores the number of threads of every library
        yield SimpleNamespace(
            rule="rule", wildcards=[], log=[tmp_path / "logs" / "rule" / "a.log"], threads=3
        )
    logging.captureWarnings(False)
    warnings.showwarning = shown
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers, root.level = handlers, level
    logging.raiseExceptions = raising
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)


def failing(error: Exception) -> Any:
    def work(job: Any) -> None:
        logging.info("so far so good")
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("value 3", file="a.mrc", remedy="mend it"), "Error: a.mrc: value 3; mend it"),
        (
            MemoryError(),
            "Error: out of memory; lower `memory_gb` in config.yaml or request more memory for the job",
        ),
        (KeyError("x\ny"), "Error: KeyError: 'x\\ny'; the traceback is in {log}"),
    ],
)
def test_errors_end_in_one_line_and_leave_the_traceback_in_the_log(
    job: Any, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(failing(error), job)
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [line.format(log=job.log[0])]
    log = job.log[0].read_text()
    assert "so far so good" in log
    assert "Traceback (most recent call last)" in log
    assert type(error).__name__ in log


def test_a_job_that_succeeds_logs_and_is_held_to_its_threads(
    job: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run(lambda job: logging.info("threads: %s", os.environ["OMP_NUM_THREADS"]), job)
    assert capsys.readouterr().err == "rule: done in 0 s; threads: 3\n"
    assert "INFO threads: 3" in job.log[0].read_text()


def test_the_terminal_gets_warnings_long_tasks_and_one_line_with_the_cluster(
    job: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job.wildcards = ["03"]

    def work(job: Any) -> None:
        logging.info("cluster 3: 20 particles")
        list(progress(range(5), 5, "boxes", "a short task"))
        slow = Progress(2, "boxes", "a long task", interval=0.0)
        slow.advance(2)
        logging.warning("4 %s are strange", "boxes")

    run(work, job)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("rule 03: a long task: 2 of 2 boxes, ")
    assert lines[1:] == ["rule 03: 4 boxes are strange", "rule 03: done in 0 s; cluster 3: 20 particles"]
    assert "a short task: 5 of 5 boxes" in job.log[0].read_text()


@pytest.mark.parametrize("threads", [1, 3])
def test_libraries_that_are_already_loaded_get_the_threads_of_the_job(job: Any, threads: int) -> None:
    # numpy's OpenBLAS reads its environment variable once, when numpy is imported.
    assert np.ones((2, 2)) @ np.ones(2) == pytest.approx([2, 2])
    job.threads = threads
    limits: list[tuple[str, int]] = []
    run(lambda job: limits.extend((pool["user_api"], pool["num_threads"]) for pool in threadpool_info()), job)
    assert {name for name, _ in limits} >= {"blas", "openmp"}
    assert {number for _, number in limits} == {threads}
    assert torch.get_num_threads() == threads


class Calls(TorchDispatchMode):
    """Notes what torch was asked for: function, elements, type."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, int, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if args and isinstance(args[0], torch.Tensor):
            self.made.append((func.overloadpacket.__name__, args[0].numel(), args[0].dtype))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_functions_are_first_called_by_one_thread_alone(job: Any, kind: torch.dtype) -> None:
    # Where two threads call one first, together, it may come out wrong in the fourth digit: one run of thirty did.
    with Calls() as calls:
        run(lambda job: torch.ones(10_000).cos(), job)
    before_the_work = calls.made[: calls.made.index(("cos", 10_000, torch.float32))]
    for name in ("acos", "asin", "atan", "cos", "erf", "exp", "log", "sin", "sqrt", "tan", "tanh"):
        assert (name, 1, kind) in before_the_work


def test_a_log_that_cannot_be_written_is_told_in_one_line(job: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(SystemExit) as caught:
        run(lambda job: None, job)
    assert caught.value.code == (
        f"Error: {job.log[0]}: cannot be written (Not a directory); free space on that disk or change the directory's "
        "permissions, and run again"
    )


def test_an_older_log_is_replaced(job: Any) -> None:
    job.log[0].parent.mkdir(parents=True)
    job.log[0].write_text("old")
    run(lambda job: None, job)
    assert "old" not in job.log[0].read_text()


def test_messages_name_file_problem_and_remedy_on_one_line() -> None:
    error = FileError("two\nlines", file=Path("a\tb.mrc"), remedy="mend\rit")
    assert str(error) == "a\\tb.mrc: two\\nlines; mend\\rit"
    assert (error.file, error.problem, error.remedy) == ("a\\tb.mrc", "two\\nlines", "mend\\rit")
    assert str(TableError("problem")) == "problem"
    assert isinstance(error, CryopipeError)


def test_letters_of_all_languages_stay_readable() -> None:
    assert one_line("Å µ é 断层") == "Å µ é 断层"
    assert one_line("\x1b[31mred\x07") == "\\x1b[31mred\\x07"


def test_progress_tells_how_far_how_fast_and_how_long_still() -> None:
    counter = Progress(2000, "boxes", "embedding")
    counter.done = 500
    assert counter.message(100.0) == "embedding: 500 of 2,000 boxes, 5 boxes/s, 0:05:00 left"
    counter.done = 0
    assert counter.message(10.0) == "embedding: 0 of 2,000 boxes, 0 boxes/s, 0:00:00 left"


def test_progress_is_logged_at_the_end_and_not_at_every_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert list(progress(range(5), 5, "blocks", "picking a")) == [0, 1, 2, 3, 4]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("picking a: 5 of 5 blocks, ")


def test_progress_is_logged_after_each_interval(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    counter = Progress(4, "blocks", "picking a", interval=0.0)
    for _ in range(4):
        counter.advance()
    assert [message.split(",")[0] for message in caplog.messages] == [
        f"picking a: {done} of 4 blocks" for done in (1, 2, 3, 4)
    ]


def test_the_log_ends_with_what_the_job_cost(job: Any) -> None:
    held: list[bytes] = []

    def work(job: Any) -> None:
        held.append(b"x" * 300_000_000)
        held.clear()

    run(work, job)
    last = job.log[0].read_text().splitlines()[-1]
    found = re.search(r"done: ([\d.]+) s of processor time, at most (\d+) MB of memory$", last)
    assert found is not None
    assert int(found[2]) > 300  # held no more when the job ended
