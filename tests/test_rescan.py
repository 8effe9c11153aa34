"""Rescan: the search of a tomogram with an average, its significance, and the merging with earlier picks."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from asymmetric import asymmetric_map
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.files.cluster_averages import RESOLUTION, SYMMETRY, ClusterAverage
from cryopipe.files.opening import OpenTomogram
from cryopipe.particles import pick_table
from cryopipe.picking.pick import make_source
from cryopipe.picking.source import Source
from cryopipe.rescan import correlation, scan
from cryopipe.rescan.band_filter import binned_block, make_filter
from cryopipe.rescan.correlation import correlate, divide
from cryopipe.rescan.merge import merge_rounds
from cryopipe.rescan.options import RescanOptions
from cryopipe.rescan.rescanned_tomogram import averages_of_particles, rescan_tomogram
from cryopipe.rescan.scan import Hits, Search, best_of
from cryopipe.rescan.score_maxima import Candidates
from cryopipe.rescan.search_template import SearchTemplate, make_search_template
from cryopipe.rescan.significance import fit_tail, significant
from cryopipe.tomograms import Tomogram
from cryopipe.volume.geometry import angular_distance, random_rotations
from cryopipe.volume.wedge import wedge_mask

VOXEL = 20.0
TILTS = (-60.0, 60.0)
SHAPE = (24, 40, 40)
PARTICLES = 4
SCALE = 0.65


def average_of(volume: torch.Tensor, resolution: float = 60.0) -> ClusterAverage:
    return ClusterAverage(volume.float().numpy(), VOXEL, {RESOLUTION: resolution})


def source_of(volume: NDArray[np.float32], contrast: str = "bright") -> Source:
    source = make_source(volume, None, contrast, None, "cpu", "a")
    assert source is not None
    return source


def noise_in_wedge(
    shape: tuple[int, int, int], seed: int, tilts: tuple[float, float] = TILTS
) -> NDArray[np.float32]:
    white = np.random.default_rng(seed).normal(size=shape)
    return np.fft.ifftn(np.fft.fftn(white) * wedge_mask(shape, tilts).numpy()).real.astype(np.float32)


class Planted:
    """Asymmetric particles in a tomogram with a wedge, some of them beside each other."""

    def __init__(self, seed: int, noise: float) -> None:
        rng = np.random.default_rng(seed)
        grid = np.array([(z, y, x) for z in (11.6,) for y in (10.2, 28.8) for x in (10.1, 28.7)])
        self.centres = grid + rng.uniform(-1, 1, grid.shape)
        self.rotations = random_rotations(len(grid), rng)
        volume = np.zeros(SHAPE)
        for centre, rotation in zip(self.centres, self.rotations, strict=True):
            whole = np.rint(centre).astype(int)
            z, y, x = (slice(n - 8, n + 8) for n in whole)
            volume[z, y, x] += asymmetric_map(16, rotation, tuple((centre - whole)[::-1]), 1.2, SCALE).numpy()
        seen = np.fft.ifftn(np.fft.fftn(volume) * wedge_mask(SHAPE, TILTS).numpy()).real
        self.volume = (seen + noise * noise_in_wedge(SHAPE, seed)).astype(np.float32)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted(1, 0.3)


@pytest.fixture(scope="module")
def template() -> SearchTemplate:
    made = make_search_template(3, average_of(asymmetric_map(16, None, (0, 0, 0), 1.2, SCALE)), VOXEL, 70.0)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def quick() -> SearchTemplate:
    """A coarse template with few rotations."""
    made = make_search_template(3, average_of(asymmetric_map(16, None, (0, 0, 0), 1.2, SCALE)), VOXEL, 100.0)
    assert made is not None
    return replace(made, symmetry="O")


@pytest.fixture(scope="module")
def hits(planted: Planted, template: SearchTemplate) -> Hits:
    return Search(source_of(planted.volume), VOXEL, TILTS).run([template])


class TestSearch:
    @pytest.mark.slow
    def test_finds_each_particle_once_at_its_place_and_rotation(
        self, planted: Planted, template: SearchTemplate, hits: Hits
    ) -> None:
        distance, row = cKDTree(planted.centres[:, ::-1]).query(hits.positions)
        found = distance * VOXEL < 0.5 * template.radius
        assert sorted(row[found]) == list(range(PARTICLES))
        assert (~found).sum() <= 2  # one false pick is expected
        assert np.median(distance[found]) < 0.5 * template.binning
        error = angular_distance(hits.rotations[found], planted.rotations[row[found]])
        # of random rotations one in 300 is that near; some particles look alike in two rotations at this noise
        assert (error < template.angle).sum() >= PARTICLES - 1
        assert (hits.classes == 3).all()
        assert hits.scores[found].min() > hits.scores[~found].max(initial=0)
        assert hits.expected[found].max() < 0.1

    def test_states_its_cost_and_finds_nothing_with_inverted_contrast(
        self, planted: Planted, quick: SearchTemplate, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO):
            found = Search(source_of(-planted.volume), VOXEL, TILTS, 1e-3).run([quick])
        assert len(found) == 0
        rotations = len(quick.rotations())
        assert caplog.messages[0].startswith(
            f"a: class 3: {rotations} rotations within 26 degrees of all orientations (O), voxels of 40 A, resolution 100 A, "
        )

    def test_blocks_do_not_change_the_result(
        self,
        planted: Planted,
        quick: SearchTemplate,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        source = source_of(planted.volume)
        whole = Search(source, VOXEL, TILTS, 20.0).run([quick])
        monkeypatch.setitem(correlation.LARGEST_BLOCK, "cpu", 1)
        assert len(divide(scan.search_shape(source, quick), quick, 5, 4.0, source.device)) > 1
        blocks = Search(source, VOXEL, TILTS, 20.0).run([quick])
        assert len(whole) > PARTICLES
        apart, row = cKDTree(blocks.positions).query(whole.positions)
        same = apart < 0.1
        assert same.mean() > 0.9  # the border of a block is filtered a little differently
        np.testing.assert_allclose(blocks.scores[row[same]], whole.scores[same], atol=0.01)

    def test_resumes_where_it_was_killed(
        self, planted: Planted, quick: SearchTemplate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        source = source_of(planted.volume)
        templates = [replace(quick, number=number) for number in (1, 2)]
        whole = Search(source, VOXEL, TILTS, 20.0).run(templates)
        searched: list[int] = []

        def interrupted(*args: object) -> correlation.Scores:
            if searched:
                raise KeyboardInterrupt
            searched.append(1)
            return correlate(*args)  # type: ignore[arg-type]

        checkpoint = tmp_path / "search.safetensors"
        monkeypatch.setattr(scan, "correlate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Search(source, VOXEL, TILTS, 20.0, checkpoint=checkpoint).run(templates)
        count: list[int] = []

        def counted(*args: object) -> correlation.Scores:
            count.append(1)
            return correlate(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(scan, "correlate", counted)
        resumed = Search(source, VOXEL, TILTS, 20.0, checkpoint=checkpoint).run(templates)
        assert len(count) == 1
        np.testing.assert_array_equal(resumed.positions, whole.positions)
        other = source_of(planted.volume + np.float32(1) * (planted.volume > 1))
        Search(other, VOXEL, TILTS, 20.0, checkpoint=checkpoint).run(templates[:1])
        assert len(count) == 2  # another tomogram is searched anew

    def test_flat_and_masked_places_have_no_score(self, planted: Planted, quick: SearchTemplate) -> None:
        volume = planted.volume.copy()
        volume[:, :, :24] = 0.0
        hits = Search(source_of(volume), VOXEL, TILTS, 1000.0).run([quick])
        assert len(hits) > 5
        assert hits.positions[:, 0].min() > 18


class TestTemplate:
    def test_average_without_resolution_or_structure_is_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert (
                make_search_template(4, ClusterAverage(np.zeros((8, 8, 8), np.float32), 10.0), 10.0) is None
            )
            unknown = ClusterAverage(asymmetric_map(24).float().numpy(), 10.0)
            assert make_search_template(5, unknown, 10.0) is None
        assert [record.getMessage() for record in caplog.records] == [
            "class 4 is not searched for: its average has no structure at its centre",
            "class 5 is not searched for: its average has no resolution",
        ]

    def test_band_is_limited_by_resolution_size_and_voxels(self) -> None:
        volume = asymmetric_map(24).float().numpy()
        fine = ClusterAverage(volume, 10.0, {RESOLUTION: 22.0})
        made = make_search_template(1, fine, 10.0)
        assert made is not None
        assert 2 * made.radius / 3.5 <= made.resolution < 1.2 * 2 * made.radius / 3.5
        assert made.binning == int(1.2 * 2 * made.radius / 3.5 / 22)
        asked = make_search_template(1, fine, 10.0, 30.0)
        assert asked is not None
        assert (asked.resolution, asked.binning) == (30.0, 1)
        coarse = make_search_template(1, replace(fine, figures={RESOLUTION: 80.0}), 10.0, 30.0)
        assert coarse is not None
        assert coarse.resolution == 80.0
        # a point of the surface moves by half the resolution at most
        assert np.radians(asked.angle) * asked.radius == pytest.approx(15.0)

    def test_rotates_like_the_planted_particles(self, template: SearchTemplate) -> None:
        rotation = random_rotations(1, np.random.default_rng(3))
        truth = asymmetric_map(16, rotation[0], (0, 0, 0), 1.2, SCALE).float()[4:12, 4:12, 4:12]
        low = template.box_size // 2 - 4
        for pose, least, most in ((rotation, 0.99, 1.0), (rotation.inv(), -1.0, 0.9)):
            box = template.rotated(torch.from_numpy(pose.as_matrix()).float())[0]
            inner = box[low : low + 8, low : low + 8, low : low + 8]
            found = float(torch.corrcoef(torch.stack([inner.flatten(), truth.flatten()]))[0, 1])
            assert least < found < most


class TestFilter:
    def test_whitens_inside_the_wedge_and_removes_the_rest(self) -> None:
        shape = (48, 48, 48)
        volume = noise_in_wedge(shape, 2)
        transform = np.fft.fftn(volume)
        radius = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(48),) * 3, indexing="ij")))
        volume = np.fft.ifftn(transform / (0.05 + radius)).real.astype(np.float32)
        source = source_of(volume)
        band = make_filter(source, 1, 0.3, TILTS)
        gain = band.gain(shape, source.device).numpy()
        filtered = np.abs(np.fft.rfftn(volume) * gain)
        half = radius[:, :, :25]
        inside = wedge_mask(shape, TILTS).numpy()[:, :, :25] > 0
        powers = [
            np.mean(filtered[inside & (half > low) & (half <= low + 0.05)] ** 2)
            for low in (0.05, 0.1, 0.15, 0.2)
        ]
        assert max(powers) < 1.5 * min(powers)
        assert filtered[(half > 0.42)].max() < 0.05 * np.sqrt(powers[0])
        assert (gain[~inside] == 0).all()

    @pytest.mark.parametrize("size", [(8, 9, 10), (7, 8, 11)])
    @pytest.mark.parametrize("binning", [1, 2, 3])
    def test_binned_voxels_keep_their_places(self, binning: int, size: tuple[int, int, int]) -> None:
        z, y, x = np.meshgrid(*(np.arange(60.0),) * 3, indexing="ij")
        at = np.array([30.0, 24.0, 36.0])
        volume = np.exp(
            -((z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2) / (2 * (2.0 * binning) ** 2)
        )
        source = replace(source_of(volume.astype(np.float32)), median=0.0, limit=np.inf)
        start = [int(a // binning) - n // 2 for a, n in zip(at, size, strict=True)]
        values, known = binned_block(source, binning, start, size)
        found = np.array(np.unravel_index(int(values.argmax()), size)) + start
        np.testing.assert_array_equal(found * binning, at)
        assert values.shape == known.shape == size
        beyond, unknown = binned_block(source, binning, [-2, -2, -2], size)
        assert unknown[:2].max() == 0
        assert unknown[2:, 2:, 2:].min() == 1
        assert float(beyond[0, 0, 0].abs()) < 1e-3


def noise_maxima(seed: int, count: int, power: float = 20.0) -> Candidates:
    """Maxima with the distribution of correlation coefficients, far from each other."""
    rng = np.random.default_rng(seed)
    scores = np.sqrt(1 - rng.random(count) ** (1 / power))
    side = int(np.ceil(count ** (1 / 3)))
    places = np.array(np.unravel_index(rng.permutation(side**3)[:count], (side,) * 3)).T * 20.0
    return Candidates(places, scores, scores, np.zeros(count, np.int64))


class TestSignificance:
    @pytest.mark.parametrize("false_picks", [1.0, 10.0])
    def test_noise_gives_the_false_picks_asked_for(self, false_picks: float) -> None:
        places = np.random.default_rng(0).random((1000, 3)) * 200
        counts = [
            len(
                significant(
                    noise_maxima(seed, 1500), noise_maxima(seed + 500, 1500), places, 5.0, false_picks
                )[1]
            )
            for seed in range(60)
        ]
        assert np.mean(counts) == pytest.approx(false_picks, rel=0.45)

    def test_particles_do_not_raise_the_threshold_by_their_fringes(self) -> None:
        noise, null = noise_maxima(1, 1500), noise_maxima(2, 1500)
        rows = np.arange(0, 1500, 15)
        strong = replace(noise, scores=noise.scores.copy())
        strong.scores[rows] = 0.9
        strong = replace(strong, sharpness=strong.scores)
        fringes = Candidates(
            np.concatenate([null.positions, strong.positions[rows] + 7.0]),
            np.concatenate([null.scores, np.full(len(rows), 0.7)]),
            np.concatenate([null.scores, np.full(len(rows), 0.7)]),
            np.zeros(1500 + len(rows), np.int64),
        )
        places = np.random.default_rng(0).random((1000, 3)) * 220
        kept, expected = significant(strong, fringes, places, 6.5, 1.0)
        assert (kept.scores == 0.9).sum() == len(rows)
        assert len(kept) <= len(rows) + 4
        assert expected.max() <= 1.0
        assert (np.diff(kept.scores) <= 0).all()

    def test_a_plateau_is_not_a_particle(self) -> None:
        noise = noise_maxima(3, 1500)
        noise.scores[7], noise.scores[8] = 0.95, 0.95
        sharpness = noise.scores.copy()
        sharpness[7] = 0.3
        kept, _ = significant(
            replace(noise, sharpness=sharpness), noise_maxima(4, 1500), np.zeros((0, 3)), 5.0, 0.1
        )
        assert kept.positions.tolist() == [noise.positions[8].tolist()]

    def test_too_few_maxima_of_the_null_make_nothing_significant(self) -> None:
        assert fit_tail(np.full(5, 0.2), 1.0).expected(np.array([0.99])) == pytest.approx(5.0)


TOMOGRAM = Tomogram("a", "a.mrc", contrast="bright")


def hits_at(places: list[list[float]], classes: list[int], radius: float = 100.0) -> Hits:
    count = len(places)
    return Hits(
        np.array(places, float).reshape(-1, 3),
        np.array(classes, np.int64),
        np.linspace(0.9, 0.5, count),
        np.linspace(1e-6, 0.5, count),
        random_rotations(count, np.random.default_rng(1)),
        np.full(count, radius),
    )


def picks_at(places: list[list[float]]) -> pd.DataFrame:
    count = len(places)
    scores = np.linspace(9, 5, count)
    return pick_table(
        "a", "a.mrc", np.array(places, float).reshape(-1, 3), VOXEL, scores, np.full(count, 180.0)
    )


class TestMerging:
    def test_existing_picks_take_over_better_centres_and_keep_their_names(self) -> None:
        picks = picks_at([[10, 10, 10], [40, 40, 10], [13, 10, 10]])
        hits = hits_at([[11, 10, 10.5], [70, 20, 12]], [2, 1])
        merged = merge_rounds(picks, pd.DataFrame(), hits, TOMOGRAM, VOXEL)
        # pick 3 lies within the radius of the particle of pick 1
        assert merged[columns.PARTICLE].tolist() == ["a/1", "a/2", "a/4"]
        assert merged[columns.ROUND].tolist() == [1, 1, 2]
        assert merged[columns.RESCAN_CLASS].tolist() == [2, 0, 1]
        assert merged[columns.RESCAN_SCORE].tolist() == [0.9, 0.0, 0.5]
        assert merged[list(columns.COORDINATES)].to_numpy().tolist() == [
            [11, 10, 10.5],
            [40, 40, 10],
            [70, 20, 12],
        ]
        assert merged[columns.DIAMETER].tolist() == [180.0, 180.0, 200.0]
        assert merged[columns.PICK_SCORE].tolist() == [9.0, 7.0, 7.0]
        assert list(merged.columns[: len(picks.columns)]) == list(picks.columns)
        angles = merged.loc[[0, 2], list(columns.RESCAN_ANGLES)].to_numpy()
        back = Rotation.from_euler("ZYZ", angles, degrees=True).inv()
        assert angular_distance(back, hits.rotations).max() < 1e-6

    def test_located_centres_and_doubles_of_the_first_round_count(self) -> None:
        picks = picks_at([[10, 10, 10], [40, 40, 10], [46, 40, 10], [60, 10, 10]])
        located = picks.iloc[:3].assign(rlnOriginXAngst=-3 * VOXEL, rlnOriginYAngst=0.0, rlnOriginZAngst=0.0)
        located[columns.DOUBLE_OF] = [columns.NO_DOUBLE, columns.NO_DOUBLE, "a/2"]
        merged = merge_rounds(picks, located, hits_at([], []), TOMOGRAM, VOXEL)
        assert merged[columns.PARTICLE].tolist() == ["a/1", "a/2", "a/4"]
        assert merged[columns.COORDINATES[0]].tolist() == [13, 43, 60]

    def test_without_picks_all_are_added(self) -> None:
        merged = merge_rounds(picks_at([]), pd.DataFrame(), hits_at([[1, 2, 3]], [4]), TOMOGRAM, VOXEL)
        assert merged[columns.PARTICLE].tolist() == ["a/1"]
        assert merged[columns.MICROGRAPH].tolist() == ["a.mrc"]

    def test_columns_of_other_programs_are_kept(self) -> None:
        picks = picks_at([[10, 10, 10]]).assign(cryopipeGivenClass="ribosome", score=4.0)
        merged = merge_rounds(picks, pd.DataFrame(), hits_at([[50, 50, 9]], [1]), TOMOGRAM, VOXEL)
        assert merged["cryopipeGivenClass"].tolist() == ["ribosome", "None"]
        assert merged["score"].tolist() == [4.0, 0.0]

    def test_the_most_significant_class_keeps_a_place(self) -> None:
        first, second = hits_at([[10, 10, 10], [60, 10, 10]], [1, 1]), hits_at([[12, 10, 10]], [2])
        second = replace(second, expected=np.array([1e-9]))
        best = best_of([first, second], VOXEL)
        assert best.classes.tolist() == [2, 1]
        assert best.positions.tolist() == [[12, 10, 10], [60, 10, 10]]


class TestTomogram:
    VERDICTS = pd.DataFrame({"cluster": [1, 2, 3], "verdict": ["particle", "noise", "mixture suspected"]})

    def test_only_particles_search(self) -> None:
        averages = {number: average_of(asymmetric_map(16)) for number in (1, 2, 3)}
        assert list(averages_of_particles(averages, self.VERDICTS)) == [1, 3]

    def test_finds_what_was_not_picked(self, planted: Planted) -> None:
        average = average_of(asymmetric_map(16, None, (0, 0, 0), 1.2, SCALE), 100.0)
        average = replace(average, figures={**average.figures, SYMMETRY: "O"})
        picks = picks_at(planted.centres[:1, ::-1].tolist())
        opened = OpenTomogram(planted.volume, VOXEL, None)
        found = rescan_tomogram(
            TOMOGRAM, opened, {5: average}, picks, pd.DataFrame(), RescanOptions(false_picks=0.5)
        )
        assert found[columns.PARTICLE].iloc[0] == "a/1"
        assert found[columns.ROUND].tolist() == [1] + [2] * (len(found) - 1)
        distance, row = cKDTree(planted.centres[:, ::-1]).query(found[list(columns.COORDINATES)])
        assert set(row[distance * VOXEL < 60]) == set(range(PARTICLES))
        assert len(found) <= PARTICLES + 1

    def test_a_bad_tomogram_or_no_average_leaves_the_picks(
        self, planted: Planted, caplog: pytest.LogCaptureFixture
    ) -> None:
        picks = picks_at([[10, 10, 10]])
        left = rescan_tomogram(TOMOGRAM, None, {}, picks, pd.DataFrame(), RescanOptions())
        assert left[columns.PARTICLE].tolist() == ["a/1"]
        opened = OpenTomogram(planted.volume, VOXEL, None)
        left = rescan_tomogram(TOMOGRAM, opened, {}, picks, pd.DataFrame(), RescanOptions())
        assert left[columns.RESCAN_CLASS].tolist() == [0]
        assert "a: no average is recognised as a particle: no search" in caplog.messages
