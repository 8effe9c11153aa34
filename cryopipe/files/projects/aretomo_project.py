"""Output folders of AreTomo 2 and 3: alignments, volumes, and the session's parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryopipe.errors import FileError, check_size, reading_fault
from cryopipe.files.projects.mdoc import find_mdoc, with_mdoc
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.volumes import voxel_size_of_header, with_volumes

SESSION = "AreTomo3_Session.json"
_STACKS = (".mrc", ".st")
_PARAMETERS = {"tilt_series_pixel_size": "PixSize", "voltage": "kV", "spherical_aberration": "Cs"}
_AXES = {0: "y", 1: "y", 2: "-y"}
"""Sense of the tilts by -FlipVol: AreTomo reverses z to have IMOD's hand, which -FlipVol 2 does not keep."""


def read_aretomo(source: Path, denoised: bool) -> Project | None:
    """Read the output folder of AreTomo; return None if `source` is none.

    Parameters
    ----------
    source
        The folder, or an .aln file or `AreTomo3_Session.json` in it.
    denoised
        Whether denoised tomograms are preferred.

    Raises
    ------
    FileError
        If a file cannot be read.
    """
    folder = source.parent if source.name == SESSION or source.suffix.lower() == ".aln" else source
    if not folder.is_dir():
        return None
    alignments = [path for path in sorted(folder.glob("*.aln")) if not path.name.startswith(".")]
    if not alignments:
        return None
    session = folder / SESSION
    parameters = _parameters(session) if session.is_file() else {}
    series = [_of_alignment(path, session, parameters) for path in alignments]
    series = with_volumes(series, [folder], denoised, named=False)
    assumed = () if parameters else ("volumes saved as x, y, z with AreTomo's -FlipVol 1",)
    return Project("AreTomo", folder, tuple(series), "dark", {"formats": ["relion", "relion5"]}, assumed)


def _of_alignment(path: Path, session: Path, parameters: dict[str, Any]) -> Series:
    name = path.stem
    for ending in _STACKS:
        name = name.removesuffix(ending)
    series = Series(name).with_tilts(path)
    found = {key: _number(parameters.get(tag)) or None for key, tag in _PARAMETERS.items()}
    flip = _number(parameters.get("FlipVol"))
    series = series.known(session, tilt_axis=None if flip is None else _AXES.get(int(flip), "y"), **found)
    series = _with_exposure(series, path.with_name(f"{name}_TLT.txt"))
    series = _with_defocus(series, path.with_name(f"{name}_CTF.txt"))
    series = with_mdoc(series, find_mdoc(name, [path.parent]))
    stack = next(
        (path.with_name(name + end) for end in _STACKS if path.with_name(name + end).is_file()), None
    )
    if series.tilt_series_pixel_size is None and stack is not None:
        series = series.known(stack, tilt_series_pixel_size=voxel_size_of_header(stack))
    return series


def _with_exposure(series: Series, path: Path) -> Series:
    """NAME_TLT.txt: tilt, order of acquisition and dose of every image."""
    rows = _rows(path)
    doses = [row[2] for row in rows if len(row) > 2]
    return series.known(path, dose=sum(doses) or None)


def _with_defocus(series: Series, path: Path) -> Series:
    """NAME_CTF.txt, as of CTFFIND: number, then largest and smallest defocus of every image, angstrom."""
    values = [(row[1] + row[2]) / 2 for row in _rows(path) if len(row) > 2]
    return series.known(path, defocus=sum(values) / len(values) / 1e4 if values else None)


def _rows(path: Path) -> list[list[float]]:
    """Return the numbers of a text file by line, without comments; none if the file is missing or of another format."""
    if not path.is_file() or path.stat().st_size > 10_000_000:
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        return [[float(word) for word in line.split()] for line in lines if line.strip() and "#" not in line]
    except ValueError:
        return []


def _parameters(path: Path) -> dict[str, Any]:
    try:
        check_size(path, 10)
        session = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        return dict(session["parameters"])
    except OSError as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"is not the record of an AreTomo session ({str(error)[:100]})",
            file=path,
            remedy="give the unchanged file, or move it away",
        ) from error


def _number(value: Any) -> float | None:
    first = value[0] if isinstance(value, list) and value else value
    try:
        return float(first)
    except (TypeError, ValueError):
        return None
