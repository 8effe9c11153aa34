"""The options of the evaluation, as config.yaml names them."""

from __future__ import annotations

from dataclasses import dataclass


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
        Directory of the true density maps, one MRC file per true class, named as the class; None for none.
    """

    truth: str | None = None
    radius: float = 80.0
    maps: str | None = None

    def truth_file(self, tomogram: str) -> str:
        """Return the truth file of a tomogram, by its name; "" where nothing is known."""
        return "" if self.truth is None else self.truth.replace("{tomogram}", tomogram)
