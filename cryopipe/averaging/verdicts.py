"""What a cluster is likely to be, in words, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from cryopipe.averaging.facts import ClusterFacts
from cryopipe.files.cluster_averages import RESOLUTION, RESOLUTION_05, ClusterAverage

PARTICLE, MIXTURE, MEMBRANE, GOLD = "particle", "mixture suspected", "membrane or filament", "gold"
FACE, TOO_FEW, NOISE = "face", "too few", "noise"
VERDICTS = (PARTICLE, MIXTURE, MEMBRANE, GOLD, FACE, TOO_FEW, NOISE)
"""In the order in which tables list clusters."""
RECOGNISED = (PARTICLE, MIXTURE, MEMBRANE)
"""Verdicts on clusters that show a structure of the specimen."""

SUPPORT = ("p", "q", "finest_decoy", "false_fraction", "heterogeneity", "p_mixture", "purity")
"""Columns of the table of verdicts that decoys add."""

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
BEYOND_DECOYS = 0.9
"""A class has to reach a resolution finer than this fraction of that of decoys, of which there are few averages."""
SIGNIFICANT = 0.05
MOST_FALSE = 0.5
"""Fraction of picked noise among the particles of a class."""
LEAST_STRUCTURE = 0.25
"""Correlation of half-maps without their radial means."""
HOLLOW = 0.5
"""A map with less density at its centre, relative to its densest shell, is not the ball that picked noise gives."""
LEAST_HALVES = 0.3
AT_RIM, CLEARLY_AT_RIM = 0.02, 0.1
"""Fraction of the rim of the box in the structure, of a long or flat one and of any."""
ROUND = 1.15
"""Elongation and flatness below which a structure is neither long nor flat: the noise of few particles reaches the rim, too."""
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


@dataclass(frozen=True)
class Support:
    """What decoys say about a class.

    Attributes
    ----------
    p, q
        Probability of a difference from decoys as large as this without one, and the false discovery rate at which the
        class is accepted; q is NaN for a class that is no particle by its form.
    finest_decoy
        Angstrom; the finest resolution that averages of as many decoys reach; infinite if none has one, NaN if there are
        no such averages.
    false_fraction
        Fraction of its particles that are picked noise.
    heterogeneity, p_mixture
        Difference of two groups by features over that of random halves, and its probability; NaN if not compared.
    purity
        Fraction of its particles that are of its main structure.
    mixture
        Whether the two groups differ.
    decoys
        Number of decoys in the run. With too few of them all other numbers are NaN.
    """

    p: float
    q: float
    finest_decoy: float
    false_fraction: float
    heterogeneity: float
    p_mixture: float
    purity: float
    mixture: bool
    decoys: int

    @property
    def assessed(self) -> bool:
        """Whether there were enough decoys to say anything."""
        return math.isfinite(self.p)


def excluded_by_form(facts: ClusterFacts) -> bool:
    """Return whether a cluster has the form of something other than particles, or too few particles."""
    return bool(_form(facts)) or _continues_beyond_the_box(facts)


def judge(facts: ClusterFacts, support: Support | None = None) -> Verdict:
    """Return what a cluster is likely to be.

    Parameters
    ----------
    facts
        Measured facts.
    support
        What decoys say about it. None without decoys: then the resolution of picked noise is the picking diameter divided
        by `PICKED_NOISE`.
    """
    found = _not_a_particle(facts, support)
    if found is not None:
        return found
    doubts = _doubts(facts, support)
    size = f"{facts.diameter / 10:.0f} nm wide" if math.isfinite(facts.diameter) else "of unknown size"
    halves = f"the half-maps agree to {facts.resolution:.0f} Å (correlation {facts.half_correlation:.2f})"
    beyond = [] if support is None else [f"differs from decoys (q = {support.q:.2g})"]
    if doubts:
        return Verdict(MIXTURE, "; ".join([*doubts, size, halves, *beyond]))
    return Verdict(PARTICLE, "; ".join([size, halves, *beyond]))


def _form(facts: ClusterFacts) -> Verdict | None:
    """Return the verdict on clusters whose particles need no average to be told."""
    if facts.kept < FEWEST:
        return Verdict(TOO_FEW, f"{facts.kept} particles in the average, fewer than {FEWEST}")
    if facts.pick_score >= GOLD_CONTRAST and facts.elongation < GOLD_ROUND and facts.flatness < GOLD_ROUND:
        return Verdict(GOLD, f"round, with {facts.pick_score:.1f} times the contrast of a typical particle")
    if facts.near_faces >= max(NEAR_FACES, MORE_THAN_ALL * facts.expected_near_faces):
        where = f"{facts.near_faces:.0%} of its particles, and {facts.expected_near_faces:.0%} of all"
        return Verdict(FACE, f"{where}, are at the top or bottom of the tomogram")
    return None


def _continues_beyond_the_box(facts: ClusterFacts) -> bool:
    """Return whether a cluster has the form of a membrane or filament."""
    long_or_flat = max(facts.elongation, facts.flatness) >= ROUND
    return facts.at_rim >= (AT_RIM if long_or_flat else CLEARLY_AT_RIM)


def _not_a_particle(facts: ClusterFacts, support: Support | None) -> Verdict | None:
    found = _form(facts)
    if found is not None:
        return found
    null = facts.picking_diameter / PICKED_NOISE
    if support is not None and not math.isnan(support.finest_decoy):
        null = BEYOND_DECOYS * support.finest_decoy
    noise = _noise(facts, null)
    if not noise and support is not None and support.assessed:
        noise = _like_decoys(support)
    if noise:
        return Verdict(NOISE, noise)
    if _continues_beyond_the_box(facts):
        form = "flat" if facts.flatness > facts.elongation else "elongated"
        if max(facts.elongation, facts.flatness) < ROUND:
            form = "round"
        return Verdict(
            MEMBRANE, f"{form}, and continues beyond the box ({facts.at_rim:.0%} of the box's rim)"
        )
    if support is not None and not support.assessed:
        return Verdict(TOO_FEW, f"{support.decoys} decoys, too few to exclude that these are picks of noise")
    return None


def _like_decoys(support: Support) -> str:
    """Return why a cluster may consist of picked noise by its decoys, "" if it does not."""
    if support.false_fraction > MOST_FALSE:
        return f"{support.false_fraction:.0%} of its particles are picked noise by the density of decoys"
    if math.isnan(support.q):
        return f"does not differ from decoys (p = {support.p:.2g})" if support.p >= SIGNIFICANT else ""
    return f"does not differ from decoys (q = {support.q:.2g})" if support.q >= SIGNIFICANT else ""


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


def _doubts(facts: ClusterFacts, support: Support | None) -> list[str]:
    """Return what suggests that a cluster contains several structures."""
    found = []
    if support is not None and support.mixture:
        found.append(
            f"two groups by its features differ {support.heterogeneity:.1f} times as much as random halves"
            f" (p = {support.p_mixture:.2g})"
        )
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
    supports: Mapping[int, Support] | None = None,
    remarks: Mapping[int, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Return one row per cluster, in the order of `VERDICTS` and of size: cluster, verdict, reason and the facts.

    Parameters
    ----------
    facts
        By cluster number.
    supports
        What decoys say about each cluster. Their numbers are then in the table, too, and clusters that are no particles have
        no resolution.
    remarks
        Further sentences for the reasons, by cluster number.
    """
    rows = []
    for number, one in facts.items():
        support = (supports or {}).get(number)
        verdict = judge(one, support)
        reason = "; ".join([verdict.reason, *(remarks or {}).get(number, ())])
        row = {"cluster": number, "verdict": verdict.word, "reason": reason, **asdict(one)}
        if support is not None:
            numbers = asdict(support)
            row |= {name: numbers[name] for name in SUPPORT}
            if verdict.word not in (PARTICLE, MIXTURE):
                row["resolution"] = math.inf
        rows.append(row)
    rows.sort(key=lambda row: (VERDICTS.index(row["verdict"]), -row["particles"], row["cluster"]))
    names = [
        "cluster",
        "verdict",
        "reason",
        *ClusterFacts.__dataclass_fields__,
        *(SUPPORT if supports else ()),
    ]
    return pd.DataFrame(rows, columns=names).replace(math.inf, math.nan)


def withhold_resolutions(
    clusters: Mapping[int, ClusterAverage], verdicts: pd.DataFrame
) -> dict[int, ClusterAverage]:
    """Return the averages, without the resolutions of those that have none in the table of verdicts.

    Parameters
    ----------
    clusters
        By number.
    verdicts
        From `describe_clusters`; without decoys it withholds nothing.
    """
    if "q" not in verdicts:
        return dict(clusters)
    without = set(verdicts.loc[verdicts["resolution"].isna(), "cluster"].astype(int))
    return {
        number: replace(
            one, figures={k: v for k, v in one.figures.items() if k not in (RESOLUTION, RESOLUTION_05)}
        )
        if number in without
        else one
        for number, one in clusters.items()
    }
