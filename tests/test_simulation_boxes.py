"""Boxes on the fly: SNR, wedge, hand, displacement, crowding, repeatability, refusals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryopipe.errors import SimulationError
from cryopipe.simulation import EXAMPLES, AssemblySpec, BoxOptions, BoxSimulator, Phantom, phantom
from cryopipe.simulation.box_transfer import box_transfer, mean_power
from cryopipe.simulation.optics import Optics, contrast_transfer, electron_wavelength, tilt_angles
from cryopipe.simulation.rendering import random_matrices
from cryopipe.volume.fsc import fourier_shell_correlation
from cryopipe.volume.rotate import rotate_volumes
from cryopipe.volume.wedge import wedge_mask

VOXEL_SIZE, RESOLUTION = 13.33, 30.0
NO_NOISE = (math.inf, math.inf)


@pytest.fixture(scope="module")
def classes() -> list[Phantom]:
    return [phantom(spec, VOXEL_SIZE, RESOLUTION) for spec in EXAMPLES.values()]


@pytest.mark.parametrize("snr", [1.0, 0.3, 0.1, 0.03, 0.01])
def test_snr_is_the_asked_one(classes: list[Phantom], snr: float) -> None:
    simulator = BoxSimulator(classes, BoxOptions(snr=(snr, snr), displacement=15.0), seed=3)
    noisy = simulator.sample([0] * 96)
    clean = simulator.noise_free(noisy.labels, noisy.rotations, noisy.shifts)
    slopes, residuals = [], []
    for box, signal, shift in zip(noisy.boxes, clean, noisy.shifts, strict=True):
        inside = _sphere(32, shift / VOXEL_SIZE, classes[0].radius / VOXEL_SIZE)
        target = (signal - signal.mean()) / signal[inside].std()
        slope = (box * target).sum() / target.square().sum()
        slopes.append(float(slope))
        residuals.append(float((box - slope * target)[inside].var()))
    # The mean slope is the signal's amplitude: single boxes are too noisy to square.
    assert np.mean(slopes) ** 2 / np.mean(residuals) == pytest.approx(snr, rel=0.1)


def test_noise_has_variance_1_and_no_power_in_the_wedge(classes: list[Phantom]) -> None:
    simulator = BoxSimulator(classes, BoxOptions(box_size=48, structural_noise=0.0), seed=1)
    noise = simulator.noise(24)
    assert noise.var() == pytest.approx(1.0, rel=0.03)
    window = _hann(48)
    power = torch.fft.fftn(noise * window, dim=(1, 2, 3)).abs().square().mean(dim=0)
    measured = wedge_mask(48, (-60, 60))
    far_outside = wedge_mask(48, (-68, 68)) == 0
    assert power[far_outside].mean() < 0.02 * power[measured > 0].mean()


def test_signal_in_the_wedge_is_at_the_floor(classes: list[Phantom]) -> None:
    options = BoxOptions(box_size=48, snr=NO_NOISE)
    boxes = BoxSimulator(classes, options, seed=1).sample([0] * 16).boxes * _hann(48)
    power = torch.fft.fftn(boxes, dim=(1, 2, 3)).abs().square().mean(dim=0)
    assert power[wedge_mask(48, (-68, 68)) == 0].mean() < 0.02 * power[wedge_mask(48, (-60, 60)) > 0].mean()


def test_contrast_transfer_is_zero_where_the_formula_puts_it() -> None:
    optics = Optics(voltage=300.0, spherical_aberration=2.7, amplitude_contrast=0.07, defocus=4.0)
    assert electron_wavelength(300.0) == pytest.approx(0.0196875, rel=1e-5)
    # pi w dz k^2 - pi/2 Cs w^3 k^4 + asin(Q) = n pi, solved for k^2.
    wavelength, defocus, aberration = 0.0196875, 4e4, 2.7e7
    for order in (1, 2, 3):
        a, b, c = -0.5 * aberration * wavelength**3, wavelength * defocus, math.asin(0.07) / math.pi - order
        square = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)
        assert abs(float(contrast_transfer(torch.tensor(math.sqrt(square)).double(), optics))) < 1e-4
    assert float(contrast_transfer(torch.tensor(0.0), optics)) == pytest.approx(0.07)
    assert float(contrast_transfer(torch.tensor(0.02), optics)) > 0.5


def test_zeros_of_the_contrast_transfer_appear_in_the_boxes_spectrum() -> None:
    optics = Optics(defocus=8.0)
    transfer = box_transfer(64, 10.0, tilt_angles((-60, 60), 2.0), optics, 1000.0, torch.device("cpu"))
    along_y = transfer.signal[0, :32, 0]
    frequency = torch.arange(32) / 640.0
    expected = contrast_transfer(frequency, optics)
    assert torch.equal(torch.sign(along_y), torch.sign(expected))


def test_shot_noise_power_grows_with_the_distance_from_the_tilt_axis() -> None:
    transfer = box_transfer(64, 10.0, tilt_angles((-60, 60), 1.0), Optics(), 1000.0, torch.device("cpu"))
    along_x = transfer.shot_noise[0, 0, 4:28].square()
    slope = np.polyfit(np.log(np.arange(4, 28)), np.log(along_x.numpy()), 1)[0]
    # The ramp squared over the slices' density, which falls as 1/k.
    assert slope == pytest.approx(1.0, abs=0.15)
    assert mean_power(transfer.shot_noise, 64) == pytest.approx(1.0, rel=1e-4)


def test_truth_describes_the_box(classes: list[Phantom]) -> None:
    options = BoxOptions(snr=NO_NOISE, displacement=30.0, defocus=(3.0, 3.0))
    simulator = BoxSimulator(classes, options, seed=8)
    boxes, labels, rotations, shifts = simulator.sample([0] * 3)
    size = classes[0].density.shape[0]
    reference = torch.zeros(48, 48, 48)
    reference[
        24 - size // 2 : 24 + size // 2, 24 - size // 2 : 24 + size // 2, 24 - size // 2 : 24 + size // 2
    ] = torch.as_tensor(classes[0].density)
    particle = rotate_volumes(reference[None], rotations, shifts / VOXEL_SIZE, interpolation="cubic")
    transform = torch.fft.rfftn(particle, dim=(1, 2, 3)) * simulator._signal_gain[0]
    expected = torch.fft.irfftn(transform, s=(48, 48, 48), dim=(1, 2, 3))[:, 8:40, 8:40, 8:40]
    for box, truth in zip(boxes, expected, strict=True):
        assert np.corrcoef(box.flatten(), truth.flatten())[0, 1] > 0.995
    assert labels.tolist() == [0, 0, 0]
    assert shifts.norm(dim=1).max() <= 30


def test_average_with_the_true_angles_gives_the_map_back_and_not_its_mirror_image(
    classes: list[Phantom],
) -> None:
    options = BoxOptions(snr=(0.1, 0.1), displacement=20.0, defocus=(2.0, 2.0), structural_noise=0.3)
    simulator = BoxSimulator(classes, options, seed=5)
    boxes, labels, rotations, shifts = simulator.sample([0] * 200)
    average = average_with_truth(boxes, rotations, shifts / VOXEL_SIZE)
    truth = _padded(classes[0].density, 32)
    fsc = fourier_shell_correlation(average, truth, VOXEL_SIZE)
    # Below the first zero of this CTF's transfer (20 angstrom) down to the band limit.
    band = (fsc.frequency > 1 / 250) & (fsc.frequency < 0.9 / RESOLUTION)
    assert fsc.correlation[band].min() > 0.5
    mirrored = fourier_shell_correlation(average, truth.flip(0).roll(1, 0), VOXEL_SIZE)
    fine = band & (fsc.frequency > 1 / 80)
    assert mirrored.correlation[fine].mean() < 0.5 * fsc.correlation[fine].mean()
    assert len(labels) == 200


def average_with_truth(
    boxes: torch.Tensor, rotations: torch.Tensor, shifts_voxels: torch.Tensor
) -> torch.Tensor:
    """Turn particles back into the reference's frame and average them."""
    inverse = rotations.transpose(1, 2)
    back = -torch.einsum("nij,nj->ni", inverse, shifts_voxels)
    return rotate_volumes(boxes, inverse, back).mean(dim=0)


def test_rotations_are_uniform(classes: list[Phantom]) -> None:
    simulator = BoxSimulator(classes[:1], BoxOptions(box_size=24, snr=NO_NOISE), seed=2)
    rotations = Rotation.from_matrix(simulator.sample(600).rotations.double().numpy())
    angles = np.sort(rotations.magnitude())
    expected = (angles - np.sin(angles)) / np.pi
    assert np.abs(expected - np.arange(600) / 600).max() < 0.07


@pytest.mark.parametrize("crowding", [0.05, 0.2])
def test_crowding_is_the_asked_volume_fraction(classes: list[Phantom], crowding: float) -> None:
    simulator = BoxSimulator(classes, BoxOptions(snr=NO_NOISE, crowding=crowding), seed=2)
    empty = torch.full((24,), 3)
    scenes = simulator._scene(empty, torch.eye(3).expand(24, 3, 3), torch.zeros(24, 3))
    assert float(scenes.mean()) == pytest.approx(crowding, rel=0.15)


def test_neighbours_leave_the_particle_alone(classes: list[Phantom]) -> None:
    alone = BoxSimulator(classes, BoxOptions(snr=NO_NOISE), seed=2)
    crowded = BoxSimulator(classes, BoxOptions(snr=NO_NOISE, crowding=0.2), seed=2)
    labels = torch.zeros(12, dtype=torch.long)
    turns = random_matrices(12, torch.Generator().manual_seed(3))
    bare = alone._scene(labels, turns, torch.zeros(12, 3))
    full = crowded._scene(labels, turns, torch.zeros(12, 3))
    assert float(full.mean()) > float(bare.mean()) + 0.08
    assert float((full - bare)[bare > 0.3].abs().max()) < 0.2
    assert not torch.equal(full[0] - bare[0], full[1] - bare[1])


def test_a_crowd_that_does_not_pack_is_refused() -> None:
    ring = [phantom(AssemblySpec("shell", "O", 1.0e6, 8), VOXEL_SIZE, RESOLUTION)]
    with pytest.raises(
        SimulationError,
        match=r"crowding of 0\.35 cannot be reached: these species fill at most 0\.[0-9]+; lower",
    ):
        BoxSimulator(ring, BoxOptions(crowding=0.35), neighbours=ring)


def test_boxes_without_a_particle(classes: list[Phantom]) -> None:
    simulator = BoxSimulator(classes, BoxOptions(snr=(0.2, 0.2)), seed=2)
    boxes, labels, _, _ = simulator.sample([3, 3])
    assert labels.tolist() == [3, 3]
    assert boxes.std(dim=(1, 2, 3), correction=0).numpy() == pytest.approx(np.ones(2), rel=1e-4)


def test_same_seed_same_boxes_another_seed_others(classes: list[Phantom]) -> None:
    options = BoxOptions(snr=(0.05, 0.5), crowding=0.1, displacement=20.0, defocus=(3.0, 6.0))
    one, again, other = (BoxSimulator(classes, options, seed=seed).sample(4) for seed in (1, 1, 2))
    for a, b, c in zip(one, again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c) or a.dtype == torch.long


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"snr": (0.0, 0.1)},
            "SNR range 0 to 0.1 is not positive and ascending; set the lowest and the highest SNR, above 0; inf for no noise",
        ),
        ({"box_size": 31}, "box size of 31 voxels is odd or too small; use an even number, at least 8"),
        (
            {"tilt_range": (0.0, 0.0)},
            "tilt range 0 to 0 degrees is empty or exceeds -90 to 90 degrees; set two angles with -90 <= lowest < "
            "highest <= 90",
        ),
        (
            {"tilt_step": 0.0},
            "tilt step of 0 degrees does not fit a tilt range of 120 degrees; set a step above 0 and at most the range",
        ),
        ({"crowding": 0.8}, "crowding of 0.8 is out of range; set a volume fraction from 0 to 0.35"),
        ({"voltage": 0.0}, "voltage of 0 kV is not a positive number; set for example 300"),
        (
            {"structural_noise": 2.0},
            "structural noise of 2 is out of range; set a fraction of the variance, 0 to 1",
        ),
        ({"defocus": (5.0, 3.0)}, "defocus range 5 to 3 is descending; set the lowest value first"),
    ],
)
def test_impossible_boxes_are_refused(
    classes: list[Phantom], change: dict[str, object], message: str
) -> None:
    with pytest.raises(SimulationError) as caught:
        BoxSimulator(classes, dataclasses.replace(BoxOptions(), **change))
    assert str(caught.value) == message


def test_particles_larger_than_the_box_are_refused(classes: list[Phantom]) -> None:
    with pytest.raises(
        SimulationError, match=r"does not fit into a box of 16 voxels of 13.33 angstrom; use boxes of"
    ):
        BoxSimulator(classes, BoxOptions(box_size=16))


def _padded(density: np.ndarray, size: int) -> torch.Tensor:
    padded = torch.zeros(size, size, size)
    start = size // 2 - density.shape[0] // 2
    inside = slice(start, start + density.shape[0])
    padded[inside, inside, inside] = torch.as_tensor(density)
    return padded


def _hann(size: int) -> torch.Tensor:
    profile = torch.hann_window(size)
    return profile[:, None, None] * profile[:, None] * profile


def _sphere(size: int, shift_voxels: torch.Tensor, radius: float) -> torch.Tensor:
    axis = torch.arange(size) - size // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    dx, dy, dz = shift_voxels
    return (x - dx) ** 2 + (y - dy) ** 2 + (z - dz) ** 2 <= radius**2
