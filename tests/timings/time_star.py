"""How long a STAR file of 100,000 particles and 17 columns takes to read, beside starfile and pandas.

Run it with `python -m tests.timings.time_star`. It prints processor seconds, the best of three.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import starfile

from cryopipe.columns import CLASS, HALF_SET, MICROGRAPH, PARTICLE, TOMOGRAM
from cryopipe.files import star
from cryopipe.files.star import read_star, write_particles

PARTICLES = 100_000


def main() -> None:
    """Write the particles, read them with each reader and print the times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "particles.star"
        write_particles(path, particles())
        lines = path.read_text().split("\n")
        body = next(number for number, line in enumerate(lines) if line.startswith("TS_"))
        columns = [str(number) for number in range(17)]
        readers: dict[str, Callable[[], object]] = {
            "read_star": lambda: read_star(path),
            "its grammar for loops with quotes": lambda: star._parse_rows(
                path, columns, star._numbered(lines[body:], body)
            ),
            "starfile.read": lambda: starfile.read(path),
            "pandas.read_csv": lambda: pd.read_csv(path, sep=r"\s+", skiprows=body, header=None),
        }
        for name, reader in readers.items():
            print(f"{name:36} {min(seconds(reader) for _ in range(3)):.2f} s")


def particles() -> pd.DataFrame:
    """Return particles of a hundred tomograms: three columns of names, two of integers, twelve of decimals."""
    rng = np.random.default_rng(0)
    tomograms = [f"TS_{number % 100:02d}" for number in range(PARTICLES)]
    names = {
        TOMOGRAM: tomograms,
        PARTICLE: [f"{tomogram}/{number}" for number, tomogram in enumerate(tomograms)],
        MICROGRAPH: [f"/data/run/{tomogram}.mrc" for tomogram in tomograms],
    }
    integers = {name: rng.integers(1, 9, PARTICLES) for name in (CLASS, HALF_SET)}
    decimals = {f"decimal{number}": rng.normal(0, 100, PARTICLES) for number in range(12)}
    return pd.DataFrame(names | integers | decimals)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
