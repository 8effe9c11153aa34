"""Procedural macromolecules: mass, band limit, symmetry, handedness, and particles drawn from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryopipe.errors import SimulationError
from cryopipe.simulation import EXAMPLES, AssemblySpec, phantom, stock_phantoms
from cryopipe.simulation.assemblies import PROTEIN_DENSITY, build_assembly, draw_spec
from cryopipe.simulation.phantoms import bead_density
from cryopipe.simulation.rendering import ParticleRenderer, paste, random_matrices
from cryopipe.volume.geometry import symmetry_rotations

VOXEL_SIZE, RESOLUTION = 12.0, 30.0
ODD_TURN = Rotation.from_rotvec([0.4, -1.1, 0.8]).as_matrix()


@settings(max_examples=25)
@given(seed=st.integers(0, 100_000))
def test_every_seed_makes_a_body_of_the_stated_mass(seed: int) -> None:
    spec = draw_spec(seed)
    made = build_assembly(spec)
    assert 100e3 <= spec.mass <= 5e6
    assert made.volumes.sum() * PROTEIN_DENSITY == pytest.approx(spec.mass)
    assert np.average(made.positions, axis=0, weights=made.volumes) == pytest.approx(np.zeros(3), abs=1e-6)
    assert np.linalg.norm(made.positions, axis=1).max() <= made.radius


def test_density_integrates_to_the_mass_and_is_about_1_inside() -> None:
    made = phantom(EXAMPLES["ribosome_like"], VOXEL_SIZE, RESOLUTION)
    assert made.density.sum() * VOXEL_SIZE**3 * PROTEIN_DENSITY == pytest.approx(2.5e6, rel=1e-3)
    assert 0.7 < np.percentile(made.density[made.density > 0.5], 50) < 1.3


def test_nothing_lies_beyond_the_band_limit() -> None:
    made = phantom(7, VOXEL_SIZE, RESOLUTION)
    power = np.abs(np.fft.fftn(made.density)) ** 2
    k = np.fft.fftfreq(made.density.shape[0], VOXEL_SIZE)
    frequency = np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, :] ** 2)
    assert power[frequency > 1 / RESOLUTION].sum() < 1e-9 * power.sum()
    assert power[(frequency > 0.5 / RESOLUTION) & (frequency < 0.9 / RESOLUTION)].sum() > 1e-3 * power.sum()


@pytest.mark.parametrize("symmetry", ["C2", "C7", "D2", "D7", "T", "O"])
def test_symmetry_is_the_stated_one(symmetry: str) -> None:
    assembly = build_assembly(AssemblySpec("globular", symmetry, 900e3, 3))
    size = 2 * int(assembly.radius / VOXEL_SIZE + 4)
    reference = bead_density(assembly, VOXEL_SIZE, RESOLUTION, size)
    for element in symmetry_rotations(symmetry):
        turned = dataclasses.replace(assembly, positions=element.apply(assembly.positions))
        again = bead_density(turned, VOXEL_SIZE, RESOLUTION, size)
        assert np.corrcoef(reference.ravel(), again.ravel())[0, 1] > 0.9999


def test_asymmetric_bodies_are_chiral() -> None:
    original = phantom(EXAMPLES["ribosome_like"], VOXEL_SIZE, RESOLUTION)
    renderer = ParticleRenderer([original])
    matrices = random_matrices(1500, torch.Generator().manual_seed(0))
    views = renderer.render(torch.zeros(1500, dtype=torch.long), matrices, torch.zeros(1500, 3))
    size = views.shape[-1]
    assembly = build_assembly(EXAMPLES["ribosome_like"])
    mirrored = dataclasses.replace(assembly, positions=assembly.positions * [1, 1, -1])
    other_hand, same_hand = (
        _best_correlation(views, bead_density(hand, VOXEL_SIZE, RESOLUTION, size))
        for hand in (mirrored, dataclasses.replace(assembly, positions=assembly.positions @ ODD_TURN.T))
    )
    # 1,500 rotations come within some 20 degrees of any: near enough to tell the hands apart.
    assert same_hand > other_hand + 0.03


def _best_correlation(views: torch.Tensor, density: np.ndarray) -> float:
    target = torch.as_tensor(density).flatten()
    target = target - target.mean()
    centred = views.flatten(1) - views.flatten(1).mean(dim=1, keepdim=True)
    return float((centred @ target / centred.norm(dim=1) / target.norm()).max())


def test_kinds_are_hollow_where_they_should_be() -> None:
    shell = phantom(EXAMPLES["ferritin_like"], VOXEL_SIZE, RESOLUTION)
    barrel = phantom(EXAMPLES["proteasome_like"], VOXEL_SIZE, RESOLUTION)
    middle = shell.density.shape[0] // 2
    assert shell.density[middle, middle, middle] < 0.15
    middle = barrel.density.shape[0] // 2
    assert barrel.density[:, middle, middle].max() < 0.3 * barrel.density.max()


def test_same_seed_same_bytes_another_seed_another_body() -> None:
    one, again, other = (phantom(seed, VOXEL_SIZE, RESOLUTION) for seed in (5, 5, 6))
    assert one.density.tobytes() == again.density.tobytes()
    assert one.density.shape != other.density.shape or not np.allclose(one.density, other.density)


def test_stock_passes_over_what_is_too_large() -> None:
    stock = stock_phantoms(6, VOXEL_SIZE, RESOLUTION, first_seed=20, largest_radius=100.0)
    assert len({one.name for one in stock}) == 6
    assert max(one.radius for one in stock) <= 100


def test_drawn_particles_equal_turned_and_shifted_beads() -> None:
    spec = EXAMPLES["ribosome_like"]
    assembly, made = build_assembly(spec), phantom(spec, VOXEL_SIZE, RESOLUTION)
    matrices = random_matrices(1, torch.Generator().manual_seed(4))
    shift = np.array([1.3, -0.4, 2.2])
    drawn = ParticleRenderer([made]).render(torch.tensor([0]), matrices, torch.tensor(shift)[None])[0].numpy()
    positions = assembly.positions @ matrices[0].numpy().T + shift * VOXEL_SIZE
    exact = bead_density(
        dataclasses.replace(assembly, positions=positions), VOXEL_SIZE, RESOLUTION, drawn.shape[0]
    )
    assert np.sqrt(np.square(drawn - exact).mean()) < 0.03 * exact.std()


def test_pasting_adds_copies_where_they_belong() -> None:
    canvases = torch.zeros(2, 6, 7, 8)
    patches = torch.arange(16.0).reshape(2, 2, 2, 2)
    corners = torch.tensor([[0, 1, 2], [4, 5, 6], [4, 5, 6]])
    paste(canvases, patches, corners, torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]))
    assert torch.equal(canvases[0, 0:2, 1:3, 2:4], patches[1])
    assert torch.equal(canvases[1, 4:6, 5:7, 6:8], patches[0] + patches[1])
    assert canvases.sum() == patches.sum() + patches[1].sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: phantom(1, 20.0, 30.0),
            "a voxel size of 20 angstrom is too large for a resolution of 30 angstrom; use a voxel size of at most 15 "
            "angstrom, or a resolution of at least 40 angstrom",
        ),
        (
            lambda: phantom(1, 0.0, 30.0),
            "voxel size of 0 angstrom is not a positive number; set a positive length",
        ),
        (
            lambda: AssemblySpec("globular", "C1", 1e3, 0),
            "an assembly cannot have a mass of 1 kDa; use 100 to 5,000 kDa",
        ),
        (
            lambda: AssemblySpec("globular", "I", 1e6, 0),
            "an assembly cannot have symmetry 'I'; use C1 to C7, D2 to D7, T or O",
        ),
        (
            lambda: AssemblySpec("barrel", "T", 1e6, 0),
            "a barrel cannot have symmetry T; use C3 to C7 or D3 to D7",
        ),
        (
            lambda: AssemblySpec("ring", "C5", 1e6, 0),
            "unknown architecture 'ring' of an assembly; use globular, barrel, shell",
        ),
        (lambda: ParticleRenderer([]), "no species to simulate; give at least one"),
    ],
)
def test_impossible_bodies_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SimulationError) as caught:
        call()
    assert str(caught.value) == message
