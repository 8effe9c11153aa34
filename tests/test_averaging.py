from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from aligned_sets import BoxSet, box_set, pose_errors
from asymmetric import asymmetric_map, correlation
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.alignment import spectra as spectra_module
from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import (
    Grid,
    Poses,
    Reference,
    best_on_grid,
    log_likelihoods,
    refine_poses,
    shift_grid,
)
from cryopipe.alignment.spectra import Spectra
from cryopipe.averaging import (
    AlignmentResult,
    AveragingOptions,
    align_cluster,
)
from cryopipe.averaging.particle_table import fsc_blocks, particle_table
from cryopipe.averaging.superposition import centre_of_density, rotated, superpose, transform_poses
from cryopipe.boxes import ChosenBoxes
from cryopipe.volume.fsc import fourier_shell_correlation
from cryopipe.volume.geometry import (
    angular_distance,
    random_rotations,
    rotation_from_relion_angles,
    rotation_grid,
    symmetry_rotations,
)
from cryopipe.volume.rotate import rotate_volumes
from cryopipe.volume.wedge import measured, wedge_mask

CPU = torch.device("cpu")
VOXEL = 10.0
QUICK = AveragingOptions(
    initial_models=2,
    initial_iterations=9,
    initial_resolution=50.0,
    max_shift=25.0,
    refinement_iterations=5,
    angular_step=20.0,
)


def matrices(rotation: Rotation) -> torch.Tensor:
    return torch.from_numpy(rotation.as_matrix()).float().reshape(-1, 3, 3)


@pytest.mark.parametrize("box_size", [19, 20])
def test_projected_coefficients_are_those_of_the_turned_and_shifted_map(box_size: int) -> None:
    band = Band(box_size, 7, CPU)
    rotations = random_rotations(6, np.random.default_rng(1))
    shift = (1.2, -0.6, 0.9)
    poses = Poses(matrices(rotations), torch.tensor([shift]).expand(6, 3))
    reference = Reference(
        band, band.reference_grid(asymmetric_map(box_size, scale=0.8)), torch.ones(len(band))
    )
    exact = torch.stack([asymmetric_map(box_size, r, shift, scale=0.8) for r in rotations])
    expected = band.coefficients(exact)
    assert float((reference.at(poses) - expected).norm() / expected.norm()) < 0.02


def test_band_holds_one_of_each_pair_of_opposite_frequencies() -> None:
    band = Band(16, 5, CPU)
    frequencies = {tuple(k) for k in band.frequencies.int().tolist()}
    assert len(frequencies) == len(band)
    assert not frequencies & {tuple(-c for c in k) for k in frequencies}
    k = np.arange(-5, 6)
    radius = np.sqrt((np.stack(np.meshgrid(k, k, k)) ** 2).sum(axis=0))
    assert 2 * len(band) == ((radius < 5.5) & (radius > 0)).sum()


def test_turned_back_and_summed_boxes_give_the_map() -> None:
    band = Band(20, 8, CPU)
    rotations = random_rotations(150, np.random.default_rng(2))
    boxes = torch.stack([asymmetric_map(20, r, scale=0.7) for r in rotations])
    values = band.coefficients(boxes)
    wedge = measured(band.frequencies, (-60, 60)).expand(150, -1)
    sums = band.empty_sums()
    band.interpolation_sums(values * wedge, wedge, matrices(rotations), sums)
    volume = band.volume_from_sums(sums, torch.zeros(band.shells + 1))
    expected = band.coefficients(asymmetric_map(20, scale=0.7)[None])
    assert float((band.coefficients(volume[None]) - expected).norm() / expected.norm()) < 0.03


def test_likelihoods_are_those_of_the_definition() -> None:
    band = Band(12, 4, CPU)
    generator = torch.Generator().manual_seed(1)

    def draw(count: int) -> torch.Tensor:
        return torch.view_as_complex(torch.randn(count, len(band), 2, generator=generator))

    wedges = torch.stack([measured(band.frequencies, (-60, 60)), measured(band.frequencies, (-40, 50))])
    schemes = torch.tensor([0, 1, 1])
    boxes, references = draw(3) * wedges[schemes], draw(4)
    shifts = torch.tensor([[0.0, 0, 0], [1.0, -2.0, 0.5]])
    scores = log_likelihoods(boxes, schemes, wedges, references, band.shift_phases(shifts))
    assert scores.shape == (3, 2, 4)
    model = references[3] * band.shift_phases(shifts)[1] * wedges[1]
    expected = (boxes[2].abs() ** 2).sum() - ((boxes[2] - model).abs() ** 2).sum()
    assert float(scores[2, 1, 3]) == pytest.approx(float(expected), rel=1e-4)


def one_reference(box_size: int = 20, shells: int = 8) -> Reference:
    band = Band(box_size, shells, CPU)
    volume = asymmetric_map(box_size, scale=0.8)
    return Reference(band, band.reference_grid(volume, gradient=True), torch.full((len(band),), 10.0))


def test_derivatives_are_those_of_small_turns_and_shifts() -> None:
    reference = one_reference()
    poses = Poses(
        matrices(random_rotations(3, np.random.default_rng(6))), torch.tensor([[0.3, -0.8, 0.5]]).expand(3, 3)
    )
    model, derivatives = reference.with_derivatives(poses)
    torch.testing.assert_close(model, reference.at(poses))
    small = 0.08  # the transform is interpolated: its slope holds over a few cells
    for axis in range(3):
        vector = np.zeros(3)
        vector[axis] = small
        ahead, behind = (
            reference.at(
                Poses(matrices(Rotation.from_rotvec(sign * vector)) @ poses.matrices, poses.shifts_voxels)
            )
            for sign in (1, -1)
        )
        by_rotation = (ahead - behind) / (2 * small)
        assert float((by_rotation - derivatives[:, axis]).norm() / by_rotation.norm()) < 0.15
        along = torch.from_numpy(vector).float()
        ahead, behind = (
            reference.at(Poses(poses.matrices, poses.shifts_voxels + sign * along)) for sign in (1, -1)
        )
        by_shift = (ahead - behind) / (2 * small)
        assert float((by_shift - derivatives[:, 3 + axis]).norm() / by_shift.norm()) < 0.02


def measured_boxes(
    reference: Reference, rotations: Rotation, shift: tuple[float, float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    n = reference.band.box_size
    wedge = measured(reference.band.frequencies, (-60, 60))[None]
    boxes = torch.stack([asymmetric_map(n, r, shift, scale=0.8) for r in rotations])
    return reference.band.coefficients(boxes) * wedge / reference.noise, wedge


def test_exhaustive_search_finds_the_nearest_orientation_and_shift() -> None:
    reference = one_reference(shells=5)
    rotations = random_rotations(8, np.random.default_rng(3))
    boxes, wedge = measured_boxes(reference, rotations, (2.0, 0.0, -2.0))
    search = Grid(matrices(rotation_grid(20.0)), shift_grid(4.0, 2.0, CPU))
    found = best_on_grid(boxes, torch.zeros(8, dtype=torch.long), wedge, reference, search)
    errors = angular_distance(Rotation.from_matrix(found.matrices.numpy()), rotations)
    assert errors.max() < 25
    torch.testing.assert_close(found.shifts_voxels, torch.tensor([2.0, 0.0, -2.0]).expand(8, 3))


def test_refinement_climbs_to_the_pose() -> None:
    reference = one_reference()
    rng = np.random.default_rng(4)
    rotations = random_rotations(8, rng)
    boxes, wedge = measured_boxes(reference, rotations, (0.4, -0.3, 0.7))
    off = Rotation.from_rotvec(np.radians(8) * rng.normal(size=(8, 3)) / np.sqrt(3))
    begin = Poses(matrices(off * rotations), torch.zeros(8, 3))
    poses, scores = refine_poses(boxes, wedge, reference, begin, 3.0, rounds=8)
    assert angular_distance(Rotation.from_matrix(poses.matrices.numpy()), rotations).max() < 0.5
    torch.testing.assert_close(
        poses.shifts_voxels, torch.tensor([0.4, -0.3, 0.7]).expand(8, 3), atol=0.05, rtol=0
    )
    assert float(scores.min()) > 0.995


def test_refinement_never_shifts_beyond_the_limit() -> None:
    reference = one_reference()
    rotations = random_rotations(4, np.random.default_rng(4))
    boxes, wedge = measured_boxes(reference, rotations, (3.0, 0.0, 0.0))
    poses, _ = refine_poses(
        boxes, wedge, reference, Poses(matrices(rotations), torch.zeros(4, 3)), 1.5, rounds=8
    )
    assert float(poses.shifts_voxels.norm(dim=1).max()) <= 1.5


def test_shift_grid_is_a_ball_about_no_shift() -> None:
    grid = shift_grid(4.0, 2.0, CPU)
    assert len(grid) == 33
    assert float(grid.norm(dim=1).min()) == 0
    assert len(shift_grid(0.0, 2.0, CPU)) == 1


def test_maps_are_brought_into_one_frame_and_poses_follow() -> None:
    n, band = 24, Band(24, 8, CPU)
    volume = asymmetric_map(n).float()
    pose = Poses(
        matrices(Rotation.from_euler("ZYZ", [70, 40, 150], degrees=True)), torch.tensor([[1.4, -2.2, 0.6]])
    )
    target = rotated(volume, pose)
    found, score = superpose(target, volume, band, None, 4.0)
    assert score > 0.99
    assert correlation(rotated(volume, found), target) > 0.999
    # A particle of the first map must be the same particle of the second.
    particle = Poses(
        matrices(Rotation.from_euler("ZYZ", [-20, 100, 35], degrees=True)), torch.tensor([[0.7, 0.2, -1.1]])
    )
    of_target = transform_poses(particle, found)
    assert correlation(rotated(target, of_target), rotated(volume, particle)) > 0.99


def test_centre_of_density_is_given_as_x_y_z() -> None:
    centre = centre_of_density(asymmetric_map(24, shift_voxels=(3.0, -2.0, 1.0)))
    rest = centre_of_density(asymmetric_map(24))
    torch.testing.assert_close((centre - rest).float(), torch.tensor([3.0, -2.0, 1.0]), atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def truth() -> BoxSet:
    return box_set(40, noise=0.25, seed=3)


@pytest.fixture(scope="module")
def aligned(truth: BoxSet) -> AlignmentResult:
    return align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, QUICK, seed=1)


def test_alignment_without_a_template_finds_the_poses(truth: BoxSet, aligned: AlignmentResult) -> None:
    angles, shifts, _ = pose_errors(truth, aligned.rotations, aligned.shifts_voxels)
    assert np.median(angles) < 6
    assert np.median(shifts) < 0.35
    assert sorted(np.bincount(aligned.half_sets)[1:]) == [20, 20]
    assert aligned.kept.mean() > 0.85
    assert aligned.scores.shape == (40,)


def test_the_average_is_the_structure_with_its_hand(truth: BoxSet, aligned: AlignmentResult) -> None:
    _, _, frame = pose_errors(truth, aligned.rotations, aligned.shifts_voxels)
    expected = rotate_volumes(truth.truth[None], matrices(frame.inv()).double(), None, "cubic")[0]
    offset = centre_of_density(torch.from_numpy(aligned.average)) - centre_of_density(expected.float())
    expected = rotated(expected.float(), Poses(torch.eye(3)[None], offset[None]))
    mask = torch.from_numpy(aligned.mask)
    average = torch.from_numpy(aligned.average)
    right = correlation(average * mask, expected * mask)
    assert right > 0.93
    mirrored = torch.roll(average.flip(2), 1, dims=2)
    band = Band(20, 7, CPU)
    back = rotated(mirrored, superpose(expected, mirrored, band, None, 3.0)[0])
    assert correlation(back * mask, expected * mask) < right - 0.04


def test_half_maps_share_a_frame_and_give_the_resolution(aligned: AlignmentResult) -> None:
    fsc = fourier_shell_correlation(*(torch.from_numpy(half) for half in aligned.half_maps), VOXEL)
    assert fsc.correlation[2:5].min() > 0.8
    assert aligned.fsc is not None
    assert 2 * VOXEL <= aligned.resolution_0143 <= aligned.resolution_05 < 60


def test_the_same_seed_gives_the_same_result_at_any_batch_size(
    truth: BoxSet, aligned: AlignmentResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, QUICK, seed=1)
    np.testing.assert_array_equal(again.average, aligned.average)
    monkeypatch.setattr(spectra_module, "BATCH_BYTES", 2**21)
    small = align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, QUICK, seed=1)
    assert np.median(angular_distance(small.rotations, aligned.rotations)) < 0.5


def test_no_resolution_finer_than_the_data(truth: BoxSet) -> None:
    options = AveragingOptions(**{**vars(QUICK), "finest_resolution": 45.0, "refinement_iterations": 2})
    result = align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, options, seed=1)
    assert result.resolution_0143 >= 45.0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_boxes_are_averaged_without_a_resolution(truth: BoxSet, count: int) -> None:
    result = align_cluster(truth.boxes[:count], truth.tilt_ranges[:count], VOXEL, QUICK, seed=1)
    assert result.fsc is None
    assert result.resolution_0143 == math.inf
    assert np.isfinite(result.average).all()
    assert result.average.std() > 0
    assert set(result.half_sets) == {1, 2} if count > 1 else {1}
    assert "fsc" not in fsc_blocks(result, "C1")


def test_empty_boxes_are_no_crash() -> None:
    result = align_cluster(
        np.zeros((12, 16, 16, 16), np.float32), np.tile([-60.0, 60.0], (12, 1)), VOXEL, QUICK, seed=1
    )
    assert np.isfinite(result.average).all()
    assert np.isfinite(result.shifts_voxels).all()
    assert result.resolution_0143 == math.inf


@pytest.mark.parametrize("seed", [1, 2])
def test_no_resolution_is_called_in_pure_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wedge = wedge_mask(20, (-60, 60)).numpy()
    noise = rng.normal(size=(60, 20, 20, 20))
    boxes = np.fft.ifftn(np.fft.fftn(noise, axes=(1, 2, 3)) * wedge, axes=(1, 2, 3)).real.astype(np.float32)
    result = align_cluster(boxes, np.tile([-60.0, 60.0], (60, 1)), VOXEL, QUICK, seed=seed)
    assert result.fsc is not None
    assert result.resolution_0143 == math.inf
    # A shell of so small a box holds some hundred coefficients: single ones scatter by 0.1.
    assert result.fsc.corrected.correlation[3:].mean() < 0.143
    # Shell 1 holds nine.
    assert result.fsc.corrected.correlation[2:].max() < 0.4
    assert "cryopipeResolution0143" not in fsc_blocks(result, "C1")["general"]


@pytest.mark.parametrize("symmetry", ["C3", "D2"])
def test_an_imposed_symmetry_is_that_of_the_average(symmetry: str) -> None:
    truth = box_set(30, noise=0.3, seed=5, symmetry=symmetry)
    options = AveragingOptions(**{**vars(QUICK), "symmetry": symmetry})
    result = align_cluster(truth.boxes, truth.tilt_ranges, VOXEL, options, seed=1)
    average, mask = torch.from_numpy(result.average), torch.from_numpy(result.mask)
    for element in symmetry_rotations(symmetry):
        turned_average = rotate_volumes(average[None], matrices(element), None, "cubic")[0]
        assert correlation(turned_average * mask, average * mask) > 0.98
    pose, _ = superpose(truth.truth.float(), average, Band(20, 7, CPU), None, 3.0)
    assert correlation(rotated(average, pose) * mask, truth.truth.float() * mask) > 0.9


def test_boxes_that_do_not_belong_are_left_out(truth: BoxSet) -> None:
    rng = np.random.default_rng(9)
    strangers = rng.normal(0, 0.3, (4, 20, 20, 20)).astype(np.float32)
    boxes = np.concatenate([truth.boxes, strangers])
    result = align_cluster(boxes, np.tile([-60.0, 60.0], (44, 1)), VOXEL, QUICK, seed=2)
    assert not result.kept[40:].any()
    assert result.kept[:40].mean() > 0.85


def test_tables_hold_relions_angles_and_origins(aligned: AlignmentResult) -> None:
    particles = pd.DataFrame({columns.PARTICLE: [f"t/{i}" for i in range(40)], "own": np.arange(40)})
    table = particle_table(particles, aligned)
    back = rotation_from_relion_angles(table[list(columns.ANGLES)].to_numpy())
    assert angular_distance(back, aligned.rotations).max() < 1e-4
    np.testing.assert_allclose(table[list(columns.ORIGINS)], -aligned.shifts_voxels * VOXEL)
    assert set(table[columns.ALIGNMENT_KEPT]) <= {0, 1}
    assert list(table["own"]) == list(range(40))
    blocks = fsc_blocks(aligned, "C1")
    assert blocks["general"]["cryopipeResolution0143"] == aligned.resolution_0143
    assert blocks["fsc"]["rlnAngstromResolution"][0] == 999.0


def test_frequencies_that_a_tomogram_lost_count_as_not_measured() -> None:
    rng = np.random.default_rng(1)
    boxes = rng.normal(size=(120, 16, 16, 16))
    frequency = np.fft.fftfreq(16)
    # A filter that leaves next to nothing at abs(kz) above a fifth of the sampling rate.
    lost = np.abs(frequency) > 0.2
    transform = np.fft.fftn(boxes, axes=(1, 2, 3))
    transform[:, lost] *= 0.05
    filtered = np.fft.ifftn(transform, axes=(1, 2, 3)).real.astype(np.float32)
    spectra = Spectra(filtered, np.tile([-90.0, 90.0], (120, 1)), CPU)
    band = Band(16, 7, CPU)
    seen = spectra.measured(band)[0]
    height = band.frequencies[:, 2].abs() / 16
    assert float(seen[height > 0.27].max()) == 0
    assert float(seen[height < 0.17].mean()) > 0.97
    complete = Spectra(boxes.astype(np.float32), np.tile([-90.0, 90.0], (120, 1)), CPU)
    assert float(complete.measured(band).min()) == 1
    np.testing.assert_allclose(complete.transfer.numpy(), 1, atol=0.12)


def test_directions_of_unlike_strength_are_made_alike() -> None:
    boxes = np.random.default_rng(1).normal(size=(150, 16, 16, 16))
    transform = np.fft.fftn(boxes, axes=(1, 2, 3)) * (1 + np.abs(np.fft.fftfreq(16)))
    stronger_along_x = np.fft.ifftn(transform, axes=(1, 2, 3)).real.astype(np.float32)
    spectra, band = Spectra(stronger_along_x, np.tile([-60.0, 60.0], (150, 1)), CPU), Band(16, 7, CPU)
    power = (spectra.coefficients(np.arange(150), band, spectra.measured(band)).abs() ** 2).mean(dim=0)
    shell, x = band.shell == 6, band.frequencies[:, 0].abs()
    across, along = power[shell & (x <= 1) & (power > 0)].mean(), power[shell & (x >= 5)].mean()
    assert float(along / across) == pytest.approx(1, abs=0.15)


def test_few_boxes_say_little_about_the_tomogram() -> None:
    boxes = np.random.default_rng(1).normal(size=(2, 16, 16, 16)).astype(np.float32)
    spectra = Spectra(boxes, np.tile([-60.0, 60.0], (2, 1)), CPU)
    np.testing.assert_allclose(spectra.transfer.numpy(), 1, atol=0.3)


def test_chosen_boxes_keep_their_order() -> None:
    boxes = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 2), np.float32)
    chosen = ChosenBoxes(boxes, np.array([4, 0, 3]))
    assert len(chosen) == 3
    assert chosen[np.array([2, 0])][:, 0, 0, 0].tolist() == [3.0, 4.0]


def test_boxes_that_are_no_cubes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes must be cubes, not \(8, 8, 6\)"):
        Spectra(np.zeros((2, 8, 8, 6), np.float32), np.zeros((2, 2)), CPU)
    with pytest.raises(ValueError, match="2 boxes but 3 tilt ranges"):
        Spectra(np.zeros((2, 8, 8, 8), np.float32), np.zeros((3, 2)), CPU)
