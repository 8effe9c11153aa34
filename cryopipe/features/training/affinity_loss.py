"""Loss of affinity-VAE: reconstruction, divergence from the prior, and affinity of the latent codes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class LossParts(NamedTuple):
    """Terms of the loss of a batch of n boxes of V voxels; see `weighted_sum`.

    Attributes
    ----------
    reconstruction
        Squared error summed over the voxels of a box, mean over the boxes.
    divergence
        Kullback-Leibler divergence of a box's latent distribution from N(0, 1), in nats, summed over the latent
        dimensions, mean over the boxes.
    affinity
        Absolute difference of affinity and cosine similarity, summed over the pairs of boxes and divided by n.
    """

    reconstruction: Tensor
    divergence: Tensor
    affinity: Tensor

    def weighted_sum(self, beta: float, gamma: float, voxels: int) -> Tensor:
        """Return (reconstruction + beta divergence + gamma affinity) / V.

        The terms are the published sums; the common factor 1 / V only makes the number independent of the box size.
        The public code averages over pairs and voxels instead: its weight of the affinity is gamma (n - 1) / (2 V)
        in terms of this gamma.
        """
        return (self.reconstruction + beta * self.divergence + gamma * self.affinity) / voxels


def reconstruction_error(restored: Tensor, boxes: Tensor) -> Tensor:
    """Return the squared error of (m, ...) boxes, summed over voxels, mean over boxes."""
    return (restored - boxes).square().flatten(1).sum(dim=1).mean()


def divergence_from_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the divergence of N(mean, exp(log_variance)), both (m, d), from N(0, 1); sum over d, mean over m."""
    terms = mean.square() + log_variance.exp() - 1 - log_variance
    return 0.5 * terms.sum(dim=1).mean()


def affinity_error(latents: Tensor, labels: Tensor, affinity: Tensor) -> Tensor:
    """Return the distance of the latents' cosine similarities from the affinities of their classes.

    Parameters
    ----------
    latents
        (n, d).
    labels
        (n,) classes; pairs with a box of unknown class, -1, are left out.
    affinity
        (k, k), see `affinity_matrix`.

    Returns
    -------
    Sum over the pairs i < j of |affinity - cosine|, divided by n.
    """
    known = labels >= 0
    directions = F.normalize(latents[known].float(), dim=1)
    classes = labels[known]
    differences = (affinity[classes][:, classes] - directions @ directions.T).abs()
    return torch.triu(differences, diagonal=1).sum() / max(len(latents), 1)


def annealing(step: int, steps: int, cycles: int) -> float:
    """Return the factor, 0 to 1, on beta and gamma at a step of cyclic annealing.

    In each of `cycles` equal parts of the training the factor rises linearly from 0 to 1 in the first half, then stays
    1 (Fu et al. 2019). Without cycles it is always 1.
    """
    if cycles < 1 or step >= steps:
        return 1.0
    length = steps / cycles
    return min(1.0, 2 * (step % length) / length)
