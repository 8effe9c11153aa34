"""Rounds of expectation-maximisation with the same boxes, and the classes' state between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.search import Grid
from cryopipe.classification.band_boxes import BandBoxes
from cryopipe.classification.class_maps import ClassMaps, maps_from_sums, same_in_all_folds
from cryopipe.classification.expectation import expect
from cryopipe.classification.refined_poses import refined_round
from cryopipe.volume.geometry import random_rotations

LEAST_NOISE = 0.05
"""Smallest power of the noise in a shell, as a fraction of the boxes' power."""
LEAST_EVIDENCE = 12.0
"""Classes whose posterior of a box is this much smaller (natural logarithm) are left out of short rounds."""
LEAST_COMPARED = 3
"""Classes that every box is compared with even in short rounds."""


@dataclass(frozen=True)
class Classes:
    """State of C classes of n boxes.

    Attributes
    ----------
    maps
        The classes' maps.
    noise
        (shells + 1,) standard deviation of the noise.
    responsibilities
        (n, C) posterior of the classes.
    log_likelihoods
        (n, C) of every box for every class; minus infinity where not computed.
    evidence
        (n, C) log-probability of the classes beforehand, from the features.
    """

    maps: ClassMaps
    noise: Tensor
    responsibilities: Tensor
    log_likelihoods: Tensor
    evidence: Tensor

    @property
    def count(self) -> int:
        """Number of classes."""
        return len(self.maps)

    @property
    def sizes(self) -> Tensor:
        """(C,) expected number of members."""
        return self.responsibilities.sum(dim=0)

    @property
    def likelihood(self) -> float:
        """Mean log-likelihood of a box, over classes and poses."""
        return float((self.log_likelihoods + self.evidence).logsumexp(dim=1).mean())

    def labels(self) -> NDArray[np.int64]:
        """Return the (n,) most probable class of every box, from 0."""
        return self.responsibilities.argmax(dim=1).cpu().numpy()

    def of(self, numbers: Tensor) -> Classes:
        """Return the classes `numbers`, with the responsibilities that remain."""
        kept = self.responsibilities[:, numbers].clamp(min=1e-12)
        return replace(
            self,
            maps=self.maps.of(numbers),
            responsibilities=kept / kept.sum(dim=1, keepdim=True),
            log_likelihoods=self.log_likelihoods[:, numbers],
            evidence=self.evidence[:, numbers],
        )


class Rounds:
    """Rounds of expectation-maximisation.

    Parameters
    ----------
    boxes
        n boxes.
    search
        R rotations and S shifts; the rotations are rotated at random in every round.
    mask
        (z, y, x) 0 to 1.
    rng
        Source of the random rotations.
    """

    def __init__(self, boxes: BandBoxes, search: Grid, mask: Tensor, rng: np.random.Generator) -> None:
        self.boxes, self.search, self.mask, self.rng = boxes, search, mask, rng

    def start(self, volumes: Tensor) -> tuple[ClassMaps, Tensor]:
        """Return maps (C, z, y, x) that are the same in all folds, and the noise before any map is known."""
        return same_in_all_folds(self.boxes.band, volumes, self.boxes.fold_count), self.boxes.power.sqrt()

    def uniform(self, classes: int) -> Tensor:
        """Return (n, C) log-probabilities of equally probable classes."""
        return torch.full((len(self.boxes), classes), -math.log(classes), device=self.mask.device)

    def improve(
        self,
        maps: ClassMaps,
        noise: Tensor,
        evidence: Tensor,
        fixed: Tensor | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Classes:
        """Return the classes after one round; see `expect`."""
        turn = torch.from_numpy(random_rotations(1, self.rng).as_matrix()[0]).to(self.mask)
        search = Grid(turn @ self.search.matrices, self.search.shifts_voxels)
        found = expect(self.boxes, maps, noise, search, evidence, fixed, advance)
        return Classes(
            maps_from_sums(self.boxes.band, found.sums, self.mask),
            found.residual.maximum(LEAST_NOISE * self.boxes.power).sqrt(),
            found.responsibilities,
            found.log_likelihoods,
            evidence,
        )

    def refine(
        self, maps: ClassMaps, noise: Tensor, weights: Tensor, count: int, compared: Tensor | None = None
    ) -> tuple[ClassMaps, Tensor]:
        """Return maps after rounds in refined poses, and the log-likelihoods of the boxes for them; see `refined_round`.

        Parameters
        ----------
        maps
            C maps.
        noise
            (shells + 1,) standard deviation.
        weights
            (n, C) of the boxes in the maps.
        count
            Number of rounds.
        compared
            (n, C) above 0 for boxes whose log-likelihood is computed; None for those in the maps.
        """
        known = None
        for _ in range(count):
            known = refined_round(self.boxes, maps, noise, self.search, weights, known)
            maps = maps_from_sums(self.boxes.band, known.sums, self.mask)
        which = weights if compared is None else compared
        return maps, refined_round(self.boxes, maps, noise, self.search, which, known).log_likelihoods

    def short_evidence(self, classes: Classes, evidence: Tensor) -> Tensor:
        """Return `evidence` (n, C), minus infinity for classes that the last round found improbable for a box."""
        known = classes.log_likelihoods + classes.evidence
        few = min(LEAST_COMPARED, classes.count)
        limit = torch.minimum(
            known.max(dim=1, keepdim=True).values - LEAST_EVIDENCE, known.topk(few, dim=1).values[:, -1:]
        )
        return torch.where(known >= limit, evidence, -torch.inf)
