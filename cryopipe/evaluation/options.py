"""Options of the evaluation against ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """Evaluation against ground truth, if it is known."""

    SECTION: ClassVar[str] = "evaluation"

    truth: str | None = option(
        None,
        "STAR files of the true particles: a path with {tomogram} in place of the tomogram's name, or one file for "
        "all tomograms; null if no truth is known.",
    )
    radius: float = option(
        80.0,
        "Largest distance between a pick and the true centre that it is matched with.",
        unit="angstrom",
        above=0,
        maximum=10_000,
    )
    maps: str | None = option(
        None,
        "Directory of the true density maps, one MRC file per true class with the name of the class; null uses the "
        "directory maps next to the truth files, if it exists.",
    )

    def truth_file(self, tomogram: str) -> str:
        """Return the truth file of the tomogram with this name; "" if no truth is known."""
        return "" if self.truth is None else self.truth.replace("{tomogram}", tomogram)

    def maps_directory(self) -> Path | None:
        """Return the directory of true maps; None if there is none."""
        if self.maps is not None:
            return Path(self.maps)
        beside = None if self.truth is None else Path(self.truth).parent / "maps"
        return beside if beside is not None and beside.is_dir() else None
