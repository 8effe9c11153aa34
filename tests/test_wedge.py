from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cryopipe.files.metadata import tilt_angles
from cryopipe.tomograms import ABOUT_X, signed_tilts
from cryopipe.volume.fourier import frequency_vectors
from cryopipe.volume.wedge import centred_wedge, measured, tilt_schemes, wedge_mask


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


def test_a_tilt_axis_along_x_is_the_wedge_rotated_about_z() -> None:
    about_y, about_x = wedge_mask(15, (10.0, 60.0)), wedge_mask(15, (10.0, 60.0, ABOUT_X))
    # A rotation by -90 degrees about z carries +y to +x and +x to -y: the value at (z, y, x) comes from (z, x, -y).
    torch.testing.assert_close(about_x, about_y.transpose(1, 2).roll(-1, 1).flip(1))
    # right-handed about +x: the image's y is y cos t - z sin t
    assert measured(torch.tensor([0.0, 1.0, -1.0]), (10.0, 60.0, ABOUT_X)) == 1
    assert measured(torch.tensor([0.0, 1.0, 1.0]), (10.0, 60.0, ABOUT_X)) == 0


def test_axes_differ_between_the_volumes_of_a_batch() -> None:
    frequencies = frequency_vectors(8)
    low, high, axis = (
        torch.tensor(numbers).view(-1, 1, 1, 1) for numbers in ([-50.0, 10.0], [60.0, 40.0], [0.0, ABOUT_X])
    )
    both = measured(frequencies, (low, high, axis))
    torch.testing.assert_close(both[0], measured(frequencies, (-50.0, 60.0)))
    torch.testing.assert_close(both[1], measured(frequencies, (10.0, 40.0, ABOUT_X)))


def test_boxes_with_both_axes_have_two_schemes() -> None:
    schemes, which = tilt_schemes([[-60.0, 50.0, 0.0], [-60.0, 50.0, ABOUT_X], [-60.0, 50.0, 0.0]])
    assert schemes == [[-60.0, 50.0, 0.0], [-60.0, 50.0, ABOUT_X]]
    assert which.tolist() == [0, 1, 0]


PROJECTIONS = {
    # IMOD, tilt.f90: x cos(t) + y (-sin t) in slices of thickness y; trimvol -rx then makes z = -y
    "imod/tilt_1.tlt": lambda tilt, x, z: x * np.cos(tilt) + -z * -np.sin(tilt),
    "mdoc/017.tlt": lambda tilt, x, z: x * np.cos(tilt) + -z * -np.sin(tilt),
    # AreTomo3, GBackProj.cu: x cos(t) + z sin(t); volumes are flipped twice, in CDoWbpRecon and in FlipVol
    "aretomo/test.aln": lambda tilt, x, z: x * np.cos(tilt) + z * np.sin(tilt),
    # RELION 5, with rlnTomoYTilt: the first row of a right-handed rotation about y
    "relion5/relion5_TS_01_tilt.star": lambda tilt, x, z: x * np.cos(tilt) + z * np.sin(tilt),
    # Warp, Matrix3.Euler(0, t, 0): x cos(t) - z sin(t), with the angles of the file, whose sign tilt_angles changes
    "warp/gs04_ts_003.xml": lambda tilt, x, z: x * np.cos(-tilt) - z * np.sin(-tilt),
}
"""What each program projects a point at x, z, counted from the centre, to; the tilt is in radians."""


@pytest.mark.parametrize("name", PROJECTIONS)
def test_the_sign_of_the_tilts_of_real_series_is_that_of_the_programs_projections(
    shared_data: Path, name: str
) -> None:
    angles = tilt_angles(shared_data / "metadata" / name)
    low, high = angles.min(), angles.max()
    project = PROJECTIONS[name]
    # An image measures the plane of y and of the direction along which its x grows.
    directions = np.array([[project(t, 1, 0), 0, project(t, 0, 1)] for t in np.radians(angles)])
    vectors = torch.from_numpy(directions)
    assert measured(vectors, (low, high)).min() == 1
    assert measured(vectors, signed_tilts((-high, -low), "-y")).min() == 1
    if high + low > 1:  # an asymmetric range does not fit with the opposite sign
        opposite = measured(vectors, signed_tilts((low, high), "-y"))
        assert opposite.tolist() == [float(angle <= -low) for angle in angles]


def test_asymmetric_series_are_among_the_real_ones(shared_data: Path) -> None:
    ranges = {name: tilt_angles(shared_data / "metadata" / name) for name in PROJECTIONS}
    skewed = [name for name, angles in ranges.items() if angles.max() + angles.min() > 1]
    assert skewed == ["imod/tilt_1.tlt", "mdoc/017.tlt", "relion5/relion5_TS_01_tilt.star"]
