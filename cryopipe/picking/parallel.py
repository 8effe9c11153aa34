"""Chunks of a volume filtered side by side, one processor core each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def workers_on(device: torch.device) -> int:
    """Return how many chunks to work on at a time: as many as torch may use cores; a GPU takes one."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def in_parallel(work: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int) -> Iterator[Result]:
    """Yield `work` of every piece, in the order of the pieces, with at most `workers` of them under way.

    Every piece is worked on by one core. The filters are thousands of small operations; torch's own threads,
    which divide each of them, would wait for one another each time, and for long where cores are shared.
    """
    if workers == 1:
        yield from map(work, pieces)
        return
    threads = torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for piece in pieces:
                if len(waiting) >= workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(work, piece))
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)
