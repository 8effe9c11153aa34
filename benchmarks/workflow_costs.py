"""What a run of the workflow cost: time and memory of every rule, beside the size of what went in."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Sequence

import pandas as pd
import torch

from benchmarks.hardware import describe_hardware
from benchmarks.made_datasets import MadeDataset
from cryopipe.errors import DataError
from cryopipe.files.costs import read_costs
from cryopipe.files.star import read_particles

_BEFORE = (
    "results/check/{}.tsv",
    "results/picks/{}.star",
    "results/subtomograms/{}.h5",
    "results/subtomograms/{}.star",
)
"""What is there of every tomogram when the number of clusters becomes known."""
CLUSTERS = 5


def measure(dataset: MadeDataset, command: Sequence[str]) -> pd.DataFrame:
    """Run a dataset through the workflow, or plan it where its tomograms are empty.

    Parameters
    ----------
    dataset
        As `make_dataset` made it.
    command
        The workflow's engine with its Snakefile.

    Returns
    -------
    One row per rule (or step of planning) in the order in which they ran: dataset, tomograms, megavoxels, particles,
    rule, jobs, wall_seconds and cpu_seconds of all jobs together, longest_seconds, memory_mb of the job that took
    most, hardware.

    Raises
    ------
    DataError
        If the run fails.
    """
    whole = [*command, "--directory", str(dataset.folder)]
    if dataset.empty:
        rows = pd.DataFrame(_plans(dataset, whole))
    else:
        _call(dataset, whole)
        rows = read_costs(dataset.folder)
    particles = dataset.folder / "results/clusters/particles.star"
    head = {
        "dataset": dataset.name,
        "tomograms": dataset.tomograms,
        "megavoxels": dataset.megavoxels,
        "particles": 0 if dataset.empty else len(read_particles(particles)),
    }
    return pd.DataFrame({**head, **rows, "hardware": describe_hardware(torch.device("cpu"))})


def _plans(dataset: MadeDataset, command: list[str]) -> list[dict[str, object]]:
    """Time the planning before and after the number of clusters is known, and a single job's share of it."""
    dry = [*command, "--dry-run", "--quiet", "all"]
    rows = [_timed("plan up to the clusters", dataset, dry)]
    _pretend(dataset)
    rows.append(_timed("plan from the clusters on", dataset, dry))
    one = [*dry, "--force", "--allowed-rules", "check_tomogram", "--", "results/check/tomogram_0001.tsv"]
    return [*rows, _timed("what every job on a cluster begins with", dataset, one)]


def _pretend(dataset: MadeDataset) -> None:
    """Put files without content where results would be, up to the clusters."""
    names = [path.stem for path in sorted((dataset.folder / "tomograms").glob("*.mrc"))]
    waves = [[pattern.format(name) for name in names] for pattern in _BEFORE]
    waves += [["results/check/tomograms.tsv"]]
    waves += [[f"results/features/{name}" for name in ("model.safetensors", "features.npz", "history.tsv")]]
    waves += [[f"results/clusters/{name}" for name in ("particles.star", "selection.tsv", "clusters.tsv")]]
    for wave in waves:
        for name in wave:
            path = dataset.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    table = [
        "cluster\tparticles\tmean_posterior",
        *(f"{number}\t10\t1.0" for number in range(1, CLUSTERS + 1)),
    ]
    (dataset.folder / "results/clusters/clusters.tsv").write_text("\n".join([*table, ""]))


def _timed(what: str, dataset: MadeDataset, command: list[str]) -> dict[str, object]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    _call(dataset, command)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rule": what, "jobs": 1, "wall_seconds": wall, "cpu_seconds": cpu, "longest_seconds": wall,
        "memory_mb": float("nan"),
    }  # fmt: skip


def _call(dataset: MadeDataset, command: Sequence[str]) -> None:
    log = dataset.folder / "run.log"
    with log.open("a", encoding="utf-8") as stream:
        ended = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if ended.returncode:
        raise DataError(f"the run of {dataset.name} failed", file=log, remedy="see its end")
