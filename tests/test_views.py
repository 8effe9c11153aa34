"""Views of contrastive learning: wedge and spectrum of the view, orientation, chirality, random numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cryopipe.features.training.distributed import Draws
from cryopipe.features.training.views import PublishedViews, UniformViews, View, standardised
from cryopipe.volume.fsc import shell_indices
from cryopipe.volume.masks import radius_grid
from cryopipe.volume.rotate import rotate_volumes
from cryopipe.volume.wedge import wedge_mask

SIZE = 20
AXES = (-3, -2, -1)
TILTS = (-60.0, 50.0)


def draws(count: int, seed: int = 1) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), count)


def filtered(boxes: Tensor, mask: Tensor) -> Tensor:
    return torch.fft.ifftn(torch.fft.fftn(boxes, dim=AXES) * mask, dim=AXES).real


def noise(count: int, size: int = SIZE, tilts: tuple[float, float] = TILTS) -> Tensor:
    white = torch.randn(count, size, size, size, generator=torch.Generator().manual_seed(0))
    return standardised(filtered(white, wedge_mask(size, tilts)))


def body(size: int = SIZE) -> Tensor:
    """A smooth chiral body: three blobs of different brightness along three axes."""
    axis = torch.arange(size) - size // 2
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).flip(-1).float()
    centres = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0, 4, 0], [0, 0, 3]])
    heights = (1.0, 1.6, 1.3, 1.9)
    blobs = [h * torch.exp(-(grid - c).square().sum(-1) / 4.5) for h, c in zip(heights, centres, strict=True)]
    return standardised(sum(blobs)[None])[0]


def standardised_inside(boxes: Tensor, inside: Tensor) -> Tensor:
    values = boxes[:, inside]
    values = values - values.mean(dim=1, keepdim=True)
    return values / values.std(dim=1, keepdim=True)


def uniform(
    count: int, tilts: tuple[float, float] = TILTS, size: int = SIZE, **options: object
) -> UniformViews:
    return UniformViews(torch.tensor([tilts]).repeat(count, 1), size, **options)


@pytest.mark.parametrize("size", [20, 21])
def test_a_view_has_the_wedge_and_the_spectrum_of_its_box(size: int) -> None:
    boxes, mask = noise(96, size), wedge_mask(size, TILTS)
    # Coloured, as noise in tomograms.
    radius = shell_indices(size)
    boxes = standardised(filtered(boxes, torch.exp(-radius / 6.0)))
    views = uniform(96, size=size, noise=0.0)(boxes, torch.arange(96), draws(96))
    before, after = (torch.fft.fftn(one, dim=AXES).abs().square().mean(dim=0) for one in (boxes, views))
    assert float(after[mask == 0].max()) < 1e-8 * float(after.max())
    for shell in range(1, size // 2):
        chosen = (radius == shell) & (mask > 0)
        assert float(after[chosen].mean()) == pytest.approx(float(before[chosen].mean()), rel=0.12), shell


def test_power_is_flat_between_what_was_measured_and_what_was_lost() -> None:
    """For one rotation: coefficients from the rotated box and those filled with noise have equal power."""
    count = 200
    boxes, mask = noise(count), wedge_mask(SIZE, TILTS)
    quarter = torch.tensor(
        [[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    )  # x -> -z, z -> x: the wedge is rotated by 90 degrees
    views = uniform(count, noise=0.0).rotated(
        boxes, torch.arange(count), quarter.expand(count, 3, 3), torch.zeros(count, 3), draws(count)
    )
    power = torch.fft.fftn(views, dim=AXES).abs().square().mean(dim=0)
    rotated = wedge_mask(SIZE, (90 - 60.0, 90 + 50.0))
    inner = (shell_indices(SIZE) > 2) & (shell_indices(SIZE) < SIZE // 2)
    measured, lost = inner & (mask * rotated > 0), inner & (mask > 0) & (rotated == 0)
    assert int(lost.sum()) > 400
    assert float(power[lost].mean()) == pytest.approx(float(power[measured].mean()), rel=0.05)


def test_a_view_shows_the_particle_rotated_and_shifted_and_not_its_mirror_image() -> None:
    count = 12
    matrices = torch.linalg.qr(torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(4)))[0]
    matrices = matrices * torch.linalg.det(matrices).view(-1, 1, 1)
    shifts = torch.tensor([1.0, -2.0, 0.5]).expand(count, 3)
    boxes = body().expand(count, SIZE, SIZE, SIZE)
    views = uniform(count, (-90.0, 90.0), noise=0.0).rotated(
        boxes, torch.arange(count), matrices, shifts, draws(count)
    )
    truth = standardised(rotate_volumes(body()[None], matrices, shifts, interpolation="cubic"))
    mirrored = standardised(rotate_volumes(body().flip(0)[None].roll(1, 1), matrices, shifts))
    inside = radius_grid((SIZE,) * 3) < 8  # outside it the corners of rotated boxes are noise
    found, expected, wrong = (standardised_inside(one, inside) for one in (views, truth, mirrored))
    assert ((found * expected).mean(dim=1) > 0.93).all()
    assert ((found * wrong).mean(dim=1) < 0.85).all()


def test_without_changes_a_view_is_the_box() -> None:
    boxes = standardised(body() + 0.3 * noise(3, tilts=(-90.0, 90.0)))
    still, none = torch.eye(3).expand(3, 3, 3), torch.zeros(3, 3)
    view = uniform(3, (-90.0, 90.0), noise=0.0).rotated(boxes, torch.arange(3), still, none, draws(3))
    torch.testing.assert_close(view, boxes, atol=1e-3, rtol=0)
    view = PublishedViews(1.0, 0.0, 0.0, 0.0)(boxes, torch.arange(3), draws(3))
    torch.testing.assert_close(view, boxes, atol=1e-3, rtol=0)


def test_a_second_wedge_is_empty_and_defocus_keeps_the_power() -> None:
    boxes = noise(160)
    views = uniform(160, noise=0.0, second_wedge=25.0)(boxes, torch.arange(160), draws(160))
    power = torch.fft.fftn(views, dim=AXES).abs().square()
    edge = (wedge_mask(SIZE, TILTS) > 0) & (wedge_mask(SIZE, (-58.0, 48.0)) == 0)
    emptied = (power[:, edge] < 1e-6).all(dim=1).float().mean()
    assert 0.25 < float(emptied) < 0.6  # half of the views, some of them by less than two degrees
    inner = (wedge_mask(SIZE, (-34.0, 24.0)) > 0) & (shell_indices(SIZE) > 1)
    assert (power[:, inner] > 1e-9).float().mean() > 0.99
    imaged = uniform(160, noise=0.0, defocus=(6.0, 6.0), voxel_size=10.0)(
        boxes, torch.arange(160), draws(160)
    )
    power = torch.fft.fftn(imaged, dim=AXES).abs().square().mean(dim=0)
    at_zero = (shell_indices(SIZE) == 6) & (wedge_mask(SIZE, TILTS) > 0)  # 33 angstrom, near the first zero
    low = (shell_indices(SIZE) == 2) & (wedge_mask(SIZE, TILTS) > 0)
    assert float(power[at_zero].mean()) == pytest.approx(float(power[low].mean()), rel=0.15)


def test_defocus_removes_signal_at_the_zeros_of_the_contrast_transfer() -> None:
    """Views of one box with the same other draws: correlation with the box is lost at the zero, not at low resolution."""
    count = 120
    boxes = noise(1, tilts=(-90.0, 90.0)).expand(count, SIZE, SIZE, SIZE)
    still, none = torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3)
    views = uniform(count, (-90.0, 90.0), noise=0.0, defocus=(6.0, 6.0), voxel_size=10.0).rotated(
        boxes, torch.arange(count), still, none, draws(count)
    )
    mean = torch.fft.fftn(views.mean(dim=0))
    box = torch.fft.fftn(boxes[0])
    kept = []
    for shell in (2, 6):
        chosen = shell_indices(SIZE) == shell
        kept.append(float((mean[chosen] * box[chosen].conj()).real.sum() / box[chosen].abs().square().sum()))
    assert kept[0] > 0.95
    assert kept[1] < 0.75  # half of the views have almost no signal there


def test_added_noise_is_drawn_up_to_its_limit() -> None:
    count = 200
    boxes = noise(1, tilts=(-90.0, 90.0)).expand(count, SIZE, SIZE, SIZE)
    still, none = torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3)
    made = uniform(count, (-90.0, 90.0), noise=1.0)
    views = made.rotated(boxes, torch.arange(count), still, none, draws(count))
    correlation = (views * boxes).mean(dim=AXES)
    # 1 / sqrt(1 + s^2) for s uniform on 0..1
    assert 0.68 < float(correlation.min()) < 0.75
    assert float(correlation.max()) > 0.99
    assert float(correlation.mean()) == pytest.approx(0.881, abs=0.02)


def test_published_views_crop_enlarge_rotate_and_shift_but_never_mirror() -> None:
    count = 400
    boxes = body().expand(count, SIZE, SIZE, SIZE)
    crops, places, angles, shifts, scales = PublishedViews()._drawn(draws(count))
    cropped, moved = crops < 1, angles != 0
    assert 0.4 < float(cropped.float().mean()) < 0.6
    assert 0.4 < float(moved.float().mean()) < 0.6
    assert 0.2 < float((cropped & moved).float().mean()) < 0.3
    assert 0.5 <= float(crops.min()) < 0.53
    assert 43 < np.degrees(float(angles.abs().max())) <= 45
    assert 0.09 < float(shifts.abs().max()) <= 0.1
    assert (shifts[:, 2] == 0).all()
    assert 0.09 < float(scales.abs().max()) <= 0.1
    assert float(places.abs().max()) <= 0.5
    views = PublishedViews(1.0, shift=0.0)(boxes, torch.arange(count), draws(count))
    # Every view correlates better with the body rotated about z than with its mirror image.
    turns = torch.linspace(-0.8, 0.8, 17)
    c, s, one, zero = torch.cos(turns), torch.sin(turns), torch.ones(17), torch.zeros(17)
    about_z = torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    best = [
        (views.flatten(1) @ standardised(rotate_volumes(one[None], about_z)).flatten(1).T).amax(dim=1)
        / SIZE**3
        for one in (body(), body().flip(2).roll(1, 2))
    ]
    assert (best[0] > best[1]).all()


def test_a_crop_shows_its_part_of_the_box() -> None:
    """An enlarged crop of half the edge shows blobs at twice the distance from each other."""
    first, second = torch.zeros(SIZE, SIZE, SIZE), torch.zeros(SIZE, SIZE, SIZE)
    first[8, 10, 12], second[12, 10, 10] = 1, 1
    boxes = torch.stack([first, second])
    views = []

    class Fixed(PublishedViews):
        def _drawn(self, draws: Draws) -> tuple[Tensor, ...]:
            return torch.full((2,), 0.5), torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 3), torch.zeros(2)

    views = Fixed()(boxes, torch.arange(2), draws(2))
    found = [np.unravel_index(int(view.argmax()), (SIZE,) * 3) for view in views]
    assert found == [(6, 10, 14), (14, 10, 10)]


@pytest.mark.parametrize(
    "view", [PublishedViews(), uniform(5, second_wedge=20.0, defocus=(2.0, 6.0), voxel_size=13.0)]
)
def test_views_do_not_depend_on_the_number_of_processes(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, indices = noise(5), torch.arange(5)
    whole = view(boxes, indices, draws(5))
    parts = []
    for rank in range(2):
        part = slice(0, 2) if rank == 0 else slice(2, 5)
        monkeypatch.setattr("cryopipe.features.training.distributed.own_slice", lambda count, part=part: part)
        parts.append(view(boxes[part], indices[part], draws(5)))
        monkeypatch.undo()
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)


def test_views_of_empty_and_constant_boxes_are_finite() -> None:
    boxes = torch.zeros(2, SIZE, SIZE, SIZE)
    boxes[1] += 3
    for view in (PublishedViews(), uniform(2), replace(uniform(2), second_wedge=45.0)):
        assert torch.isfinite(view(boxes, torch.arange(2), draws(2))).all()
