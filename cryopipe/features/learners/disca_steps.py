"""Steps of an iteration of DISCA: clustering of the features, and a last layer trained on the clusters."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryopipe.features.options import FeatureOptions
from cryopipe.features.training.loop import guarded_step
from cryopipe.mixtures.dimensions import leading_projection
from cryopipe.mixtures.label_matching import match_labels
from cryopipe.mixtures.selection import choose_count, fit_candidates
from cryopipe.mixtures.separation import separation_index

CRITERION, MINIMUM_STABILITY = "icl", 0.6
"""Choice of the number of clusters, as by default in the final clustering. BIC alone gives two clusters of a few hundred
boxes, and training makes those two ever more distinct."""
HEAD_EPOCHS = 10
HEAD_LEARNING_RATE = 1e-3
HEAD_BATCH = 64
HEAD_STEPS = 5000
"""Approximate largest number of training steps of the last layer; for many boxes its batches are larger."""


def cluster_features(
    features: Tensor, options: FeatureOptions, previous: NDArray[np.int64] | None, seed: int
) -> list[Tensor]:
    """Cluster features (n, width) on their leading principal components; clusters keep their numbers of before.

    Returns
    -------
    Labels (n,) 0..K-1; BIC, separation, stability and information (4,), see `Candidate`; the projection's mean and
    axes; weights, means and covariances of the mixture, component k of which is cluster k.
    """
    projection = leading_projection(features, options.principal_components)
    points = projection.apply(features).double()
    generator = torch.Generator().manual_seed(seed)
    candidates = fit_candidates(points, options.candidates, options.mixture_starts, generator)
    chosen = candidates[choose_count(candidates, CRITERION, MINIMUM_STABILITY)]
    mixture = chosen.mixture
    components = mixture.posteriors(points).argmax(dim=1)
    names = components.unique(return_inverse=True)[1].cpu().numpy()
    if previous is not None:
        names = match_labels(names, previous)
    labels = torch.from_numpy(names).to(points.device)
    # A component that is the most probable one of no particle is not a cluster and is removed.
    order = torch.stack([components[labels == name][0] for name in range(int(labels.max()) + 1)])
    weights = mixture.weights[order] / mixture.weights[order].sum()
    separation = separation_index(points, labels)
    figures = [chosen.bic, separation, chosen.stability, chosen.information]
    return [
        labels, torch.tensor(figures, dtype=torch.float64), projection.mean, projection.axes, weights, mixture.means[order], mixture.covariances[order],
    ]  # fmt: skip


def fit_head(
    features: Tensor, labels: NDArray[np.int64], count: int, generator: torch.Generator
) -> list[Tensor]:
    """Train a last layer on fixed features (n, width); return its weight (count, width) and bias (count,)."""
    head = nn.Linear(features.shape[1], count, device=features.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.NAdam(head.parameters(), lr=HEAD_LEARNING_RATE)
    targets = torch.from_numpy(labels).to(features.device)
    batch = max(HEAD_BATCH, HEAD_EPOCHS * len(features) // HEAD_STEPS)
    for _ in range(HEAD_EPOCHS):
        order = torch.randperm(len(features), generator=generator, device=features.device)
        for part in order.split(batch):
            loss = nn.functional.cross_entropy(head(features[part]), targets[part])
            guarded_step(loss, head, optimiser)
    return [head.weight.detach(), head.bias.detach()]
