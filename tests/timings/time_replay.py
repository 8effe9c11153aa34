"""How long each decision takes to be replayed on a finished run, and which jobs it repeats.

Run it with `python -m tests.timings.time_replay DATASET`, where DATASET is the directory of a finished run; it is copied
first. It prints one row of a table per decision: seconds of the run, processor seconds of all its processes, and the jobs.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

from cryopipe import columns
from cryopipe.curation import (
    Accept,
    Choose,
    Curation,
    Decision,
    Merge,
    Reject,
    Rename,
    Select,
    Split,
    fingerprint,
)
from cryopipe.curation.curation_files import write_curation
from cryopipe.curation.decisions import BadTomogram
from cryopipe.files.star import read_particles
from cryopipe.installation import SNAKEFILE

DECISIONS = Path("config") / "curation.yaml"
FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)", re.M)


def main() -> None:
    """Time the replays of a copy of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--cores", default="2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "dataset"
        shutil.copytree(given.dataset, folder, symlinks=True)
        config = folder / "config" / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {**yaml.safe_load(config.read_text()), "curation": str(DECISIONS)}, sort_keys=False
            )
        )
        print("| decisions | seconds | processor seconds | jobs |\n|---|---|---|---|")
        found = read_particles(folder / "results" / "clusters" / "found.star")
        first = found[found[columns.CLASS] == 1][columns.PARTICLE].astype(str)
        lasso = tuple(first[: len(first) // 2])
        tomogram = str(found[columns.TOMOGRAM].iloc[-1])
        replays: dict[str, tuple[Decision, ...]] = {
            "a file without decisions": (),
            "reject one cluster": (Reject(2),),
            "accept it": (Accept(2),),
            "rename one": (Rename(1, "ribosome"),),
            "merge two": (Merge((1, 2)),),
            "split one in two": (Split(1, 2),),
            "particles above a score": (Choose(1, 0.9, "posterior"),),
            "half a cluster by lasso": (Select("lasso", (1,), lasso, "accept"),),
            "a bad tomogram": (BadTomogram(tomogram),),
        }
        for name, decisions in replays.items():
            write_curation(folder / DECISIONS, Curation(fingerprint(found), decisions))
            print(f"| {name} | {_replay(folder, given.cores)} |", flush=True)


def _replay(folder: Path, cores: str) -> str:
    """Run the workflow and return the cells of its row."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--cores", cores]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(
        [*command, "--configfile", "config/config.yaml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        sys.exit(ran.stdout[-3000:])
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    jobs = Counter(FINISHED.findall(ran.stdout))
    jobs.pop("all", None)
    listed = ", ".join(f"{rule} ({count})" if count > 1 else rule for rule, count in sorted(jobs.items()))
    return f"{seconds:.0f} | {processor:.0f} | {listed or '-'}"


if __name__ == "__main__":
    main()
