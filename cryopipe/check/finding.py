"""A single result of a check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A single result of a check.

    Attributes
    ----------
    status
        "bad" if the tomogram cannot be used, "warning" if it can but needs inspection, "note" if no action is
        needed.
    problem
        What was found, with its value.
    remedy
        What to do.
    """

    status: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"
