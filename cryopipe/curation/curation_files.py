"""Reading and writing of a file of decisions."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryopipe.curation.decisions import Curation, Decision, decision_mapping, parse_decision
from cryopipe.errors import DataError, FileError
from cryopipe.files.decision_lists import (
    append_decision_list,
    read_decision_list,
    write_decision_list,
)


def read_curation(path: str | os.PathLike[str]) -> Curation:
    """Read the decisions of a file.

    Raises
    ------
    FileError
        With file, line, value and remedy, if the file is missing or a decision cannot be understood.
    """
    run, contents = read_decision_list(path)
    decisions = []
    for line, content in contents:
        try:
            decisions.append(parse_decision(content))
        except DataError as error:
            raise FileError(f"line {line}: {error.problem}", file=path, remedy=error.remedy) from error
    return Curation(run, tuple(decisions))


def write_curation(path: str | os.PathLike[str], curation: Curation) -> None:
    """Write decisions to a file; `read_curation` reads them."""
    write_decision_list(path, curation.run, [decision_mapping(one) for one in curation.decisions])


def append_decisions(path: str | os.PathLike[str], decisions: Sequence[Decision]) -> None:
    """Add decisions to the end of a file of decisions."""
    append_decision_list(path, [decision_mapping(one) for one in decisions])
