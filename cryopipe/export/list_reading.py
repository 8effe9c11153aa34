"""Reading of particle lists: names of tomograms, and the particle set of what a file holds."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError
from cryopipe.export.particle_set import FloatArray, ParticleSet
from cryopipe.export.writer import ExportContext
from cryopipe.files.dynamo_table import read_tomogram_list
from cryopipe.files.tables import read_table, write_table
from cryopipe.particles import pose_columns
from cryopipe.volume_names import read_volume_name

logger = logging.getLogger(__name__)

NUMBERS_FILE = "tomograms.tsv"
"""Numbers of the tomograms, beside lists of formats that number them."""
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_SUFFIXES = (".tomostar", ".mrc", ".rec", ".hdf", ".st", ".mrcs", ".zarr")


def find_tomograms(
    path: str | os.PathLike[str], names: Sequence[str], context: ExportContext
) -> tuple[list[str], NDArray[np.int64]]:
    """Find the tomograms that a file names.

    A name is that of a tomogram in other programs, its path, or the name of a volume of its tilt series.

    Parameters
    ----------
    path
        The file, for messages.
    names
        (n,) the names in the file.
    context
        The tomograms.

    Returns
    -------
    (m,) names of tomograms of the context, and the (m,) rows with such a tomogram; the others are reported.

    Raises
    ------
    DataError
        If there are particles, and none is in a tomogram of the context.
    """
    known: dict[str, str] = {}
    for name, record in context.tomograms.items():
        for spelling in (name, *_spellings(os.fspath(record.path))):
            known.setdefault(spelling, name)
    known |= {name: name for name in context.tomograms}
    found = {
        name: next((known[one] for one in _spellings(name) if one in known), None) for name in set(names)
    }
    unknown = sorted(name for name, tomogram in found.items() if tomogram is None)
    listed = ", ".join(map(repr, unknown[:3])) + (" and others" if len(unknown) > 3 else "")
    rows = np.array([row for row, name in enumerate(names) if found[name] is not None], dtype=np.int64)
    if len(names) and not len(rows):
        raise DataError(
            f"no particle is in a tomogram of the table; the file names {listed}",
            file=path,
            remedy="write these names to the column exported_name of the tomogram table",
        )
    if unknown:
        missing = len(names) - len(rows)
        logger.warning(
            "%s: %d of %d particles are left out, because their tomograms are not in the table: %s",
            *(path, missing, len(names), listed),
        )
    return [str(found[names[row]]) for row in rows], rows


def _spellings(name: str) -> list[str]:
    """Return a name in a file and the names of tomograms that it can mean, the most exact first."""
    base = os.path.basename(name)
    stem = next((base.removesuffix(suffix) for suffix in _SUFFIXES if base.endswith(suffix)), base)
    return [name, base, stem, read_volume_name(stem + ".mrc").series]


def tomograms_by_number(
    path: str | os.PathLike[str], numbers: NDArray[np.float64], context: ExportContext
) -> list[str]:
    """Return the names of tomograms that a format numbers.

    The numbers are those of a list beside the file (`tomograms.tsv` of cryopipe, `tomograms.doc` of Dynamo); without
    a list, the last number in the tomograms' names if every number of the file is one of them; otherwise the
    tomograms' order in the table.
    """
    wanted = [int(number) for number in numbers]
    folder = Path(path).parent
    listed = _listed_numbers(folder) or _listed_numbers(folder.parent)
    if listed is None:
        in_names = [(_LAST_NUMBER.search(name), name) for name in context.tomograms]
        named = {int(match[1]): name for match, name in in_names if match}
        if len(named) == len(context.tomograms) and set(wanted) <= set(named):
            listed = named
            logger.info("%s: tomogram numbers are taken as the last numbers in the tomograms' names", path)
        else:
            listed = dict(enumerate(context.tomograms, 1))
            logger.info("%s: tomogram numbers are taken as lines of the tomogram table", path)
    return [listed.get(number, f"number {number}") for number in wanted]


def _listed_numbers(folder: Path) -> dict[int, str] | None:
    if (folder / NUMBERS_FILE).is_file():
        table = read_table(folder / NUMBERS_FILE)
        if {"number", "tomogram"} <= set(table):
            return dict(zip(table["number"].astype(int), table["tomogram"], strict=True))
    if (folder / "tomograms.doc").is_file():
        return read_tomogram_list(folder / "tomograms.doc")
    return None


def write_numbers(folder: Path, context: ExportContext) -> None:
    """Write the numbers of the tomograms to `tomograms.tsv`, with their paths and voxel sizes."""
    records = context.tomograms.values()
    key = pd.DataFrame({"number": range(1, len(context.tomograms) + 1), "tomogram": list(context.tomograms)})
    key["path"] = [record.path for record in records]
    key["voxel_size"] = [record.voxel_size for record in records]
    write_table(folder / NUMBERS_FILE, key)


def particle_set(
    context: ExportContext,
    tomograms: list[str],
    positions: FloatArray,
    rotations: Rotation | None,
    values: Mapping[str, Any] | None = None,
) -> ParticleSet:
    """Return the particles of a file.

    Parameters
    ----------
    context
        The tomograms.
    tomograms
        (n,) their names.
    positions
        (n, 3) x, y, z in 0-based voxels, shifts included.
    rotations
        n active rotations, reference to particle; None if unknown, which gives no rotation.
    values
        (n,) values of further columns. Without a class, all particles are in class 1; without half-sets, they alternate.
    """
    count = len(tomograms)
    positions = np.asarray(positions, dtype=np.float64).reshape(count, 3)
    if rotations is None or not count:
        rotations = Rotation.from_quat(np.tile([0.0, 0.0, 0.0, 1.0], (count, 1)))
    elif context.conventions.inverse:
        rotations = rotations.inv()
    table = pd.DataFrame({columns.TOMOGRAM: pd.Series(tomograms, dtype=str)})
    table[columns.MICROGRAPH] = pd.Series([context.tomograms[name].path for name in tomograms], dtype=str)
    for name, column in (values or {}).items():
        if name not in (columns.TOMOGRAM, columns.MICROGRAPH):
            table[name] = np.asarray(column)
    names = table.get(columns.PARTICLE)
    if names is None or not names.astype(str).is_unique:
        numbered = [f"{name}/{number + 1}" for number, name in enumerate(tomograms)]
        table[columns.PARTICLE] = pd.Series(numbered, dtype=str)
    for axis, name in enumerate(columns.COORDINATES):
        table[name] = positions[:, axis]
    table = table.assign(**pose_columns(rotations, np.zeros((count, 3))))
    table[columns.VOXEL_SIZE] = context.voxel_sizes(tomograms)
    table[columns.CLASS] = table[columns.CLASS].astype(np.int64) if columns.CLASS in table else 1
    half_sets = table.get(columns.HALF_SET, pd.Series(0, index=table.index))
    alternating = pd.Series(np.arange(count) % 2 + 1, index=table.index)
    table[columns.HALF_SET] = half_sets.where(half_sets.isin([1, 2]), alternating).astype(np.int64)
    return ParticleSet(tomograms, positions, rotations, table)


def numbers_of(path: str | os.PathLike[str], table: pd.DataFrame, names: Sequence[str]) -> FloatArray:
    """Return (n, columns) numbers of the named columns.

    Raises
    ------
    DataError
        With the first value that is missing or not a finite number.
    """
    values = table[list(names)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{names[column]} of particle {row + 1} is {table[names[column]].iloc[row]!r}, not a number",
            file=path,
            remedy="correct the file",
        )
    return values.reshape(len(table), len(names))


def scores_of(particles: ParticleSet) -> FloatArray:
    """Return (n,) one score per particle for formats with one: of the alignment, else the pick score, else 0."""
    for name in (columns.ALIGNMENT_SCORE, columns.PICK_SCORE):
        if name in particles.table:
            return particles.table[name].fillna(0).to_numpy(dtype=np.float64)
    return np.zeros(len(particles))


def diameters_of(particles: ParticleSet, context: ExportContext) -> FloatArray:
    """Return (n,) diameters in angstrom: of the picks, else half the width of the boxes."""
    known = particles.table.get(columns.DIAMETER)
    width = context.box_width / 2 or 200.0
    if known is None:
        return np.full(len(particles), width)
    return known.where(known > 0, width).to_numpy(dtype=np.float64)
