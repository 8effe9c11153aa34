"""Projects of RELION 4 and 5: tomograms.star and the STAR files of the tilt series."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryopipe.errors import DataError, FileError
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.volumes import with_volumes
from cryopipe.files.star import read_star

_WHOLE = "rlnTomoReconstructedTomogram"
_DENOISED = "rlnTomoReconstructedTomogramDenoised"
_HALVES = ("rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2")
_SERIES = "rlnTomoTiltSeriesStarFile"
_NUMBERS = {
    "tilt_series_pixel_size": "rlnTomoTiltSeriesPixelSize",
    "voltage": "rlnVoltage",
    "spherical_aberration": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
}
_SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
_DEFOCUS = ("rlnDefocusU", "rlnDefocusV")
_EXPOSURE = "rlnMicrographPreExposure"
_ROW = re.compile(r"[\[\]]")


def read_relion(source: Path, denoised: bool) -> Project | None:
    """Read a project of RELION 4 or 5; return None if `source` is none.

    Parameters
    ----------
    source
        A tomograms.star, an optimisation set, or the folder of a project, of a job, or of a job's tomograms.
    denoised
        Whether denoised tomograms are preferred.

    Raises
    ------
    FileError, DataError
        If a file of the project cannot be read, or names no tomograms.
    """
    star = _find_tomograms_star(source)
    if star is None:
        return None
    blocks = read_star(star)
    table = blocks.get("global", pd.DataFrame())
    if "rlnTomoName" not in table:
        raise FileError(
            "has no rlnTomoName in data_global", file=star, remedy="give the tomograms.star of RELION 4 or 5"
        )
    series = [_of_row(star, row, blocks, denoised) for row in table.to_dict("records")]
    folders = [star.parent / "tomograms", star.parent, *([source] if source.is_dir() else [])]
    series = with_volumes(
        series, [folder for folder in folders if folder.name.lower() == "tomograms"], denoised
    )
    version = 5 if _SERIES in table else 4
    export = {"formats": [f"relion{version}"], "relion_tomograms": str(star.absolute())}
    return Project(f"RELION {version}", star, tuple(series), "dark", export)


def resolve(path: str, star: Path) -> Path | None:
    """Return the file that a STAR file of a RELION project names, relative to the project's folder; None if missing."""
    if os.path.isabs(path):
        return Path(path) if os.path.exists(path) else None
    # The project's folder is above the STAR file, at an unknown level.
    folders = star.absolute().parents
    return next((folder / path for folder in folders if (folder / path).exists()), None)


def _find_tomograms_star(source: Path) -> Path | None:
    if source.suffix.lower() == ".star" and source.is_file():
        blocks = read_star(source)
        if "rlnTomoName" in blocks.get("global", ()):
            return source
        named = [
            table["rlnTomoTomogramsFile"] for table in blocks.values() if "rlnTomoTomogramsFile" in table
        ]
        if not named:
            return None
        star = resolve(str(named[0].iloc[0]), source)
        if star is None:
            problem = f"names {named[0].iloc[0]!r}, which does not exist"
            raise FileError(problem, file=source, remedy="give the project's tomograms.star")
        return star
    if not source.is_dir():
        return None
    beside = [source / "tomograms.star"]
    beside += [source.parent / "tomograms.star"] if source.name == "tomograms" else []
    found = next((star for star in beside if star.is_file()), None)
    if found is not None or source.name == "tomograms":
        return found
    found_stars = [
        star for pattern in ("*/*/tomograms.star", "*/tomograms.star") for star in source.glob(pattern)
    ]
    stars = [star for star in found_stars if _WHOLE in star.read_text(errors="replace")]
    return max(stars, key=_job_number, default=None)


def _job_number(star: Path) -> tuple[int, str]:
    match = re.search(r"\d+$", star.parent.name)
    return int(match[0]) if match else -1, str(star)


def _of_row(star: Path, row: dict[Hashable, Any], blocks: dict[str, pd.DataFrame], denoised: bool) -> Series:
    name = str(row["rlnTomoName"])
    numbers = {key: _number(row.get(column)) for key, column in _NUMBERS.items()}
    sizes = [_number(row.get(column)) for column in _SIZES]
    size = None if None in sizes else tuple(int(number) for number in sizes if number is not None)
    pixel, binning = numbers["tilt_series_pixel_size"], _number(row.get("rlnTomoTomogramBinning"))
    series = Series(name).known(
        star, voxel_size=pixel * binning if pixel and binning else None, unbinned_size=size, **numbers
    )
    series = _with_files(series, star, row, denoised)
    if _SERIES in row:
        return _with_tilt_series(series, star, str(row[_SERIES]))
    return _with_matrices(series, star, blocks.get(name, pd.DataFrame()))


def _with_files(series: Series, star: Path, row: dict[Hashable, Any], denoised: bool) -> Series:
    """Return the series with the volumes that its row names."""
    named = {column: str(row[column]) for column in (_WHOLE, _DENOISED, *_HALVES) if row.get(column)}
    found = {column: resolve(path, star) for column, path in named.items()}
    missing = [
        f"{named[column]}, in {star.name}, does not exist" for column, file in found.items() if not file
    ]
    even, odd = (found.get(column) for column in _HALVES)
    first, second = (_DENOISED, _WHOLE) if denoised else (_WHOLE, _DENOISED)
    volume, remarks = found.get(first) or found.get(second), list(missing)
    if volume is None and even is not None:
        volume = even
        remarks.append(
            "the project has only halves of the data; the first is used: reconstruct or denoise the whole for more signal"
        )
    others = [
        file for column, file in found.items() if column in (_WHOLE, _DENOISED) and file not in (None, volume)
    ]
    return replace(
        series,
        volume=volume,
        even=even,
        odd=odd,
        sources={**series.sources, **({"volume": star} if volume else {})},
        left_out=tuple(f"{file}: another volume of the tilt series" for file in others),
        remarks=tuple(remarks),
    )


def _with_tilt_series(series: Series, star: Path, path: str) -> Series:
    file = resolve(path, star)
    if file is None:
        beside = star.parent / "tilt_series" / Path(path).name
        if not beside.is_file():
            return series.remarked(f"{path}, in {star.name}, does not exist")
        file = beside
    table = next(iter(read_star(file).values()))
    defocus = [table[column].astype(float).mean() for column in _DEFOCUS if column in table]
    return series.with_tilts(file).known(
        file,
        tilt_axis="y",
        dose=float(table[_EXPOSURE].max()) if _EXPOSURE in table else None,
        defocus=float(np.mean(defocus)) / 1e4 if defocus else None,
    )


def _with_matrices(series: Series, star: Path, table: pd.DataFrame) -> Series:
    """RELION 4: tilts from the projection matrices; the third row is -sin(t), 0, cos(t) for a tilt t about y."""
    if "rlnTomoProjZ" not in table:
        return series
    rows = [[float(word) for word in _ROW.sub("", str(text)).split(",")] for text in table["rlnTomoProjZ"]]
    tilts = [math.degrees(math.atan2(-row[0], row[2])) for row in rows]
    if not tilts or not all(abs(tilt) <= 90 for tilt in tilts) or min(tilts) == max(tilts):
        raise DataError(
            f"data_{series.name} has no tilts from -90 to 90 degrees in rlnTomoProjZ",
            file=star,
            remedy="give the unchanged file of RELION 4",
        )
    has_defocus = all(column in table for column in _DEFOCUS)
    return series.known(
        star,
        tilt_series=star,
        tilt_axis="y",
        tilt_range=(round(min(tilts), 2), round(max(tilts), 2)),
        dose=float(table[_EXPOSURE].max()) if _EXPOSURE in table else None,
        defocus=float(table[list(_DEFOCUS)].to_numpy(float).mean()) / 1e4 if has_defocus else None,
    )


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
