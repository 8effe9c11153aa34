"""Sections, thumbnails and surfaces of the report's page show what they should, at the right place and size."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cryopipe.report.strips import TALLEST, chosen_sections, tomogram_strips
from cryopipe.report.surface_field import FIELD, central_object, surface_field
from cryopipe.report.thumbnails import ACROSS, TILE, chosen_particles, draw_thumbnails


def decoded(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), float)


def ball(box: int, radius: float, offset: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A ball of density 1; the offset from the centre is x, y, z."""
    grid = np.indices((box, box, box)) - box // 2 - np.array(offset[::-1]).reshape(3, 1, 1, 1)
    return 1 / (1 + np.exp(2 * (np.sqrt(np.sum(grid**2, axis=0)) - radius)))


def test_a_strip_shows_x_to_the_right_and_y_or_z_down_at_its_true_place() -> None:
    volume = np.zeros((20, 40, 60), np.float32)
    volume[9:16, 28:33, 48:53] = 100
    strips = tomogram_strips(volume, np.array([[50.0, 30, 12], [10, 10, 2]]), np.array([3.0, 3]), 500_000)
    for plane, section, place, size in (("xy", 12, (30, 50), (60, 40)), ("xz", 30, (12, 50), (60, 20))):
        strip = strips[plane]
        assert (strip.width, strip.height) == size == strip.voxels
        pixels = decoded(strip.data).reshape(len(strip.sections), strip.height, strip.width)
        nearest = int(np.argmin(np.abs(np.array(strip.sections) - section)))
        assert abs(strip.sections[nearest] - section) <= 1
        bright = np.argwhere(pixels[nearest] > 128)
        assert bright.mean(axis=0) == pytest.approx(place, abs=0.6)
        assert pixels[0].max() < 128 or strip.sections[0] > 5


def test_a_large_tomogram_is_shrunk_and_stays_below_its_size() -> None:
    volume = np.random.default_rng(0).normal(size=(60, 300, 1800)).astype(np.float32)
    strips = tomogram_strips(volume, np.zeros((0, 3)), np.zeros(0), 60_000)
    assert sum(len(base64.b64decode(strip.data)) for strip in strips.values()) < 70_000
    for strip in strips.values():
        assert strip.width < 600
        assert strip.height * len(strip.sections) <= TALLEST
    assert strips["xy"].height == pytest.approx(strips["xy"].width / 6, abs=1)


def test_a_high_and_narrow_tomogram_has_no_strip_that_graphics_cards_shrink() -> None:
    volume = np.zeros((90, 600, 40), np.float32)
    strip = tomogram_strips(volume, np.zeros((0, 3)), np.zeros(0), 900_000)["xy"]
    assert (strip.width, strip.height) == (37, 560)
    assert 10 < len(strip.sections) <= TALLEST // 560


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 500), (5, 1, 1)])
def test_a_tomogram_of_any_shape_has_strips(shape: tuple[int, int, int]) -> None:
    for strip in tomogram_strips(np.zeros(shape, np.float32), np.zeros((0, 3)), np.zeros(0), 10_000).values():
        assert decoded(strip.data).shape == (len(strip.sections) * strip.height, strip.width)


def test_sections_cover_the_particles_evenly() -> None:
    along = np.linspace(40, 160, 200)
    sections = chosen_sections(300, along, 8.0, 10)
    assert len(sections) <= 10
    assert len(set(np.diff(sections))) == 1
    assert 38 <= sections[0] <= 54
    assert 146 <= sections[-1] <= 162
    assert chosen_sections(9, np.zeros(0), 3.0, 100) == list(range(9))


def test_thumbnails_are_the_central_sections_of_their_particle() -> None:
    volume = np.zeros((40, 50, 60), np.float32)
    # A bar from the particle to larger x in y's middle, and a dot at smaller z.
    volume[19:22, 24:27, 30:38] = 100
    volume[13:16, 24:27, 29:32] = 100
    positions = np.array([[5.0, 5, 5]] * ACROSS + [[30.0, 25, 20]])
    sheet = decoded(draw_thumbnails(volume, positions, np.full(len(positions), 6.0)))
    assert sheet.shape == (2 * TILE, 3 * ACROSS * TILE)
    xy, xz, yz = (sheet[TILE:, i * TILE : (i + 1) * TILE] for i in range(3))
    # 9 voxels on either side of the centre
    pixel = TILE / 19
    bar = np.argwhere(xy > 160).mean(axis=0) - (TILE - 1) / 2
    assert bar == pytest.approx([0, 3.5 * pixel], abs=2)
    for tile in (xz, yz):
        rows = np.argwhere(tile[:, TILE // 2 - 2 : TILE // 2 + 2] > 160)[:, 0] - (TILE - 1) / 2
        assert rows.min() == pytest.approx(-6.5 * pixel, abs=2.5)
    assert draw_thumbnails(volume, np.zeros((0, 3)), np.zeros(0)) == ""


def test_a_particle_outside_its_tomogram_has_a_thumbnail() -> None:
    volume = np.random.default_rng(0).normal(size=(10, 10, 10)).astype(np.float32)
    sheet = draw_thumbnails(
        volume, np.array([[-3.0, 5, 5], [40, 40, 40], [np.inf, 5, 5]][:2]), np.full(2, 4.0)
    )
    assert decoded(sheet).shape == (TILE, 3 * ACROSS * TILE)


def test_the_best_middle_and_worst_of_each_cluster_are_pictured_first() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [2000, 300, 40])
    scores = rng.random(len(classes))
    chosen = chosen_particles(classes, scores, 500, 1)
    assert len(chosen) == len(set(chosen)) == 500
    for number in (0, 1, 2):
        members = np.flatnonzero(classes == number)
        order = members[np.argsort(-scores[members])]
        assert set(order[:12]) | set(order[-12:]) <= set(chosen)
        assert {order[len(order) // 2], order[len(order) // 2 + 3]} <= set(chosen)
    assert np.array_equal(chosen_particles(classes[:5], scores[:5], 500, 1), np.arange(5))


@pytest.mark.parametrize("touching", [False, True])
def test_neighbours_are_masked_from_the_surface(touching: bool) -> None:
    own = ball(32, 6) - ball(32, 3)
    apart = 12.6 if touching else 14.0
    volume = (own + ball(32, 6, (apart, 0, 0)) + ball(32, 5, (0, -13, 3))).astype(np.float32)
    masked = central_object(volume, 0.5)
    centre = np.sqrt(np.sum((np.indices(volume.shape) - 16) ** 2, axis=0)) < 6
    assert np.corrcoef(masked[centre], own[centre])[0, 1] > 0.99
    outside = np.sqrt(np.sum((np.indices(volume.shape) - 16) ** 2, axis=0)) > 8.5
    assert masked[outside].max() < 0.5
    description, width = surface_field(volume, 10.0, "#123456")
    assert description is not None
    assert width in ("13 nm", "14 nm")
    field = np.frombuffer(base64.b64decode(description["volume"]["data"]), np.uint8).reshape((FIELD,) * 3)
    assert field[FIELD // 2, FIELD // 2, FIELD // 2] < description["level"] < field.max() == 255
    assert surface_field(np.zeros((8, 8, 8), np.float32), 1.0, "#000000") == (None, "")


def test_an_object_of_several_parts_stays_whole() -> None:
    parts = [ball(32, 3, offset) for offset in ((6, 0, 0), (-3, 5.2, 0), (-3, -5.2, 0))]
    volume = np.sum(parts, axis=0)
    np.testing.assert_allclose(central_object(volume, 0.5), volume, atol=0.05)
