"""Whole simulated tomograms: geometry, SNR, packing, truth, repeatability, agreement with boxes on the fly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryopipe.columns import ANGLES, COORDINATES
from cryopipe.errors import SimulationError
from cryopipe.files.mrc import open_volume, read_header, write_volume
from cryopipe.files.star import read_particles
from cryopipe.simulation import (
    EXAMPLES,
    SimulationOptions,
    make_species,
    phantom,
    read_map,
    read_maps,
    seed_for,
    simulate_tomogram,
    write_tomogram,
)
from cryopipe.simulation.optics import Optics, tilt_angles
from cryopipe.simulation.packing import Packer
from cryopipe.simulation.scene import build_scene
from cryopipe.simulation.tilt_series import TiltSeries
from cryopipe.volume.geometry import rotation_from_relion_angles
from cryopipe.volume.rotate import rotate_volumes

CPU = torch.device("cpu")
PLAIN = Optics(300.0, 0.0, 1.0, 0.0)
"""A contrast transfer function of 1 everywhere."""
SMALL = SimulationOptions(size=(96, 80, 40), copies=2, vesicles=0, snr=0.5, tilt_step=6.0)


def gaussian(
    shape: tuple[int, int, int], centre_xyz: tuple[float, float, float], width: float
) -> torch.Tensor:
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    cx, cy, cz = centre_xyz
    return torch.as_tensor(
        np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / 2 / width**2), dtype=torch.float32
    )


def centre_by_symmetry(volume: np.ndarray, near_xyz: tuple[float, float, float]) -> np.ndarray:
    """Return the centre x, y, z of a body that is its own inversion, from the phases of its lowest frequencies."""
    half = 12
    low = [round(c) - half for c in near_xyz[::-1]]
    window = volume[tuple(slice(a, a + 2 * half) for a in low)]
    taper = np.hanning(2 * half + 1)[:-1]
    window = window * taper[:, None, None] * taper[:, None] * taper
    centre = []
    for axis, start in zip((2, 1, 0), low[::-1], strict=True):
        profile = window.sum(axis=tuple(a for a in range(3) if a != axis))
        grid = np.arange(2 * half) + start
        weight = np.clip(profile - 0.3 * profile.max(), 0, None)
        centre.append(float((grid * weight).sum() / weight.sum()))
    return np.array(centre)


@pytest.mark.parametrize("position", [(30.3, 20.6, 40.2), (70.0, 30.0, 16.0), (52.5, 25.25, 32.75)])
def test_a_point_is_reconstructed_where_it_was(position: tuple[float, float, float]) -> None:
    shape = (64, 48, 96)
    series = TiltSeries(shape, 10.0, tilt_angles((-60, 60), 2.0), PLAIN, CPU)
    volume = gaussian(shape, position, 2.0)
    found = series.back_project(series.project(volume)).numpy()
    # The reconstruction is the body convolved with an even function: correlation with it peaks at 0.
    offsets = np.linspace(-0.5, 0.5, 21)
    for axis in range(3):
        scores = []
        for offset in offsets:
            moved = list(position)
            moved[axis] += offset
            scores.append(float((gaussian(shape, (moved[0], moved[1], moved[2]), 2.0).numpy() * found).sum()))
        a, b, _ = np.polyfit(offsets, scores, 2)
        assert abs(-b / (2 * a)) < 0.05


def test_all_tilts_give_the_volume_back() -> None:
    shape = (32, 24, 48)
    volume = gaussian(shape, (20.0, 10.0, 14.0), 2.5) - 0.5 * gaussian(shape, (30.0, 14.0, 20.0), 2.0)
    series = TiltSeries(shape, 10.0, tilt_angles((-89, 90), 1.0), PLAIN, CPU)
    found = series.back_project(series.project(volume))
    assert float((found - found.mean() - volume + volume.mean()).square().mean().sqrt()) < 0.03 * float(
        volume.std()
    )


def test_images_are_sums_along_the_beam() -> None:
    shape = (20, 16, 30)
    series = TiltSeries(shape, 10.0, np.array([-30.0, 0.0, 40.0]), PLAIN, CPU)
    volume = gaussian(shape, (19.0, 7.0, 13.0), 1.5)
    images = series.project(volume)
    middle = series.width // 2
    assert torch.allclose(images[1, middle - 15 : middle + 15, :16], volume.sum(dim=0).T, atol=0.02)
    for image, tilt in zip(images, (-30.0, 0.0, 40.0), strict=True):
        u, y = divmod(int(image.argmax()), series.height)
        # From the axis: x is 4 and z is 3 voxels off; a positive tilt carries z to positive u.
        expected = 4 * np.cos(np.radians(tilt)) + 3 * np.sin(np.radians(tilt))
        assert abs(u - middle - expected) <= 0.5
        assert y == 7


@pytest.mark.parametrize("snr", [1.0, 0.3, 0.1, 0.03, 0.01])
def test_the_measured_snr_is_the_asked_one(snr: float) -> None:
    options = dataclasses.replace(SMALL, snr=snr, copies=1)
    made = simulate_tomogram(options, 5)
    assert made.measured_snr == pytest.approx(snr, rel=0.1)
    quiet = simulate_tomogram(dataclasses.replace(options, snr=1e9), 5).volume
    # Independent of the simulator's own account: what remains of the tomogram beside the noise-free one.
    inside = np.zeros(made.volume.shape, dtype=bool)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in inside.shape)]
    ratios = []
    slope = float((quiet * made.volume).sum() / np.square(quiet).sum())
    for row, species in zip(
        made.truth[list(COORDINATES)].to_numpy(), made.truth["cryopipeSpecies"], strict=True
    ):
        one = next(s for s in made.species if s.name == species)
        inside = (x - row[0]) ** 2 + (y - row[1]) ** 2 + (z - row[2]) ** 2 <= (
            one.radius / one.voxel_size
        ) ** 2
        ratios.append([np.var(slope * quiet[inside]), np.var((made.volume - slope * quiet)[inside])])
    signal, noise = np.median(ratios, axis=0)
    if snr >= 0.1:
        assert signal / noise == pytest.approx(snr, rel=0.25)


def test_truth_tells_where_particles_are_and_how_they_lie() -> None:
    options = dataclasses.replace(
        SMALL, species=("ribosome_like",), copies=3, snr=1e6, contrast="bright", defocus=1.0
    )
    made = simulate_tomogram(options, 3)
    one = made.species[0]
    reference = torch.as_tensor(one.density)[None]
    half = one.density.shape[0] // 2
    series = TiltSeries(
        (2 * half, 2 * half, 2 * half), 13.33, tilt_angles((-60, 60), 6.0), options.optics, CPU
    )
    for _, row in made.truth.iterrows():
        rotation = rotation_from_relion_angles(row[list(ANGLES)].to_numpy(float)[None])
        position = row[list(COORDINATES)].to_numpy(float)
        whole = np.round(position).astype(int)
        low = whole[::-1] - half
        box, own = _window(made.volume, low, 2 * half)
        shift = torch.as_tensor(position - whole, dtype=torch.float32)[None]
        scores = {}
        for hand, matrix in (("right", rotation.as_matrix()), ("inverse", rotation.inv().as_matrix())):
            turned = rotate_volumes(reference, torch.as_tensor(matrix, dtype=torch.float32), shift, "cubic")[
                0
            ]
            expected = series.back_project(series.project(turned)).numpy()[own]
            scores[hand] = np.corrcoef(box[own].ravel(), expected.ravel())[0, 1]
        assert scores["right"] > 0.9
        assert scores["inverse"] < 0.75


def _window(volume: np.ndarray, low: np.ndarray, edge: int) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Return a cube, zero outside the volume, and the part of it that lies inside."""
    cube = np.zeros((edge,) * 3, dtype=volume.dtype)
    first, last = np.maximum(low, 0), np.minimum(low + edge, volume.shape)
    own = tuple(slice(a - o, b - o) for a, b, o in zip(first, last, low, strict=True))
    cube[own] = volume[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    return cube, own


def test_same_seed_same_bytes_another_seed_another_scene() -> None:
    options = dataclasses.replace(SMALL, vesicles=1, gold=2, crowding=0.03, shift_error=5.0, angle_error=0.5)
    one, again, other = (simulate_tomogram(options, seed) for seed in (1, 1, 2))
    assert one.volume.tobytes() == again.volume.tobytes()
    assert one.labels.tobytes() == again.labels.tobytes()
    pd.testing.assert_frame_equal(one.truth, again.truth)
    assert not np.allclose(one.volume, other.volume)
    assert not np.allclose(one.truth[list(COORDINATES)], other.truth[list(COORDINATES)])


def test_contrast_is_dark_or_bright() -> None:
    dark = simulate_tomogram(SMALL, 1).volume
    bright = simulate_tomogram(dataclasses.replace(SMALL, contrast="bright"), 1).volume
    assert np.allclose(dark, -bright)
    assert dark.mean() == pytest.approx(0, abs=1e-4)
    assert dark.std() == pytest.approx(1, abs=1e-3)


def test_crowded_scenes_reach_a_fifth_without_overlap() -> None:
    options = SimulationOptions(size=(72, 72, 48), copies=2, vesicles=0, crowding=0.2)
    species = make_species(options)
    scene = build_scene(species, options, 1)
    assert scene.protein_fraction >= 0.2
    assert scene.density.mean() == pytest.approx(scene.protein_fraction, rel=0.1)
    # Two bodies in one place would show as twice protein's density; domains alone reach 1.9.
    assert scene.density.max() < 2.4
    assert np.bincount(scene.species).tolist() == [2, 2, 2]


def test_bodies_never_overlap() -> None:
    taken = np.zeros((20, 24, 28), dtype=bool)
    packer = Packer(taken, np.random.default_rng(0))
    body = np.argwhere(np.ones((4, 3, 5))) - np.array([2, 1, 2])
    placed = 0
    while packer.place(body) is not None:
        placed += 1
        assert taken.sum() == placed * len(body)
    assert taken.mean() > 0.4


def test_membranes_gold_and_empty_regions_are_there() -> None:
    options = dataclasses.replace(
        SMALL, size=(128, 128, 48), vesicles=1, sheets=1, gold=3, empty_fraction=0.3
    )
    scene = build_scene(make_species(options), options, 4)
    count = len(scene.phantoms)
    assert set(np.unique(scene.labels)) == {0, 1, 2, 3, count + 2, count + 3}
    assert scene.density[scene.labels == count + 3].mean() > 5
    assert 0.05 < scene.density[scene.labels == count + 2].mean() < 1.5
    particle = (scene.labels > 0) & (scene.labels <= count)
    assert scene.density[particle].mean() > 0.4


def test_labels_mark_the_particles() -> None:
    made = simulate_tomogram(SMALL, 6)
    for _, row in made.truth.iterrows():
        x, y, z = np.round(row[list(COORDINATES)].to_numpy(float)).astype(int)
        near = made.labels[max(z - 6, 0) : z + 7, max(y - 6, 0) : y + 7, max(x - 6, 0) : x + 7]
        counts = np.bincount(near[near > 0])
        assert counts.argmax() == row["rlnClassNumber"]


def test_concentration_gives_the_number_of_copies() -> None:
    # 128 x 128 x 64 voxels of 13.33 angstrom are 2.4837e9 cubic angstrom: 1.4957 molecules at 1 micromole per litre.
    options = dataclasses.replace(SMALL, size=(128, 128, 64), concentration=4.0, species=("ferritin_like",))
    assert len(build_scene(make_species(options), options, 1).species) == 6


def test_files_hold_the_tomogram_and_its_truth(tmp_path: Path) -> None:
    made = simulate_tomogram(SMALL, 2, "t1")
    paths = [tmp_path / name for name in ("t1.mrc", "t1_truth.star", "t1_labels.mrc")]
    write_tomogram(made, *paths, tmp_path / "maps")
    assert read_header(paths[0]).voxel_size == pytest.approx(13.33)
    assert np.array_equal(open_volume(paths[0]), made.volume)
    assert np.array_equal(open_volume(paths[2]), made.labels)
    truth = read_particles(paths[1])
    assert truth["rlnTomoName"].tolist() == ["t1"] * 6
    assert truth["rlnClassNumber"].tolist() == [1, 1, 2, 2, 3, 3]
    assert np.allclose(truth[[*COORDINATES, *ANGLES]], made.truth[[*COORDINATES, *ANGLES]], atol=1e-5)
    assert sorted(path.stem for path in (tmp_path / "maps").iterdir()) == sorted(EXAMPLES)


def test_maps_become_species_whatever_their_units(tmp_path: Path) -> None:
    original = phantom(EXAMPLES["ribosome_like"], 8.0, 20.0)
    size = original.density.shape[0]
    # Off centre, in other units, on a background.
    moved = np.zeros((size + 10, size + 6, size + 14), dtype=np.float32)
    moved[7 : 7 + size, 2 : 2 + size, 11 : 11 + size] = original.density
    write_volume(tmp_path / "big.mrc", 37.0 * moved - 5.0, 8.0)
    read = read_maps(tmp_path, 13.33, 30.0)[0]
    expected = phantom(EXAMPLES["ribosome_like"], 13.33, 30.0)
    assert read.name == "big"
    assert read.mass == pytest.approx(expected.mass, rel=0.25)
    assert read.radius == pytest.approx(expected.radius, rel=0.15)
    a, b = (_padded(one.density, 40) for one in (read, expected))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98
    grid = np.indices(read.density.shape).reshape(3, -1)
    centre = (grid * read.density.ravel()).sum(axis=1) / read.density.sum()
    assert centre == pytest.approx(np.full(3, read.density.shape[0] // 2), abs=0.15)


def _padded(density: np.ndarray, size: int) -> np.ndarray:
    padded = np.zeros((size,) * 3, dtype=np.float32)
    start = size // 2 - density.shape[0] // 2
    inside = slice(start, start + density.shape[0])
    padded[inside, inside, inside] = density
    return padded


def test_templates_of_known_structures_have_plausible_masses(shared_data: Path) -> None:
    masses = {"4v4r": 2.5e6, "3j9i": 0.7e6, "1bxn": 0.55e6, "4v94": 1.9e6}
    for name, mass in masses.items():
        read = read_map(shared_data / "templates" / f"{name}.mrc", 13.33, 30.0)
        assert 0.5 * mass < read.mass < 2.0 * mass


def test_seeds_of_tomograms_differ_and_stay() -> None:
    assert seed_for(1, "demo_01") == seed_for(1, "demo_01")
    assert len({seed_for(seed, name) for seed in (1, 2) for name in ("a", "b", "ab")}) == 6


def test_rotations_in_the_truth_are_uniform_in_hand() -> None:
    matrices = Rotation.concatenate([build_scene(make_species(SMALL), SMALL, 1).rotations]).as_matrix()
    assert np.linalg.det(matrices) == pytest.approx(np.ones(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"voxel_size": 20.0},
            "a voxel size of 20 angstrom is too large for a resolution of 30 angstrom; use a voxel size of at most 15 "
            "angstrom, or a resolution of at least 40 angstrom",
        ),
        ({"species": ()}, "no species to simulate; list species in `species`, or set a directory in `maps`"),
        (
            {"species": ("unicorn",)},
            "unknown species 'unicorn'; use ribosome_like, proteasome_like, ferritin_like, or phantom_N with a number N",
        ),
        (
            {"species": ("phantom_3", "phantom_3")},
            "species phantom_3 is named twice; remove or rename one of the two",
        ),
        (
            {"copies": 500, "species": ("ribosome_like",)},
            "ribosome_like, of radius 131 angstrom: only 47 of 500 copies fit into "
            "96 x 80 x 40 voxels; lower `copies` or `concentration`, or raise `size`",
        ),
        (
            {"crowding": 0.5},
            "crowding of 0.5 cannot be reached: the tomogram is full at 0.306; lower `crowding`, `vesicles`, `sheets` or "
            "`empty_fraction`",
        ),
        (
            {"vesicles": 40},
            "40 vesicles and 0 sheets do not fit into the tomogram; lower `vesicles` or `sheets`, or raise `size`",
        ),
        ({"gold": 5000}, "5000 gold beads do not fit into the tomogram; lower `gold`, or raise `size`"),
    ],
)
def test_impossible_scenes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(SimulationError) as caught:
        simulate_tomogram(dataclasses.replace(SMALL, **change), 1)
    assert str(caught.value) == message


def test_a_directory_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SimulationError, match=r"contains no \.mrc or \.map file; give a directory of density maps"
    ):
        read_maps(tmp_path, 13.33, 30.0)


def test_nothing_to_see_is_still_a_tomogram() -> None:
    made = simulate_tomogram(dataclasses.replace(SMALL, copies=0), 1)
    assert len(made.truth) == 0
    assert np.isfinite(made.volume).all()
    assert np.isnan(made.measured_snr)
