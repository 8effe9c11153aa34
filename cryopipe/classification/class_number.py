"""Classes merged and divided by evidence: whether one map or two describe boxes better that neither has seen.

Two classes are merged unless two maps give the boxes left out a higher likelihood than one map of all their members. Two
maps of one structure have half the members each, hence more noise, and lower likelihoods. Two maps of different
structures describe their own members better. A difference counts if it is larger than `DEVIATIONS` standard errors of
its sum over the boxes, and than `LEAST_FRACTION` of twice the smaller class's likelihood, since poses and amplitudes are
never described exactly.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.classification.class_maps import ClassMaps, joined
from cryopipe.classification.rounds import Classes, Rounds
from cryopipe.mixtures.dimensions import leading_components
from cryopipe.mixtures.two_groups import divide

logger = logging.getLogger(__name__)

DEVIATIONS = 3.0
LEAST_FRACTION = 0.01
"""Of the log-likelihood of the boxes, relative to that of noise alone."""
LEAST_MEMBERSHIP = 0.05
"""Boxes with a smaller posterior of a class have no part in its trial."""
TRIAL_ROUNDS = 2
"""Rounds in refined poses, of one map and of two."""
DIVISION_ROUNDS = 3
"""Rounds of two maps of a class before they are compared with one."""
COMPONENTS = 8
"""Largest number of principal components of a class's features in which it is divided."""
FEWEST_POINTS = 4
"""Boxes for every component."""
PARTNERS = 3
"""Classes that a class is compared with, the most similar first."""


def drop_small(classes: Classes, smallest: float) -> Classes:
    """Return the classes with at least `smallest` expected members, or the largest one."""
    kept = torch.nonzero(classes.sizes >= smallest)[:, 0]
    if not len(kept):
        kept = classes.sizes.argmax()[None]
    return classes if len(kept) == classes.count else classes.of(kept)


def merge_twins(rounds: Rounds, classes: Classes) -> Classes:
    """Merge classes until two maps describe every remaining pair of similar classes better than one.

    `classes` must come from a round in which every box was compared with every class.
    """
    rejected: set[frozenset[int]] = set()
    names = list(range(classes.count))
    following = classes.count
    while classes.count > 1:
        pairs = [
            pair
            for pair in _similar_pairs(classes)
            if frozenset((names[pair[0]], names[pair[1]])) not in rejected
        ]
        pairs = _disjoint(pairs)
        if not pairs:
            return classes
        merged, gains, limits = _trial_mergers(rounds, classes, pairs)
        accepted = [number for number in range(len(pairs)) if gains[number] > -limits[number]]
        for number, (one, other) in enumerate(pairs):
            logger.info(
                "classes of %.0f and %.0f boxes: one map instead of two changes the log-likelihood by %.1f (limit %.1f): %s",
                *(float(classes.sizes[one]), float(classes.sizes[other]), gains[number], -limits[number]),
                "merged" if number in accepted else "kept apart",
            )
            if number not in accepted:
                rejected.add(frozenset((names[one], names[other])))
        if accepted:
            chosen = [pairs[number] for number in accepted]
            gone = {number for pair in chosen for number in pair}
            names = [name for number, name in enumerate(names) if number not in gone]
            names += range(following, following + len(chosen))
            following += len(chosen)
            classes = _with_mergers(classes, chosen, merged.of(torch.tensor(accepted)))
    return classes


def _similar_pairs(classes: Classes) -> list[tuple[int, int]]:
    """Return pairs of classes, the one whose members lose least in the other first."""
    weights = classes.responsibilities / classes.sizes.clamp(min=1e-6)
    likelihoods = classes.log_likelihoods
    own = (weights * likelihoods).sum(dim=0)
    loss = own[:, None] - weights.T @ likelihoods
    least = torch.minimum(loss, loss.T).fill_diagonal_(torch.inf)
    few = min(PARTNERS, classes.count - 1)
    near = least.topk(few, dim=1, largest=False).indices.tolist()
    pairs = {(min(one, other), max(one, other)) for one, others in enumerate(near) for other in others}
    return sorted(pairs, key=lambda pair: float(least[pair]))


def _disjoint(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the first pairs in which no class occurs twice."""
    used: set[int] = set()
    chosen = []
    for pair in pairs:
        if not used & set(pair):
            chosen.append(pair)
            used |= set(pair)
    return chosen


def _trial_mergers(
    rounds: Rounds, classes: Classes, pairs: list[tuple[int, int]]
) -> tuple[ClassMaps, NDArray[np.float64], NDArray[np.float64]]:
    """Return the maps of all merged pairs, the log-likelihood they gain, and the loss up to which they are merged."""
    first, second = torch.tensor(pairs).T
    sizes = classes.sizes
    larger = torch.where(sizes[first] >= sizes[second], first, second)
    together = classes.responsibilities[:, first] + classes.responsibilities[:, second]
    part = torch.nonzero((together > LEAST_MEMBERSHIP).any(dim=1))[:, 0]
    weights = together[part]
    inside = torch.where(weights > LEAST_MEMBERSHIP, 0.0, -torch.inf)
    trial = Rounds(rounds.boxes.of(part), rounds.search, rounds.mask, rounds.rng)
    both, noise = torch.cat([first, second]), classes.noise
    maps = trial.improve(classes.maps.of(larger), noise, inside, weights).maps
    weights = weights * (weights > LEAST_MEMBERSHIP)
    maps, one_map = trial.refine(maps, noise, weights, TRIAL_ROUNDS)
    two_maps = _of_two_maps(
        trial, classes.maps.of(both), noise, classes.responsibilities[part][:, both], weights.repeat(1, 2)
    )
    pair_sizes = sizes[both].reshape(2, -1)
    proportions = (pair_sizes / pair_sizes.sum(dim=0)).log()
    difference = one_map - (two_maps.reshape(len(part), 2, -1) + proportions).logsumexp(dim=1)
    sides = classes.responsibilities[part][:, both].unflatten(1, (2, -1)) * (weights > 0)[:, None]
    return maps, *_evidence(difference, sides, one_map)


def _of_two_maps(trial: Rounds, maps: ClassMaps, noise: Tensor, own: Tensor, pair: Tensor) -> Tensor:
    """Return (n, C) log-likelihoods of the boxes of pairs for both maps, after the same rounds as a merged map.

    `own` and `pair`, (n, C), are the weights of the boxes in each map and in its pair.
    """
    return trial.refine(maps, noise, own * (own > LEAST_MEMBERSHIP), TRIAL_ROUNDS, pair)[1]


def _evidence(
    difference: Tensor, sides: Tensor, log_likelihoods: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of differences of log-likelihoods, and the size from which they count.

    Parameters
    ----------
    difference
        (n, P) of every box and pair.
    sides
        (n, 2, P) weights of the boxes in the two classes of a pair. The standard error is that of both sides together,
        each about its own mean: a few boxes of a rare class gain much, the others nothing.
    log_likelihoods
        (n, P) of the boxes for one map.
    """
    difference, sides = difference.double()[:, None], sides.double()
    sums = (sides * difference).sum(dim=0)
    means = sums / sides.sum(dim=0).clamp(min=1e-9)
    errors = (sides**2 * (difference - means) ** 2).sum(dim=(0, 1)).sqrt()
    of_sides = (sides * log_likelihoods.double().clamp(min=0)[:, None]).sum(dim=0)
    least = 2 * LEAST_FRACTION * of_sides.min(dim=0).values
    return sums.sum(dim=0).cpu().numpy(), torch.maximum(DEVIATIONS * errors, least).cpu().numpy()


def _with_mergers(classes: Classes, pairs: list[tuple[int, int]], merged: ClassMaps) -> Classes:
    """Return the classes that are in none of `pairs`, then the merged ones."""
    gone = {number for pair in pairs for number in pair}
    kept = torch.tensor([number for number in range(classes.count) if number not in gone], dtype=torch.long)
    first, second = torch.tensor(pairs).T

    def in_logarithms(values: Tensor) -> Tensor:
        return torch.cat([values[:, kept], values[:, first].logaddexp(values[:, second])], dim=1)

    members = classes.responsibilities
    return replace(
        classes,
        maps=joined(classes.maps.of(kept), merged),
        responsibilities=torch.cat([members[:, kept], members[:, first] + members[:, second]], dim=1),
        log_likelihoods=in_logarithms(classes.log_likelihoods),
        evidence=in_logarithms(classes.evidence),
    )


def divide_mixed(rounds: Rounds, classes: Classes, features: NDArray[np.float64], smallest: int) -> Classes:
    """Divide every class into two where two maps describe its boxes better.

    Parameters
    ----------
    rounds
        Boxes and poses.
    classes
        The classes.
    features
        (n, d); the first division of a class is that of its members' features.
    smallest
        Fewest expected members of a class.
    """
    labels = classes.labels()
    numbers = [number for number in range(classes.count) if np.sum(labels == number) >= 2 * smallest]
    if not numbers:
        return classes
    member, halves = _first_halves(labels, numbers, features, rounds.rng)
    member, halves = member.to(rounds.mask), halves.to(rounds.mask)
    part = torch.nonzero(member.any(dim=1))[:, 0]
    trial = Rounds(rounds.boxes.of(part), rounds.search, rounds.mask, rounds.rng)
    inside = torch.where(member[part] > 0, 0.0, -torch.inf)
    twice = inside.repeat_interleave(2, dim=1)
    chosen = torch.tensor(numbers)
    maps, fixed = classes.maps.of(chosen.repeat_interleave(2)), halves[part]
    for _ in range(DIVISION_ROUNDS):
        found = trial.improve(maps, classes.noise, twice, fixed)
        maps = found.maps
        sides = (found.log_likelihoods + twice).unflatten(1, (-1, 2))
        fixed = (sides.softmax(dim=2).nan_to_num() * member[part][..., None]).flatten(1)
    whole = member[part]
    _, one_map = trial.refine(classes.maps.of(chosen), classes.noise, whole, TRIAL_ROUNDS)
    pairs = whole.repeat_interleave(2, dim=1)
    two_maps = _of_two_maps(trial, maps, classes.noise, fixed, pairs).unflatten(1, (-1, 2))
    sizes = fixed.sum(dim=0).reshape(-1, 2)
    proportions = (sizes / sizes.sum(dim=1, keepdim=True).clamp(min=1e-9)).clamp(min=1e-9).log()
    gain = torch.where(whole > 0, (two_maps + proportions).logsumexp(dim=2) - one_map, 0.0)
    gains, limits = _evidence(gain, fixed.unflatten(1, (-1, 2)).transpose(1, 2), one_map)
    least = sizes.min(dim=1).values.cpu().numpy()
    accepted = [
        column
        for column in range(len(numbers))
        if gains[column] > limits[column] and least[column] >= smallest
    ]
    for column in range(len(numbers)):
        logger.info(
            "class of %d boxes: two maps instead of one change the log-likelihood by %.1f (limit %.1f): %s",
            *(int(member[:, column].sum()), gains[column], limits[column]),
            "divided" if column in accepted else "one class",
        )
    return _with_parts(
        classes, [numbers[c] for c in accepted], maps.of(_both(accepted)), part, fixed[:, _both(accepted)]
    )


def _first_halves(
    labels: NDArray[np.int64], numbers: list[int], features: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return which boxes are in each of P classes (n, P) and in two halves of it by their features (n, 2 P), 0 or 1."""
    member = torch.zeros(len(labels), len(numbers))
    halves = torch.zeros(len(labels), 2 * len(numbers))
    for column, number in enumerate(numbers):
        own = np.flatnonzero(labels == number)
        side = _two_groups(features[own], rng)
        member[own, column] = 1.0
        halves[own, 2 * column + side] = 1.0
    return member, halves


def _both(columns: list[int]) -> Tensor:
    """Return the columns of both halves of these classes."""
    return torch.tensor([2 * column + side for column in columns for side in (0, 1)], dtype=torch.long)


def _two_groups(features: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return (m,) 0 or 1: two groups of the features in components of their own."""
    points = leading_components(torch.from_numpy(np.asarray(features, np.float64)), COMPONENTS)
    if len(points) < FEWEST_POINTS * (points.shape[1] + 1):
        points = points[:, : max(1, len(points) // FEWEST_POINTS - 1)]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return divide(points, generator).second.numpy().astype(np.int64)


def _with_parts(
    classes: Classes, divided: list[int], maps: ClassMaps, part: Tensor, fixed: Tensor
) -> Classes:
    """Return the classes with those of `divided` replaced by two each, which have `maps`."""
    if not divided:
        return classes
    kept = torch.tensor(
        [number for number in range(classes.count) if number not in divided], dtype=torch.long
    )
    device = classes.responsibilities.device
    new = torch.zeros(len(classes.responsibilities), 2 * len(divided), device=device)
    new[part] = fixed
    unknown = torch.zeros_like(new)
    return replace(
        classes,
        maps=joined(classes.maps.of(kept), maps),
        responsibilities=torch.cat([classes.responsibilities[:, kept], new], dim=1),
        log_likelihoods=torch.cat([classes.log_likelihoods[:, kept], unknown], dim=1),
        evidence=torch.cat([classes.evidence[:, kept], unknown], dim=1),
    )
