"""From a run to decisions, their replay, and the exported particles."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_runs import TINY_TRANSFER, make_dataset, run

from cryopipe import columns
from cryopipe.curation import Accept, Curation, Decision, Merge, Reject, Rename, Select, fingerprint
from cryopipe.curation.curation_files import write_curation
from cryopipe.files.star import read_particles, read_star

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DECISIONS = "config/curation.yaml"
JOB = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)", re.M)
EXPORTED = ("relion/particles.star", "relion5/particles.star")
COSTLY = {
    "locate_particles",
    "average_cluster",
    "triage_averages",
    "learn_features",
    "cluster_features",
    "classify_particles",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    simulation = {**TINY_TRANSFER["simulation"], "copies": 12}
    make_dataset(folder, {**TINY_TRANSFER, "simulation": simulation})
    run(folder)
    config = {**TINY_TRANSFER, "simulation": simulation, "curation": DECISIONS}
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def replay(folder: Path, *decisions: Decision) -> set[str]:
    """Write decisions, run the workflow, and return the rules whose jobs ran; the time is printed."""
    found = read_particles(folder / "results/clusters/found.star")
    write_curation(folder / DECISIONS, Curation(fingerprint(found), decisions))
    start = time.perf_counter()
    rules = set(JOB.findall(run(folder)))
    print(f"{len(decisions)} decisions: {time.perf_counter() - start:.1f} s, {sorted(rules)}")
    return rules


def exported(folder: Path, file: str) -> int:
    return len(read_star(folder / "results" / file)["particles"])


def clusters_of(folder: Path) -> dict[int, int]:
    """Numbers of particles by cluster, as aligned and without rejected ones and doubles."""
    classes = read_particles(folder / "results/averages/particles.star")[columns.CLASS].to_numpy(int)
    numbers, counts = np.unique(classes[classes > 0], return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def checksums(folder: Path) -> dict[str, str]:
    """Checksums of the results that contain no time of day or cost."""
    paths = [
        path
        for name in ("clusters", "averages", "relion", "relion5")
        for path in (folder / "results" / name).rglob("*")
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.is_file()
    }


def test_rejected_and_renamed_clusters_average_nothing_and_leave_the_export(dataset: Path) -> None:
    before = clusters_of(dataset)
    assert len(before) == 2
    rules = replay(dataset, Reject(2), Rename(1, "ribosome"))
    assert not rules & COSTLY
    assert clusters_of(dataset) == {1: before[1]}
    table = read_star(dataset / "results/relion/particles.star")["particles"]
    assert len(table) == before[1] == exported(dataset, "relion5/particles.star")
    assert set(table[columns.CLASS_NAME]) == {"ribosome"}
    assert "REJECTED" in (dataset / "results/report/summary.txt").read_text()
    rules = replay(dataset, Rename(1, "ribosome"))
    assert not rules & COSTLY
    assert clusters_of(dataset) == before


def test_exactly_the_accepted_particles_are_exported_and_a_replay_gives_the_same_files(dataset: Path) -> None:
    found = read_particles(dataset / "results/clusters/found.star")
    members = found[found[columns.CLASS] == 1][columns.PARTICLE].astype(str).tolist()
    chosen, strange = tuple(members[:7]), "demo_01/99999"
    decisions = (Merge((1, 2)), Select("few", (1,), (*chosen, strange), "accept"))
    rules = replay(dataset, *decisions)
    assert "average_cluster" in rules
    outcomes = (dataset / "results/clusters/decisions.tsv").read_text()
    assert f"1 particle no longer in this run, such as {strange}" in outcomes
    assert f"such as {strange}" in (dataset / "results/report/summary.txt").read_text()
    aligned = read_particles(dataset / "results/averages/particles.star")
    kept = aligned[aligned[columns.PARTICLE].isin(chosen) & (aligned[columns.CLASS] > 0)]
    assert set(aligned[columns.CLASS]) <= {0, 1}
    own = read_particles(dataset / "results/relion/cluster_01.star")
    assert sorted(own[columns.PARTICLE]) == sorted(kept[columns.PARTICLE])
    assert [exported(dataset, file) for file in EXPORTED] == [len(kept)] * 2
    first = checksums(dataset)
    assert not replay(dataset, *decisions) & COSTLY
    assert checksums(dataset) == first


def test_accepting_one_cluster_exports_no_other(dataset: Path) -> None:
    replay(dataset, Accept(2))
    table = read_star(dataset / "results/relion/particles.star")["particles"]
    assert set(table[columns.CLASS]) == {2}
    assert len(table) == clusters_of(dataset)[2]
    assert not (dataset / "results/relion/cluster_01.star").exists()
