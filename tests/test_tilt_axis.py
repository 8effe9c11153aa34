"""A tilt axis along x, and the sense of the tilts, from the tomogram table to boxes, averages and exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cryopipe import columns
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.spectra import Spectra
from cryopipe.box_extraction import write_subtomograms
from cryopipe.export import export_context, export_particles, gather_particles
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.dynamo_table import read_dynamo_table
from cryopipe.files.mrc import open_volume, write_volume
from cryopipe.files.star import read_particles
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import ABOUT_X, Tomogram
from cryopipe.volume.wedge import centred_wedge, wedge_mask

PLACES = np.array([[20.0, 14.0, 13.0], [16.0, 15.0, 11.0]])


@pytest.fixture
def tomograms(tmp_path: Path) -> list[Tomogram]:
    """Two tomograms, tilted about -x and about y."""
    volume = np.random.default_rng(0).normal(size=(24, 30, 36)).astype(np.float32)
    write_volume(tmp_path / "a.mrc", volume, 10.0)
    write_volume(tmp_path / "b.mrc", volume, 10.0)
    return [
        Tomogram("a", str(tmp_path / "a.mrc"), None, (-50.0, 60.0), tilt_axis="-x"),
        Tomogram("b", str(tmp_path / "b.mrc"), None, (-50.0, 60.0)),
    ]


def particles_of(name: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            columns.TOMOGRAM: name,
            columns.MICROGRAPH: f"{name}.mrc",
            columns.PARTICLE: [f"{name}/1", f"{name}/2"],
            **dict(zip(columns.COORDINATES, PLACES.T, strict=True)),
            columns.VOXEL_SIZE: 10.0,
            columns.CLASS: 1,
        }
    )


def test_boxes_know_the_axis_and_sense_of_their_tomogram(tomograms: list[Tomogram], tmp_path: Path) -> None:
    options = SubtomogramOptions(box_size=8, voxel_size=10.0)
    for tomogram in tomograms:
        write_subtomograms(
            tmp_path / f"{tomogram.name}.h5", tomogram, particles_of(tomogram.name), options, seed=3
        )
    both = BoxStack([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert both.tilt_ranges.tolist() == [[-60, 50, ABOUT_X]] * 2 + [[-50, 60, 0]] * 2
    assert BoxStack([tmp_path / "b.h5"]).tilt_ranges.tolist() == [[-50, 60]] * 2


def test_averages_use_the_coefficients_that_tilts_about_x_measure() -> None:
    scheme = (-60.0, 50.0, ABOUT_X)
    noise = torch.randn(60, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    boxes = torch.fft.ifftn(torch.fft.fftn(noise, dim=(1, 2, 3)) * wedge_mask(16, scheme), dim=(1, 2, 3)).real
    band, everything = Band(16, 6, torch.device("cpu")), np.arange(60)
    kept = {}
    for tilts in (scheme, scheme[:2]):
        spectra = Spectra(boxes.numpy(), np.broadcast_to(tilts, (60, len(tilts))), torch.device("cpu"))
        measured = spectra.measured(band)
        kept[tilts] = float((band.coefficients(spectra.volumes(everything)) * measured).abs().square().sum())
    total = float(band.coefficients(boxes - boxes.mean(dim=(1, 2, 3), keepdim=True)).abs().square().sum())
    assert kept[scheme] == pytest.approx(total, rel=0.01)
    assert kept[scheme[:2]] < 0.9 * total


def test_exports_state_the_axis(tomograms: list[Tomogram], tmp_path: Path) -> None:
    table = pd.concat([particles_of("a"), particles_of("b")], ignore_index=True)
    sections = {
        "export": {"subtomograms": True, "box_width": 100},
        "subtomograms": {"box_size": 10, "voxel_size": 10},
    }
    context = export_context(tomograms, {}, sections, ["relion", "dynamo"])
    export_particles(gather_particles(table, []), context, tmp_path)
    written = read_particles(tmp_path / "relion" / "particles.star")
    for name, tilts in (("a", (-60.0, 50.0, ABOUT_X)), ("b", (-50.0, 60.0))):
        [wedge] = set(written.loc[written[columns.TOMOGRAM] == name, "rlnCtfImage"])
        np.testing.assert_array_equal(
            open_volume(tmp_path / "relion" / wedge), centred_wedge(10, tilts).numpy()
        )
    values = read_dynamo_table(tmp_path / "dynamo" / "particles.tbl")
    # column 13: 1 for tilts about y, 2 about x; then the lowest and highest tilt
    assert values[:, 12:15].tolist() == [[2, -60, 50]] * 2 + [[1, -50, 60]] * 2
