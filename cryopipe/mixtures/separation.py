"""Separation of clusters: the distortion-based Davies-Bouldin index of DISCA."""

from __future__ import annotations

import torch
from torch import Tensor

from cryopipe.mixtures.gaussian import mixture_from_labels


def separation_index(points: Tensor, labels: Tensor) -> float:
    """Return the separation index of labelled points; lower is better.

    With T_i the mean squared Mahalanobis distance of cluster i's members to its mean under its covariance, and
    D_ij that of mean j under covariance i, the index is the mean over i of the largest
    (T_i + T_j) / (D_ij + D_ji) over j (Zeng et al. 2023).

    Parameters
    ----------
    points
        (n, d) features.
    labels
        (n,) integers. A cluster with no more members than dimensions has a singular covariance; regularised, it would
        make the cluster look infinitely far from all others. The mean covariance of all clusters is used instead.

    Returns
    -------
    The index; infinity for fewer than two clusters.
    """
    numbers = labels.unique(return_inverse=True)[1]
    mixture = mixture_from_labels(points, numbers)
    if mixture.count < 2:
        return float("inf")
    mean_covariance = torch.einsum("k,kde->de", mixture.weights, mixture.covariances)
    small = torch.bincount(numbers) <= points.shape[1]
    covariances = torch.where(small[:, None, None], mean_covariance, mixture.covariances)
    precisions = torch.cholesky_inverse(torch.linalg.cholesky(covariances))
    scatter = torch.stack(
        [
            _mahalanobis(points[numbers == number].double() - mixture.means[number], precision).mean()
            for number, precision in enumerate(precisions)
        ]
    )
    offsets = mixture.means[None] - mixture.means[:, None]
    distances = torch.einsum("ijd,ide,ije->ij", offsets, precisions, offsets)
    ratios = (scatter[:, None] + scatter[None]) / (distances + distances.T).clamp(min=1e-12)
    ratios.fill_diagonal_(-torch.inf)
    return float(ratios.amax(dim=1).mean())


def _mahalanobis(offsets: Tensor, precision: Tensor) -> Tensor:
    """Return (m,) squared lengths of `offsets` (m, d) under `precision` (d, d)."""
    return ((offsets @ precision) * offsets).sum(dim=1)
