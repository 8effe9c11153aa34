"""Gaussian mixture fitting with full covariances by expectation-maximisation, on any device.

A Gaussian's log density is linear in the products of a point's coordinates: with phi(x) the vector of all
x_i x_j (i <= j), all x_i and 1, log(w_k N(x; mu_k, S_k)) = theta_k . phi(x). One matrix product evaluates all
components of all starts, and a second one sums phi(x) over the members of each, from which the new components follow.
This makes a search over 2..20 clusters fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 50_000
"""Number of points whose phi(x) is computed at a time."""
SEARCH_POINTS = 20_000
"""The number of clusters is chosen on at most this many points; the chosen mixture is then fitted to all."""
REGULARISATION = 1e-4
"""Added to the diagonal of every covariance, as a fraction of the points' mean variance."""
SHORT_ITERATIONS = 20
LONG_ITERATIONS = 200
TOLERANCE = 1e-4
"""Expectation-maximisation ends when the mean log likelihood rises by less than this in one iteration."""
_SMALLEST_MEMBERSHIP = 1e-6


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians in d dimensions; leading dimensions may hold several mixtures at once.

    Attributes
    ----------
    weights
        (..., K), sum 1.
    means
        (..., K, d).
    covariances
        (..., K, d, d).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def count(self) -> int:
        """Number of components, K."""
        return self.weights.shape[-1]

    def parameters(self) -> int:
        """Return the number of free parameters of one mixture."""
        d = self.means.shape[-1]
        return self.count * (1 + d + d * (d + 1) // 2) - 1

    def log_densities(self, points: Tensor) -> Tensor:
        """Return log(w_k N(x; mu_k, S_k)) of `points` (n, d) in each component: (n, K)."""
        coefficients = _coefficients(self)
        return torch.cat([part @ coefficients.T for part in _expanded(points)])

    def log_likelihood(self, points: Tensor) -> float:
        """Return the mean log likelihood of `points` (n, d)."""
        return float(self.log_densities(points).logsumexp(dim=1).mean())

    def posteriors(self, points: Tensor) -> Tensor:
        """Return the probability of each component for `points` (n, d): (n, K), rows sum to 1."""
        return self.log_densities(points).softmax(dim=1)

    def bic(self, points: Tensor) -> float:
        """Return the Bayesian information criterion on `points` (n, d); lower is better."""
        count = len(points)
        return self.parameters() * math.log(count) - 2 * count * self.log_likelihood(points)


def choose_mixture(
    points: Tensor,
    candidates: Sequence[int],
    starts: int,
    generator: torch.Generator,
) -> tuple[Mixture, dict[int, float]]:
    """Fit mixtures with several numbers of clusters and return the one with the lowest BIC.

    Parameters
    ----------
    points
        (n, d) features, on any device.
    candidates
        Numbers of clusters to try; those with fewer than two points per cluster are left out.
    starts
        Random starts for each number of clusters.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    The best mixture, in double precision, and the lowest BIC for each number of clusters, computed on at most
    `SEARCH_POINTS` points.
    """
    points = points.double()
    chosen = torch.randperm(len(points), generator=generator)[:SEARCH_POINTS].sort().values
    sample = points[chosen.to(points.device)]
    fits: dict[int, tuple[float, Mixture]] = {}
    for count in feasible_counts(candidates, len(points)):
        mixture = fit_mixture(sample, count, starts, generator)
        fits[count] = (mixture.bic(sample), mixture)
    best = min(fits, key=lambda count: fits[count][0])
    mixture = fits[best][1]
    if len(sample) < len(points):
        mixture = _maximise(points, _batched(mixture), SHORT_ITERATIONS)[0]
    return mixture, {count: score for count, (score, _) in sorted(fits.items())}


def feasible_counts(candidates: Sequence[int], points: int) -> list[int]:
    """Return the candidates with at least two of `points` points per cluster; [1] if there are none."""
    return sorted({count for count in candidates if 2 * count <= points}) or [1]


def fit_mixture(points: Tensor, count: int, starts: int, generator: torch.Generator) -> Mixture:
    """Fit one mixture of `count` Gaussians to `points` (n, d).

    All starts run for `SHORT_ITERATIONS`; the one with the highest likelihood then runs until it converges.

    Parameters
    ----------
    points
        (n, d).
    count
        Number of components, 1 <= count <= n.
    starts
        Number of starts; each is a k-means clustering with k-means++ centres.
    generator
        Source of randomness, on the CPU.
    """
    points = points.double()
    if count == 1:
        return mixture_from_labels(points, torch.zeros(len(points), dtype=torch.long, device=points.device))
    seeds = [
        mixture_from_labels(points, kmeans_labels(points, count, generator), count) for _ in range(starts)
    ]
    batch = Mixture(
        torch.stack([one.weights for one in seeds]),
        torch.stack([one.means for one in seeds]),
        torch.stack([one.covariances for one in seeds]),
    )
    short, likelihoods = _maximise(points, batch, SHORT_ITERATIONS, single=False)
    best = int(likelihoods.argmax())
    return _maximise(points, _batched(_member(short, best)), LONG_ITERATIONS)[0]


def refine_mixture(points: Tensor, start: Mixture) -> Mixture:
    """Return the mixture that expectation-maximisation on `points` (n, d) reaches from `start`."""
    return _maximise(points.double(), _batched(start), LONG_ITERATIONS)[0]


def mixture_from_labels(points: Tensor, labels: Tensor, count: int | None = None) -> Mixture:
    """Return the mixture whose components are the Gaussians of the labelled groups.

    Groups with no or one member get the smallest regularised covariance, not NaN.

    Parameters
    ----------
    points
        (n, d).
    labels
        (n,) integers 0..K-1; numbers that do not occur are left out unless `count` is given.
    count
        Number of components.
    """
    points = points.double()
    if count is None:
        count = len(labels.unique())
        labels = labels.unique(return_inverse=True)[1]
    memberships = torch.nn.functional.one_hot(labels, count).to(points.dtype)
    pairs = zip(memberships.split(CHUNK), _expanded(points), strict=True)
    sums = torch.stack([member.T @ part for member, part in pairs]).sum(dim=0)
    return _member(_from_sums(sums[None], points.shape[1], _floor(points)), 0)


def kmeans_labels(points: Tensor, count: int, generator: torch.Generator, iterations: int = 10) -> Tensor:
    """Return (n,) labels of k-means with k-means++ initial centres."""
    subset = points[torch.randperm(len(points), generator=generator)[: 200 * count].to(points.device)]
    centres = subset[:1]
    nearest = (subset - centres).square().sum(dim=1)
    for _ in range(count - 1):
        weights = nearest.cpu() + 1e-12
        drawn = torch.multinomial(weights / weights.sum(), 1, generator=generator).to(points.device)
        centres = torch.cat([centres, subset[drawn]])
        nearest = torch.minimum(nearest, (subset - subset[drawn]).square().sum(dim=1))
    for _ in range(iterations):
        labels = torch.cdist(subset, centres).argmin(dim=1)
        members = torch.nn.functional.one_hot(labels, count).to(points.dtype)
        sizes = members.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, members.T @ subset / sizes.clamp(min=1), centres)
    return torch.cat([torch.cdist(part, centres).argmin(dim=1) for part in points.split(CHUNK)])


def _maximise(points: Tensor, start: Mixture, iterations: int, single: bool = True) -> tuple[Mixture, Tensor]:
    """Run expectation-maximisation on a batch of mixtures; return them (one, if `single`) and their likelihoods."""
    floor, dimensions = _floor(points), points.shape[1]
    parts = list(_expanded(points)) if len(points) <= CHUNK else None
    mixture, previous = start, torch.full(start.weights.shape[:1], -math.inf, device=points.device)
    batch, count = start.weights.shape
    for _ in range(iterations):
        coefficients = _coefficients(mixture).reshape(batch * count, -1)
        likelihood = torch.zeros(batch, dtype=points.dtype, device=points.device)
        sums = torch.zeros_like(coefficients)
        for part in parts or _expanded(points):
            densities = (part @ coefficients.T).reshape(len(part), batch, count)
            totals = densities.logsumexp(dim=2, keepdim=True)
            likelihood += totals.sum(dim=(0, 2))
            memberships = (densities - totals).exp_().reshape(len(part), -1)
            sums += memberships.T @ part
        likelihood /= len(points)
        mixture = _from_sums(sums.reshape(batch, count, -1), dimensions, floor)
        if bool((likelihood - previous < TOLERANCE).all()):
            break
        previous = likelihood
    return (_member(mixture, 0) if single else mixture), likelihood


def _expanded(points: Tensor) -> Iterator[Tensor]:
    """Yield phi(x) of `points` in chunks: (m, d (d + 1) / 2 + d + 1)."""
    rows, columns = torch.triu_indices(points.shape[1], points.shape[1], device=points.device)
    for part in points.double().split(CHUNK):
        ones = torch.ones(len(part), 1, dtype=part.dtype, device=part.device)
        yield torch.cat([part[:, rows] * part[:, columns], part, ones], dim=1)


def _coefficients(mixture: Mixture) -> Tensor:
    """Return theta (..., K, d (d + 1) / 2 + d + 1) with theta . phi(x) = log(w N(x; mu, S))."""
    dimensions = mixture.means.shape[-1]
    rows, columns = torch.triu_indices(dimensions, dimensions, device=mixture.means.device)
    factors = torch.linalg.cholesky(mixture.covariances)
    precisions = torch.cholesky_inverse(factors)
    linear = (precisions @ mixture.means[..., None])[..., 0]
    quadratic = -0.5 * precisions[..., rows, columns]
    quadratic = torch.where(rows == columns, quadratic, 2 * quadratic)
    log_determinant = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    constant = (
        mixture.weights.log()
        - 0.5 * (dimensions * math.log(2 * math.pi) + log_determinant)
        - 0.5 * (linear * mixture.means).sum(dim=-1)
    )
    return torch.cat([quadratic, linear, constant[..., None]], dim=-1)


def _from_sums(sums: Tensor, dimensions: int, floor: float) -> Mixture:
    """Return the components whose members' sums of phi(x) are `sums` (batch, K, p)."""
    rows, columns = torch.triu_indices(dimensions, dimensions, device=sums.device)
    sizes = sums[..., -1].clamp(min=_SMALLEST_MEMBERSHIP)
    means = sums[..., -1 - dimensions : -1] / sizes[..., None]
    products = torch.empty(*means.shape, dimensions, dtype=sums.dtype, device=sums.device)
    upper = sums[..., : len(rows)] / sizes[..., None]
    products[..., rows, columns] = upper
    products[..., columns, rows] = upper
    covariances = products - means[..., :, None] * means[..., None, :]
    covariances.diagonal(dim1=-2, dim2=-1).add_(floor)
    return Mixture(sizes / sizes.sum(dim=-1, keepdim=True), means, covariances)


def _floor(points: Tensor) -> float:
    """Return the value added to the diagonals; it is never 0, so that equal points have a density."""
    return REGULARISATION * max(float(points.var(dim=0, correction=0).mean()), 1e-12)


def _batched(mixture: Mixture) -> Mixture:
    return Mixture(mixture.weights[None], mixture.means[None], mixture.covariances[None])


def _member(batch: Mixture, index: int) -> Mixture:
    return Mixture(batch.weights[index], batch.means[index], batch.covariances[index])
