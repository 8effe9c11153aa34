"""What a cluster is likely to be, in words, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from cryopipe.averaging.cluster_facts import ClusterFacts

PARTICLE, MIXTURE, MEMBRANE, GOLD = "particle", "mixture suspected", "membrane or filament", "gold"
FACE, TOO_FEW, NOISE = "face", "too few", "noise"
VERDICTS = (PARTICLE, MIXTURE, MEMBRANE, GOLD, FACE, TOO_FEW, NOISE)
"""In the order in which tables list clusters."""
RECOGNISED = (PARTICLE, MIXTURE, MEMBRANE)
"""Verdicts on clusters that show a structure of the specimen."""

FEWEST = 10
"""Particles in an average."""
GOLD_CONTRAST = 4.0
"""Pick score relative to the median of all particles."""
GOLD_ROUND = 1.25
NEAR_FACES = 0.5
"""Fraction of particles at the faces."""
MORE_THAN_ALL = 2.0
"""Times as many at the faces as of all particles."""
PICKED_NOISE = 3.5
"""Picks of white noise average to no finer resolution than this fraction of the picking diameter; for 70 to 1,200 picks it
was a third to two fifths of the diameter."""
LEAST_STRUCTURE = 0.25
"""Correlation of half-maps without their radial means."""
HOLLOW = 0.5
"""A map with less density at its centre, relative to its densest shell, is not the ball that picked noise gives."""
LEAST_HALVES = 0.3
AT_RIM = 0.02
"""Fraction of the rim of the box in the structure."""
LEAST_KEPT, LEAST_POSTERIOR = 0.8, 0.7
UNEVEN = 0.001
"""Probability of the orientations' unevenness."""
STRONGLY_UNEVEN = 0.1


@dataclass(frozen=True)
class Verdict:
    """What a cluster is likely to be.

    Attributes
    ----------
    word
        One of `VERDICTS`.
    reason
        The measured facts that decide, in a sentence.
    """

    word: str
    reason: str


def judge(facts: ClusterFacts, finest_decoy: float | None = None) -> Verdict:
    """Return what a cluster is likely to be.

    Parameters
    ----------
    facts
        Measured facts.
    finest_decoy
        Angstrom; the finest resolution that clusters of decoys of this size reach. None without decoys: then the picking
        diameter divided by `PICKED_NOISE`.
    """
    null = finest_decoy or facts.picking_diameter / PICKED_NOISE
    null = math.inf if math.isnan(null) else null
    found = _not_a_particle(facts, null)
    if found is not None:
        return found
    doubts = _doubts(facts)
    size = f"{facts.diameter / 10:.0f} nm wide" if math.isfinite(facts.diameter) else "of unknown size"
    halves = f"the half-maps agree to {facts.resolution:.0f} Å (correlation {facts.half_correlation:.2f})"
    if doubts:
        return Verdict(MIXTURE, "; ".join([*doubts, size, halves]))
    return Verdict(PARTICLE, f"{size}; {halves}")


def _not_a_particle(facts: ClusterFacts, null: float) -> Verdict | None:
    if facts.kept < FEWEST:
        return Verdict(TOO_FEW, f"{facts.kept} particles in the average, fewer than {FEWEST}")
    if facts.pick_score >= GOLD_CONTRAST and facts.elongation < GOLD_ROUND and facts.flatness < GOLD_ROUND:
        return Verdict(GOLD, f"round, with {facts.pick_score:.1f} times the contrast of a typical particle")
    if facts.near_faces >= max(NEAR_FACES, MORE_THAN_ALL * facts.expected_near_faces):
        where = f"{facts.near_faces:.0%} of its particles, and {facts.expected_near_faces:.0%} of all"
        return Verdict(FACE, f"{where}, are at the top or bottom of the tomogram")
    noise = _noise(facts, null)
    if noise:
        return Verdict(NOISE, noise)
    if facts.at_rim >= AT_RIM:
        form = "flat" if facts.flatness > facts.elongation else "elongated"
        return Verdict(
            MEMBRANE, f"{form}, and continues beyond the box ({facts.at_rim:.0%} of the box's rim)"
        )
    return None


def _noise(facts: ClusterFacts, null: float) -> str:
    """Return why a cluster's average may be that of picked noise, "" if it is not."""
    if facts.half_correlation < LEAST_HALVES:
        return f"the half-maps do not agree (correlation {facts.half_correlation:.2f})"
    if not math.isfinite(facts.resolution):
        return "the half-maps agree to no resolution that can be reported"
    if facts.resolution >= null:
        return f"resolution {facts.resolution:.0f} Å, which picked noise also reaches (up to {null:.0f} Å)"
    if facts.structure_correlation < LEAST_STRUCTURE and not facts.hollow < HOLLOW:
        without = f"correlation {facts.structure_correlation:.2f} without the radial mean"
        return f"the half-maps agree only in a ball, as those of picked noise do ({without})"
    return ""


def _doubts(facts: ClusterFacts) -> list[str]:
    """Return what suggests that a cluster contains several structures."""
    found = []
    if facts.kept < LEAST_KEPT * facts.particles:
        found.append(f"{1 - facts.kept / facts.particles:.0%} of its particles do not match the average")
    if facts.posterior < LEAST_POSTERIOR:
        found.append(
            f"its particles are hardly separate from other clusters (mean posterior {facts.posterior:.2f})"
        )
    if facts.orientation >= STRONGLY_UNEVEN and facts.orientation_p < UNEVEN:
        found.append(
            f"its particles have similar orientations (unevenness {facts.orientation:.2f}), as a view of a larger class does"
        )
    return found


def recognised_clusters(table: pd.DataFrame) -> list[int]:
    """Return the numbers of the clusters that show a structure of the specimen, from a table of `describe_clusters`."""
    return [int(number) for number in table.loc[table["verdict"].isin(RECOGNISED), "cluster"]]


def describe_clusters(
    facts: Mapping[int, ClusterFacts],
    finest_decoys: Mapping[int, float] | None = None,
    remarks: Mapping[int, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Return one row per cluster, in the order of `VERDICTS` and of size: cluster, verdict, reason and the facts.

    Parameters
    ----------
    facts
        By cluster number.
    finest_decoys
        See `judge`; by cluster number.
    remarks
        Further sentences for the reasons, by cluster number.
    """
    rows = []
    for number, one in facts.items():
        verdict = judge(one, (finest_decoys or {}).get(number))
        reason = "; ".join([verdict.reason, *(remarks or {}).get(number, ())])
        rows.append({"cluster": number, "verdict": verdict.word, "reason": reason, **asdict(one)})
    rows.sort(key=lambda row: (VERDICTS.index(row["verdict"]), -row["particles"], row["cluster"]))
    names = ["cluster", "verdict", "reason", *ClusterFacts.__dataclass_fields__]
    return pd.DataFrame(rows, columns=names).replace(math.inf, math.nan)
