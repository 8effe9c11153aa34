"""Options of the scores against known truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """Scores against known truth, where there is one."""

    SECTION: ClassVar[str] = "evaluation"

    truth: str | None = option(
        None,
        "STAR files of the true particles, with {tomogram} where the tomogram's name stands, or one file for all; "
        "null where nothing is known.",
    )
    radius: float = option(
        80.0,
        "Largest distance between a pick and a true centre that count as one.",
        unit="angstrom",
        above=0,
        maximum=10_000,
    )
    maps: str | None = option(
        None,
        "Directory of the true density maps, one MRC file per true class and named as the class; null takes the "
        "folder maps beside the truth files, if there is one.",
    )

    def truth_file(self, tomogram: str) -> str:
        """Return the truth file of a tomogram, by its name; "" where nothing is known."""
        return "" if self.truth is None else self.truth.replace("{tomogram}", tomogram)

    def maps_directory(self) -> Path | None:
        """Return the directory of true maps; None if there is none."""
        if self.maps is not None:
            return Path(self.maps)
        beside = None if self.truth is None else Path(self.truth).parent / "maps"
        return beside if beside is not None and beside.is_dir() else None
