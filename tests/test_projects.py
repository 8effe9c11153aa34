"""Projects of other programs: init takes names, volumes, tilts and frames from their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from cryopipe.cli import main
from cryopipe.tomograms import Tomogram, read_tomogram_table
from tests.imitated_projects import IMITATIONS, Imitation

VOXEL_SIZE = 13.0


def init(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["init", *(str(argument) for argument in arguments)])
    assert int(caught.value.code or 0) == code


def noise() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(24, 48, 60)).astype(np.float32)


@pytest.fixture(params=IMITATIONS)
def imitation(request: pytest.FixtureRequest, tmp_path: Path, shared_data: Path) -> Imitation:
    return IMITATIONS[request.param](tmp_path, shared_data / "metadata", noise(), VOXEL_SIZE)


def the_row(dataset: Path) -> Tomogram:
    [row] = read_tomogram_table(dataset / "config" / "tomograms.tsv").values()
    return row


def test_init_takes_from_a_project_what_its_files_state(
    imitation: Imitation, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    init(dataset, imitation.source)
    row = the_row(dataset)
    assert (row.exported_name or row.name) == imitation.name
    assert row.path == str(imitation.volume)
    assert row.tilt_range == imitation.tilts
    assert row.tilt_axis == "y"
    assert row.tilt_series_pixel_size == pytest.approx(imitation.pixel_size, rel=1e-6)
    config = yaml.safe_load((dataset / "config" / "config.yaml").read_text())
    assert config["export"]["formats"] == imitation.formats
    assert config["imaging"]["contrast"] == imitation.contrast
    out = capsys.readouterr().out
    assert "1 tomogram in" in out
    assert "ASSUMED:" in out


def test_the_voxels_are_those_of_the_frame(imitation: Imitation, tmp_path: Path) -> None:
    init(tmp_path / "dataset", imitation.source)
    row = the_row(tmp_path / "dataset")
    shape = np.array(noise().shape[::-1])
    binning = VOXEL_SIZE / imitation.pixel_size
    size = row.unbinned_size or shape * binning
    assert np.abs(np.array(size) / binning - shape).max() < 1
