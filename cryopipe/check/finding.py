"""One thing that a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    status
        "bad" if the tomogram cannot be used as it is, "warning" if it can, but somebody should look, "note" if
        nothing needs to be done.
    problem
        What was found, with its value.
    remedy
        What to do about it.
    """

    status: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"
