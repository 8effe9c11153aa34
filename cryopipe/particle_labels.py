"""The user's labels of particles: matched to picks by position or by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryopipe import columns
from cryopipe.errors import FileError
from cryopipe.files.labels import ANGSTROM, FEWEST, position_columns, read_labels
from cryopipe.files.star import read_particles

logger = logging.getLogger(__name__)
UNKNOWN = -1
"""Label of particles without one."""


@dataclass(frozen=True)
class ParticleLabels:
    """Labels of n particles.

    Attributes
    ----------
    names
        Names of the K classes, sorted.
    numbers
        (n,) index of each particle's class, `UNKNOWN` without a label.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.int64]


def labels_of_boxes(
    file: str | os.PathLike[str], particles: Sequence[str | os.PathLike[str]], names: Sequence[str]
) -> ParticleLabels:
    """Read the labels of boxes.

    Parameters
    ----------
    file
        See `cryopipe.files.labels.read_labels`.
    particles
        STAR files of the particles with boxes.
    names
        (n,) names of the boxes.

    Raises
    ------
    FileError
        See `match_labels`.
    """
    table = pd.concat([read_particles(path) for path in particles], ignore_index=True)
    ordered = table.set_index(columns.PARTICLE, drop=False).loc[list(names)].reset_index(drop=True)
    return match_labels(read_labels(file), ordered, file)


def check_labels(
    file: str | os.PathLike[str], tomograms: Collection[str], boxes: Path | None = None
) -> pd.DataFrame:
    """Check the labels before a run.

    Parameters
    ----------
    file
        See `cryopipe.files.labels.read_labels`.
    tomograms
        Names in the tomogram table.
    boxes
        Folder with the STAR files of particles with boxes, from an earlier run; if it has those of all labelled
        tomograms, the labels must be among them.

    Returns
    -------
    One row per class: class, examples.

    Raises
    ------
    FileError
        If the labels cannot be used.
    """
    labels = read_labels(file)
    own = (
        labels[columns.TOMOGRAM].astype(str)
        if position_columns(labels)
        else labels[columns.PARTICLE].astype(str).str.rpartition("/")[0]
    )
    unknown = sorted(set(own) - set(tomograms))
    if unknown:
        raise FileError(
            f"labels particles of tomogram {unknown[0]!r}, which is not in the tomogram table",
            file=file,
            remedy=f"use the table's names: {', '.join(list(tomograms)[:5])}",
        )
    stars = [boxes / f"{name}.star" for name in sorted(set(own))] if boxes is not None else []
    if stars and all(path.is_file() for path in stars):
        match_labels(labels, pd.concat([read_particles(path) for path in stars], ignore_index=True), file)
    counts = labels[columns.LABEL].value_counts().sort_index()
    return pd.DataFrame({"class": counts.index, "examples": counts.to_numpy()})


def match_labels(
    labels: pd.DataFrame, particles: pd.DataFrame, file: str | os.PathLike[str]
) -> ParticleLabels:
    """Find the labelled particles among the picks.

    Positions belong to the nearest pick within the radius of the particle, and are used rather than names, because names
    change when particles are picked again.

    Parameters
    ----------
    labels
        See `cryopipe.files.labels.read_labels`.
    particles
        The n picks with boxes: name, tomogram, coordinates, voxel size, diameter.
    file
        The file of the labels, for messages.

    Raises
    ------
    FileError
        If a particle is unknown, two labels belong to one pick, or a class has fewer than two picks left.
    """
    rows = (
        _by_position(labels, particles, file)
        if position_columns(labels)
        else _by_name(labels, particles, file)
    )
    found = rows >= 0
    wanted, texts = rows[found], labels[columns.LABEL].to_numpy(str)[found]
    names = tuple(sorted(set(labels[columns.LABEL]), key=str.casefold))
    counts = {name: int(np.sum(texts == name)) for name in names}
    for name, count in counts.items():
        if count < FEWEST:
            raise FileError(
                f"class {name!r}: {count} of its labelled particles {'is' if count == 1 else 'are'} among the picks",
                file=file,
                remedy=f"label {FEWEST} or more picks of results/picks, or pick with a lower pick.threshold",
            )
    numbers = np.full(len(particles), UNKNOWN, np.int64)
    numbers[wanted] = [names.index(text) for text in texts]
    logger.info("labelled particles: %s", ", ".join(f"{count} {name}" for name, count in counts.items()))
    return ParticleLabels(names, numbers)


def _by_name(
    labels: pd.DataFrame, particles: pd.DataFrame, file: str | os.PathLike[str]
) -> NDArray[np.int64]:
    place = {str(name): row for row, name in enumerate(particles[columns.PARTICLE])}
    wanted = labels[columns.PARTICLE].astype(str)
    unknown = [name for name in wanted if name not in place]
    if unknown:
        raise FileError(
            f"particle {unknown[0]!r} is not among the picks with boxes ({len(unknown)} of {len(wanted)} are not)",
            file=file,
            remedy=f"use names from results/subtomograms, or positions: {columns.TOMOGRAM}, {', '.join(columns.COORDINATES)}",
        )
    return np.array([place[name] for name in wanted], np.int64)


def _by_position(
    labels: pd.DataFrame, particles: pd.DataFrame, file: str | os.PathLike[str]
) -> NDArray[np.int64]:
    """Return the row of each label's pick (m,), -1 without one."""
    names = position_columns(labels) or columns.COORDINATES
    rows = np.full(len(labels), -1, np.int64)
    tomograms = particles[columns.TOMOGRAM].astype(str).to_numpy(str)
    own = labels[columns.TOMOGRAM].astype(str).to_numpy(str)
    for name in np.unique(own):
        members = np.flatnonzero(tomograms == name)
        if not len(members):
            continue
        picks, mine = particles.iloc[members], np.flatnonzero(own == name)
        voxel_size = float(picks[columns.VOXEL_SIZE].iloc[0])
        positions = labels.iloc[mine][list(names)].to_numpy(float) * (1 if names == ANGSTROM else voxel_size)
        centres = picks[list(columns.COORDINATES)].to_numpy(float) * voxel_size
        distances, nearest = cKDTree(centres).query(positions)
        near = distances <= picks[columns.DIAMETER].to_numpy(float)[nearest] / 2
        rows[mine[near]] = members[nearest[near]]
    lost = np.flatnonzero(rows < 0)
    if len(lost):
        place = " ".join(str(value) for value in labels.iloc[lost[0]][[columns.TOMOGRAM, *names]])
        logger.warning(
            "%s: %d of %d labelled positions have no pick within the particle's radius and are not used, such as %s",
            *(os.fspath(file), len(lost), len(labels), place),
        )
    kept = rows[rows >= 0]
    if len(set(kept)) < len(kept):
        taken, counts = np.unique(kept, return_counts=True)
        twice = particles[columns.PARTICLE].iloc[taken[counts > 1][0]]
        raise FileError(
            f"two labelled positions belong to the pick {twice!r}", file=file, remedy="remove one of them"
        )
    return rows
