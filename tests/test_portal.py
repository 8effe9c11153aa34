"""Data of the CryoET Data Portal on this machine, in its folders: one tomogram per run, and annotations as picks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.cli import main
from cryopipe.config import CHECKOUT
from cryopipe.export import export_context
from cryopipe.export.format_register import detect_format
from cryopipe.export.given_particles import read_given_particles
from cryopipe.files.json_file import read_json_lines
from cryopipe.files.mrc import write_volume
from cryopipe.tomograms import Tomogram, read_tomogram_table
from tests.test_zarr_volumes import write_zarr

PAGE = CHECKOUT / "docs" / "programs" / "portal.md"
VOLUME = np.random.default_rng(4).normal(size=(24, 40, 48)).astype(np.float32)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two runs of a dataset: one at 7 A as OME-Zarr, raw and denoised; one at 13.48 A as MRC in the older folders."""
    run = tmp_path / "10301" / "TS_1.5"
    tomograms = run / "Reconstructions" / "VoxelSpacing7.000" / "Tomograms"
    for number, processing in (("100", "raw"), ("101", "denoised")):
        write_zarr(tomograms / number / "TS_1.5.zarr", VOLUME, 7.0)
        record = {"processing": processing, "alignment_metadata_path": "10301/TS_1.5/Alignments/100/alignment_metadata.json"}  # fmt: skip
        write_json(tomograms / number / "tomogram_metadata.json", record)
    state = {"acceleration_voltage": 300000, "spherical_aberration_constant": 2.7, "pixel_spacing": 1.75, "total_flux": 120}  # fmt: skip
    write_json(
        run / "TiltSeries" / "100" / "tiltseries_metadata.json",
        {**state, "tilt_range": {"min": -60, "max": 60}, "tilt_axis": 84.7},
    )
    images = [{"z_index": n, "tilt_angle": tilt} for n, tilt in enumerate((-51.25, 0.5, 60.25))]
    write_json(run / "Alignments" / "100" / "alignment_metadata.json", {"per_section_alignment_parameters": images})  # fmt: skip
    write_json(run / "run_metadata.json", {"run_name": "TS_1.5"})
    write_json(tmp_path / "10301" / "dataset_metadata.json", {})
    older = tmp_path / "10301" / "TS_026"
    folder = older / "Tomograms" / "VoxelSpacing13.480" / "CanonicalTomogram"
    write_volume(folder / "TS_026.mrc", VOLUME, 13.48)
    write_json(folder / "tomogram_metadata.json", {"processing": "raw"})
    write_json(older / "TiltSeries" / "tiltseries_metadata.json", {**state, "tilt_range": {"min": -40, "max": 41}})  # fmt: skip
    annotations = run / "Reconstructions" / "VoxelSpacing7.000" / "Annotations"
    matrix = Rotation.from_euler("ZYZ", [10, 20, 30], degrees=True).as_matrix().tolist()
    places = [{"x": 10.5, "y": 20.5, "z": 8.5}, {"x": 30.0, "y": 21.0, "z": 12.0}]
    for number, name, kind, lines in (
        ("101", "cytosolic_ribosome-1.0", "oriented", [{"type": "orientedPoint", "location": places[0], "xyz_rotation_matrix": matrix}]),
        ("102", "ferritin_complex-1.0", "", [{"type": "point", "location": places[1]}]),
        ("103", "membrane-1.0", "", [{"type": "instancePoint", "location": places[1], "instance_id": 1}] * 5),
    ):  # fmt: skip
        write_json(annotations / number / f"{name}.json", {"annotation_object": {"name": name}})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (annotations / number / f"{name}_{kind}point.ndjson").write_text(text)
    return tmp_path / "10301"


def init(*arguments: object) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["init", *(str(argument) for argument in arguments)])
    assert not caught.value.code


def test_init_takes_one_tomogram_of_each_run_with_tilts_and_microscope(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    init(tmp_path / "picked", dataset)
    rows = read_tomogram_table(tmp_path / "picked" / "config" / "tomograms.tsv")
    assert list(rows) == ["TS_026", "TS_1_5"]
    tomograms = dataset / "TS_1.5" / "Reconstructions" / "VoxelSpacing7.000" / "Tomograms"
    new, old = rows["TS_1_5"], rows["TS_026"]
    assert new.exported_name == "TS_1.5"
    assert new.path == str(tomograms / "100" / "TS_1.5.zarr" / "1")  # 14 A is nearer to 13 A than 7 A
    assert new.tilt_range == (-51.25, 60.25)  # of the aligned images, not of the tilt series
    assert (new.tilt_series_pixel_size, new.dose) == (1.75, 120)
    assert old.path == str(dataset / "TS_026/Tomograms/VoxelSpacing13.480/CanonicalTomogram/TS_026.mrc")
    assert old.tilt_range == (-40, 41)
    config = yaml.safe_load((tmp_path / "picked" / "config" / "config.yaml").read_text())
    assert (config["imaging"]["voltage"], config["imaging"]["contrast"]) == (300, "dark")
    assert config["export"]["formats"] == ["portal", "copick"]
    out = capsys.readouterr().out
    assert "  left out: " + str(tomograms / "101") + ": another volume of the run (denoised)" in out  # fmt: skip
    assert "  the sense of the tilts, which the portal does not state" in out


def test_the_page_shows_what_init_prints(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    init("picked", dataset.name)
    printed = capsys.readouterr().out.split("\nNext:")[0].replace(str(tmp_path), "/data")
    assert printed == re.findall(r"```text\n(.*?)\n```", PAGE.read_text(), re.S)[0]


def test_points_of_a_smaller_resolution_are_converted_as_the_page_says(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init(tmp_path / "picked", dataset)
    monkeypatch.chdir(tmp_path / "picked")
    table = Path("config/tomograms.tsv").read_text()
    Path("largest.tsv").write_text(table.replace("TS_1.5.zarr/1", "TS_1.5.zarr/0"))
    points = Path("results/portal/particles/TS_1.5.ndjson")
    points.parent.mkdir(parents=True)
    points.write_text(
        json.dumps({"type": "orientedPoint", "location": {"x": 5, "y": 10, "z": 4}, "cluster": 1}) + "\n"
    )
    [command] = re.findall(r"^ *cryopipe (convert .*)$", PAGE.read_text(), re.M)
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    assert not caught.value.code
    [found] = read_json_lines("largest/particles/TS_1.5.ndjson")
    assert found["location"] == {"x": 10.5, "y": 20.5, "z": 8.5}


@pytest.mark.parametrize("inside", [".", "TS_1.5", "TS_1.5/Reconstructions/VoxelSpacing7.000/Tomograms/101"])
def test_a_run_or_a_folder_in_it_is_read_and_denoised_tomograms_on_request(
    inside: str, dataset: Path, tmp_path: Path
) -> None:
    init(tmp_path / "picked", dataset / inside, "--denoised")
    rows = read_tomogram_table(tmp_path / "picked" / "config" / "tomograms.tsv")
    assert rows["TS_1_5"].path.endswith("Tomograms/101/TS_1.5.zarr/1")
    assert len(rows) == (2 if inside == "." else 1)


def test_annotations_become_picks_at_the_resolution_of_the_tomogram(dataset: Path) -> None:
    volume = dataset / "TS_1.5/Reconstructions/VoxelSpacing7.000/Tomograms/100/TS_1.5.zarr/1"
    context = export_context([Tomogram("TS_1_5", str(volume), exported_name="TS_1.5")], {}, {})
    assert detect_format(dataset) == "portal"
    picks = read_given_particles(dataset, context, 240.0)
    assert sorted(picks[columns.GIVEN_CLASS]) == ["cytosolic_ribosome", "ferritin_complex"]
    ribosome = picks[picks[columns.GIVEN_CLASS] == "cytosolic_ribosome"].iloc[0]
    # the smaller resolution has means of two voxels: voxel i is at 2 i + 0.5
    assert ribosome[list(columns.COORDINATES)].tolist() == [5, 10, 4]


def test_records_that_are_damaged_are_told(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    record = dataset / "TS_026" / "TiltSeries" / "tiltseries_metadata.json"
    for text, message in (("{", "is not JSON"), ("[]", "does not hold an object"), ('{"tilt_range": 3}', "damaged or of an unknown version")):  # fmt: skip
        record.write_text(text)
        with pytest.raises(SystemExit):
            main(["init", str(tmp_path / "picked"), str(dataset)])
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "picked").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"config_type": "cryoet_data_portal", "dataset_ids": [10301], "overlay_root": "local:///none"},
            "names no folder on this machine with ExperimentRuns, but local:///none, dataset 10301 of the CryoET Data Portal",
        ),
        (
            {"static_root": "s3://bucket/data", "overlay_root": "local://{folder}"},
            "has no tomograms on this machine in ExperimentRuns",
        ),
    ],
)
def test_copick_projects_whose_tomograms_are_elsewhere_are_refused(
    config: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "ExperimentRuns" / "run" / "Picks").mkdir(parents=True)
    path = tmp_path / "copick.json"
    path.write_text(json.dumps(config).replace("{folder}", str(tmp_path)))
    with pytest.raises(SystemExit):
        main(["init", str(tmp_path / "picked"), str(path)])
    error = capsys.readouterr().err
    assert error == f"Error: {path}: {message}; download the tomograms, and give their folder\n"
    assert not (tmp_path / "picked").exists()
