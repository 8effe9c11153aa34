"""Time and memory of every rule in a run of the workflow, with the size of the input."""

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
"""Files of one tomogram that exist when the number of clusters is known."""
CLUSTERS = 5


def measure(dataset: MadeDataset, command: Sequence[str]) -> pd.DataFrame:
    """Run the workflow on a dataset, or only plan it if its tomograms are empty.

    Parameters
    ----------
    dataset
        See `make_dataset`.
    command
        The command that runs the workflow, with its Snakefile.

    Returns
    -------
    One row per rule (or step of planning) in order of execution: dataset, tomograms, megavoxels, particles, rule,
    jobs, wall_seconds and cpu_seconds (sums over jobs), longest_seconds, memory_mb (maximum over jobs), hardware.

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
    """Measure the time of planning before and after the number of clusters is known, and for a single job."""
    dry = [*command, "--dry-run", "--quiet", "all"]
    rows = [_timed("plan up to the clusters", dataset, dry)]
    _create_empty_results(dataset)
    rows.append(_timed("plan from the clusters on", dataset, dry))
    one = [*dry, "--force", "--allowed-rules", "check_tomogram", "--", "results/check/tomogram_0001.tsv"]
    return [*rows, _timed("what every job on a cluster begins with", dataset, one)]


def _create_empty_results(dataset: MadeDataset) -> None:
    """Create empty result files of all stages up to clustering."""
    names = [path.stem for path in sorted((dataset.folder / "tomograms").glob("*.mrc"))]
    stages = [[pattern.format(name) for name in names] for pattern in _BEFORE]
    stages += [["results/check/tomograms.tsv"]]
    stages += [[f"results/features/{name}" for name in ("model.safetensors", "features.npz", "history.tsv")]]
    tables = (
        "by_features.star",
        "found.star",
        "particles.star",
        "selection.tsv",
        "clusters.tsv",
        "decisions.tsv",
    )
    stages += [[f"results/clusters/{name}" for name in tables]]
    for files in stages:
        for name in files:
            path = dataset.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    table = [
        "cluster\tparticles\tmean_posterior\tmembers",
        *(f"{number}\t10\t1.0\t0" for number in range(1, CLUSTERS + 1)),
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
        raise DataError(f"the run of {dataset.name} failed", file=log, remedy="read the end of this log")
