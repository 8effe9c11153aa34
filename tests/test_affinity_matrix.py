"""Affinity of class maps: limits, symmetry, orientation, and the directories that maps are read from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from cryopipe.errors import SimulationError
from cryopipe.features.affinity_matrix import affinity_matrix, average_fsc, class_maps, common_cubes
from cryopipe.files.mrc import write_volume
from cryopipe.simulation.phantoms import Phantom, stock_phantoms
from cryopipe.volume.fsc import FSC, fourier_shell_correlation
from cryopipe.volume.rotate import rotate_volumes, rotation_matrices

VOXEL = 20.0


def made(density: np.ndarray, name: str = "map", resolution: float = 45.0) -> Phantom:
    density = density.astype(np.float32)
    return Phantom(density, VOXEL, resolution, density.shape[0] * VOXEL / 3, "C1", 1e6, name)


def blobs(*centres: tuple[float, float, float], size: int = 16) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 3, indexing="ij"), axis=-1)
    return np.sum([np.exp(-np.square(grid - centre).sum(axis=-1) / 4.5) for centre in centres], axis=0)


def test_shells_are_weighted_by_their_coefficients_up_to_the_resolution() -> None:
    correlation = np.array([1.0, 0.8, 0.5, 0.1, -0.2])
    fsc = FSC(correlation, np.arange(5) / (8 * VOXEL), VOXEL)
    frequencies = np.stack(np.meshgrid(*[np.fft.fftfreq(8)] * 3)) * 8
    shells = np.rint(np.linalg.norm(frequencies, axis=0)).astype(int)
    sizes = np.array([(shells == shell).sum() for shell in range(5)])
    assert average_fsc(fsc, 2 * VOXEL) == pytest.approx((sizes * correlation)[1:].sum() / sizes[1:].sum())
    assert average_fsc(fsc, 8 * VOXEL / 2) == pytest.approx(
        (sizes * correlation)[1:3].sum() / sizes[1:3].sum()
    )
    assert average_fsc(fsc, 100 * VOXEL) == 0


def test_the_matrix_is_symmetric_with_1_on_the_diagonal_and_orders_pairs_by_similarity() -> None:
    ball, pair = blobs((0, 0, 0)), blobs((0, 0, -3), (0, 0, 3))
    almost = blobs((0, 0.5, -3), (0, -0.5, 3))
    affinity = affinity_matrix([made(ball), made(pair), made(almost)], align=False)
    np.testing.assert_array_equal(affinity, affinity.T)
    np.testing.assert_array_equal(np.diag(affinity), 1)
    assert affinity[1, 2] > 0.7 > affinity[0, 1] + 0.2
    assert np.abs(affinity).max() <= 1


def test_unrelated_noise_has_no_affinity() -> None:
    rng = np.random.default_rng(1)
    maps = [made(rng.normal(size=(20, 20, 20))) for _ in range(4)]
    unlike = affinity_matrix(maps, align=False)[np.triu_indices(4, 1)]
    assert np.abs(unlike).max() < 0.06
    assert abs(unlike.mean()) < 0.03
    # The best of all orientations correlates above 0, but far below similar maps.
    assert affinity_matrix(maps[:2])[0, 1] < 0.2


def test_orientation_does_not_matter_with_alignment() -> None:
    density = blobs((0, 0, -4), (0, 0, 3), (0, 4, 1), (-2, 2, 2), size=20)
    matrix = rotation_matrices(torch.tensor([[0.4, 0.7, -0.3, 0.5]]))
    moved = rotate_volumes(torch.from_numpy(density)[None].float(), matrix, interpolation="cubic")[0].numpy()
    maps = [made(density), made(moved)]
    assert affinity_matrix(maps, align=False)[0, 1] < 0.6
    assert affinity_matrix(maps)[0, 1] > 0.9


def test_maps_of_different_sizes_share_their_centre() -> None:
    small, large = blobs((0, 0, 0), size=14), blobs((0, 0, 0), size=18)
    cubes = common_cubes([made(small), made(large)])
    assert cubes.shape == (2, 18, 18, 18)
    np.testing.assert_allclose(cubes[0], cubes[1], atol=1e-4)
    assert affinity_matrix([made(small), made(large)], align=False)[0, 1] > 0.99


def test_shells_finer_than_the_coarser_resolution_are_ignored() -> None:
    first, second = stock_phantoms(2, 10.0, 40.0, 500, 100.0)
    cubes = common_cubes([first, second])
    for resolution in (40.0, 60.0):
        coarse = dataclasses.replace(second, resolution=resolution)
        expected = average_fsc(fourier_shell_correlation(cubes[0], cubes[1], 10.0), resolution)
        assert affinity_matrix([first, coarse], align=False)[0, 1] == pytest.approx(expected, abs=1e-5)


def test_class_maps_from_a_directory_and_from_the_averages_of_a_run(tmp_path: Path) -> None:
    ball, pair = blobs((0, 0, 0), size=24), blobs((0, 0, -3), (0, 0, 3), size=24)
    for folder, names in (("known", ("ball", "pair")), ("averages", ("cluster_01", "cluster_02"))):
        (tmp_path / folder).mkdir()
        for name, density in zip(names, (ball, pair), strict=True):
            write_volume(tmp_path / folder / f"{name}.mrc", density.astype(np.float32), VOXEL)
    noise = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    write_volume(tmp_path / "averages/cluster_01_half1.mrc", noise, VOXEL)
    for folder, names in (("known", ["ball", "pair"]), ("averages", ["cluster_01", "cluster_02"])):
        found = class_maps(tmp_path / folder, VOXEL, 45.0, 160.0)
        assert [phantom.name for phantom in found] == names
        assert all(phantom.radius <= 160 for phantom in found)
        assert affinity_matrix(found)[0, 1] < 0.8
    (tmp_path / "empty").mkdir()
    with pytest.raises(SimulationError, match=r"empty: contains no \.mrc or \.map file"):
        class_maps(tmp_path / "empty", VOXEL, 45.0, 160.0)
