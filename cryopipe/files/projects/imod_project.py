"""Folders of IMOD's etomo: the command files of one tilt series, its angles and its volumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import CryopipeError
from cryopipe.files.metadata import tilt_angles
from cryopipe.files.mrc import HEADER_BYTES
from cryopipe.files.projects.mdoc import find_mdoc, with_mdoc
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.volumes import voxel_size_of_header, with_volumes

COMMANDS = ("tilt.com", "tilta.com")
_STACK_ENDING = re.compile(r"([_.](?:ali|preali|3dfind))?\.(?:mrc|ali|st)$|_ali$", re.IGNORECASE)
_LABELS = slice(224, HEADER_BYTES)
_FLIPPED, _ROTATED = b"clip: flipyz", b"clip: rotx"


def read_imod(source: Path, denoised: bool) -> Project | None:
    """Read folders of etomo; return None if `source` is none.

    Parameters
    ----------
    source
        The folder of a tilt series, a folder of such folders, or a `tilt.com` or .edf file in it.
    denoised
        Whether denoised tomograms are preferred.
    """
    if source.name in COMMANDS or source.suffix.lower() == ".edf":
        source = source.parent
    if not source.is_dir():
        return None
    folders = [source, *(part for part in sorted(source.iterdir()) if part.is_dir())]
    series = []
    for folder in folders:
        commands = next((folder / name for name in COMMANDS if (folder / name).is_file()), None)
        if commands is not None:
            series.append(_of_folder(folder, commands, denoised))
    if not series:
        return None
    export = {"formats": ["imod", "relion", "relion5"], "binned_by": "averaging"}
    return Project("IMOD", source, tuple(series), "dark", export)


def _of_folder(folder: Path, commands: Path, denoised: bool) -> Series:
    options = _options(commands)
    stack = options.get("INPUTPROJECTIONS", options.get("INPUTFILE", folder.name))
    name = _STACK_ENDING.sub("", Path(stack).name)
    series = _with_tilts(Series(name), folder, commands, options)
    series = with_mdoc(series, find_mdoc(name, [folder]))
    [series] = with_volumes([series], [folder], denoised)
    binning = _number(options.get("IMAGEBINNED"))
    voxel_size = voxel_size_of_header(series.volume) if series.volume else None
    if binning and voxel_size and series.tilt_series_pixel_size is None:
        series = series.known(commands, tilt_series_pixel_size=voxel_size / binning)
    labels = _labels(series.volume) if series.volume is not None else b""
    if series.volume is not None and _FLIPPED in labels:
        remark = "was flipped with trimvol -yz, which inverts the hand of the particles; trimvol -rx keeps it"
        series = series.known(series.volume, tilt_axis="-y").remarked(remark)
    elif series.volume is not None and _ROTATED in labels:
        series = series.known(series.volume, tilt_axis="y")
    if commands.name == "tilta.com":
        series = series.remarked("is a dual-axis tomogram; the missing wedge of axis a is assumed")
    return series


def _with_tilts(series: Series, folder: Path, commands: Path, options: dict[str, str]) -> Series:
    """Return the series with the angles of TILTFILE plus OFFSET, without the views of EXCLUDELIST."""
    names = [options.get("TILTFILE", ""), f"{series.name}.tlt", f"{series.name}.rawtlt"]
    file = next((folder / name for name in names if name and (folder / name).is_file()), None)
    if file is None:
        return series.remarked(f"tilt range left blank: {names[0] or names[1]} is missing")
    try:
        angles, _ = kept_views(file, options)
    except CryopipeError as error:
        return series.remarked(f"tilt range left blank: {error}")
    low, high = (round(float(angle), 2) for angle in (angles.min(), angles.max()))
    return series.known(file, tilt_range=(low, high), tilt_series=file)


def kept_views(
    path: Path, options: Mapping[str, str] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the tilts of the views in a tomogram of IMOD, and which views of the tilt series they are, from 0.

    Parameters
    ----------
    path
        The .tlt file.
    options
        Of the command file `tilt.com`, by name: OFFSET is added to all tilts, the views of EXCLUDELIST are left out; None
        to read it from the folder of `path`, if there is one.
    """
    angles = tilt_angles(path)
    if options is None:
        commands = next((path.with_name(name) for name in COMMANDS if path.with_name(name).is_file()), None)
        options = {} if commands is None else _options(commands)
    excluded = _numbers(options.get("EXCLUDELIST", options.get("EXCLUDELIST2", "")))
    views = np.array([number for number in range(len(angles)) if number + 1 not in excluded])
    if len(views) < 2:
        views = np.arange(len(angles))
    return angles[views] + (_number(options.get("OFFSET")) or 0.0), views


def _options(path: Path) -> dict[str, str]:
    """Return the options of a command file by name, in capitals."""
    lines = (line.split(None, 1) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {
        words[0].upper(): words[1].strip() if len(words) > 1 else ""
        for words in lines
        if words and not words[0].startswith(("#", "$"))
    }


def _numbers(text: str) -> list[int]:
    """Return the numbers of a list such as `1,3-5`."""
    found: list[int] = []
    for first, last in re.findall(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?", text):
        found += range(int(first), int(last or first) + 1)
    return found


def _labels(path: Path) -> bytes:
    """Return the labels of an MRC header, in which IMOD's programs say what they did."""
    with path.open("rb") as stream:
        return stream.read(HEADER_BYTES)[_LABELS]


def _number(text: str | None) -> float | None:
    try:
        return float((text or "").split()[0])
    except (IndexError, ValueError):
        return None
