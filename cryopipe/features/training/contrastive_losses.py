"""Losses of contrastive learning: NT-Xent (SimCLR), InfoNCE with a queue (MoCo), swapped prediction (SwAV).

All take two views of the same m particles as rows of two tensors, in the same order, and return the mean loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 0.05
"""Temperature of SwAV's codes before their balancing (epsilon in the paper)."""
BALANCING_STEPS = 3
"""Sinkhorn steps (published)."""


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return SimCLR's loss: the other view of a particle must be nearer than all other views of the batch.

    Parameters
    ----------
    first, second
        (m, d) of any length; they are compared by the cosine.
    temperature
        Divides the cosines.
    """
    count = len(first)
    views = F.normalize(torch.cat([first, second]))
    similarity = views @ views.T / temperature
    itself = torch.eye(2 * count, dtype=torch.bool, device=views.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    partners = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(similarity, partners)


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return MoCo's loss: a query must be nearer to its own key than to the keys of earlier batches.

    Parameters
    ----------
    queries
        (m, d), with gradient.
    keys
        (m, d) of the other view, from the momentum encoder.
    queue
        (k, d) earlier keys.
    temperature
        Divides the cosines.
    """
    queries, keys, queue = (F.normalize(rows) for rows in (queries, keys, queue))
    own = (queries * keys).sum(dim=1, keepdim=True)
    logits = torch.cat([own, queries @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long, device=queries.device))


def balanced_codes(scores: Tensor, sharpness: float = SHARPNESS, steps: int = BALANCING_STEPS) -> Tensor:
    """Return soft assignments (m, k) of m views to k prototypes, each prototype with about m / k of them.

    Parameters
    ----------
    scores
        (m, k) cosines of views and prototypes.
    sharpness
        Divides the scores.
    steps
        Sinkhorn steps: columns, then rows are scaled to equal sums; the rows of the result sum to 1.
    """
    # In logarithms: exp(1 / sharpness) overflows in half precision, and columns may vanish in single.
    codes = scores.double() / sharpness
    for _ in range(steps):
        codes = codes - codes.logsumexp(dim=0, keepdim=True)
        codes = codes - codes.logsumexp(dim=1, keepdim=True)
    return codes.exp().to(scores.dtype)


def swapped_prediction(
    first: Tensor, second: Tensor, prototypes: Tensor, temperature: float, earlier: Tensor | None = None
) -> Tensor:
    """Return SwAV's loss: the code of each view must be predicted from the other view.

    Parameters
    ----------
    first, second
        (m, d).
    prototypes
        (k, d).
    temperature
        Divides the cosines of views and prototypes in the prediction.
    earlier
        (q, d) features of earlier batches. They take part in the balancing of the codes, which needs more views than
        prototypes.
    """
    directions = F.normalize(prototypes)
    scores = [F.normalize(view) @ directions.T for view in (first, second)]
    with torch.no_grad():
        before = first[:0] if earlier is None else earlier
        old = F.normalize(before) @ directions.T
        codes = [balanced_codes(torch.cat([one, old]))[: len(one)] for one in scores]
    losses = [F.cross_entropy(scores[1 - view] / temperature, codes[view]) for view in (0, 1)]
    return (losses[0] + losses[1]) / 2
