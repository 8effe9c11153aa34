"""Leakage of a run: tomogram, depth, distances, defocus and orientation of all particles against their classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryopipe import columns
from cryopipe.evidence.leakage import (
    NAMES,
    TOMOGRAM,
    Factor,
    leakage_remarks,
    measure_leakage,
    named_factor,
    numeric_factor,
)
from cryopipe.evidence.specimen import Specimen
from cryopipe.evidence.unevenness import measure_views, view_remarks
from cryopipe.particles import positions_of_table, rotations_of_table


def leakage_of_run(
    particles: pd.DataFrame, aligned: pd.DataFrame, specimens: Mapping[str, Specimen], seed: int
) -> pd.DataFrame:
    """Measure how well the classes of a run are predicted from where and how particles lie.

    Parameters
    ----------
    particles
        All particles with tomogram, coordinates and class; unassigned particles are one class, 0.
    aligned
        The particles of all averages with their poses and classes.
    specimens
        By tomogram.
    seed
        Of the permutations.

    Returns
    -------
    See `measure_leakage` and `measure_views`; cluster as text.
    """
    if not len(particles):
        return pd.DataFrame(columns=list(NAMES))
    labels = particles[columns.CLASS].to_numpy(np.int64)
    table = measure_leakage(labels, factors_of_particles(particles, specimens), seed)
    rotations, along_x = {}, {}
    for number in sorted(set(aligned.get(columns.CLASS, ())) - {columns.UNASSIGNED}):
        members = aligned[aligned[columns.CLASS] == number]
        rotations[int(number)] = rotations_of_table(members)
        along_x[int(number)] = np.array([specimens[name].along_x for name in members[columns.TOMOGRAM]])
    tables = [one for one in (table, measure_views(rotations, along_x)) if len(one)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(NAMES))


def factors_of_particles(particles: pd.DataFrame, specimens: Mapping[str, Specimen]) -> list[Factor]:
    """Return the tomogram, depth, distance to the faces and to membranes, and defocus of particles.

    Labels are permuted within tomograms for depth and distances, so that a class of one tomogram does not count a second
    time; the defocus is permuted among tomograms.
    """
    names = particles[columns.TOMOGRAM].astype(str).to_numpy()
    positions = positions_of_table(particles)
    _, strata = np.unique(names, return_inverse=True)
    measured: dict[str, NDArray[np.float64]] = {}
    for what in ("depth", "face_distance", "membrane_distance"):
        values = np.full(len(particles), np.nan)
        for name in np.unique(names):
            rows = names == name
            values[rows] = getattr(specimens[name], what)(positions[rows])
        measured[what] = values
    defocus = np.array([specimens[name].defocus for name in names])
    return [
        named_factor(TOMOGRAM, names.tolist()),
        numeric_factor("depth", measured["depth"], "of the thickness", ".2f", strata=strata),
        numeric_factor("distance to the faces", measured["face_distance"] / 10, "nm", strata=strata),
        numeric_factor("distance to membranes", measured["membrane_distance"] / 10, "nm", strata=strata),
        numeric_factor("defocus", defocus, "µm", ".2f", blocks=strata),
    ]


def remarks_of_classes(leakage: pd.DataFrame) -> dict[int, list[str]]:
    """Return by class what else than its structure may have given it, for the reason of its verdict."""
    found = {number: [text] for number, text in view_remarks(leakage).items()}
    for number, texts in leakage_remarks(leakage).items():
        found[number] = [*found.get(number, []), *texts]
    return found
