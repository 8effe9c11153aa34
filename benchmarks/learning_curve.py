"""Learning curve of DISCA: accuracy of its clusters and its features after each iteration of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.box_sets import BoxSet, simulate_set
from benchmarks.linear_probe import linear_probe
from benchmarks.plan import BenchmarkPlan
from cryopipe.clustering import ClusteringOptions, find_clusters
from cryopipe.errors import ConfigError
from cryopipe.evaluation.cluster_scores import score_clusters
from cryopipe.features import create_learner
from cryopipe.features.learners.disca import Disca
from cryopipe.features.learners.disca_state import DiscaState
from cryopipe.features.options import FeatureOptions
from cryopipe.palette import cluster_colour
from cryopipe.simulation.phantoms import Phantom

LINES = ("accuracy", "accuracy, K given", "linear probe")
"""Columns of a curve: of DISCA's own clusters, of the final clustering with the true K, of a probe with labels."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 200, 50, 70
_INK, _GRID = "#333333", "#dddddd"


class _Observed(Disca):
    """DISCA that scores its clusters and features before each training."""

    truth: NDArray[np.int64]
    curve: list[dict[str, float]]

    def _cluster(self, state: DiscaState, features: Tensor) -> tuple[NDArray[np.int64], dict[str, float]]:
        labels, row = super()._cluster(state, features)
        scores = _scores(features.cpu().numpy(), self.truth, self.seed)
        own = score_clusters(self.truth.astype(str), labels + 1).accuracy
        self.curve.append(
            {"iteration": row["iteration"], "clusters": row["clusters"], LINES[0]: own, **scores}
        )
        return labels, row


def learning_curve(
    plan: BenchmarkPlan,
    size_name: str,
    row: str,
    condition: str,
    phantoms: Sequence[Phantom],
    device: torch.device,
    maps: bool,
) -> pd.DataFrame:
    """Train a plan's DISCA row on the boxes of one condition, once per seed, and score every iteration.

    Parameters
    ----------
    plan, size_name
        The plan and the name of one of its sizes.
    row
        Name of a row whose learner is disca.
    condition
        Name of the condition.
    phantoms
        The classes.
    device
        Device of the computation.
    maps
        Whether the classes are density maps.

    Returns
    -------
    One row per seed and iteration: seed, learner ("disca"), iteration, clusters, and `LINES`; and one per seed for
    radial statistics (learner "radial", iteration 0).

    Raises
    ------
    ConfigError
        If the row is of another learner or the condition is unknown.
    """
    size = plan.sizes[size_name]
    options = plan.feature_options(row, size)
    levels = [one.snr for one in plan.conditions if one.name == condition]
    if options.learner != "disca" or not levels:
        raise ConfigError(
            f"benchmark {plan.name}: no condition {condition!r} or no row {row!r} of disca",
            remedy="name one of the plan's",
        )
    tables = []
    for seed in size.seeds:
        labels = torch.arange(len(phantoms)).repeat_interleave(size.boxes_per_class)
        boxes = simulate_set(phantoms, plan.box_options(size, levels[0], maps), labels, device, seed)
        learner = _Observed(options, device, seed)
        learner.truth, learner.curve = boxes.truth, []
        learner.fit(boxes.boxes)
        curve = pd.DataFrame(learner.curve).assign(learner="disca")
        tables.append(pd.concat([curve, _radial(boxes, device, seed)]).assign(seed=seed))
    return pd.concat(tables, ignore_index=True)


def _radial(boxes: BoxSet, device: torch.device, seed: int) -> pd.DataFrame:
    features = create_learner("radial", FeatureOptions(), device, seed).embed(boxes.boxes)
    found = find_clusters(features, _everything(), seed).labels
    own = score_clusters(boxes.truth.astype(str), found)
    row = {LINES[0]: own.accuracy, "clusters": own.clusters, **_scores(features, boxes.truth, seed)}
    return pd.DataFrame([{"iteration": 0, "learner": "radial", **row}])


def _scores(features: NDArray[np.float32], truth: NDArray[np.int64], seed: int) -> dict[str, float]:
    count = len(np.unique(truth))
    given = find_clusters(features, _everything((count, count)), seed).labels
    accuracy = score_clusters(truth.astype(str), given).accuracy
    return {LINES[1]: accuracy, LINES[2]: linear_probe(features, truth, 1.0, seed)}


def _everything(clusters: tuple[int, int] = (2, 20)) -> ClusteringOptions:
    """Return options with which every particle is assigned to a cluster, as in the published tables."""
    return ClusteringOptions(clusters=clusters, minimum_posterior=0.0, outlier_probability=0.0)


def curve_picture(curve: pd.DataFrame) -> Image.Image:
    """Plot the mean over seeds of each of `LINES` by iteration; the mean of radial statistics as dashed lines."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    disca = curve[curve["learner"] == "disca"].groupby("iteration")[list(LINES)].mean()
    radial = curve[curve["learner"] == "radial"][list(LINES)].mean()
    last = max(1, int(disca.index.max()))

    def place(iteration: float, value: float) -> tuple[float, float]:
        across = LEFT + iteration / last * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)

    for value in np.linspace(0, 1, 6):
        start, end = place(0, value), place(last, value)
        draw.line((*start, *end), fill=_GRID)
        draw.text((start[0] - 8, start[1]), f"{value:.1f}", fill=_INK, font=font, anchor="rm")
    for iteration in range(last + 1):
        x, y = place(iteration, 0)
        draw.text((x, y + 6), str(iteration), fill=_INK, font=font, anchor="ma")
    draw.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 30), "iteration", fill=_INK, font=font, anchor="ma")
    draw.text((LEFT, 14), "DISCA from random weights; dashed: radial statistics", fill=_INK, font=font)
    taken: list[float] = []
    for number, name in sorted(enumerate(LINES, 1), key=lambda one: -float(disca[one[1]].iloc[-1])):
        colour = cluster_colour(number)
        points = [place(i, value) for i, value in enumerate(disca[name].to_numpy(float))]
        draw.line(points, fill=colour, width=3)
        for x, y in points:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
        _dash(draw, place(0, float(radial[name])), place(last, float(radial[name])), colour)
        height = max([points[-1][1], *(other + 18 for other in taken)])
        taken.append(height)
        draw.text((points[-1][0] + 12, height), name, fill=colour, font=font, anchor="lm")
    return sheet


def _dash(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], colour: str
) -> None:
    for x in np.arange(start[0], end[0], 16):
        draw.line((x, start[1], min(x + 8, end[0]), end[1]), fill=colour, width=1)
