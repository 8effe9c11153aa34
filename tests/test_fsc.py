from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from asymmetric import asymmetric_map

from cryopipe.volume.fsc import FSC, corrected_fsc, fourier_shell_correlation, randomise_phases, resolution_at
from cryopipe.volume.masks import sphere_mask


def noise(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_map_correlates_with_itself_and_against_its_negative() -> None:
    volume = noise(16, 1)
    np.testing.assert_allclose(fourier_shell_correlation(volume, volume, 5.0).correlation, 1)
    np.testing.assert_allclose(fourier_shell_correlation(volume, -2 * volume, 5.0).correlation, -1)


def test_frequencies_and_resolutions_of_shells() -> None:
    fsc = fourier_shell_correlation(noise(16, 1), noise(16, 2), 5.0)
    np.testing.assert_allclose(fsc.frequency, np.arange(9) / 80)
    assert fsc.resolution[0] == math.inf
    assert fsc.resolution[8] == pytest.approx(10)


def test_signal_in_noise_gives_snr_over_one_plus_snr() -> None:
    signal, snr = noise(48, 1), 0.5
    halves = [signal + noise(48, seed) / math.sqrt(snr) for seed in (2, 3)]
    correlation = fourier_shell_correlation(*halves, 5.0).correlation
    np.testing.assert_allclose(correlation[8:], snr / (1 + snr), atol=0.05)


def test_independent_noise_does_not_correlate() -> None:
    correlation = fourier_shell_correlation(noise(48, 1), noise(48, 2), 5.0).correlation
    assert np.abs(correlation[10:]).max() < 0.06


def test_a_shift_decorrelates_as_the_sinc_of_shell_and_shift() -> None:
    volume = noise(48, 1)
    shifted = torch.roll(volume, 1, dims=2)
    fsc = fourier_shell_correlation(volume, shifted, 1.0)
    np.testing.assert_allclose(fsc.correlation[8:], np.sinc(2 * fsc.frequency[8:]), atol=0.05)


def test_a_mirror_image_is_told_apart() -> None:
    volume = asymmetric_map(24)
    mirrored = torch.roll(volume.flip(2), 1, dims=2)
    assert fourier_shell_correlation(volume, mirrored, 10.0).correlation[2:6].max() < 0.7


def test_a_size_mismatch_is_refused() -> None:
    with pytest.raises(ValueError, match="two cubes of one size"):
        fourier_shell_correlation(torch.zeros(8, 8, 8), torch.zeros(8, 8, 10), 1.0)


def curve(*correlation: float) -> FSC:
    values = np.array(correlation)
    return FSC(values, np.arange(len(values)) / 80.0, 5.0)


@pytest.mark.parametrize(
    ("values", "threshold", "expected"),
    [
        ((1, 1, 0.8, 0.2, 0, 0, 0, 0, 0), 0.5, 80 / 2.5),
        ((1, 1, 0.8, 0.2, 0.9, 0, 0, 0, 0), 0.5, 80 / 2.5),
        ((1, 1, 1, 1, 1, 1, 1, 1, 1), 0.143, 10.0),
        ((1, 0.1, 0, 0, 0, 0, 0, 0, 0), 0.143, math.inf),
    ],
)
def test_resolution_is_the_first_crossing(
    values: tuple[float, ...], threshold: float, expected: float
) -> None:
    assert resolution_at(curve(*values), threshold) == pytest.approx(expected)


def test_no_resolution_beyond_the_band_limit() -> None:
    assert resolution_at(curve(1, 1, 1, 1, 1, 1, 1, 1, 1), 0.143, finest=26.0) == 26.0
    assert resolution_at(curve(1, 1, 1, 1, 0, 0, 0, 0, 0), 0.143, finest=26.0) == 26.0


def test_randomised_phases_keep_amplitudes_and_low_shells() -> None:
    volume = noise(16, 1)
    random = randomise_phases(volume, 4, torch.Generator().manual_seed(2))
    fsc = fourier_shell_correlation(volume, random, 5.0).correlation
    np.testing.assert_allclose(fsc[:4], 1)
    assert np.abs(fsc[5:]).max() < 0.2
    torch.testing.assert_close(torch.fft.fftn(random).abs(), torch.fft.fftn(volume).abs(), atol=1e-6, rtol=0)


def test_correction_takes_away_what_a_tight_mask_adds() -> None:
    n = 32
    mask = sphere_mask(n, 6, 0).double()
    signal = asymmetric_map(n, width=2.5, scale=0.8) * 8
    halves = [signal + noise(n, seed) * 0.5 for seed in (2, 3)]
    result = corrected_fsc(*halves, 5.0, mask, seed=1)
    beyond = slice(12, 17)
    assert np.abs(result.unmasked.correlation[beyond]).max() < 0.12
    assert result.masked.correlation[:3].min() > 0.9
    assert np.abs(result.corrected.correlation[beyond]).mean() < 0.3
    again = corrected_fsc(*halves, 5.0, mask, seed=1)
    np.testing.assert_array_equal(result.corrected.correlation, again.corrected.correlation)


def test_a_mask_common_to_noise_is_not_taken_for_signal() -> None:
    n = 32
    mask = sphere_mask(n, 9, 3).double()
    # A constant common to both halves makes the mask itself correlate.
    result = corrected_fsc(noise(n, 1) + 3, noise(n, 2) + 3, 5.0, mask, seed=1)
    assert result.masked.correlation[2] > 0.3
    assert result.corrected.correlation[4:].max() < 0.143
