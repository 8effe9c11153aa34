"""Probabilities of the classes that the user named, and of none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

_COLUMN = "column "
"""Prefix of the names of `columns` in a file of features."""


@dataclass(frozen=True)
class ClassProbabilities:
    """Probabilities of K classes for n particles.

    Attributes
    ----------
    names
        (K,) names of the classes.
    probabilities
        (n, K), rows sum to 1: probability of each class if the particle belongs to one of them.
    unknown
        (n,) probability that the particle belongs to none of the classes.
    columns
        (n,) numbers for further columns of the particle table, by the column's name.
    """

    names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    unknown: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.probabilities.shape != (len(self.unknown), len(self.names)):
            raise ValueError(
                f"probabilities of shape {self.probabilities.shape} for {len(self.unknown)} particles and "
                f"{len(self.names)} classes"
            )

    def with_labels(self, numbers: NDArray[np.int64]) -> ClassProbabilities:
        """Return the same with certainty for particles whose label in `numbers` (n,) is not negative."""
        known = numbers >= 0
        probabilities, unknown = self.probabilities.copy(), self.unknown.copy()
        probabilities[known] = np.eye(len(self.names))[numbers[known]]
        unknown[known] = 0.0
        return replace(self, probabilities=probabilities, unknown=unknown)

    def of(self, chosen: NDArray[np.bool_]) -> ClassProbabilities:
        """Return the probabilities of the chosen particles."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return replace(
            self, probabilities=self.probabilities[chosen], unknown=self.unknown[chosen], columns=columns
        )

    def arrays(self) -> dict[str, NDArray]:
        """Return the arrays to be written with the features."""
        return {
            "class_names": np.array(self.names, dtype=np.str_),
            "class_probabilities": self.probabilities,
            "unknown": self.unknown,
            **{_COLUMN + name: values for name, values in self.columns.items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> ClassProbabilities | None:
        """Return the probabilities in the arrays of a file of features; None if it has none."""
        if "class_names" not in arrays:
            return None
        names = tuple(str(name) for name in arrays["class_names"])
        columns = {
            name.removeprefix(_COLUMN): values.astype(float)
            for name, values in arrays.items()
            if name.startswith(_COLUMN)
        }
        unknown = arrays["unknown"].astype(float)
        return cls(names, arrays["class_probabilities"].astype(float), unknown, columns)
