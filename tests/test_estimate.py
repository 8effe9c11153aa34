"""What a run takes and assumes, and the options against the data, are said before it starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import forked_snakemake
import numpy as np
import pytest

from cryopipe.check import check_options
from cryopipe.cli import main
from cryopipe.config import CHECKOUT, complete, defaults
from cryopipe.estimate import describe_assumptions, estimate_run
from cryopipe.files.mrc import write_volume
from cryopipe.tomograms import Tomogram, read_tomogram_table


def test_the_measured_dataset_is_estimated_as_measured(tmp_path: Path) -> None:
    page = (CHECKOUT / "docs" / "scale.md").read_text()
    measured = re.search(r"([\d,]+) particles\*\*.*?\| sum \| \d+ \| [\d,]+ \| ([\d,]+) \|", page, re.S)
    assert measured is not None
    particles, seconds = (float(text.replace(",", "")) for text in measured.groups())
    volume = np.zeros((130, 260, 260), np.int8)
    volume[0, 0, 0] = 1
    write_volume(tmp_path / "t.mrc", volume, 13.33)
    config = complete({"pick": {"diameters": [200]}}, tmp_path / "config.yaml")
    estimate = estimate_run(config, [Tomogram(str(n), str(tmp_path / "t.mrc")) for n in range(100)])
    assert estimate.particles == pytest.approx(particles, rel=0.1)
    assert estimate.processor_hours == pytest.approx(seconds / 3600, rel=0.1)
    assert estimate.gigabytes == pytest.approx(
        (100 * 6 * volume.size + particles * (2 * 32**3 + 2000)) / 1e9, rel=0.1
    )
    assert str(estimate).startswith(
        "Estimate, from docs/scale.md, good to a factor of about three: 100 tomograms, about 81,000 picks, 1.5 hours of "
        "processor time"
    )


def test_what_makes_a_run_longer_makes_its_estimate_longer(tmp_path: Path) -> None:
    tomograms = [Tomogram(f"t{n}", "absent.mrc") for n in range(5)]
    base = estimate_run(defaults(), tomograms)
    assert base.particles > 0
    for change in (
        {"subtomograms": {"box_size": 64}},
        {"averaging": {"voxel_size": 7}},
        {"features": {"learner": "disca"}},
        {"pick": {"diameters": [120]}},
    ):
        assert (
            estimate_run(complete(change, "c.yaml"), tomograms).processor_hours > 1.2 * base.processor_hours
        )
    few = estimate_run(complete({"pick": {"max_particles": 10}}, "c.yaml"), tomograms)
    assert few.particles == 50


def test_unreadable_headers_do_not_stop_the_estimate(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 1024, b"\0" * 1024):
        (tmp_path / "x.mrc").write_bytes(content)
        assert estimate_run(defaults(), [Tomogram("x", str(tmp_path / "x.mrc"))]).particles >= 0


def test_assumptions_are_named(tmp_path: Path) -> None:
    table = tmp_path / "tomograms.tsv"
    table.write_text(
        "tomogram\tpath\tvoxel_size\ttilt_min\ttilt_max\tcontrast\n"
        "a\ta.mrc\t10\t-50\t50\tdark\nb\tb.mrc\t\t-50\t50\t\nc\tc.mrc\t\t\t\t\n"
    )
    config = {**defaults(), "tomograms": str(table)}
    assert describe_assumptions(config) == (
        "Assumed where the table is blank: tilts from -60 to 60 degrees (imaging.tilt_range) for 1, dark particles "
        "(imaging.contrast) for 2, the voxel size in the header for 2"
    )
    table.write_text("\n".join(table.read_text().splitlines()[:2]))
    assert len(read_tomogram_table(table)) == 1
    assert describe_assumptions(config) == ""


@pytest.mark.parametrize(
    ("change", "shape", "voxel_size", "expected"),
    [
        ({}, (80, 256, 256), 13.33, []),
        (
            {"pick": {"diameters": [30]}, "subtomograms": {"voxel_size": 7, "box_size": 64}},
            (80, 256, 256),
            13.33,
            [
                "bad: pick.diameters contains 30 A, which is only 2.3 voxels of 13.33 A; set at least 49 A for this "
                "voxel size",
                "warning: subtomograms.voxel_size of 7 A is finer than the tomogram's voxel size of 13.33 A; set 13.33 "
                "or more: smaller voxels add no information",
            ],
        ),
        (
            {},
            (20, 256, 256),
            10.0,
            [
                "bad: pick.diameters contains 240 A, but the tomogram's shortest edge is 200 A; set a smaller diameter, or "
                "correct the voxel size",
                "warning: boxes of 427 A are wider than the tomogram's shortest edge of 200 A: every box is partly filled "
                "with noise; set a smaller subtomograms.box_size",
            ],
        ),
        (
            {"averaging": {"voxel_size": 5}, "subtomograms": {"border": "drop"}},
            (40, 256, 256),
            10.0,
            [
                "bad: boxes of 427 A are wider than the tomogram's shortest edge of 400 A: all boxes are "
                "dropped; set a smaller subtomograms.box_size",
                "warning: averaging.voxel_size of 5 A is finer than the tomogram's voxel size of 10 A; set 10 or more: "
                "smaller voxels add no information",
            ],
        ),
    ],
)
def test_options_against_the_data(
    change: dict[str, Any], shape: tuple[int, int, int], voxel_size: float, expected: list[str]
) -> None:
    findings = check_options(complete(change, "config.yaml"), shape, voxel_size)
    assert [f"{finding.status}: {finding}" for finding in findings] == expected


def test_check_says_what_it_assumes_estimates_and_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    volume = np.random.default_rng(1).normal(size=(20, 32, 32)).astype(np.float32)
    for name in "ab":
        write_volume(tmp_path / f"{name}.mrc", volume + ord(name), 10.0)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\nb\tb.mrc\n")
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    out = capsys.readouterr().out
    assert caught.value.code == 1
    assert "Assumed where the table is blank: tilts from -60 to 60 degrees (imaging.tilt_range) for 2" in out
    assert "Estimate, from docs/scale.md" in out
    assert (
        "options: a and 1 more: bad: pick.diameters contains 240 A, but the tomogram's shortest edge is 200 A"
        in out
    )


@pytest.mark.parametrize(("option", "printed"), [("-n", True), ("--list", False), ("--dag", False)])
def test_the_estimate_is_printed_only_where_jobs_would_run(
    tmp_path: Path, option: str, printed: bool
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "config" / "tomograms.tsv").write_text("tomogram\tpath\na\ta.mrc\n")
    (tmp_path / "a.mrc").touch()
    command = ["--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "1", option]
    result = forked_snakemake.snakemake(tmp_path, *command)
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    estimate = "Estimate, from docs/scale.md, good to a factor of about three: 1 tomogram, about 280 picks"
    assumption = "Assumed where the table is blank: tilts from -60 to 60 degrees (imaging.tilt_range) for 1"
    assert (estimate in said, assumption in said) == (printed, printed)
