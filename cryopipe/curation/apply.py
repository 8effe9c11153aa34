"""Application of decisions to the particles of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.curation.decisions import (
    SCORES,
    Accept,
    BadTomogram,
    Choose,
    Curation,
    Decision,
    Merge,
    Note,
    Reject,
    Rename,
    Select,
    Split,
    describe,
)
from cryopipe.curation.fingerprint import fingerprint

APPLIED, PARTLY, NOT_APPLIED = "applied", "partly applied", "not applied"
OPEN, ACCEPTED, REJECTED = "open", "accepted", "rejected"
"""State of a cluster or particle."""
Divide = Callable[[NDArray[np.int64], int], NDArray[np.int64]]
"""Function of the rows of a cluster's m particles and a number of parts; returns (m,) the part of each, from 0."""


@dataclass(frozen=True)
class Curated:
    """A run's particles after the decisions.

    Attributes
    ----------
    particles
        The n particles in their order, with the new cluster, the state (`columns.DECISION`: open, accepted, rejected) and,
        if a cluster has a name, `columns.CLASS_NAME`. Particles of a rejected cluster keep its number; single
        particles that were rejected are in class 0.
    clusters
        One row per cluster, rejected ones too: cluster, name, state, particles, note.
    outcomes
        One row per decision, in order: decision (text), outcome (applied, partly applied, not applied), detail.
    labels
        (n,) label of each particle; "" without one.
    """

    particles: pd.DataFrame
    clusters: pd.DataFrame
    outcomes: pd.DataFrame
    labels: NDArray[np.str_]


def apply_decisions(particles: pd.DataFrame, curation: Curation, divide: Divide | None = None) -> Curated:
    """Apply decisions to the particles of a run.

    Decisions that name particles, clusters or tomograms that do not exist are applied as far as possible and reported in
    `Curated.outcomes`. If the file belongs to other clusters, the numbers in it mean nothing here: only decisions that
    name particles or tomograms are applied.

    Parameters
    ----------
    particles
        n particles with name, tomogram, cluster and scores, as the clustering found them.
    curation
        The decisions.
    divide
        Divides a cluster by its features; None reports splits as not applied.
    """
    state = _State.of(particles, divide)
    same_run = curation.run == fingerprint(particles)
    rows = []
    for decision in curation.decisions:
        if not same_run and not isinstance(decision, Select | BadTomogram):
            detail = f"belongs to the clusters {curation.run}, not to those of this run; decide again in its report"
            rows.append((describe(decision), NOT_APPLIED, detail))
        else:
            rows.append((describe(decision), *state.apply(decision)))
    outcomes = pd.DataFrame(rows, columns=["decision", "outcome", "detail"])
    return Curated(state.table(), state.cluster_table(), outcomes, state.labels())


@dataclass
class _State:
    """Particles and clusters between two decisions.

    Attributes
    ----------
    particles
        As given.
    clusters
        (n,) number of each particle's cluster.
    own
        (n,) state of each particle itself, apart from its cluster's.
    states, names, notes
        By cluster number.
    gone
        Clusters that no longer exist, with what became of them.
    """

    particles: pd.DataFrame
    divide: Divide | None
    clusters: NDArray[np.int64]
    own: NDArray[np.str_]
    row_of: dict[str, int]
    states: dict[int, str]
    names: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)
    chosen_labels: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, particles: pd.DataFrame, divide: Divide | None) -> _State:
        clusters = particles[columns.CLASS].to_numpy(np.int64).copy()
        row_of = {str(name): row for row, name in enumerate(particles[columns.PARTICLE])}
        numbers = np.unique(clusters[clusters != columns.UNASSIGNED])
        state = cls(
            particles,
            divide,
            clusters,
            np.full(len(particles), OPEN, "<U8"),
            row_of,
            {int(number): OPEN for number in numbers},
        )
        if columns.CLASS_NAME in particles:
            named = particles.drop_duplicates(columns.CLASS)
            pairs = zip(named[columns.CLASS].astype(int), named[columns.CLASS_NAME].astype(str), strict=True)
            state.names = {number: name for number, name in pairs if number != columns.UNASSIGNED}
        return state

    def apply(self, decision: Decision) -> tuple[str, str]:
        """Apply one decision; return its outcome and a detail."""
        match decision:
            case Select():
                return self._select(decision)
            case BadTomogram(tomogram):
                rows = np.flatnonzero(self.particles[columns.TOMOGRAM].astype(str) == tomogram)
                if not len(rows):
                    return NOT_APPLIED, f"tomogram {tomogram!r} has no particles in this run"
                return APPLIED, f"{_count(self._remove(rows))} removed"
            case Merge(clusters):
                return self._merge(clusters)
        missing = self._missing(decision.cluster)
        if missing:
            return NOT_APPLIED, missing
        return self._of_cluster(decision)

    def _of_cluster(self, decision: Accept | Reject | Split | Rename | Note | Choose) -> tuple[str, str]:
        number = decision.cluster
        rows = np.flatnonzero(self.clusters == number)
        match decision:
            case Accept():
                self.states[number] = ACCEPTED
                return APPLIED, _count(len(rows))
            case Reject():
                self.states[number] = REJECTED
                return APPLIED, _count(len(rows))
            case Rename(name=name):
                self.names[number] = name
                return APPLIED, ""
            case Note(text=text):
                self.notes[number] = f"{self.notes[number]} {text}" if number in self.notes else text
                return APPLIED, ""
            case Split(into=into):
                return self._split(number, into, rows)
            case Choose(above=above, score=score):
                return self._choose(number, above, score, rows)

    def _missing(self, number: int) -> str:
        """Return why a cluster does not exist, "" if it does."""
        if number in self.states:
            return ""
        return self.gone.get(number, f"this run has no cluster {number}")

    def _merge(self, clusters: tuple[int, ...]) -> tuple[str, str]:
        missing = [text for text in map(self._missing, clusters) if text]
        present = [number for number in clusters if number in self.states]
        if len(present) < 2:
            return NOT_APPLIED, "; ".join(missing)
        first, *others = present
        for number in others:
            self.clusters[self.clusters == number] = first
            self._forget(number, f"cluster {number} was merged into cluster {first}")
        count = _count(int(np.sum(self.clusters == first)))
        return (PARTLY if missing else APPLIED), "; ".join([f"cluster {first} has {count}", *missing])

    def _split(self, number: int, into: int, rows: NDArray[np.int64]) -> tuple[str, str]:
        if self.divide is None:
            return NOT_APPLIED, "the features of the particles are not at hand"
        if len(rows) < 2 * into:
            return NOT_APPLIED, f"cluster {number} has only {_count(len(rows))}"
        parts = self.divide(rows, into)
        found, sizes = np.unique(parts, return_counts=True)
        order = found[np.argsort(-sizes, kind="stable")]
        numbers = [number, *(self._new(self.states[number]) for _ in order[1:])]
        for part, own in zip(order, numbers, strict=True):
            self.clusters[rows[parts == part]] = own
        detail = ", ".join(f"cluster {own} {np.sum(self.clusters == own)}" for own in numbers)
        if len(numbers) < into:
            return PARTLY, f"only {len(numbers)} parts were found: {detail}"
        return APPLIED, f"particles: {detail}"

    def _choose(self, number: int, above: float, score: str, rows: NDArray[np.int64]) -> tuple[str, str]:
        name = SCORES[score]
        if name not in self.particles:
            return NOT_APPLIED, f"the particles of this run have no {score} score"
        values = self.particles[name].to_numpy(float)[rows]
        removed = self._remove(rows[~(values >= above)])
        return APPLIED, f"{_count(len(rows) - removed)} kept, {removed} removed"

    def _select(self, decision: Select) -> tuple[str, str]:
        rows = np.array([self.row_of[one] for one in decision.particles if one in self.row_of], np.int64)
        lost = [one for one in decision.particles if one not in self.row_of]
        details = [f"{_count(len(lost))} no longer in this run, such as {lost[0]}"] if lost else []
        used = len(rows)
        if decision.purpose == "accept":
            clustered = self.clusters[rows] != columns.UNASSIGNED
            if not clustered.all():
                details.append(f"{_count(int((~clustered).sum()))} in no cluster; select them as: split")
            self.own[rows[clustered]] = ACCEPTED
            used = int(clustered.sum())
        elif decision.purpose == "reject":
            self._remove(rows)
        elif decision.purpose == "label":
            self.chosen_labels |= dict.fromkeys(rows.tolist(), decision.name)
        elif used:
            number = self._new(OPEN)
            self.clusters[rows], self.own[rows] = number, OPEN
            self.names[number] = decision.name
            details.insert(0, f"cluster {number}")
            self._forget_empty(f"all its particles are in selection {decision.name!r}")
        if not used:
            return NOT_APPLIED, "; ".join(details)
        return (APPLIED if used == len(decision.particles) else PARTLY), "; ".join([_count(used), *details])

    def _remove(self, rows: NDArray[np.int64]) -> int:
        """Reject single particles; return how many were in a cluster."""
        clustered = int(np.sum(self.clusters[rows] != columns.UNASSIGNED))
        self.clusters[rows], self.own[rows] = columns.UNASSIGNED, REJECTED
        self._forget_empty("all its particles were removed")
        return clustered

    def _forget_empty(self, why: str) -> None:
        for number in sorted(set(self.states) - set(np.unique(self.clusters).tolist())):
            self._forget(number, f"cluster {number} no longer exists: {why}")

    def _forget(self, number: int, why: str) -> None:
        self.gone[number] = why
        for values in (self.states, self.names, self.notes):
            values.pop(number, None)

    def _new(self, state: str) -> int:
        number = max([*self.states, *self.gone], default=0) + 1
        self.states[number] = state
        return number

    def table(self) -> pd.DataFrame:
        """Return the particles with their clusters, states and names."""
        of_cluster = np.array([self.states.get(number, OPEN) for number in self.clusters], "<U8")
        # a particle that was rejected is in class 0; one that was accepted counts unless its cluster is rejected
        states = np.where(of_cluster == OPEN, self.own, of_cluster)
        table = self.particles.assign(**{columns.CLASS: self.clusters, columns.DECISION: states})
        if self.names:
            names = {number: self.name_of(number) for number in self.states}
            table[columns.CLASS_NAME] = [names.get(number, columns.NO_CLASS) for number in self.clusters]
        return table

    def name_of(self, number: int) -> str:
        """Return a cluster's name, `cluster N` without one."""
        return self.names.get(number, f"cluster {number}")

    def cluster_table(self) -> pd.DataFrame:
        """Return one row per cluster."""
        rows = [
            (
                number,
                self.name_of(number),
                self.states[number],
                int(np.sum(self.clusters == number)),
                self.notes.get(number, ""),
            )
            for number in sorted(self.states)
        ]
        return pd.DataFrame(rows, columns=["cluster", "name", "state", "particles", "note"])

    def labels(self) -> NDArray[np.str_]:
        """Return (n,) labels: of selections, else the name of an accepted cluster, or `rejected` for a rejected one."""
        states = self.table()[columns.DECISION].to_numpy(str)
        found = np.full(len(states), "", object)
        for number, state in self.states.items():
            members = self.clusters == number
            found[members & (states == ACCEPTED)] = self.name_of(number)
            if state == REJECTED:
                found[members] = self.names.get(number, REJECTED)
        for row, label in self.chosen_labels.items():
            found[row] = label
        return found.astype(str)


def _count(number: int) -> str:
    return f"{number:,} particle{'' if number == 1 else 's'}"
