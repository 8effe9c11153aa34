"""Division of points into two groups with one covariance, and the evidence that the groups are two.

A mixture of two Gaussians with the same covariance is fitted in coordinates in which the covariance of all points is the
identity. There the mixture has two parameters only, the weight w and the difference D of the means: the means are -w D
and (1 - w) D, the common covariance is 1 - w (1 - w) D D'. Many starts and many sets of points are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

STARTS = 30
"""Starts of a fit; each is a direction between two random points, along which the points are divided at the median."""
NULL_STARTS = 6
ITERATIONS = 60
NULL_SETS = 12
"""Sets of points without groups to which the gain in likelihood is compared."""
HALVINGS = 5
GRID = 200
"""Points at which the density along the discriminant is computed."""
_SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True)
class Division:
    """Division of points into two groups.

    Attributes
    ----------
    second
        (n,) whether a point belongs to the second group.
    excess
        Gain in log likelihood of two Gaussians over one, in standard deviations above its mean on points of the same
        covariance and the same distribution of distances from the mean, but without groups.
    """

    second: Tensor
    excess: float


@dataclass(frozen=True)
class Separation:
    """Evidence that two groups of points are two.

    Attributes
    ----------
    valley
        Density between the groups along the discriminant, as a fraction of the lower of their peaks: 0 for separate
        groups, 1 if there is no minimum between them.
    stability
        Agreement of two halves of the points: the division is refined on each, and each labels all points. Mean adjusted
        Rand index, 1 for equal divisions. About 0.5 for points without groups, 0.9 and more for two groups.
    """

    valley: float
    stability: float


def divide(points: Tensor, generator: torch.Generator) -> Division:
    """Divide `points` (n, d), n > d, into two groups.

    Parameters
    ----------
    points
        (n, d) in double precision, on the CPU.
    generator
        Source of randomness, on the CPU.
    """
    white = whitened(points)
    gain, memberships = _fit(white[None], STARTS, generator)
    null_gains = _fit(_without_groups(white, generator), NULL_STARTS, generator)[0]
    return Division(
        memberships[0] > 0.5, float((gain[0] - null_gains.mean()) / null_gains.std().clamp(min=1.0))
    )


def separation(points: Tensor, second: Tensor, generator: torch.Generator) -> Separation:
    """Judge whether `points` (n, d) are two groups; `second` (n,) states which belong to the second."""
    if min(int(second.sum()), int((~second).sum())) < 2:
        return Separation(1.0, 0.0)
    white = whitened(points)
    return Separation(_valley(white, second), _stability(white, second, generator))


def whitened(points: Tensor) -> Tensor:
    """Return `points` (n, d) in coordinates in which they have mean 0 and the identity as covariance."""
    offsets = points - points.mean(dim=0)
    covariance = offsets.T @ offsets / len(points)
    covariance.diagonal().add_(1e-9 * covariance.diagonal().mean().clamp(min=1e-300))
    factor = torch.linalg.cholesky(covariance)
    return torch.linalg.solve_triangular(factor, offsets.T, upper=False).T


def discriminant(points: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction (d,) and the offset that best separate two groups of `points` (n, d).

    `points @ direction + offset` is the log odds of the second group under Gaussians with the groups' common covariance.
    """
    groups = points[~second], points[second]
    means = [group.mean(dim=0) for group in groups]
    within = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = within.T @ within / len(points)
    covariance.diagonal().add_(1e-6 * covariance.diagonal().mean().clamp(min=1e-300))
    direction = torch.linalg.solve(covariance, means[1] - means[0])
    fraction = second.double().mean()
    return direction, torch.log(fraction / (1 - fraction)) - direction @ (means[0] + means[1]) / 2


def _fit(white: Tensor, starts: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fit mixtures to b sets of whitened points (b, n, d), from random starts.

    Returns
    -------
    The gain in log likelihood over one Gaussian (b,), and the probability of the second group (b, n).
    """
    sets, count, _ = white.shape
    rows = torch.arange(sets)[:, None]
    pairs = torch.randint(0, count, (2, sets, starts), generator=generator)
    projections = torch.einsum("bnd,bsd->bsn", white, white[rows, pairs[0]] - white[rows, pairs[1]])
    gains, memberships = _maximise(white, projections > projections.median(dim=2, keepdim=True).values)
    return gains.amax(dim=1), memberships[torch.arange(sets), gains.argmax(dim=1)]


def _maximise(white: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Run expectation-maximisation on b sets of whitened points (b, n, d) from divisions `second` (b, s, n).

    Returns
    -------
    The gains in log likelihood over one Gaussian (b, s), and the probabilities of the second group (b, s, n).
    """
    memberships = 0.1 + 0.8 * second.double()
    for _ in range(ITERATIONS):
        weight = memberships.mean(dim=2).clamp(_SMALLEST_WEIGHT, 1 - _SMALLEST_WEIGHT)
        sums = torch.einsum("bsn,bnd->bsd", memberships, white)
        difference = sums / (white.shape[1] * weight * (1 - weight))[..., None]  # the mean of all points is 0
        square = difference.square().sum(dim=2)
        lost = (weight * (1 - weight) * square).clamp(max=0.9999)
        projections = torch.einsum("bnd,bsd->bsn", white, difference)
        odds = (projections - ((1 - 2 * weight) / 2 * square)[..., None]) / (1 - lost)[..., None]
        memberships = torch.sigmoid(odds + (weight / (1 - weight)).log()[..., None])
    # log N(x; m, S) - log N(x; 0, 1), with S = 1 - s D D' and its inverse 1 + s / (1 - lost) D D'
    scale = (weight * (1 - weight) / (1 - lost))[..., None]
    densities = []
    for place, part in ((1 - weight, weight), (-weight, 1 - weight)):
        a, along = place[..., None], square[..., None]
        distance = a * a * along - 2 * a * projections + scale * (projections - a * along).square()
        densities.append(part.log()[..., None] - 0.5 * distance)
    gains = torch.logaddexp(*densities).sum(dim=2) - 0.5 * white.shape[1] * (1 - lost).log()
    return gains, memberships


def _without_groups(white: Tensor, generator: torch.Generator) -> Tensor:
    """Return sets (b, n, d) with the points' distances from the mean, in random directions."""
    radii = white.norm(dim=1)
    directions = torch.randn(NULL_SETS, *white.shape, dtype=white.dtype, generator=generator)
    directions /= directions.norm(dim=2, keepdim=True)
    return torch.stack([whitened(one * radii[:, None]) for one in directions])


def _valley(white: Tensor, second: Tensor) -> float:
    """Return the relative depth of the valley between two groups; see `Division`."""
    direction, _ = discriminant(white, second)
    values = white @ direction
    ends = sorted((float(values[second].mean()), float(values[~second].mean())))
    margin = (ends[1] - ends[0]) / 2
    grid = torch.linspace(ends[0] - margin, ends[1] + margin, GRID, dtype=values.dtype)
    groups = values[second], values[~second]
    spread = max(float(group.std()) for group in groups)
    width = spread * min(len(group) for group in groups) ** -0.2
    density = torch.stack([torch.exp(-0.5 * ((x - values) / width).square()).sum() for x in grid])
    inside = torch.nonzero((grid > ends[0]) & (grid < ends[1]))[:, 0]
    lowest = int(inside[density[inside].argmin()])
    peak = min(float(density[: lowest + 1].max()), float(density[lowest:].max()))
    return float(density[lowest]) / max(peak, 1e-300)


def _stability(white: Tensor, second: Tensor, generator: torch.Generator) -> float:
    """Return the agreement of a division refined on half-sets; see `Division`."""
    half = len(white) // 2
    scores = []
    for _ in range(HALVINGS):
        order = torch.randperm(len(white), generator=generator)
        labels = [_refined(white, second, part).numpy() for part in (order[:half], order[half : 2 * half])]
        scores.append(adjusted_rand_score(*labels))
    return float(sum(scores) / len(scores))


def _refined(points: Tensor, second: Tensor, part: Tensor) -> Tensor:
    """Return (n,) the groups of `points` (n, d) by a division `second` (n,) refined on the points of `part` (m,)."""
    refined = _maximise(whitened(points[part])[None], second[part][None, None])[1][0, 0] > 0.5
    if min(int(refined.sum()), int((~refined).sum())) < 2:
        return torch.zeros(len(points), dtype=torch.bool)
    direction, offset = discriminant(points[part], refined)
    return points @ direction + offset > 0
