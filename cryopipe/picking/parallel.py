"""Division of a volume into chunks and their parallel processing, one processor core per chunk."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")
Ranges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Start and stop along z, y, x."""


def workers_on(device: torch.device) -> int:
    """Return the number of chunks processed at a time: torch's number of threads, or 1 on a GPU."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def chunk_size_for(chunk_voxels: int, voxels: int, workers: int) -> int:
    """Return the voxels per chunk: within the limit for all workers together, and at least two chunks per worker."""
    return min(chunk_voxels // workers, max(2**21, voxels // (2 * workers))) if workers > 1 else chunk_voxels


def chunks(ranges: Ranges, step: int, halo: int, chunk_voxels: int) -> list[Ranges]:
    """Divide a part of a lattice into chunks of at most `chunk_voxels`, at `step` voxels per point, halo included.

    Rows along x are divided last, because they are contiguous on disk. Chunks have at least 4 points per edge.
    """
    shape = extent(ranges)
    counts = [1, 1, 1]

    def edges() -> list[int]:
        return [math.ceil(n / c) for n, c in zip(shape, counts, strict=True)]

    while math.prod(e * step + 2 * halo for e in edges()) > chunk_voxels:
        z, y, x = edges()
        if max(z, y) * step > max(4 * step, 64 if x > 4 else 0):
            counts[0 if z > y else 1] += 1
        elif x > 4:
            counts[2] += 1
        else:
            break
    spans = [
        [(start, min(start + e, stop)) for start in range(first, stop, e)]
        for (first, stop), e in zip(ranges, edges(), strict=True)
    ]
    return [(z, y, x) for z, y, x in itertools.product(*spans)]


def extent(ranges: Ranges) -> tuple[int, int, int]:
    """Return the number of points along every axis."""
    (z0, z1), (y0, y1), (x0, x1) = ranges
    return z1 - z0, y1 - y0, x1 - x0


def points(ranges: Ranges) -> int:
    """Return the number of points."""
    return math.prod(extent(ranges))


def expanded(ranges: Ranges, by: int) -> Ranges:
    """Return the ranges with `by` more points on every side."""
    (z0, z1), (y0, y1), (x0, x1) = ranges
    return (z0 - by, z1 + by), (y0 - by, y1 + by), (x0 - by, x1 + by)


def intersection(first: Ranges, second: Ranges) -> Ranges:
    """Return the points in both; empty ranges if there are none."""
    z, y, x = ((max(a, c), max(max(a, c), min(b, d))) for (a, b), (c, d) in zip(first, second, strict=True))
    return z, y, x


def in_parallel(work: Callable[[Piece], Result], pieces: Iterable[Piece], workers: int) -> Iterator[Result]:
    """Yield `work` of every piece, in the order of the pieces, with at most `workers` of them in progress.

    Every piece is processed by one core. The filters are thousands of small operations; dividing each of them
    among torch's own threads would cost a synchronisation per operation, which is slow where cores are shared.
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
