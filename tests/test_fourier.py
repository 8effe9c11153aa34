from __future__ import annotations

import numpy as np
import pytest
import torch
from asymmetric import asymmetric_map, correlation
from hypothesis import given, settings
from hypothesis import strategies as st

from cryopipe.volume.fourier import fourier_rescale, frequency_grid, low_pass, shift_volumes
from cryopipe.volume.masks import sphere_mask


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_frequency_grid_counts_in_inverse_angstrom() -> None:
    grid = frequency_grid((4, 6, 8), 5.0)
    assert grid.shape == (4, 6, 8)
    assert grid[0, 0, 0] == 0
    assert float(grid[0, 0, 1]) == pytest.approx(1 / 40)
    assert float(grid[0, 3, 0]) == pytest.approx(1 / 10)
    assert float(grid[1, 0, 1]) == pytest.approx(np.hypot(1 / 20, 1 / 40))


@pytest.mark.parametrize(("box_size", "target"), [(48, 24), (24, 48), (36, 24), (24, 36)])
def test_rescaling_draws_the_same_map_at_the_same_centre(box_size: int, target: int) -> None:
    voxel_size = 10.0
    width = 2.4 * max(1, box_size / target)
    source = asymmetric_map(box_size, width=width * box_size / 48, scale=box_size / 30)
    exact = asymmetric_map(target, width=width * target / 48, scale=target / 30)
    result = fourier_rescale(source, voxel_size, voxel_size * box_size / target)
    assert result.shape == (target,) * 3
    assert float((result - exact).norm() / exact.norm()) < 2e-3


@settings(max_examples=20)
@given(st.integers(3, 9).map(lambda n: 2 * n), st.integers(0, 1000))
def test_rescaling_down_keeps_exactly_the_coefficients_below_the_new_nyquist(half: int, seed: int) -> None:
    source = noise(2 * half, 2 * half, 2 * half, seed=seed)
    result = fourier_rescale(source, 5.0, 10.0)
    # The centre n // 2 carries the phase: compare transforms about it.
    big = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(source)))
    small = torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(result)))
    low, inner = half // 2, slice(1, half)
    expected = big[low : low + half, low : low + half, low : low + half] / 8
    torch.testing.assert_close(small[inner, inner, inner], expected[inner, inner, inner], atol=1e-9, rtol=0)


@settings(max_examples=20)
@given(st.integers(4, 16).map(lambda n: 2 * n), st.floats(0.3, 3.0), st.integers(0, 1000))
def test_rescaling_keeps_the_mean_of_band_limited_maps_and_constants(n: int, ratio: float, seed: int) -> None:
    constant = fourier_rescale(torch.full((n, n, n), 3.25, dtype=torch.float64), 4.0, 4.0 * ratio)
    torch.testing.assert_close(constant, torch.full_like(constant, 3.25), atol=1e-9, rtol=0)
    halved = fourier_rescale(noise(n, n, n, seed=seed), 4.0, 8.0, max(2, n // 2))
    if n % 4 == 0:
        assert float(halved.mean()) == pytest.approx(float(noise(n, n, n, seed=seed).mean()), abs=1e-9)


def test_rescaling_to_the_same_voxel_size_changes_nothing_and_batches_agree() -> None:
    volumes = noise(2, 12, 10, 14)
    torch.testing.assert_close(fourier_rescale(volumes, 7.0, 7.0), volumes, atol=1e-9, rtol=0)
    both = fourier_rescale(volumes, 7.0, 9.1, 8)
    torch.testing.assert_close(both[1], fourier_rescale(volumes[1], 7.0, 9.1, 8))


def test_rescaling_to_any_voxel_size_is_exact_for_waves() -> None:
    n, scale = 24, 1.37
    wave = torch.cos(2 * torch.pi * 3 * (torch.arange(n, dtype=torch.float64) - n // 2) / n + 0.4)
    result = fourier_rescale(wave.expand(n, n, n), 1.0, scale, 14)
    position = (torch.arange(14, dtype=torch.float64) - 7) * scale
    expected = torch.cos(2 * torch.pi * 3 * position / n + 0.4)
    torch.testing.assert_close(result[5, 5], expected, atol=1e-9, rtol=0)


def test_what_lies_beyond_the_extent_is_filled_with_the_mean() -> None:
    volume = noise(8, 8, 8) + 4
    larger = fourier_rescale(volume, 2.0, 2.0, 16)
    torch.testing.assert_close(larger[4:12, 4:12, 4:12], volume, atol=1e-9, rtol=0)
    torch.testing.assert_close(larger[0], torch.full_like(larger[0], float(volume.mean())))


def test_low_pass_halves_at_the_resolution_and_keeps_the_mean() -> None:
    n, voxel_size = 32, 5.0
    x = torch.arange(n, dtype=torch.float64)
    for order, gain in ((2, 1.0), (8, 0.5), (14, 0.0)):
        wave = torch.cos(2 * torch.pi * order * x / n).expand(n, n, n)
        filtered = low_pass(wave + 2, n * voxel_size / 8, voxel_size)
        torch.testing.assert_close(filtered - 2, gain * wave, atol=2e-3, rtol=0)


def test_shifting_moves_the_density_along_x_y_z() -> None:
    shift = (1.25, -2.5, 0.75)
    shifted = shift_volumes(asymmetric_map(24)[None], torch.tensor([shift]))[0]
    exact = asymmetric_map(24, shift_voxels=shift)
    assert float((shifted - exact).norm() / exact.norm()) < 1e-3
    assert correlation(shifted, asymmetric_map(24, shift_voxels=shift[::-1])) < 0.97
    assert correlation(shifted, exact) > 0.999999


def test_sphere_mask_is_centred_and_soft() -> None:
    mask = sphere_mask(16, 4, 3)
    assert mask[8, 8, 12] == 1
    assert float(mask[8, 8, 8 - 4]) == 1
    assert 0 < float(mask[8, 13, 8]) < 1
    assert mask[8, 8, 0] == 0
    assert set(sphere_mask(15, 4, 0).unique().tolist()) == {0.0, 1.0}
    assert float(sphere_mask(32, 8, 0).sum()) == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.03)
