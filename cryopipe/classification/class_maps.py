"""Maps of classes, one for every fold left out, filtered by the agreement of two halves of the folds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.classification.interpolation import RotatedPoints

PRIOR = 0.01
"""Noise-to-signal ratio of the sums' reconstruction: nearly unfiltered."""
LARGEST_CORRELATION = 0.999


@dataclass(frozen=True)
class ClassMaps:
    """Maps of C classes without each of F folds.

    Attributes
    ----------
    band
        The compared coefficients.
    volumes
        (C, F, z, y, x) maps without the fold.
    filters
        (C, shells + 1) factors of the shells, 0 to 1.
    """

    band: Band
    volumes: Tensor
    filters: Tensor

    def __len__(self) -> int:
        return len(self.volumes)

    def references(self, fold: int, points: RotatedPoints) -> Tensor:
        """Return the (C, R, K) coefficients of the filtered maps without a fold in R rotations."""
        grids = torch.stack([self.band.reference_grid(one) for one in self.volumes[:, fold]])
        return points.sample(grids) * self.filters[:, None, self.band.shell]

    def of(self, numbers: Tensor) -> ClassMaps:
        """Return the classes `numbers`."""
        return ClassMaps(self.band, self.volumes[numbers], self.filters[numbers])

    def filtered_one(self, number: int, fold: int) -> Tensor:
        """Return the (z, y, x) filtered map of a class without a fold."""
        coefficients = self.band.coefficients(self.volumes[number, fold][None])
        return self.band.volumes(coefficients * self.filters[number][self.band.shell])[0]

    def filtered(self) -> Tensor:
        """Return the (C, z, y, x) filtered maps, means over the folds left out."""
        coefficients = self.band.coefficients(self.volumes.mean(dim=1))
        return self.band.volumes(coefficients * self.filters[:, self.band.shell])


def joined(*parts: ClassMaps) -> ClassMaps:
    """Return the classes of all `parts`."""
    volumes, filters = (torch.cat(one) for one in zip(*((p.volumes, p.filters) for p in parts), strict=True))
    return ClassMaps(parts[0].band, volumes, filters)


def same_in_all_folds(band: Band, volumes: Tensor, folds: int) -> ClassMaps:
    """Return unfiltered maps (C, z, y, x) that are the same whatever fold is left out."""
    filters = torch.ones(len(volumes), band.shells + 1, device=band.device)
    return ClassMaps(band, volumes[:, None].expand(-1, folds, -1, -1, -1), filters)


def maps_from_sums(band: Band, sums: Tensor, mask: Tensor) -> ClassMaps:
    """Return the maps of C classes.

    The boxes of a fold are compared with the map of the others, so that both halves of the folds agree beyond their
    signal as far as both were aligned to the noise of common boxes. This was right in trials: boxes left out agree with
    the maps as much as the filter says, and stronger filters lowered the likelihood of boxes left out.

    Parameters
    ----------
    band
        The coefficients.
    sums
        (C, F, 3, g^3) sums of every fold; see `Band.volume_from_sums`.
    mask
        (z, y, x) 0 to 1, applied to the maps.
    """
    folds = sums.shape[1]
    prior = torch.full((band.shells + 1,), PRIOR, device=band.device)
    volumes, filters = [], []
    for own in sums:
        without = own.sum(dim=0) - own
        volumes.append(torch.stack([band.volume_from_sums(one, prior) * mask for one in without]))
        halves = [band.volume_from_sums(own[half::2].sum(dim=0), prior) * mask for half in (0, 1)]
        filters.append(wiener_filter(band, halves, 2 * (folds - 1) / folds))
    return ClassMaps(band, torch.stack(volumes), torch.stack(filters))


def wiener_filter(band: Band, halves: list[Tensor], ratio: float) -> Tensor:
    """Return (shells + 1,) factors for a map of `ratio` times as many boxes as each of two half-maps."""
    first, second = (band.coefficients(one[None])[0] for one in halves)
    products = ((first * second.conj()).real, first.abs() ** 2, second.abs() ** 2)
    cross, one, other = torch.stack([shell_sums(band, values) for values in products])
    correlation = (cross / (one * other).sqrt().clamp(min=1e-20)).clamp(0, LARGEST_CORRELATION)
    signal = correlation / (1 - correlation) * ratio
    return signal / (1 + signal)


def shell_sums(band: Band, values: Tensor) -> Tensor:
    """Return (shells + 1,) sums of (K,) values over the shells of a band."""
    return torch.zeros(band.shells + 1, device=band.device).index_add_(0, band.shell, values)
