"""Tilt angles from the files of IMOD, SerialEM, AreTomo, Warp and RELION 5."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from cryopipe.errors import FileError, check_size, reading_fault
from cryopipe.files.star import read_star
from cryopipe.volume_names import shorter_stems

_TILT_COLUMNS = ("rlnTomoYTilt", "rlnTomoNominalStageTiltAngle")
"""RELION's tilt angle after and before alignment; the first existing column is used."""
_WARP_COLUMN = "wrpAngleTilt"
_MDOC_ANGLE = re.compile(r"\s*TiltAngle\s*=\s*(\S+)")


def tilt_angles(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the tilt angles of the images of a tomogram.

    Parameters
    ----------
    path
        IMOD's .tlt or .rawtlt, SerialEM's .mdoc, AreTomo's .aln, Warp's .xml or .tomostar, or RELION's tilt-series .star.
        Images that AreTomo or Warp left out are left out here.

    Returns
    -------
    Degrees about the tilt axis, (images,), in the file's order: right-handed about +y of a tomogram of that program, as
    in `cryopipe.tomograms.Tomogram.tilt_axis` for "y".

    Raises
    ------
    FileError
        If the file is missing, of an unknown format, or has no angles or angles outside -90 to 90 degrees, or is larger
        than 100 MB.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(
            f"tilt angles cannot be read from a file with the suffix {path.suffix!r}",
            file=path,
            remedy=f"give a file with one of the suffixes {', '.join(_READERS)}",
        )
    try:
        check_size(path, 100)
        angles = np.array(reader(path), dtype=np.float64)
    except OSError as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
    except (
        LookupError,
        ValueError,
        ElementTree.ParseError,
    ) as error:  # LookupError: unknown encoding
        raise FileError(
            f"tilt angles cannot be read ({str(error)[:200]})",
            file=path,
            remedy="give the unchanged file of the program that wrote it",
        ) from error
    if angles.size == 0:
        raise FileError("contains no tilt angles", file=path, remedy="give the file of the whole tilt series")
    wrong = angles[~(np.abs(angles) <= 90)]
    if wrong.size:
        raise FileError(
            f"tilt angle {wrong[0]:g} is outside -90 to 90 degrees",
            file=path,
            remedy="give the file of a tilt series",
        )
    return angles


def read_tilt_range(path: str | os.PathLike[str]) -> tuple[float, float]:
    """Read the lowest and highest tilt of a tilt series, degrees, from any file that `tilt_angles` reads.

    Raises
    ------
    FileError
        As `tilt_angles`, and if all angles are the same.
    """
    angles = tilt_angles(path)
    low, high = float(angles.min()), float(angles.max())
    if low == high:
        raise FileError(
            f"contains only the tilt angle {low:g}",
            file=path,
            remedy="give the file of the whole tilt series",
        )
    return low, high


def find_tilt_file(tomogram: str | os.PathLike[str]) -> Path | None:
    """Return the file of a tomogram's tilt angles in the same folder, found by its name; None if there is none.

    For TS_01.mrc, TS_01_rec.mrc, rec_TS_01.mrc, TS_01_10.00Apx.mrc and similar names this is the first existing file of
    TS_01.tlt, TS_01.aln, TS_01.xml, TS_01.rawtlt and TS_01.mdoc: refined angles are preferred to those of the microscope.
    """
    tomogram = Path(tomogram)
    stems = shorter_stems(tomogram)
    endings = (".tlt", ".aln", ".xml", ".rawtlt", ".mdoc", ".mrc.mdoc", ".st.mdoc")
    candidates = (tomogram.with_name(stem + ending) for stem in stems for ending in endings)
    return next((candidate for candidate in candidates if os.path.isfile(candidate)), None)


def _from_list(path: Path) -> list[float]:
    """IMOD's .tlt and .rawtlt: one angle per line; in AreTomo's files the image's number follows."""
    return [float(line.split()[0]) for line in _text(path).splitlines() if line.strip()]


def _from_mdoc(path: Path) -> list[float]:
    """SerialEM's .mdoc: `TiltAngle = ...` in the section of every image."""
    found = (_MDOC_ANGLE.match(line) for line in _text(path).splitlines())
    return [float(match[1]) for match in found if match]


def _from_aln(path: Path) -> list[float]:
    """AreTomo's .aln: the last column of the global alignment, above the local one."""
    lines = _text(path).split("# Local Alignment")[0].splitlines()
    return [float(line.split()[-1]) for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _from_xml(path: Path) -> list[float]:
    """Warp's .xml: the list <Angles>, without the images that <UseTilt> leaves out.

    Warp's projections are x cos t - z sin t (TiltSeries.GetPositionInAllTilts, Matrix3.Euler), so that its angles have
    the opposite sign. AreAnglesInverted concerns the sign of the defocus only, LevelAngleY is added to all angles.
    """
    root = ElementTree.fromstring(path.read_bytes())
    angles = [float(word) for word in (root.findtext("Angles") or "").split()]
    used = (root.findtext("UseTilt") or "True " * len(angles)).split()
    if len(used) != len(angles):
        raise ValueError(f"{len(angles)} angles, but {len(used)} marks of use")
    level = float(root.get("LevelAngleY") or 0)
    return [-(angle + level) for angle, use in zip(angles, used, strict=True) if use == "True"]


def _from_star(path: Path) -> list[float]:
    """RELION 5's tilt-series .star: one line per image."""
    for table in read_star(path).values():
        for column in _TILT_COLUMNS:
            if column in table:
                return [float(angle) for angle in table[column]]
    raise ValueError(f"no column {' or '.join(_TILT_COLUMNS)}: not a tilt series")


def _from_tomostar(path: Path) -> list[float]:
    """Warp's .tomostar: one line per image; the sign is that of its .xml files."""
    for table in read_star(path).values():
        if _WARP_COLUMN in table:
            return [-float(angle) for angle in table[_WARP_COLUMN]]
    raise ValueError(f"no column {_WARP_COLUMN}: not a tilt series of Warp")


def _text(path: Path) -> str:
    # program names and file names in comments may be in any encoding; angles are ASCII
    return path.read_text(encoding="utf-8-sig", errors="replace")


_READERS: dict[str, Callable[[Path], list[float]]] = {
    ".tlt": _from_list,
    ".rawtlt": _from_list,
    ".mdoc": _from_mdoc,
    ".aln": _from_aln,
    ".xml": _from_xml,
    ".star": _from_star,
    ".tomostar": _from_tomostar,
}
