"""Labels that follow from decisions, for learners that use examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns


def label_table(particles: pd.DataFrame, labels: NDArray[np.str_]) -> pd.DataFrame:
    """Return the labelled particles as a table that `features.labels` reads.

    Parameters
    ----------
    particles
        n particles with name, tomogram and picked coordinates.
    labels
        (n,) labels, "" without one; see `Curated.labels`.
    """
    chosen = labels != ""
    names = [columns.TOMOGRAM, columns.PARTICLE, *columns.COORDINATES]
    return particles.loc[chosen, names].assign(**{columns.LABEL: labels[chosen]}).reset_index(drop=True)
