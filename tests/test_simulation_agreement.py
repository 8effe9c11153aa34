"""Boxes made on the fly against boxes cut from whole simulated tomograms: spectra, wedge, density, averages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from box_spectra import radial_power, wedge_profile
from numpy.typing import NDArray

from cryopipe.columns import ANGLES, COORDINATES
from cryopipe.files.mrc import open_volume
from cryopipe.files.star import read_particles
from cryopipe.simulation import (
    EXAMPLES,
    BoxOptions,
    BoxSimulator,
    Phantom,
    SimulationOptions,
    phantom,
    simulate_tomogram,
    write_tomogram,
)
from cryopipe.simulation.optics import Optics, tilt_angles
from cryopipe.simulation.rendering import ParticleRenderer, random_matrices
from cryopipe.simulation.tilt_series import TiltSeries
from cryopipe.volume.fsc import fourier_shell_correlation
from cryopipe.volume.geometry import rotation_from_relion_angles
from cryopipe.volume.rotate import rotate_volumes

VOXEL_SIZE, RESOLUTION, SIZE = 13.33, 30.0, 32


@pytest.fixture(scope="module")
def ribosome() -> Phantom:
    return phantom(EXAMPLES["ribosome_like"], VOXEL_SIZE, RESOLUTION)


@pytest.mark.parametrize("structural_noise", [0.0, 0.3, 1.0])
def test_noise_has_the_spectrum_of_a_tomograms_noise(ribosome: Phantom, structural_noise: float) -> None:
    asked = SimulationOptions(
        size=(160, 128, 80), copies=0, vesicles=0, structural_noise=structural_noise, tilt_step=3.0
    )
    volume = simulate_tomogram(asked, 1).volume
    starts = [(z, y, x) for z in (8, 40) for y in range(0, 128, SIZE) for x in range(16, 128, SIZE)]
    cut = np.stack([volume[z : z + SIZE, y : y + SIZE, x : x + SIZE] for z, y, x in starts])
    options = BoxOptions(
        defocus=(asked.defocus, asked.defocus), structural_noise=structural_noise, thickness=80 * VOXEL_SIZE
    )
    made = BoxSimulator([ribosome], options, seed=1).noise(48).numpy()
    radial = radial_power(made)[3:] / radial_power(cut)[3:]
    assert np.abs(radial / radial.mean() - 1).max() < 0.2
    profile, truth = wedge_profile(made), wedge_profile(cut)
    inside = (profile / truth)[:11]
    assert np.abs(inside / inside.mean() - 1).max() < 0.2
    # From 75 degrees on nothing was measured, to either side of the one in a thousand that windowing leaves.
    assert profile[15:].max() < 2e-3 * profile[:11].mean()
    assert truth[15:].max() < 2e-3 * truth[:11].mean()


@pytest.mark.parametrize("defocus", [2.0, 5.0])
def test_a_particles_box_is_the_one_cut_from_its_reconstruction(ribosome: Phantom, defocus: float) -> None:
    matrices = random_matrices(3, torch.Generator().manual_seed(1))
    simulator = BoxSimulator([ribosome], BoxOptions(defocus=(defocus, defocus), tilt_step=2.0), seed=1)
    labels = torch.zeros(3, dtype=torch.long)
    made = simulator.noise_free(labels, matrices, torch.zeros(3, 3))
    patches = ParticleRenderer([ribosome]).render(labels, matrices, torch.zeros(3, 3))
    series = TiltSeries(
        (80, 64, 96), VOXEL_SIZE, tilt_angles((-60, 60), 2.0), Optics(defocus=defocus), torch.device("cpu")
    )
    half = patches.shape[-1] // 2
    for patch, box in zip(patches, made, strict=True):
        slab = torch.zeros(80, 64, 96)
        slab[40 - half : 40 + half, 32 - half : 32 + half, 48 - half : 48 + half] = patch
        found = series.back_project(series.project(slab))[24:56, 16:48, 32:64]
        assert np.corrcoef(found.flatten(), box.flatten())[0, 1] > 0.98
        ratio = radial_power(box[None].numpy())[1:12] / radial_power(found[None].numpy())[1:12]
        assert np.abs(ratio / ratio.mean() - 1).max() < 0.2


def test_boxes_cut_by_the_truth_file_average_to_the_map(tmp_path: Path, ribosome: Phantom) -> None:
    options = SimulationOptions(
        size=(256, 256, 80), species=("ribosome_like",), copies=200, vesicles=0, snr=0.1, defocus=2.0
    )
    paths = [tmp_path / name for name in ("t.mrc", "t_truth.star", "t_labels.mrc")]
    write_tomogram(simulate_tomogram(options, 1, "t"), *paths, tmp_path / "maps")
    truth, volume = read_particles(paths[1]), open_volume(paths[0])
    padded = np.pad(volume, SIZE)
    positions = truth[list(COORDINATES)].to_numpy(float)
    whole = np.round(positions).astype(int)
    boxes = np.stack([_cut(padded, centre + SIZE) for centre in whole])
    inverse = torch.as_tensor(
        rotation_from_relion_angles(truth[list(ANGLES)].to_numpy(float)).inv().as_matrix(),
        dtype=torch.float32,
    )
    back = -torch.einsum("nij,nj->ni", inverse, torch.as_tensor(positions - whole, dtype=torch.float32))
    # The tomogram is dark.
    average = -rotate_volumes(torch.as_tensor(boxes), inverse, back).mean(dim=0)
    reference = torch.zeros(SIZE, SIZE, SIZE)
    half = ribosome.density.shape[0] // 2
    middle = slice(SIZE // 2 - half, SIZE // 2 + half)
    reference[middle, middle, middle] = torch.as_tensor(ribosome.density)
    fsc = fourier_shell_correlation(average, reference, VOXEL_SIZE)
    band = (fsc.frequency > 1 / 250) & (fsc.frequency < 0.9 / RESOLUTION)
    assert fsc.correlation[band].min() > 0.5
    mirrored = fourier_shell_correlation(average, reference.flip(0).roll(1, 0), VOXEL_SIZE)
    fine = band & (fsc.frequency > 1 / 80)
    assert mirrored.correlation[fine].mean() < 0.5 * fsc.correlation[fine].mean()


def _cut(volume: NDArray[np.float32], centre_xyz: NDArray[np.int64]) -> NDArray[np.float32]:
    x, y, z = (int(c) - SIZE // 2 for c in centre_xyz)
    return volume[z : z + SIZE, y : y + SIZE, x : x + SIZE]
