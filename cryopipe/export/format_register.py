"""All formats of particle lists: their writers and readers, and recognition of a file's format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import DataError, FileError
from cryopipe.export.artiax import ArtiaxFormat
from cryopipe.export.csv_lists import CsvFormat
from cryopipe.export.dynamo_writer import DynamoFormat
from cryopipe.export.model_files import ChimeraxFormat, ImodFormat
from cryopipe.export.motive_lists import BLOCK, EmFormat, StopgapFormat
from cryopipe.export.particle_set import ParticleSet
from cryopipe.export.point_files import CONFIG, INFO, PICKS, CopickFormat, Eman2Format, PortalFormat
from cryopipe.export.relion3 import Relion3Format
from cryopipe.export.relion5 import CENTRED, PIXEL_SIZE, TiltSeriesFormat
from cryopipe.export.warp import SUFFIX, WarpFormat
from cryopipe.export.writer import ExportContext, Writer
from cryopipe.files.star import read_star
from cryopipe.particle_formats import FORMATS

WRITERS: dict[str, Writer] = {
    "relion": Relion3Format(),
    "relion4": TiltSeriesFormat(4),
    "relion5": TiltSeriesFormat(5),
    "warp": WarpFormat(),
    "dynamo": DynamoFormat(),
    "artiax": ArtiaxFormat(),
    "stopgap": StopgapFormat(),
    "em": EmFormat(),
    "imod": ImodFormat(),
    "chimerax": ChimeraxFormat(),
    "copick": CopickFormat(),
    "portal": PortalFormat(),
    "eman2": Eman2Format(),
    "csv": CsvFormat(),
}
"""The formats by name, those of `cryopipe.particle_formats`."""


MAIN_FOLDERS = ("particles", "info")
"""Folders of an export whose files hold all particles."""


def detect_format(path: Path) -> str:
    """Return the format of particles.

    Parameters
    ----------
    path
        A file, whose suffix and, for STAR files, content state the format, or a folder of files of one per tomogram.

    Raises
    ------
    FileError
        If the file cannot be read, or its format is not one of these.
    """
    if path.is_dir():
        return _format_of_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".star":
        return _format_of_star(path)
    if suffix == ".json":
        return "eman2" if path.name.endswith(INFO) else "copick"
    if suffix == ".tsv":
        return "csv"
    found = [name for name, known in FORMATS.items() if known.suffix == suffix]
    if not found:
        raise FileError(
            f"has no suffix of a known format ({', '.join(sorted({one.suffix for one in FORMATS.values()}))})",
            file=path,
            remedy="state its format",
        )
    return found[0]


def _format_of_folder(folder: Path) -> str:
    suffixes = {known.suffix for known in FORMATS.values() if known.per_tomogram}
    files = [file for file in _files_below(folder) if file.suffix in suffixes]
    if any(
        file.suffix == FORMATS["portal"].suffix for file in files
    ):  # the portal has records beside its points
        files = [file for file in files if file.suffix != ".json" or _holds_particles(file)]
    found = sorted({detect_format(file) for file in files})
    if len(found) == 1:
        return found[0]
    described = (
        f"files of {' and '.join(found)}" if found else "no file of a format with one file per tomogram"
    )
    raise FileError(f"holds {described}", file=folder, remedy="name a file of particles in it")


def _files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and the folders in it, sorted, without Copick's configuration and those of volumes."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.endswith(".zarr")]
        found += [Path(place, name) for name in names if name != CONFIG]
    return sorted(found)


def _holds_particles(file: Path) -> bool:
    return file.name.endswith(INFO) or file.parent.name == PICKS


def _format_of_star(path: Path) -> str:
    blocks = read_star(path)
    if BLOCK in blocks:
        return "stopgap"
    table = blocks.get("particles", next(iter(blocks.values())))
    if CENTRED[0] in table:
        return "relion5"
    if PIXEL_SIZE in blocks.get("optics", ()):
        return "relion4"
    names = table.get(columns.MICROGRAPH, table.get(columns.TOMOGRAM, pd.Series(dtype=str))).astype(str)
    if names.str.endswith(SUFFIX).any() or ("optics" not in blocks and "rlnPixelSize" in table):
        return "warp"
    if columns.COORDINATES[0] in table:
        return "relion"
    raise FileError("is not a list of particles", file=path, remedy="give a STAR file with coordinates")


def read_particle_list(path: Path, name: str, context: ExportContext) -> ParticleSet:
    """Read a file of particles, or all files of the format in a folder and the folders in it.

    Parameters
    ----------
    path
        File or folder.
    name
        The format; blank to recognise it.
    context
        Tomograms, by their names in other programs, and conventions.

    Raises
    ------
    FileError
        If there is no such file.
    """
    if not path.is_dir():
        return WRITERS[name or detect_format(path)].read(path, context)
    if not name:
        raise FileError(
            "is a directory", file=path, remedy="give a file in it, or state the format of its files"
        )
    whole = next((path / part for part in MAIN_FOLDERS if (path / part).is_dir()), path)
    files = [file for file in _files_below(whole) if file.name.endswith(FORMATS[name].suffix)]
    if name == "copick":
        files = [file for file in files if _holds_particles(file)] or files
    if not FORMATS[name].per_tomogram:  # the other lists of an export repeat the particles of these
        files = [file for file in files if file.parent == path and file.stem.startswith("particles")] or files
    if not files:
        raise FileError(
            f"holds no file ending in {FORMATS[name].suffix}", file=path, remedy="correct the path"
        )
    return joined([WRITERS[name].read(file, context) for file in files])


def joined(parts: list[ParticleSet]) -> ParticleSet:
    """Return the particles of all parts; those with one name are renamed by tomogram and number.

    Raises
    ------
    DataError
        If there are no parts.
    """
    if not parts:
        raise DataError("no particles to join")
    tomograms = [name for part in parts for name in part.tomograms]
    table = pd.concat([part.table for part in parts], ignore_index=True)
    if columns.CLASS_NAME in table and _ambiguous(table):
        table[columns.CLASS] = pd.factorize(table[columns.CLASS_NAME].fillna(""))[0] + 1
    if not table[columns.PARTICLE].is_unique:
        table[columns.PARTICLE] = [f"{name}/{row + 1}" for row, name in enumerate(tomograms)]
    return ParticleSet(
        tomograms,
        np.concatenate([part.positions for part in parts]),
        Rotation.from_quat(np.concatenate([part.rotations.as_quat().reshape(-1, 4) for part in parts])),
        table,
    )


def _ambiguous(table: pd.DataFrame) -> bool:
    """Return whether classes of several names have one number."""
    return bool(table.groupby(columns.CLASS)[columns.CLASS_NAME].nunique().max() > 1)
