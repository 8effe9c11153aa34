from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cryopipe import columns
from cryopipe.averaging import AveragingOptions, align_particles, ctf_limit, fsc_blocks
from cryopipe.box_extraction import extract_for_averaging
from cryopipe.files.box_stacks import BoxStack
from cryopipe.files.mrc import write_volume
from cryopipe.particles import pick_table
from cryopipe.phase_flipping import first_zero, flip_phases
from cryopipe.simulation.optics import Optics, contrast_transfer
from cryopipe.subtomograms import SubtomogramOptions
from cryopipe.tomograms import Tomogram
from cryopipe.volume.fourier import frequency_grid
from cryopipe.volume.fsc import fourier_shell_correlation

VOXEL = 8.0
OPTICS = Optics(defocus=5.0)
MICROSCOPE = {"voltage": 300.0, "spherical_aberration": 2.7, "amplitude_contrast": 0.07}
BOXES = SubtomogramOptions(box_size=24, voxel_size=VOXEL)


def test_the_first_zero_is_that_of_the_definition() -> None:
    # Without aberration: pi w dz k^2 + asin(Q) = pi, w = 0.01969 A at 300 kV.
    plain = Optics(spherical_aberration=0.0, amplitude_contrast=0.0, defocus=5.0)
    assert first_zero(plain) == pytest.approx(np.sqrt(0.019687 * 5e4), rel=1e-3)
    assert first_zero(OPTICS) == pytest.approx(31.7, abs=0.1)
    assert float(contrast_transfer(torch.tensor(1 / first_zero(OPTICS)), OPTICS).abs()) < 1e-3
    assert first_zero(Optics(defocus=0.0, spherical_aberration=0.0)) == 0


def test_flipping_gives_the_absolute_transfer() -> None:
    noise = np.random.default_rng(1).normal(size=(2, 16, 16, 16)).astype(np.float32)
    transfer = contrast_transfer(frequency_grid(16, VOXEL), OPTICS)
    transform = torch.fft.fftn(torch.from_numpy(noise), dim=(1, 2, 3))
    imaged, expected = (
        torch.fft.ifftn(transform * t, dim=(1, 2, 3)).real for t in (transfer, transfer.abs())
    )
    np.testing.assert_allclose(flip_phases(imaged.numpy(), VOXEL, OPTICS), expected.numpy(), atol=1e-5)


def imaged_tomogram(folder: Path, defocus: float | None) -> tuple[Tomogram, np.ndarray, pd.DataFrame]:
    """A tomogram of fine structures behind the transfer function, the same without it, and twelve picks."""
    rng = np.random.default_rng(4)
    density = rng.normal(size=(64, 64, 64))
    transform = torch.fft.fftn(torch.from_numpy(density)) * contrast_transfer(
        frequency_grid(64, VOXEL), OPTICS
    )
    write_volume(folder / "a.mrc", torch.fft.ifftn(transform).real.float().numpy(), VOXEL)
    row = Tomogram("a", str(folder / "a.mrc"), VOXEL, (-90.0, 90.0), "bright", defocus=defocus)
    places = rng.integers(22, 42, (12, 3)).astype(float)
    picks = pick_table("a", "a.mrc", places, VOXEL, np.ones(12), np.full(12, 100.0))
    return row, density, picks.assign(**{columns.CLASS: 1})


def agreement(stack: BoxStack, density: np.ndarray, picks: pd.DataFrame) -> np.ndarray:
    """Mean correlation of the boxes with the density, by shell."""
    curves = []
    for name, x, y, z in picks[[columns.PARTICLE, *columns.COORDINATES]].itertuples(index=False):
        z, y, x = (int(place) - 12 for place in (z, y, x))
        truth = torch.from_numpy(density[z : z + 24, y : y + 24, x : x + 24])
        box = torch.from_numpy(stack[stack.names.index(name)]).double()
        curves.append(fourier_shell_correlation(box, truth, VOXEL).correlation)
    return np.mean(curves, axis=0)


@pytest.mark.parametrize("ctf", ["limit", "flip", "corrected"])
def test_phases_beyond_the_first_zero_are_corrected_or_limited(
    tmp_path: Path, ctf: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    row, density, picks = imaged_tomogram(tmp_path, 5.0)
    cut = extract_for_averaging(tmp_path / "a.h5", row, picks, BOXES, ctf, MICROSCOPE, 0)
    stack = BoxStack([tmp_path / "a.h5"])
    curve = agreement(stack, density, picks)
    resolution = 24 * VOXEL / np.arange(1, 13)
    # The zeros of 5 micrometre are at 32, 22 and 18 A.
    second = (resolution < 30) & (resolution > 23)
    assert curve[1:5].min() > 0.5
    assert (curve[1:][second] > 0.3).all() if ctf == "flip" else (curve[1:][second] < -0.3).all()
    assert stack[:].std(axis=(1, 2, 3)) == pytest.approx(np.ones(12), abs=0.01)
    assert ctf_limit(cut) == (pytest.approx(31.7, abs=0.1) if ctf == "limit" else 0)
    assert ("CTF not corrected: nothing finer than its first zero, 31.7 A, is used" in caplog.text) == (
        ctf == "limit"
    )


def test_nothing_finer_than_the_first_zero_is_reported(tmp_path: Path) -> None:
    row, _, picks = imaged_tomogram(tmp_path, 5.0)
    cut = extract_for_averaging(tmp_path / "a.h5", row, picks, BOXES, "limit", MICROSCOPE, 0)
    options = AveragingOptions(initial_models=1, initial_iterations=2, refinement_iterations=1, max_shift=0)
    result, aligned = align_particles(BoxStack([tmp_path / "a.h5"]), cut, options, 1, centred=True)
    assert result.resolution_0143 >= 31.6
    assert fsc_blocks(result, "C1", ctf_limit(aligned))["general"]["cryopipeCtfLimit"] == ctf_limit(cut)
    assert "cryopipeCtfLimit" not in fsc_blocks(result, "C1", 0.0)["general"]


def test_without_a_defocus_the_assumption_is_stated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    row, _, picks = imaged_tomogram(tmp_path, None)
    cut = extract_for_averaging(tmp_path / "a.h5", row, picks, BOXES, "flip", MICROSCOPE, 0)
    assert ctf_limit(cut) == 0
    assert "a: no defocus in the tomogram table: taken as corrected for the CTF" in caplog.text
