"""Runs of the benchmark of affinity-VAE. No arrays: the Snakefile imports this module in every job."""

from __future__ import annotations

SEEDS = (1, 2, 3)
BETAS, GAMMAS = (1.0, 2.0, 3.0, 4.0, 5.0), (0.0, 5.0, 10.0, 20.0)
"""Published figures: beta 1 to 5 at gamma 0, and gamma 0 to 20 at beta 5."""
REPEATED = ((5.0, 0.0), (5.0, 10.0))
"""Pairs of beta and gamma that run with every seed: the beta-VAE and affinity-VAE."""


def weights() -> list[tuple[float, float]]:
    """Return all pairs of beta and gamma."""
    pairs = [(beta, 0.0) for beta in BETAS] + [(BETAS[-1], gamma) for gamma in GAMMAS]
    return list(dict.fromkeys([*REPEATED, *pairs]))


def seeds_of(pair: tuple[float, float]) -> tuple[int, ...]:
    """Return the seeds with which a pair of beta and gamma runs."""
    return SEEDS if pair in REPEATED else SEEDS[:1]


def run_name(beta: float, gamma: float, seed: int) -> str:
    """Return the stem of a run's file."""
    return f"beta_{beta:g}_gamma_{gamma:g}_seed_{seed}"


def run_names() -> list[str]:
    """Return the names of all runs."""
    return [run_name(*pair, seed) for pair in weights() for seed in seeds_of(pair)]
