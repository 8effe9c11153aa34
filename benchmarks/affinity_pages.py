"""Figures and table of affinity-VAE for docs/affinity.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.affinity_names import BETAS, GAMMAS, SEEDS, run_name, seeds_of, weights
from benchmarks.affinity_runs import SEEN, SNR, UNSEEN, AffinitySize
from cryopipe.report.embedding_chart import embed_in_plane
from cryopipe.report.plots import Series, arranged, legend, line_plot, scatter_plot, slice_row

Run = Mapping[str, NDArray]
_SMALL = 190


def pictures(runs: Mapping[str, Run]) -> dict[str, Image.Image]:
    """Draw the figures by name.

    Parameters
    ----------
    runs
        Arrays of `affinity_run` by the run's name.
    """
    first = SEEDS[0]
    trained, plain = (runs[run_name(5.0, gamma, first)] for gamma in (10.0, 0.0))
    spaces = [
        scatter_plot(f"gamma {gamma:g}", classes_in_plane(run, "tsne"))
        for gamma, run in ((0.0, plain), (10.0, trained))
    ]
    series = classes_in_plane(trained, "pca")
    poses = [
        Series(str(trained["classes"][number]), trained["angles"], curve[:, 0], number + 1)
        for number, curve in enumerate(trained["poses"])
    ]
    names = trained["classes"]
    captions = [f"{i / (len(trained['decoded']) - 1):.2f}" for i in range(len(trained["decoded"]))]
    return {
        "embedding": arranged([[*spaces, legend(series)]]),
        "weights": arranged(
            [
                [_small(runs[run_name(beta, 0.0, first)], f"beta {beta:g}, gamma 0") for beta in BETAS],
                [_small(runs[run_name(5.0, gamma, first)], f"beta 5, gamma {gamma:g}") for gamma in GAMMAS],
            ]
        ),
        "pose": line_plot(
            "pose of noise-free boxes", "rotation about z, degrees", "pose", poses, include=[0.0]
        ),
        "interpolation": slice_row(f"from {names[0]} to {names[1]}", trained["decoded"], captions),
    }


def classes_in_plane(run: Run, method: str) -> list[Series]:
    """Return the test boxes in a plane, one series per class; classes that were not trained on are hollow."""
    plane, _ = embed_in_plane(run["latents"], method, seed=0)
    found = []
    for number, name in enumerate(run["classes"].tolist()):
        mine = run["truth"] == number
        unseen = number >= SEEN
        shown = f"{name}, unseen" if unseen else str(name)
        found.append(Series(shown, plane[mine, 0], plane[mine, 1], number + 1, unseen))
    return found


def _small(run: Run, title: str) -> Image.Image:
    return scatter_plot(title, classes_in_plane(run, "pca"), _SMALL)


def table(runs: Mapping[str, Run], size: AffinitySize, hardware: str) -> str:
    """Return the scores as Markdown."""
    lines = [
        f"{SEEN} procedural structures are trained on, {UNSEEN} others are not: boxes of {size.box_size} voxels of "
        f"{size.voxel_size:g} Å, SNR {SNR:g}, tilts of -60 to 60 degrees, {size.training} boxes per structure, "
        f"{size.options.epochs} epochs, {size.options.channels} channels. Accuracy of {size.test // 2} boxes per structure "
        f"by the nearest of ten centres, which {size.test - size.test // 2} other boxes give; guessing gives "
        f"{1 / (SEEN + UNSEEN):.2f}. Mean and standard deviation over seeds {', '.join(map(str, SEEDS))}; {hardware}.",
        "",
        "| beta | gamma | seeds | unseen structures | structures trained on | seconds of training |",
        "|---|---|---|---|---|---|",
    ]
    for pair in weights():
        seeds = seeds_of(pair)
        mine = [runs[run_name(*pair, seed)] for seed in seeds]
        cells = [_mean([float(run[name]) for run in mine]) for name in ("accuracy_unseen", "accuracy_seen")]
        seconds = np.mean([float(run["seconds"]) for run in mine])
        lines.append(
            f"| {pair[0]:g} | {pair[1]:g} | {len(seeds)} | {cells[0]} | {cells[1]} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
