"""Boxes prepared for classification by averages: Fourier coefficients of one band, folds, and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.spectra import Spectra, batches, noise_from_power


@dataclass
class BandBoxes:
    """Fourier coefficients of n boxes in one band, and the division of the boxes into folds.

    Attributes
    ----------
    band
        The compared coefficients.
    coefficients
        (n, K) complex, 0 where not measured.
    wedges, schemes
        (W, K) measured coefficients of every tilt scheme, and the (n,) scheme of each box.
    folds
        (n,) number of each box's fold, from 0. Maps that a box is compared with do not contain its own fold.
    power
        (shells + 1,) mean power of the boxes in every shell.
    """

    band: Band
    coefficients: Tensor
    wedges: Tensor
    schemes: Tensor
    folds: Tensor
    power: Tensor

    def __len__(self) -> int:
        return len(self.coefficients)

    @property
    def fold_count(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    def of(self, indices: Tensor) -> BandBoxes:
        """Return the boxes `indices` (m,)."""
        return BandBoxes(
            self.band, self.coefficients[indices], self.wedges, self.schemes[indices], self.folds[indices],
            self.power,
        )  # fmt: skip

    def measured(self) -> Tensor:
        """Return (shells + 1,) number of measured coefficients of all boxes in every shell."""
        count = torch.zeros_like(self.power)
        per_scheme = torch.bincount(self.schemes, minlength=len(self.wedges)).float()
        return count.index_add_(0, self.band.shell, per_scheme @ self.wedges)

    def total_power(self) -> Tensor:
        """Return (shells + 1,) summed power of all boxes in every shell."""
        return torch.zeros_like(self.power).index_add_(
            0, self.band.shell, (self.coefficients.abs() ** 2).sum(dim=0)
        )


def prepare_boxes(spectra: Spectra, band: Band, folds: NDArray[np.int64]) -> BandBoxes:
    """Return the coefficients of all boxes of `spectra`.

    Parameters
    ----------
    spectra
        The boxes.
    band
        The coefficients.
    folds
        (n,) fold of each box.
    """
    wedges = spectra.measured(band)
    parts = batches(np.arange(len(spectra)), 40 * spectra.box_size**3)
    coefficients = torch.cat([spectra.coefficients(part, band, wedges) for part in parts])
    deviation = noise_from_power(coefficients, wedges[spectra.scheme_of_box], band)
    power = torch.zeros(band.shells + 1, device=band.device)
    power[band.shell] = deviation**2
    return BandBoxes(
        band, coefficients, wedges, spectra.scheme_of_box, torch.from_numpy(folds).to(band.device), power
    )


def random_folds(count: int, folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (count,) folds of nearly equal size, drawn at random."""
    return rng.permutation(np.arange(count) % folds)
