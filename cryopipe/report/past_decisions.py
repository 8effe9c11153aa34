"""Decisions that were replayed on the run which the report shows, so that the page can continue them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.curation import BadTomogram, Select, decision_mapping, fingerprint
from cryopipe.curation.apply import ACCEPTED, APPLIED, OPEN, REJECTED
from cryopipe.curation.curation_files import read_curation
from cryopipe.files.star import read_particles
from cryopipe.files.tables import read_table

STATES = (OPEN, ACCEPTED, REJECTED)


@dataclass(frozen=True)
class PastDecisions:
    """Decisions of an earlier look at the run, and the clusters before them.

    Attributes
    ----------
    run
        Fingerprint of the clusters that were found.
    found
        (n,) cluster of each particle before the decisions.
    names
        Names of the clusters before the decisions, by number.
    decisions
        As mappings, in order.
    outcomes
        One row per decision: decision, outcome, detail.
    clusters
        One row per cluster after the decisions: cluster, state, note.
    not_applied
        The outcomes of all decisions that were not applied or only in part, those for other clusters too.
    """

    run: str
    found: NDArray[np.int64]
    names: dict[int, str]
    decisions: list[dict[str, Any]]
    outcomes: pd.DataFrame
    clusters: pd.DataFrame
    not_applied: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"outcome": []}))

    def payload(self, class_names: dict[int, str]) -> dict[str, Any]:
        """Return the state after the decisions as the page's script reads it.

        Parameters
        ----------
        class_names
            Names of the clusters after the decisions, by number.
        """
        table = self.clusters[self.clusters["cluster"] != columns.UNASSIGNED]
        numbers = [int(number) for number in table["cluster"]]
        notes = zip(numbers, table["note"].fillna("").astype(str), strict=True)
        return {
            "decisions": self.decisions,
            "outcomes": self.outcomes[["outcome", "detail"]].fillna("").astype(str).to_dict("records"),
            "states": {n: STATES.index(state) for n, state in zip(numbers, table["state"], strict=True)},
            "names": {
                n: class_names[n] for n in numbers if class_names.get(n, f"cluster {n}") != f"cluster {n}"
            },
            "notes": {n: note for n, note in notes if note},
        }


def read_past_decisions(results: Path, curation: str | os.PathLike[str]) -> PastDecisions:
    """Read the decisions that a run followed.

    Parameters
    ----------
    results
        The folder with the results.
    curation
        The file of decisions. If it was made for other clusters, only its decisions on particles and tomograms count.

    Raises
    ------
    FileError
        If a file cannot be read.
    """
    found = read_particles(results / "clusters" / "found.star")
    given, run = read_curation(curation), fingerprint(found)
    outcomes = read_table(results / "clusters" / "decisions.tsv", ("decision", "outcome", "detail"))
    kept = [given.run == run or isinstance(decision, Select | BadTomogram) for decision in given.decisions]
    decisions = [decision_mapping(one) for one, good in zip(given.decisions, kept, strict=True) if good]
    names = {}
    if columns.CLASS_NAME in found:
        rows = found.drop_duplicates(columns.CLASS)
        names = dict(zip(rows[columns.CLASS].astype(int), rows[columns.CLASS_NAME].astype(str), strict=True))
    return PastDecisions(
        run,
        found[columns.CLASS].to_numpy(np.int64),
        names,
        decisions,
        outcomes[np.array(kept, bool)] if len(outcomes) == len(kept) else outcomes.iloc[:0],
        read_table(results / "clusters" / "clusters.tsv", ("class", "state", "note")),
        outcomes[outcomes["outcome"] != APPLIED],
    )
