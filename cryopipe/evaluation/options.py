"""The options of the evaluation, as config.yaml names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvaluationOptions:
    """Section `evaluation` of the configuration.

    Attributes
    ----------
    truth
        Path of the truth STAR files, with {tomogram} where the tomogram's name stands, or one file for
        all; None where nothing is known.
    radius
        Angstrom; a pick farther from every true centre than this is a false one.
    maps
        Directory of the true density maps, one MRC file per true class, named as the class; None takes the
        folder `maps` beside the truth files, where there is one.
    """

    truth: str | None = None
    radius: float = 80.0
    maps: str | None = None

    def truth_file(self, tomogram: str) -> str:
        """Return the truth file of a tomogram, by its name; "" where nothing is known."""
        return "" if self.truth is None else self.truth.replace("{tomogram}", tomogram)

    def maps_directory(self) -> Path | None:
        """Return the directory of true maps; None if there is none."""
        if self.maps is not None:
            return Path(self.maps)
        beside = None if self.truth is None else Path(self.truth).parent / "maps"
        return beside if beside is not None and beside.is_dir() else None
