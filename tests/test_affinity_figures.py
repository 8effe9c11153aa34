"""Figures of affinity-VAE: scores of unseen structures, one tiny run, pictures and table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.affinity_names import run_name, run_names, seeds_of, weights
from benchmarks.affinity_pages import pictures, table
from benchmarks.affinity_runs import (
    ANGLES,
    SEEN,
    STEPS,
    UNSEEN,
    AffinitySize,
    affinity_run,
    placement_accuracies,
)
from cryopipe.features.learners.affinity_options import AffinityOptions
from cryopipe.palette import cluster_colour
from cryopipe.report.plots import Series, arranged, legend, line_plot, scatter_plot, slice_row

TINY = AffinitySize(
    12, 26.0, 60.0, 4, 4, AffinityOptions(channels=4, depth=2, latent_width=3, epochs=1, batch_size=16)
)


def rgb(number: int) -> tuple[int, ...]:
    return tuple(bytes.fromhex(cluster_colour(number)[1:]))


def test_runs_are_the_published_weights_with_three_seeds_where_they_are_compared() -> None:
    assert [run_name(*pair, 1) for pair in weights() if len(seeds_of(pair)) == 3] == [
        "beta_5_gamma_0_seed_1",
        "beta_5_gamma_10_seed_1",
    ]
    assert len(run_names()) == len(set(run_names())) == 6 + 6


def test_unseen_structures_are_scored_on_boxes_that_gave_no_centre() -> None:
    count = SEEN + UNSEEN
    truth = np.tile(np.arange(count), 6)
    latents = np.eye(count, dtype=np.float32)[truth]
    assert placement_accuracies(latents, truth) == (1.0, 1.0)
    half = len(truth) // 2
    # Scored boxes of one unseen structure in the place of a seen one: half of the unseen are wrong.
    latents[half:][truth[half:] == SEEN] = np.eye(count)[0]
    assert placement_accuracies(latents, truth) == (1.0, 0.5)
    # Boxes that give the centres are not scored.
    latents[:half][truth[:half] == SEEN] = np.eye(count)[0]
    seen, unseen = placement_accuracies(latents, truth)
    assert unseen in (0.5, 1.0)
    assert seen in (1 - 1 / SEEN, 1.0)


@pytest.fixture(scope="module")
def run() -> dict[str, np.ndarray]:
    found = affinity_run(TINY, np.eye(SEEN, dtype=np.float32), 5.0, 10.0, 1, torch.device("cpu"))
    return {name: np.asarray(value) for name, value in found.items()}


def test_a_run_gives_the_arrays_of_the_figures(run: dict[str, np.ndarray]) -> None:
    count = SEEN + UNSEEN
    assert run["latents"].shape == (4 * count, 3)
    assert run["truth"].tolist() == list(range(count)) * 4
    assert run["decoded"].shape == (STEPS, 12, 12, 12)
    assert run["poses"].shape == (3, len(ANGLES), 1)
    assert len(set(run["classes"].tolist())) == count
    assert (float(run["accuracy_seen"]), float(run["accuracy_unseen"])) == placement_accuracies(
        run["latents"], run["truth"]
    )


def test_pictures_and_table(run: dict[str, np.ndarray]) -> None:
    runs = {name: dict(run) for name in run_names()}
    for seed, accuracy in ((1, 0.6), (2, 0.7), (3, 0.8)):
        runs[run_name(5, 10, seed)]["accuracy_unseen"] = np.array(accuracy)
    made = pictures(runs)
    assert set(made) == {"embedding", "weights", "pose", "interpolation"}
    assert all(np.asarray(picture).std() > 5 for picture in made.values())
    rows = [
        line.split("|") for line in table(runs, TINY, "a test").splitlines() if line.startswith("| 5 | 10")
    ]
    assert [cell.strip() for cell in rows[0][1:5]] == ["5", "10", "3", "0.70 ± 0.10"]


def test_points_and_lines_lie_where_their_numbers_are() -> None:
    corners = np.array([0.0, 1.0])
    plot = np.asarray(scatter_plot("corners", [Series("a", corners, corners, 1)], 100))
    own = np.argwhere((plot == rgb(1)).all(axis=2))
    centre = np.array(plot.shape[:2]) / 2
    assert ((own[:, 0] < centre[0]) == (own[:, 1] > centre[1])).all()  # bottom left and top right
    ring = np.asarray(scatter_plot("ring", [Series("a", corners, corners, 1, hollow=True)], 100))
    assert (ring != plot).any()
    rising = np.asarray(line_plot("line", "x", "y", [Series("up", corners, corners, 2)]))
    line = np.argwhere((rising == rgb(2)).all(axis=2) & (np.arange(rising.shape[1]) < 360))
    assert np.corrcoef(line.T)[0, 1] < -0.99
    assert (np.asarray(legend([Series("a", corners, corners, 3)])) == rgb(3)).all(axis=2).any()


def test_slices_have_a_common_grey_scale_and_rows_are_arranged() -> None:
    maps = np.zeros((2, 4, 4, 4), np.float32)
    maps[1, 2] = 1.0
    row = slice_row("two", maps, ["0", "1"], edge=20)
    values = np.asarray(row.convert("L"))
    assert values[40, 20] < 10
    assert values[40, 48] > 245
    sheet = arranged([[Image.new("RGB", (10, 20)), Image.new("RGB", (5, 8))], [Image.new("RGB", (4, 3))]])
    assert sheet.size == (15, 23)
    assert sheet.getpixel((12, 4)) == (0, 0, 0)
    assert sheet.getpixel((12, 12)) == (255, 255, 255)
