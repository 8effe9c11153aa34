"""A drill: drivers, jobs and whole runs are killed at random moments and rescued with README's commands alone.

`python tests/drill.py 30 1` kills 30 times with seed 1 and tells what it saw; the last line is "all equal" or what was not.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from small_runs import TINY_TRANSFER, make_dataset

from cryopipe.cli.init import init
from cryopipe.files.mrc import write_volume
from cryopipe.installation import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
STAGES = ("picks", "subtomograms", "features", "clusters", "averages", "reembedded", "export", "report")
"""When a round begins, the results of one stage and of all that follow are missing."""
WITH_TIMES = ("report/report.html", "report/progress.html", ".made/run.json", "features/history.tsv")
"""Files in which the seconds stand that something took."""
PER_ROUND = 6
"""Kills before a run is left to end."""
SECONDS = (4.0, 20.0)
"""The shortest and the longest time that a driver is given."""
FOREIGN = {"mine.txt": "of the user", "Refine3D/job001/run_data.star": "# of the user\n"}


def commands_of_readme() -> tuple[str, str, str]:
    """The commands that README gives: to run, to unlock a dataset whose driver was killed, and to go on."""
    rescue = re.findall(r"```\n(snakemake --unlock)\n(snakemake [^\n]*--rerun-incomplete)\n```", README)
    assert len(rescue) == 1
    run = re.findall(r"^cryopipe check .*\n(snakemake --cores all)\n", README, re.M)
    assert len(run) == 1
    return run[0], *rescue[0]


def start(folder: Path, command: str) -> subprocess.Popen[str]:
    """Start a command as a shell would, in a process group of its own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        shlex.split(command),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
    )


def run(folder: Path, command: str) -> str:
    """Run a command to its end, which must be a good one."""
    process = start(folder, command)
    said, _ = process.communicate()
    assert process.returncode == 0, f"{command}: {said[-3000:]}"
    return said


def prepare(folder: Path) -> None:
    """Make a dataset with the Snakefile that `cryopipe init` writes."""
    with tempfile.TemporaryDirectory() as made:
        write_volume(Path(made) / "a.mrc", np.zeros((16, 16, 16), np.float32), 10.0)
        init(folder, [Path(made) / "a.mrc"])
    make_dataset(folder, {**TINY_TRANSFER, "export": {"formats": ["relion", "relion5", "warp"]}})


def add_foreign_files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Put files of the user into every directory of the results; return their content and times."""
    directories = [path for path in (folder / "results").rglob("*") if path.is_dir()]
    for directory in [folder / "results", *directories]:
        for name, text in FOREIGN.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
    return foreign_files(folder)


def foreign_files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """The user's files, with content and times."""
    names = {Path(name).name for name in FOREIGN}
    found = [path for path in (folder / "results").rglob("*") if path.name in names]
    return {path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def own_files(folder: Path) -> dict[str, bytes]:
    """What cryopipe wrote, but for the times in it: the records of files with times hold those files' fingerprints."""
    root = folder / "results"
    names = {Path(name).name for name in FOREIGN}
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if path.name not in names and name not in WITH_TIMES}
    return {name: path.read_bytes() for name, path in kept.items() if not name.startswith(".made/learn_")}


def kill(driver: subprocess.Popen[str], what: str) -> str:
    """Kill the driver alone, one of its jobs, or all of them; tell what was killed."""
    if what == "group":
        os.killpg(driver.pid, signal.SIGKILL)
    elif what == "driver":
        driver.kill()
    else:
        jobs = [one for one in psutil.Process(driver.pid).children(recursive=True) if one.is_running()]
        if not jobs:
            return kill(driver, "driver")
        jobs[-1].kill()
    return what


def end_of(driver: subprocess.Popen[str]) -> str:
    """Wait for a driver alone: its jobs may outlive it and hold its output open."""
    driver.wait()
    assert driver.stdout is not None
    with driver.stdout as output:
        os.set_blocking(output.fileno(), False)
        return output.read() or ""


def one_round(reference: Path, folder: Path, kills: int, moments: random.Random) -> list[str]:
    """Kill and rescue a run `kills` times, let it end, and compare; return what was killed."""
    go, unlock, go_on = commands_of_readme()
    shutil.copytree(reference, folder)
    for stage in STAGES[moments.randrange(len(STAGES) - 1) :]:
        for path in (folder / "results" / stage).iterdir():
            if path.is_file():
                path.unlink()
    users = add_foreign_files(folder)
    killed, command = [], go
    while len(killed) < kills:
        driver = start(folder, command)
        deadline = time.monotonic() + moments.uniform(*SECONDS)
        while time.monotonic() < deadline and driver.poll() is None:
            time.sleep(0.05)
        if driver.poll() is not None:
            said = end_of(driver)
            assert driver.returncode == 0, said[-3000:]
            break
        killed.append(kill(driver, moments.choice(["driver", "job", "group"])))
        said = end_of(driver)
        if killed[-1] == "job":
            assert "Traceback" not in said, said[-3000:]
            continue  # the same command again
        run(folder, unlock)
        command = go_on
    run(folder, command)
    compare(reference, folder, users)
    return killed


def compare(reference: Path, folder: Path, users: dict[Path, tuple[bytes, int]]) -> None:
    """The same files, nothing of the user's touched, nothing stale."""
    ours, theirs = own_files(folder), own_files(reference)
    assert sorted(ours) == sorted(theirs), sorted(set(ours) ^ set(theirs))
    different = [name for name, content in ours.items() if theirs[name] != content]
    assert different == [], different
    assert foreign_files(folder) == users
    assert "Nothing to be done" in run(folder, "snakemake --dry-run --cores all")
    clusters = len(list((folder / "results" / "averages").glob("cluster_??.mrc")))
    planned = run(folder, "snakemake --dry-run --cores all --config 'averaging={symmetry: C4}'")
    assert re.search(rf"^average_cluster +{clusters}$", planned, re.M), planned[-3000:]


def drill(folder: Path, kills: int, seed: int, reference: Path | None = None) -> Counter[str]:
    """Kill `kills` times in rounds; return how often what was killed."""
    moments = random.Random(seed)
    if reference is None:
        reference = folder / "reference"
        prepare(reference)
        run(reference, commands_of_readme()[0])
    counts: Counter[str] = Counter()
    number = 0
    while counts.total() < kills:
        number += 1
        place = folder / f"round_{number}"
        killed = one_round(reference, place, min(PER_ROUND, kills - counts.total()), moments)
        counts.update(killed)
        print(
            f"round {number}: killed {', '.join(killed) or 'nothing'}; {counts.total()} kills so far",
            flush=True,
        )
        shutil.rmtree(place)
    return counts


if __name__ == "__main__":
    where = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as scratch:
        print(dict(drill(Path(scratch), int(sys.argv[1]), int(sys.argv[2]), where)))
    print("all equal")
