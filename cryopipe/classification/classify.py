"""Classification of particles by averages.

More classes than the features show are started, each from the boxes of one cluster. In every round all boxes are compared
with the averages of all classes in all poses. Classes are merged and divided by the likelihood of boxes that the averages
do not contain (see `class_number`), so that their number follows from the data.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, shift_grid
from cryopipe.alignment.spectra import Spectra
from cryopipe.boxes import Boxes
from cryopipe.classification.band_boxes import prepare_boxes
from cryopipe.classification.class_maps import ClassMaps
from cryopipe.classification.class_number import divide_mixed, drop_small, merge_twins
from cryopipe.classification.options import ClassificationOptions
from cryopipe.classification.rounds import Classes, Rounds
from cryopipe.classification.start import initial_maps
from cryopipe.clustering.clusters import order_by_size
from cryopipe.features.training.checkpoint import Checkpoint, resume, write_checkpoint
from cryopipe.progress import Progress
from cryopipe.volume.geometry import rotation_grid
from cryopipe.volume.masks import sphere_mask

logger = logging.getLogger(__name__)

FOLDS = 4
FIRST_RESOLUTION = 70.0
"""Angstrom; finest resolution of the initial maps."""
FIRST_ANGLE = 30.0
"""Degrees; angular step of the initial maps."""
KEPT_IN_CLUSTER = 0.8
"""Posterior of a particle's own cluster in the first round; the rest is spread over all classes."""
LEAST_GAIN = 0.02
"""Rise of the mean log-likelihood per box below which the last rounds end."""

HISTORY = ["action", "classes", "log_likelihood", "smallest", "largest"]
ACTIONS = ("start", "first", "round", "round", "merge", "round", "divide", "round", "merge", "round")
"""What is done until the number of classes is decided; `last` follows."""


@dataclass(frozen=True)
class Classification:
    """Classes of n particles.

    Attributes
    ----------
    labels
        (n,) 1..C, the largest class first; 0 for particles whose class is uncertain.
    posteriors
        (n,) of the most probable class.
    log_likelihoods
        (n,) of the particle's class, relative to that of noise alone: below 0, noise describes the box better.
    history
        One row per step, see `HISTORY`; log_likelihood is the mean of boxes left out, smallest and largest are numbers of
        particles.
    """

    labels: NDArray[np.int64]
    posteriors: NDArray[np.float64]
    log_likelihoods: NDArray[np.float64]
    history: pd.DataFrame


def number_of_starts(particles: int, clusters: int, options: ClassificationOptions) -> int:
    """Return the number of classes to start with."""
    wanted = options.start_classes or max(12, -(-5 * clusters // 2))
    return max(1, min(wanted, particles // 20))


def classify_boxes(
    boxes: Boxes,
    tilt_ranges: NDArray[np.float64],
    features: NDArray[np.float64],
    clusters: NDArray[np.int64],
    groups: NDArray[np.intp],
    voxel_size: float,
    mask_diameter: float,
    options: ClassificationOptions,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
) -> Classification:
    """Classify boxes by the averages of classes.

    Parameters
    ----------
    boxes
        (n, z, y, x) cubes, particles bright.
    tilt_ranges
        (n, 2) degrees.
    features
        (n, d), in which classes are divided.
    clusters
        (n,) 0..C-1: the clusters to start from, more than classes are expected.
    groups
        (n,) numbers; boxes of one number, such as overlapping ones, are left out together.
    voxel_size, mask_diameter
        Angstrom; the averages are masked with a soft sphere.
    options
        See `ClassificationOptions`.
    seed
        Of all random numbers.
    device
        Device of the computation.
    checkpoint
        File in which every step is stored; an interrupted classification continues from it.
    """
    spectra = Spectra(boxes, tilt_ranges, device)
    work = _Work(spectra, features, clusters, groups, voxel_size, mask_diameter, options, seed, checkpoint)
    classes = work.run()
    posteriors, best = (value.cpu().numpy() for value in classes.responsibilities.max(dim=1))
    likelihoods = classes.log_likelihoods.cpu().numpy()[np.arange(len(best)), best]
    labels = order_by_size(best, posteriors < options.minimum_posterior)
    history = pd.DataFrame(work.history, columns=HISTORY)
    return Classification(labels, posteriors.astype(float), likelihoods.astype(float), history)


@dataclass
class _Work:
    """The steps of a classification, each with random numbers of its own so that they can be repeated."""

    spectra: Spectra
    features: NDArray[np.float64]
    clusters: NDArray[np.int64]
    groups: NDArray[np.intp]
    voxel_size: float
    mask_diameter: float
    options: ClassificationOptions
    seed: int
    checkpoint: Path | None
    history: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        device, size = self.spectra.device, self.spectra.box_size
        edge = max(2.0, size / 10)
        self.mask = sphere_mask(
            size, min(self.mask_diameter / self.voxel_size / 2, size / 2 - edge), edge, device
        )
        folds = folds_of_groups(self.groups, FOLDS, np.random.default_rng([self.seed, 0]))
        self.coarse = self._rounds(max(FIRST_RESOLUTION, self.options.resolution), FIRST_ANGLE, folds)
        self.fine = self._rounds(self.options.resolution, self.options.angular_step, folds)

    def _rounds(self, resolution: float, angle: float, folds: NDArray[np.int64]) -> Rounds:
        size, device = self.spectra.box_size, self.spectra.device
        shells = int(np.ceil(size * self.voxel_size / max(resolution, 2 * self.voxel_size)))
        boxes = prepare_boxes(self.spectra, Band(size, max(4, shells), device), folds)
        matrices = torch.from_numpy(rotation_grid(angle).as_matrix()).to(self.mask)
        search = Grid(matrices, shift_grid(self.options.max_shift / self.voxel_size, 1.0, device))
        return Rounds(boxes, search, self.mask, np.random.default_rng(self.seed))

    def run(self) -> Classes:
        """Return the classes after all steps."""
        classes, best = self._resumed()
        actions = [*ACTIONS, *["last"] * self.options.rounds]
        logger.info(
            "%d boxes, %d Fourier coefficients, %d orientations, %d shifts; %d classes at the start",
            len(self.fine.boxes), len(self.fine.boxes.band), len(self.fine.search.matrices),
            len(self.fine.search.shifts_voxels), self.clusters.max() + 1,
        )  # fmt: skip
        for number in range(len(self.history), len(actions)):
            if self._settled():
                break
            self.fine.rng = self.coarse.rng = np.random.default_rng([self.seed, number + 1])
            classes = self._step(actions[number], number, classes)
            self._record(actions[number], classes)
            if actions[number] == "last" and (best is None or classes.likelihood > best.likelihood):
                best = classes
            self._store(classes, best)
        assert classes is not None
        return best or classes

    def _step(self, action: str, number: int, classes: Classes | None) -> Classes:
        """Return the classes after one step."""
        fine, labels = self.fine, self.clusters
        what = f"step {number + 1} of at most {len(ACTIONS) + self.options.rounds}"
        if classes is None:
            maps, noise = fine.start(initial_maps(self.coarse, labels))
            own = torch.from_numpy(np.eye(len(maps), dtype=np.float32)[labels]).to(self.mask)
            return Classes(maps, noise, own, torch.zeros_like(own), fine.uniform(len(maps)))
        if action == "merge":
            return merge_twins(fine, drop_small(classes, self.options.smallest_class))
        if action == "divide":
            return divide_mixed(fine, classes, self.features, self.options.smallest_class)
        counter = Progress(len(fine.boxes), "boxes", f"{what}: comparing with {classes.count} classes")
        evidence, fixed = fine.uniform(classes.count), None
        if action == "first":
            spread = (1 - KEPT_IN_CLUSTER) / classes.count
            fixed = classes.responsibilities * KEPT_IN_CLUSTER + spread
        if action == "last":
            evidence = fine.short_evidence(classes, evidence)
        return fine.improve(classes.maps, classes.noise, evidence, fixed, counter.advance)

    def _record(self, action: str, classes: Classes) -> None:
        sizes = np.bincount(classes.labels(), minlength=classes.count)
        row = {
            "action": action,
            "classes": classes.count,
            "log_likelihood": classes.likelihood if action not in ("start", "divide") else float("nan"),
            "smallest": int(sizes.min()),
            "largest": int(sizes.max()),
        }
        self.history.append(row)
        logger.info(
            "%s: %s", action, ", ".join(f"{name} {value}" for name, value in row.items() if name != "action")
        )

    def _settled(self) -> bool:
        """Return whether the last two rounds have the same likelihood, or the last one a lower one."""
        recent = self.history[-2:]
        if len(recent) < 2 or any(row["action"] != "last" for row in recent):
            return False
        return float(str(recent[1]["log_likelihood"])) < float(str(recent[0]["log_likelihood"])) + LEAST_GAIN

    def _fingerprint(self) -> str:
        """Return a text that identifies options, boxes, clusters, groups and features."""
        boxes, content = self.fine.boxes, hashlib.sha256()
        for array in (self.clusters, self.groups, self.features, boxes.power.cpu().numpy()):
            content.update(np.ascontiguousarray(array).tobytes())
        return (
            f"{self.options} seed={self.seed} boxes={len(boxes)} mask={self.mask_diameter} voxel={self.voxel_size} "
            f"{content.hexdigest()}"
        )

    def _store(self, classes: Classes, best: Classes | None) -> None:
        if self.checkpoint is not None:
            parts = {"now": _tensors(classes)} | ({} if best is None else {"best": _tensors(best)})
            write_checkpoint(self.checkpoint, parts, {"history": self.history}, self._fingerprint())

    def _resumed(self) -> tuple[Classes | None, Classes | None]:
        """Return the classes of an interrupted classification, and the best ones of its last rounds."""
        found: list[Classes | None] = [None, None]
        if self.checkpoint is None or not self.checkpoint.is_file():
            return None, None
        history: list[dict[str, object]] = []

        def restore(stored: Checkpoint) -> None:
            best = stored.part("best")
            found[0] = _classes(self.fine.boxes.band, stored.part("now"))
            found[1] = _classes(self.fine.boxes.band, best) if best else None
            history.extend(stored.numbers["history"])

        if not resume(self.checkpoint, self._fingerprint(), self.mask.device, restore):
            return None, None
        self.history = history
        logger.info("continuing after step %d", len(history))
        return found[0], found[1]


def folds_of_groups(groups: NDArray[np.intp], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the (n,) fold of each box, 0 to `folds` - 1, the same within a group; folds have similar numbers of boxes."""
    found, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
    fold = np.zeros(len(found), np.int64)
    filled = np.zeros(folds)
    shuffled = rng.permutation(len(found))
    for number in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        fold[number] = filled.argmin()
        filled[fold[number]] += counts[number]
    return fold[members.reshape(-1)]


def _tensors(classes: Classes) -> dict[str, Tensor]:
    return {
        "volumes": classes.maps.volumes.contiguous(),
        "filters": classes.maps.filters,
        "noise": classes.noise,
        "responsibilities": classes.responsibilities,
        "log_likelihoods": classes.log_likelihoods,
        "evidence": classes.evidence,
    }


def _classes(band: Band, tensors: dict[str, Tensor]) -> Classes:
    maps = ClassMaps(band, tensors["volumes"], tensors["filters"])
    names = ("noise", "responsibilities", "log_likelihoods", "evidence")
    return Classes(maps, *(tensors[name] for name in names))
