from __future__ import annotations

import numpy as np
import pytest
import torch

from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.wedge import centred_wedge, measured, wedge_mask


@pytest.mark.parametrize("box_size", [15, 16])
@pytest.mark.parametrize("tilt", [40.0, 60.0])
def test_symmetric_range_is_the_double_wedge_about_z(box_size: int, tilt: float) -> None:
    mask = wedge_mask(box_size, (-tilt, tilt))
    frequencies = frequency_vectors(box_size)
    x, z = frequencies[..., 0].abs(), frequencies[..., 2].abs()
    expected = (z <= x * np.tan(np.radians(tilt)) + 1e-6).float()
    torch.testing.assert_close(mask, expected)


def test_measured_share_is_that_of_the_angles() -> None:
    for tilt in (30.0, 45.0, 60.0):
        frequencies = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(1))
        assert float(measured(frequencies, (-tilt, tilt)).mean()) == pytest.approx(tilt / 90, abs=0.01)


def test_a_tilt_measures_the_direction_from_x_towards_z() -> None:
    mask = wedge_mask(32, (10.0, 60.0))
    # The unshifted layout: index [z, y, x].
    assert mask[4, 0, 4] == 1
    assert mask[-4, 0, -4] == 1
    assert mask[-4, 0, 4] == 0
    assert mask[4, 0, -4] == 0
    assert mask[0, 0, 4] == 0
    assert torch.all(mask[0, :, 0] == 1)


def test_full_range_and_single_projection() -> None:
    assert torch.all(wedge_mask(16, (-90, 90)) == 1)
    plane = wedge_mask(16, (0.0, 0.0))
    assert torch.all(plane[0] == 1)
    assert torch.all(plane[1:8] == 0)


@pytest.mark.parametrize("tilt_range", [(-60.0, 60.0), (-40.0, 66.0)])
def test_filtered_volumes_stay_real(tilt_range: tuple[float, float]) -> None:
    mask = wedge_mask((12, 10, 16), tilt_range)
    assert mask.shape == (12, 10, 16)
    volume = torch.randn(12, 10, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    filtered = torch.fft.ifftn(torch.fft.fftn(volume) * mask)
    assert float(filtered.imag.abs().max()) < 1e-12


def test_centred_wedge_has_frequency_zero_at_the_centre() -> None:
    centred = centred_wedge(16, (10.0, 60.0))
    assert centred[8, 8, 8] == 1
    assert centred[12, 8, 12] == 1
    assert centred[4, 8, 12] == 0
    assert centred[15, 8, 8] == 0
