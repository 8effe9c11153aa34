"""Recursive splitting of points into groups, and merging of groups without a gap between them.

Splitting is generous: a group is divided as long as two Gaussians of one covariance explain it better than one, in
principal components of its own, by more than chance allows. One class whose features are not Gaussian is divided, too.
Therefore pairs of groups are then compared, and those are merged between which the density has no valley, or whose
division two halves of the particles do not confirm.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from cryopipe.mixtures.dimensions import leading_components
from cryopipe.mixtures.two_groups import Separation, discriminant, divide, separation

SAMPLE = 2_000
"""Largest number of members on which a group is judged; a division is then applied to all members."""
MINIMUM_EXCESS = 4.0
"""Of the likelihood of two groups over that of one, standard deviations."""
POINTS_PER_DIMENSION = 5
MAX_OUTLIER_GROUPS = 3
"""How often a few outliers are left aside before a group is divided."""
NEIGHBOURS = 4
"""Each group is compared with this many groups, those with the nearest means."""


@dataclass(frozen=True)
class SplitRules:
    """When groups are different.

    Attributes
    ----------
    valley
        Largest density between two groups, as a fraction of the lower peak; see `Separation`.
    stability
        Smallest agreement of two halves of the particles; see `Separation`.
    smallest
        Fewest members of a group.
    components
        Largest number of principal components in which a group is divided.
    """

    valley: float
    stability: float
    smallest: int
    components: int


@dataclass(frozen=True)
class _Node:
    members: Tensor
    excess: float
    parts: tuple[Tensor, Tensor] | None


def split_recursively(
    features: Tensor, rules: SplitRules, fewest: int, most: int, generator: torch.Generator
) -> Tensor:
    """Return groups (n,), numbered from 0, of `features` (n, d).

    The group with the clearest division is divided first, until there are `most` groups, or at least `fewest` and no clear
    division. There are fewer than `fewest` only if groups of `rules.smallest` members cannot be divided further.
    """
    queue = [(0.0, 0, _examine(features, torch.arange(len(features)), rules, generator))]
    ended: list[Tensor] = []
    made = 1
    while queue and len(queue) + len(ended) < most:
        node = heapq.heappop(queue)[2]
        enough = len(queue) + len(ended) + 1 >= fewest
        if node.parts is None or (node.excess < MINIMUM_EXCESS and enough):
            ended.append(node.members)
            continue
        for members in node.parts:
            part = _examine(features, members, rules, generator)
            heapq.heappush(queue, (-part.excess, made, part))
            made += 1
    labels = torch.zeros(len(features), dtype=torch.long)
    for number, members in enumerate([*ended, *(node.members for _, _, node in queue)]):
        labels[members] = number
    return labels


def _examine(features: Tensor, members: Tensor, rules: SplitRules, generator: torch.Generator) -> _Node:
    """Find the best division of a group; a few outliers are left aside, since they often make the best division."""
    kept, outliers = members, members[:0]
    for _ in range(MAX_OUTLIER_GROUPS + 1):
        if len(kept) < 2 * rules.smallest:
            break
        excess, second = _divide(features[kept], rules, generator)
        parts = [kept[~second], kept[second]]
        larger = int(len(parts[1]) > len(parts[0]))
        smaller = parts[1 - larger]
        if len(smaller) >= rules.smallest:
            parts[larger] = torch.cat([parts[larger], outliers])
            return _Node(members, excess, (parts[0], parts[1]))
        if not len(smaller):
            break
        outliers, kept = torch.cat([outliers, smaller]), parts[larger]
    return _Node(members, 0.0, None)


def _divide(features: Tensor, rules: SplitRules, generator: torch.Generator) -> tuple[float, Tensor]:
    """Return the evidence of the best division of a sample of `features` (n, d), and the groups (n,) of all."""
    points = _components(features, rules)
    chosen = _sample(len(points), generator)
    division = divide(points[chosen], generator)
    second = division.second
    if len(chosen) < len(points):
        if not 1 < int(second.sum()) < len(second) - 1:
            return 0.0, torch.zeros(len(points), dtype=torch.bool)
        direction, offset = discriminant(points[chosen], second)
        second = points @ direction + offset > 0
    return division.excess, second


def merge_unsupported(
    features: Tensor,
    labels: Tensor,
    rules: SplitRules,
    fewest: int,
    most: int,
    generator: torch.Generator,
) -> tuple[Tensor, list[tuple[int, Separation]]]:
    """Merge groups without a gap between them, the least separate pair first.

    Parameters
    ----------
    features
        (n, d).
    labels
        (n,) groups, numbered from 0.
    rules
        When two groups are different.
    fewest, most
        Merging ends at `fewest` groups, and goes on while there are more than `most`.
    generator
        Source of randomness, on the CPU.

    Returns
    -------
    The groups (n,), numbered from 0, and for each number of groups on the way the least separate pair.
    """
    groups = {number: torch.nonzero(labels == name)[:, 0] for number, name in enumerate(labels.unique())}
    made = len(groups)  # a new name each, since judgements are kept by name
    judged: dict[tuple[int, int], Separation] = {}
    weakest: list[tuple[int, Separation]] = []
    while len(groups) > 1:
        for pair in _near_pairs(features, groups):
            if pair not in judged:
                judged[pair] = _judge(features, groups[pair[0]], groups[pair[1]], rules, generator)
        present = {pair: one for pair, one in judged.items() if pair[0] in groups and pair[1] in groups}
        pair = max(present, key=lambda pair: _weakness(present[pair], rules))
        weakest.append((len(groups), present[pair]))
        enough = _weakness(present[pair], rules) <= 1 and len(groups) <= most
        if enough or len(groups) <= fewest:
            break
        groups[made] = torch.cat([groups.pop(pair[0]), groups.pop(pair[1])])
        made += 1
    merged = torch.zeros(len(features), dtype=torch.long)
    for number, members in enumerate(groups.values()):
        merged[members] = number
    return merged, weakest


def _weakness(pair: Separation, rules: SplitRules) -> float:
    """Return how far a pair is from being different: above 1, it is merged."""
    return max(pair.valley / rules.valley, (1 - pair.stability) / (1 - rules.stability))


def _near_pairs(features: Tensor, groups: dict[int, Tensor]) -> set[tuple[int, int]]:
    """Return pairs of groups, each with its `NEIGHBOURS` nearest ones."""
    names = sorted(groups)
    means = torch.stack([features[groups[name]].mean(dim=0) for name in names])
    order = (
        torch.cdist(means, means)
        .fill_diagonal_(torch.inf)
        .argsort(dim=1)[:, : min(NEIGHBOURS, len(names) - 1)]
    )
    pairs = itertools.chain.from_iterable(
        ((names[one], names[int(other)]) for other in others) for one, others in enumerate(order)
    )
    return {(min(pair), max(pair)) for pair in pairs}


def _judge(
    features: Tensor, first: Tensor, second: Tensor, rules: SplitRules, generator: torch.Generator
) -> Separation:
    members = torch.cat([first, second])
    in_second = torch.arange(len(members)) >= len(first)
    points = _components(features[members], rules)
    chosen = _sample(len(members), generator)
    return separation(points[chosen], in_second[chosen], generator)


def _components(features: Tensor, rules: SplitRules) -> Tensor:
    count = min(len(features), SAMPLE)
    return leading_components(features.double(), max(1, min(rules.components, count // POINTS_PER_DIMENSION)))


def _sample(count: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:SAMPLE].sort().values
