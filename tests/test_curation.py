"""Decisions of the user: their file, their application to particles, and what of them is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryopipe import columns
from cryopipe.cli import main
from cryopipe.curation import (
    Accept,
    BadTomogram,
    Choose,
    Curation,
    Decision,
    Merge,
    Note,
    Reject,
    Rename,
    Select,
    Split,
    apply_decisions,
    fingerprint,
)
from cryopipe.curation.curation_files import read_curation, write_curation
from cryopipe.errors import FileError
from cryopipe.files.decision_lists import append_decision_list, read_decision_list, write_decision_list
from cryopipe.files.features import write_features
from cryopipe.files.labels import read_labels
from cryopipe.files.mrc import write_volume
from cryopipe.files.star import write_particles

EVERY_FORM: tuple[Decision, ...] = (
    Accept(1),
    Reject(3),
    Merge((1, 4)),
    Split(2, 3),
    Rename(1, "ribosome: 80S"),
    Rename(2, "70"),
    Note(1, "looks right, but # of copies is low"),
    Choose(2, 0.8),
    Choose(2, 5.0, "pick"),
    Select("L1", (1, 2), ("TS_01/17", "007/3"), "reject"),
    BadTomogram("007"),
)


def particles() -> pd.DataFrame:
    """Twelve particles of two tomograms: clusters 1 (5), 2 (4), 3 (2), one unassigned."""
    classes = [1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 0]
    tomograms = ["a", "b"] * 6
    return pd.DataFrame(
        {
            columns.TOMOGRAM: tomograms,
            columns.PARTICLE: [f"{name}/{i}" for i, name in enumerate(tomograms)],
            columns.CLASS: classes,
            columns.POSTERIOR: np.linspace(0.45, 1.0, 12),
        }
    )


def decided(*decisions: Decision) -> tuple[list[int], list[str], pd.DataFrame]:
    """Return classes, states and outcomes after decisions about the particles above."""
    table = particles()
    result = apply_decisions(table, Curation(fingerprint(table), decisions), lambda rows, into: rows % into)
    assert result.particles[columns.PARTICLE].tolist() == table[columns.PARTICLE].tolist()
    return (
        result.particles[columns.CLASS].tolist(),
        [state[0] for state in result.particles[columns.DECISION]],
        result.outcomes,
    )


def test_a_file_returns_every_form_of_decision_in_order(tmp_path: Path) -> None:
    curation = Curation("0123456789ab", EVERY_FORM)
    write_curation(tmp_path / "curation.yaml", curation)
    assert read_curation(tmp_path / "curation.yaml") == curation
    assert (
        (tmp_path / "curation.yaml")
        .read_text()
        .startswith('# Decisions of a cryopipe report\nrun: "0123456789ab"\ndecisions:\n  - {accept: 1}\n')
    )


def test_a_selection_of_many_particles_is_read(tmp_path: Path) -> None:
    names = tuple(f"tomogram_{i % 7}/{i}" for i in range(30_000))
    curation = Curation("0123456789ab", (Select("L1", (1,), names, "accept"),))
    write_curation(tmp_path / "c.yaml", curation)
    assert read_curation(tmp_path / "c.yaml") == curation


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("- {acept: 1}", "line 3: {'acept': 1} names no decision; give exactly one of accept, reject, merge, "
         "split, rename, note, choose, select, bad_tomogram"),
        ("- {reject: 0}", "line 3: reject: 0 is not a cluster; give its number, from 1"),
        ("- {accept: 1}\n- {merge: [4]}", "line 4: merge: [4] is not a list of at least two clusters; "
         "give their numbers, such as [1, 4]"),
        ("- {split: 2, into: 1}", "line 3: into: 1 is not a number of parts; give 2 to 20"),
        ("- {choose: 2, above: 0.5, score: alignment}", "line 3: score: 'alignment' cannot be used; "
         "give one of posterior, pick, template, or select the particles by name"),
        ("- {select: L1, particles: [a/1], as: delete}", "line 3: as: 'delete' cannot be used; "
         "give one of accept, reject, label, split"),
        ("- {rename: 1}", "line 3: rename lacks the key 'name'; its keys are rename, name"),
        ("- {accept: 1, because: x}", "line 3: accept has the unknown key 'because'; its keys are accept"),
    ],
)  # fmt: skip
def test_a_decision_that_cannot_be_understood_is_named_with_its_line(
    tmp_path: Path, lines: str, message: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f'run: "0123456789ab"\ndecisions:\n{lines}\n')
    with pytest.raises(FileError) as raised:
        read_curation(path)
    assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("decisions: []", "does not name the run that the decisions belong to"),
        ("run: a\ndecisions: {accept: 1}", "line 2: decisions is not a list"),
        ("run: a\ndecision: []", "line 2: unknown key 'decision'"),
        ("[1, 2]", "contains no decisions"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(FileError) as raised:
        read_curation(tmp_path / "c.yaml")
    assert problem in str(raised.value)
    assert raised.value.remedy


def test_the_fingerprint_is_of_names_and_clusters_in_any_order() -> None:
    table = particles()
    assert fingerprint(table) == fingerprint(table.iloc[::-1].assign(**{columns.POSTERIOR: 0.0}))
    assert fingerprint(table) != fingerprint(table.assign(**{columns.CLASS: [*table[columns.CLASS][:-1], 1]}))


def test_no_decision_leaves_the_clusters_as_they_are() -> None:
    classes, states, outcomes = decided()
    assert classes == particles()[columns.CLASS].tolist()
    assert set(states) == {"o"}
    assert outcomes.empty


def test_later_decisions_apply_to_the_result_of_earlier_ones() -> None:
    classes, states, outcomes = decided(Merge((2, 3)), Accept(2), Reject(3), Reject(1))
    assert classes == [1] * 5 + [2] * 6 + [0]
    assert "".join(states) == "r" * 5 + "a" * 6 + "o"
    assert outcomes["outcome"].tolist() == ["applied", "applied", "not applied", "applied"]
    assert outcomes["detail"][2] == "cluster 3 was merged into cluster 2"


def test_a_rejected_cluster_can_be_accepted_again() -> None:
    assert "".join(decided(Reject(1), Accept(1))[1]) == "a" * 5 + "o" * 7


def test_parts_of_a_cluster_get_the_next_free_numbers_the_largest_keeps_its_own() -> None:
    classes, _, outcomes = decided(Merge((1, 3)), Split(1, 2))
    # rows 0, 1, 2, 3, 4, 9, 10 are divided into even (4) and odd ones (3); 3 was a number once
    assert classes == [1, 4, 1, 4, 1, 2, 2, 2, 2, 4, 1, 0]
    assert outcomes["detail"][1] == "particles: cluster 1 4, cluster 4 3"
    assert decided(Split(3, 2))[2]["detail"][0] == "cluster 3 has only 2 particles"


def test_single_particles_are_removed_accepted_or_made_a_cluster() -> None:
    names = ("b/1", "b/11", "b/5", "c/9")
    classes, states, outcomes = decided(Select("bad", (1,), names, "reject"))
    assert classes == [1, 0, 1, 1, 1, 0, 2, 2, 2, 3, 3, 0]
    assert "".join(states) == "orooorooooor"
    assert outcomes[["outcome", "detail"]].to_numpy().tolist() == [
        ["partly applied", "3 particles; 1 particle no longer in this run, such as c/9"]
    ]
    classes, states, outcomes = decided(Select("good", (1,), names[:2], "accept"))
    assert classes == particles()[columns.CLASS].tolist()
    assert "".join(states) == "oaoooooooooo"
    assert outcomes["detail"][0] == "1 particle; 1 particle in no cluster; select them as: split"
    classes, states, _ = decided(
        Select("new", (1,), ("b/1", "b/11", "b/9", "a/10"), "split"), Accept(4), Reject(3)
    )
    assert classes == [1, 4, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4]
    assert "".join(states) == "oaoooooooaaa"


def test_particles_below_a_score_and_those_of_a_bad_tomogram_are_removed() -> None:
    table = particles()
    classes, _, outcomes = decided(Choose(2, float(table[columns.POSTERIOR][7])), Choose(1, 9.0, "pick"))
    assert classes == [1] * 5 + [0, 0, 2, 2, 3, 3, 0]
    assert outcomes["detail"].tolist() == [
        "2 particles kept, 2 removed",
        "the particles of this run have no pick score",
    ]
    classes, states, outcomes = decided(BadTomogram("a"), BadTomogram("z"))
    assert classes == [0, 1, 0, 1, 0, 2, 0, 2, 0, 3, 0, 0]
    assert "".join(states) == "ro" * 6
    assert outcomes["detail"].tolist() == [
        "6 particles removed",
        "tomogram 'z' has no particles in this run",
    ]


def test_decisions_about_other_clusters_are_reported_and_only_named_particles_used() -> None:
    table = particles()
    select = Select("L1", (7,), ("a/0",), "reject")
    result = apply_decisions(table, Curation("000000000000", (Reject(1), select, BadTomogram("b"))))
    assert result.outcomes["outcome"].tolist() == ["not applied", "applied", "applied"]
    assert result.outcomes["detail"][0] == (
        "belongs to the clusters 000000000000, not to those of this run; decide again in its report"
    )
    assert result.particles[columns.CLASS].tolist() == [0, 0, 1, 0, 1, 0, 2, 0, 2, 0, 3, 0]


def test_names_notes_and_labels() -> None:
    table = particles()
    decisions = (
        *(Rename(1, "ribosome"), Accept(1), Note(1, "good"), Note(1, "really"), Reject(3)),
        Select("proteasome", (2,), ("a/6", "a/0"), "label"),
    )
    result = apply_decisions(table, Curation(fingerprint(table), decisions))
    assert result.clusters.to_numpy().tolist() == [
        [1, "ribosome", "accepted", 5, "good really"],
        [2, "cluster 2", "open", 4, ""],
        [3, "cluster 3", "rejected", 2, ""],
    ]
    assert result.particles[columns.CLASS_NAME].tolist() == (
        ["ribosome"] * 5 + ["cluster 2"] * 4 + ["cluster 3"] * 2 + [columns.NO_CLASS]
    )
    expected = ["proteasome", *["ribosome"] * 4, "", "proteasome", "", "", "rejected", "rejected", ""]
    assert result.labels.tolist() == expected


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as raised:
        main(["curate", *arguments])
    return int(raised.value.code or 0)


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with the clusters above, in which the command runs."""
    table = particles()
    table[list(columns.COORDINATES)] = np.arange(36.0).reshape(12, 3)
    write_particles(tmp_path / "results" / "clusters" / "found.star", table)
    features = np.random.default_rng(0).normal(size=(12, 4))
    features[1:5:2] += 20
    write_features(
        tmp_path / "results" / "features" / "features.npz", table[columns.PARTICLE].tolist(), features
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_the_decisions_and_says_what_becomes_of_them(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("reject", "3") == 0
    said = capsys.readouterr().out
    assert "1. reject 3: applied (2 particles)" in said
    assert "        3          2  rejected  cluster 3" in said
    assert "To use these decisions, set `curation: config/curation.yaml` in config/config.yaml" in said
    path = run_folder / "config" / "curation.yaml"
    path.write_text(
        path.read_text().replace("{reject: 3}", "{reject: 3}  # a membrane\n  - {rename: 1, name: a}")
    )
    assert command("split", "1", "2") == 0
    assert command("merge", "1", "2") == 0
    assert "# a membrane" in path.read_text()
    curation = read_curation(path)
    assert curation.decisions == (Reject(3), Rename(1, "a"), Split(1, 2), Merge((1, 2)))
    assert "particles: cluster 1 3, cluster 4 2" in capsys.readouterr().out
    assert command("undo") == 0
    assert read_curation(path).decisions == curation.decisions[:-1]


def test_a_decision_that_cannot_be_applied_is_not_written(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("accept", "1", "9") == 1
    assert capsys.readouterr().err == (
        "Error: accept 9: this run has no cluster 9; nothing was written; see `cryopipe curate show`\n"
    )
    assert not (run_folder / "config").exists()
    assert command("split", "1", "1") == 1
    assert command("choose", "1", "0.5", "--score", "alignment") == 1


def test_decisions_become_labels_that_learners_read(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("accept", "1") == 0
    assert command("labels", "labels.star") == 1
    assert (
        "leads to 1 classes of at least 5 particles; accept, reject or label two classes"
        in capsys.readouterr().err
    )
    assert command("rename", "1", "ribosome") == 0
    (run_folder / "names.txt").write_text("b/5\na/6\n\n")
    assert command("select", "proteasome", "names.txt", "--as", "label") == 0
    assert command("reject", "3") == 0
    assert command("labels", "labels.star") == 0
    labels = read_labels(run_folder / "labels.star")
    assert labels[columns.LABEL].tolist() == ["ribosome"] * 5 + ["proteasome"] * 2 + ["rejected"] * 2
    assert labels[columns.PARTICLE].tolist() == [
        "a/0",
        "b/1",
        "a/2",
        "b/3",
        "a/4",
        "b/5",
        "a/6",
        "b/9",
        "a/10",
    ]
    assert labels[columns.COORDINATES[2]].tolist()[-1] == 32.0
    before = (run_folder / "labels.star").read_bytes()
    assert command("labels", "labels.star") == 1
    assert (run_folder / "labels.star").read_bytes() == before


def test_without_a_run_there_is_nothing_to_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("reject", "1") == 1
    assert capsys.readouterr().err == (
        "Error: results/clusters/found.star: no such file; run snakemake in this directory first\n"
    )


def test_check_reads_the_decisions_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_volume("a.mrc", np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32), 13.0)
    Path("config").mkdir()
    Path("config/tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\n")
    Path("config/config.yaml").write_text("curation: config/curation.yaml\n")
    with pytest.raises(SystemExit):
        main(["check"])
    assert "curation: no file 'config/curation.yaml'; name the file of decisions" in capsys.readouterr().err
    write_curation("config/curation.yaml", Curation("0123456789ab", EVERY_FORM))
    with pytest.raises(SystemExit):
        main(["check"])
    assert "decisions: 11 in config/curation.yaml" in capsys.readouterr().out
    Path("config/curation.yaml").write_text("run: a\ndecisions:\n  - {reject: x}\n")
    with pytest.raises(SystemExit):
        main(["check"])
    assert "config/curation.yaml: line 3: reject: 'x' is not a cluster" in capsys.readouterr().err


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\n", "\r", " \n "])
def test_texts_with_any_line_break_are_kept_in_a_file_of_decisions(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "curation.yaml"
    decisions = [{"note": 1, "text": f"one{sign}two"}, {"note": 2, "text": "x" * 150 + sign + "y y" * 20}]
    write_decision_list(path, "0" * 8, decisions)
    append_decision_list(path, decisions)
    run, found = read_decision_list(path)
    assert run == "0" * 8
    assert [content for _, content in found] == 2 * decisions
