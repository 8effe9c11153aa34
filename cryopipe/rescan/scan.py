"""Search of a whole tomogram with the averages of its classes."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe.features.training.checkpoint import Checkpoint, resume, write_checkpoint
from cryopipe.picking.source import Source
from cryopipe.progress import Progress
from cryopipe.rescan.band_filter import make_filter
from cryopipe.rescan.correlation import AT_ONCE, Part, correlate, divide
from cryopipe.rescan.score_maxima import Candidates, border_for, find_maxima, gather
from cryopipe.rescan.search_template import SearchTemplate
from cryopipe.rescan.significance import significant
from cryopipe.volume.suppression import suppress

logger = logging.getLogger(__name__)

PLACES = 20_000
"""Number of places at which the searched volume is counted."""
SECONDS = 2e-8
"""Of one transformed voxel in one rotation, measured with one thread of a processor."""
FIELDS = ("positions", "scores", "sharpness", "rotations")


@dataclass(frozen=True)
class Hits:
    """Particles that a search found, most significant first.

    Attributes
    ----------
    positions
        (n, 3) x, y, z, 0-based voxels of the tomogram.
    classes
        (n,) number of the class whose average found the particle.
    scores
        (n,) correlation coefficient of the average with the tomogram, -1 to 1.
    expected
        (n,) number of false picks expected in the tomogram with this class and at least this score.
    rotations
        n active rotations from the average to the particle.
    radii
        (n,) of the average, angstrom.
    """

    positions: NDArray[np.float64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    expected: NDArray[np.float64]
    rotations: Rotation
    radii: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Hits:
        """Return the chosen particles."""
        if not len(self):  # of no rotations none can be chosen
            return self
        return Hits(
            self.positions[chosen],
            self.classes[chosen],
            self.scores[chosen],
            self.expected[chosen],
            self.rotations[chosen],
            self.radii[chosen],
        )


@dataclass
class Search:
    """Search of one tomogram.

    Attributes
    ----------
    source
        The tomogram.
    voxel_size
        Angstrom.
    tilt_range
        See `cryopipe.volume.wedge.measured`.
    false_picks
        Expected number in the tomogram for each class.
    memory_gb
        Memory for arrays, gigabytes.
    checkpoint
        File from which an interrupted search resumes; None for no file.
    """

    source: Source
    voxel_size: float
    tilt_range: Sequence[float]
    false_picks: float = 1.0
    memory_gb: float = 4.0
    checkpoint: Path | None = None
    _done: dict[str, Candidates] = field(default_factory=dict, init=False)

    def run(self, templates: Sequence[SearchTemplate]) -> Hits:
        """Return what the averages find, particles at least a radius apart; at each place the most significant class."""
        fingerprint = self._fingerprint(templates)
        self._restore(fingerprint)
        for template in templates:
            logger.info("%s: %s", self.source.name, describe_search(template, self._parts(template)[0]))
        return best_of([self._search(one, fingerprint) for one in templates], self.voxel_size)

    def _search(self, template: SearchTemplate, fingerprint: str) -> Hits:
        source, device = self.source, self.source.device
        band = make_filter(
            source, template.binning, template.voxel_size / template.resolution, self.tilt_range
        )
        rotations = template.rotations()
        matrices = torch.from_numpy(rotations.as_matrix()).float().to(device)
        parts, reach = self._parts(template)
        batches = math.ceil(len(matrices) / AT_ONCE[device.type])
        what = f"searching {source.name} for class {template.number}"
        counter = Progress(len(parts) * batches, "batches of rotations", what)
        for number, part in enumerate(parts):
            names = [f"{template.number}.{number}.{kind}" for kind in ("found", "inverted")]
            if names[0] in self._done:
                counter.advance(batches)
                continue
            scores = correlate(source, template, band, part, border_for(reach), matrices, counter.advance)
            self._done |= zip(names, find_maxima(scores, part.start, reach), strict=True)
            self._store(fingerprint)
        found, inverted = (
            gather([self._done[f"{template.number}.{number}.{kind}"] for number in range(len(parts))])
            for kind in ("found", "inverted")
        )
        radius = template.radius / template.voxel_size
        kept, expected = significant(found, inverted, self._places(template), radius, self.false_picks)
        logger.info("%s: class %d: %d particles found", source.name, template.number, len(kept))
        return Hits(
            kept.positions[:, ::-1] * template.binning,
            np.full(len(kept), template.number),
            kept.scores,
            expected,
            rotations[kept.rotations],
            np.full(len(kept), template.radius),
        )

    def _parts(self, template: SearchTemplate) -> tuple[list[Part], int]:
        """Return the blocks of a search, and the half-width of its tophat, search voxels."""
        reach = max(1, math.ceil(template.resolution / 2 / template.voxel_size))
        shape = search_shape(self.source, template)
        return divide(shape, template, border_for(reach), self.memory_gb, self.source.device), reach

    def _places(self, template: SearchTemplate) -> NDArray[np.float64]:
        """Return known places z, y, x at random, search voxels."""
        rng = np.random.default_rng(0)
        shape = np.array(search_shape(self.source, template))
        places = np.floor(rng.random((PLACES, 3)) * shape)
        mine = np.minimum((places * template.binning).astype(int), np.array(self.source.volume.shape) - 1)
        return places[self.source.region.holds(mine)]

    def _fingerprint(self, templates: Sequence[SearchTemplate]) -> str:
        """Return a text that identifies the tomogram and the templates."""
        content = hashlib.sha256()
        for template in templates:
            content.update(template.fine.numpy().tobytes())
            named = (template.number, template.binning, template.radius, template.resolution)
            content.update(repr((*named, template.symmetry)).encode())
        source = self.source
        middle = np.ascontiguousarray(source.volume[source.volume.shape[0] // 2], np.float32)
        content.update(middle.tobytes())
        return (
            f"{source.name} {source.volume.shape} {source.median} {source.limit} {source.sign} {self.voxel_size} "
            f"{list(self.tilt_range)} {self.memory_gb} {source.device.type} {content.hexdigest()}"
        )

    def _store(self, fingerprint: str) -> None:
        if self.checkpoint is not None:
            parts = {
                name: {one: torch.from_numpy(np.ascontiguousarray(getattr(found, one))) for one in FIELDS}
                for name, found in self._done.items()
            }
            write_checkpoint(self.checkpoint, parts, {"done": list(parts)}, fingerprint)

    def _restore(self, fingerprint: str) -> None:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return

        def restore(stored: Checkpoint) -> None:
            for name in stored.numbers["done"]:
                part = stored.part(name)
                self._done[name] = Candidates(*(part[one].numpy() for one in FIELDS))

        if resume(self.checkpoint, fingerprint, torch.device("cpu"), restore):
            logger.info("%s: continuing after %d blocks", self.source.name, len(self._done) // 2)
        else:
            self._done.clear()


def search_shape(source: Source, template: SearchTemplate) -> tuple[int, int, int]:
    """Return the number of search voxels along z, y, x: the last one is inside the tomogram."""
    z, y, x = (1 + (n - 1) // template.binning for n in source.volume.shape)
    return z, y, x


def describe_search(template: SearchTemplate, parts: Sequence[Part]) -> str:
    """Return what a search compares, and about how long that takes."""
    rotations = len(template.rotations())
    minutes = sum(math.prod(part.shape) for part in parts) * rotations * SECONDS / 60
    return (
        f"class {template.number}: {rotations:,} rotations within {template.angle:.0f} degrees of all orientations "
        f"({template.symmetry}), voxels of {template.voxel_size:.3g} A, resolution {template.resolution:.0f} A, about "
        f"{minutes:.1g} minutes of processor time (less on a GPU)"
    )


def best_of(found: Sequence[Hits], voxel_size: float) -> Hits:
    """Return the hits of several classes without those within a radius of a more significant one, most significant first.

    Parameters
    ----------
    found
        Of each class.
    voxel_size
        Of the tomogram, angstrom.
    """
    if not found:
        nothing = np.zeros(0)
        return Hits(np.zeros((0, 3)), np.zeros(0, np.int64), nothing, nothing, Rotation.identity(0), nothing)
    rotations = [one.rotations.as_quat().reshape(-1, 4) for one in found]
    joined = Hits(
        np.concatenate([one.positions for one in found]),
        np.concatenate([one.classes for one in found]),
        np.concatenate([one.scores for one in found]),
        np.concatenate([one.expected for one in found]),
        Rotation.from_quat(np.concatenate(rotations)),
        np.concatenate([one.radii for one in found]),
    )
    strengths = -np.log(joined.expected)
    places = joined.positions * voxel_size
    return joined.select(suppress(places, strengths, joined.radii, distance_of="stronger"))
