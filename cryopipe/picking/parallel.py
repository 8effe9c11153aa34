"""Chunks of a volume filtered side by side, one processor core each."""

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
    """Return how many chunks to work on at a time: as many as torch may use cores; a GPU takes one."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def share(chunk_voxels: int, voxels: int, workers: int) -> int:
    """Size of the chunks of so many workers: together within the limit, and enough of them for all to be busy."""
    return min(chunk_voxels // workers, max(2**21, voxels // (2 * workers))) if workers > 1 else chunk_voxels


def chunks(ranges: Ranges, step: int, halo: int, chunk_voxels: int) -> list[Ranges]:
    """Cut a part of a lattice into chunks that, at `step` voxels a point and with `halo` voxels around, stay within a size.

    Rows along x are cut last, since they lie together on disk. Chunks become no smaller than 4 points an edge.
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


def grown(ranges: Ranges, by: int) -> Ranges:
    """Return the ranges with so many points more on every side."""
    (z0, z1), (y0, y1), (x0, x1) = ranges
    return (z0 - by, z1 + by), (y0 - by, y1 + by), (x0 - by, x1 + by)


def common(first: Ranges, second: Ranges) -> Ranges:
    """Return the points that both have; empty ranges where there are none."""
    z, y, x = ((max(a, c), max(max(a, c), min(b, d))) for (a, b), (c, d) in zip(first, second, strict=True))
    return z, y, x


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
