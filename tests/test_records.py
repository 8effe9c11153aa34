"""Records of what results were made with, and what is done with the results of clusters that are no more."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cryopipe.averaging.doubles import gather_tables, mark_doubles
from cryopipe.errors import FileError
from cryopipe.evidence.leakage import measure_leakage
from cryopipe.files.records import recorded_names, remove_results, write_record
from cryopipe.files.star import write_particles
from cryopipe.files.tables import write_table
from cryopipe.installation import ROOT
from cryopipe.provenance import canonical, digest, file_state, options_of


def test_a_record_replaces_those_of_other_options(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("1")
    for name in ("01.aaaaaaaa", "02.aaaaaaaa", "01.bbbbbbbb", "TS_1.5.cccccccc"):
        write_record(tmp_path / "made" / f"{name}.json", {"symmetry": "C1"}, [tmp_path / "map"])
    found = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert found == ["01.bbbbbbbb.json", "02.aaaaaaaa.json", "TS_1.5.cccccccc.json"]
    assert recorded_names(tmp_path / "made") == {"01", "02", "TS_1.5"}


def test_files_of_a_cluster_that_is_no_more_go_and_those_of_the_user_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    maps = {name: tmp_path / name for name in ("02.mrc", "03.mrc", "03_half1.mrc", "03_mine.mrc")}
    for name, path in maps.items():
        path.write_text(name)
    write_record(tmp_path / "made" / "02.aaaaaaaa.json", {}, [maps["02.mrc"]])
    write_record(tmp_path / "made" / "03.aaaaaaaa.json", {}, [maps["03.mrc"], maps["03_half1.mrc"]])
    maps["03_half1.mrc"].write_text("user")
    remove_results(tmp_path / "made", ["01", "02"])
    assert sorted(path.name for path in tmp_path.glob("*.mrc")) == ["02.mrc", "03_half1.mrc", "03_mine.mrc"]
    assert recorded_names(tmp_path / "made") == {"02"}
    assert caplog.messages == [
        f"{maps['03_half1.mrc']}: belongs to 03, which no longer exists, but is kept, because it was changed after "
        "cryopipe wrote it"
    ]


def test_a_record_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "03.aaaaaaaa.json").write_text("[]")
    with pytest.raises(
        FileError, match=r"03\.aaaaaaaa\.json: is not a record that cryopipe wrote; remove it$"
    ):
        remove_results(tmp_path, [])


def test_one_value_has_one_spelling() -> None:
    assert canonical({"b": 3.0, "a": [1.5, {"d": True, "c": None}]}) == {
        "a": [1.5, {"c": None, "d": True}],
        "b": 3,
    }
    assert str(canonical({"b": 3.0, "a": (1.0,)})) == "{'a': (1,), 'b': 3}"
    assert digest({"a": 3, "b": [1.0]}) == digest({"b": [1], "a": 3.0}) != digest({"a": 3, "b": [2]})
    assert len(digest({})) == 8


def test_rules_get_what_they_use_alone() -> None:
    config = {"seed": 1, "averaging": {"merge": True, "symmetry": "C2", "voxel_size": 5.0}}
    config["averaging"] |= {"known_maps": "", "merge_correlation": 0.9}
    config["averaging"] |= {"double_distance": 0.5, "ctf": "limit"}
    assert options_of("average_cluster", config) == {"averaging": {"symmetry": "C2"}, "seed": 1}
    config["evidence"] = {"decoys": False, "decoy_fraction": 0.33}
    assert options_of("merge_clusters", config) == {
        "averaging": {"merge": True},
        "evidence": {"decoys": False},
    }


def test_states_of_files_tell_an_older_one_and_every_map_of_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(b"12")
    (tmp_path / "notes").write_text("")
    assert file_state(tmp_path) == file_state(path) == [["a.mrc", 2, int(path.stat().st_mtime)]]
    assert file_state(tmp_path / "absent") == file_state(None) == file_state("") == []


def test_the_script_that_judges_averages_removes_those_of_clusters_that_are_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results/averages").mkdir(parents=True)
    files = [f"results/averages/cluster_03{end}" for end in (".mrc", "_half1.mrc", "_fsc.star", ".star")]
    for file in files:
        Path(file).write_text(file)
    write_record("results/.made/average_cluster/03.aaaaaaaa.json", {}, files)
    Path("results/averages/cluster_03_sharpened.mrc").write_text("user")
    outputs = {"triage": "triage.tsv", "mergers": "mergers.tsv", "clusters": "clusters.tsv"}
    write_particles("located.star", mark_doubles(gather_tables([]), 0.5))
    write_table("leakage.tsv", measure_leakage(np.zeros(0, int), [], 0))
    job = SimpleNamespace(
        input=SimpleNamespace(averages=[], evidence=[], located="located.star", leakage="leakage.tsv"),
        output=SimpleNamespace(**outputs),
        params=SimpleNamespace(averaging={"known_maps": ""}),
        config={"features": {"learner": "transfer"}},
    )
    monkeypatch.setattr("cryopipe.job.run", lambda main, handed: main(handed))
    runpy.run_path(str(ROOT / "scripts" / "triage_averages.py"), {"snakemake": job})
    assert [path.name for path in Path("results/averages").iterdir()] == ["cluster_03_sharpened.mrc"]
