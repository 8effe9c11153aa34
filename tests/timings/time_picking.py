"""Speed and memory of picking, from file to peaks, beside scipy's two Gaussian filters on the same volume.

Run from the checkout: python -m tests.timings.time_picking [--shape 250 1000 1500] [--scipy]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.picking import PickOptions, pick_particles
from cryopipe.picking.blobs import sigmas_for


def write_noise(path: Path, shape: Sequence[int], dtype: str, voxel_size: float) -> None:
    """Write a volume of noise, every eighth section the same to save time, as an MRC file."""
    section = np.random.default_rng(0).normal(0, 20, (8, *shape[1:]))
    section = np.clip(np.rint(section), -127, 127).astype(dtype)
    write_volume(path, np.tile(section, (-(-shape[0] // 8), 1, 1))[: shape[0]], voxel_size)


def pick(path: Path, options: argparse.Namespace) -> tuple[float, int, float]:
    """Pick in this process, which did nothing else before: seconds, number of picks, peak memory in GiB."""
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    picks = pick_particles(
        open_volume(path),
        options.voxel_size,
        PickOptions(diameters=options.diameters),
        "dark",
        device=options.device,
    )
    seconds = time.perf_counter() - start
    return seconds, len(picks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(120, 500, 500), help="z y x, voxels")
    parser.add_argument("--dtype", choices=("int8", "int16", "float32"), default="int8")
    parser.add_argument("--voxel-size", type=float, default=10.0, help="angstrom")
    parser.add_argument("--diameters", type=float, nargs="+", default=[240.0], help="angstrom")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scipy", action="store_true", help="also time scipy's two Gaussian filters")
    options = parser.parse_args(arguments)
    million = np.prod(options.shape) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.mrc"
        write_noise(path, options.shape, options.dtype, options.voxel_size)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            seconds, count, memory = fresh.submit(pick, path, options).result()
        print(
            f"picking: {million:.0f} Mvoxel in {seconds:.2f} s = {million / seconds:.1f} Mvoxel/s, {count} picks"
        )
        print(f"peak memory: {memory:.2f} GiB")
        if options.scipy:
            start = time.perf_counter()
            for diameter in options.diameters:
                volume = open_volume(path).astype(np.float32)
                for sigma in sigmas_for(diameter / options.voxel_size):
                    gaussian_filter(volume, sigma)
            reference = time.perf_counter() - start
            print(
                f"scipy, two Gaussian filters, one thread: {reference:.2f} s = {million / reference:.1f} Mvoxel/s; "
                f"picking is {reference / seconds:.1f} times as fast"
            )


if __name__ == "__main__":
    main()
