"""Geometry and optics of the images of tilt series, from the files of Warp, AreTomo, IMOD and RELION 5."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import DataError, FileError, check_size, reading_fault
from cryopipe.files.metadata import tilt_angles
from cryopipe.files.projects.imod_project import kept_views
from cryopipe.files.projects.warp_project import images_of_stack
from cryopipe.files.star import read_star

FloatArray = NDArray[np.float64]
_STACKS = (".mrc", ".st", ".mrcs")
_SAME_TILT = 0.5
"""Degrees; tilts of one image in two files differ by less."""
_EXPOSURE = re.compile(r"\s*(PriorRecordDose|ExposureDose)\s*=\s*(\S+)")


@dataclass(frozen=True)
class TiltSeries:
    """The images of a tilt series, in RELION 5's conventions.

    A point at X (x, y, z in pixels from the tomogram's centre) is projected to the x and y of
    `Rz(z_rotation) Ry(tilt) Rx(x_tilt) X` plus the shift, from the centre of the image; rotations are active and right-handed.

    Attributes
    ----------
    images
        (n,) names of the images: files, or `000001@stack.mrc` for an image of a stack.
    tilts, x_tilts, z_rotations
        (n,) degrees.
    shifts
        (n, 2) x, y in angstrom.
    exposures
        (n,) electrons per square angstrom before each image; None if unknown.
    defocus
        (n, 3) largest and smallest in angstrom, and azimuth in degrees; None if unknown.
    half_pixel
        0.5 if the program's centres, of image and tomogram, are between pixels (size - 1) / 2, from 0, as IMOD's; 0 if at
        size / 2.
    hand
        RELION's rlnTomoHand, if the program determined it.
    stacked
        (n,) names of the images in a stack, if `images` are files and the program has a stack, too.
    """

    images: list[str]
    tilts: FloatArray
    x_tilts: FloatArray
    z_rotations: FloatArray
    shifts: FloatArray
    exposures: FloatArray | None = None
    defocus: FloatArray | None = None
    half_pixel: float = 0.0
    hand: int | None = None
    stacked: list[str] | None = None

    def __len__(self) -> int:
        return len(self.images)


def read_tilt_series(path: str | os.PathLike[str], pixel_size: float) -> TiltSeries:
    """Read the geometry of a tilt series.

    Parameters
    ----------
    path
        Warp's .xml, AreTomo's .aln, IMOD's .tlt with the .xf file of the same name beside it, or RELION 5's .star.
    pixel_size
        Of the tilt series, angstrom.

    Raises
    ------
    FileError, DataError
        If the file is missing, of another format, or does not contain the alignment.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(
            "does not contain the alignment of a tilt series",
            file=path,
            remedy=f"give a file with one of the suffixes {', '.join(_READERS)}",
        )
    try:
        check_size(path, 100)
        return reader(path, pixel_size)
    except OSError as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
    except (LookupError, ValueError, ElementTree.ParseError) as error:
        raise FileError(
            f"the alignment of the tilt series cannot be read ({str(error)[:200]})",
            file=path,
            remedy="give the unchanged file of the program that wrote it",
        ) from error


def _from_xml(path: Path, pixel_size: float) -> TiltSeries:
    """Warp: Euler(0, tilt, -axis) RotateX(level), which is Rz(axis) Ry(-tilt) Rx(level); shifts are in angstrom."""
    root = ElementTree.fromstring(path.read_bytes())
    count = len((root.findtext("Angles") or "").split())
    used = np.array([word == "True" for word in (root.findtext("UseTilt") or "True " * count).split()])
    columns = {
        name: _column(root, name, count)[used] for name in ("AxisAngle", "AxisOffsetX", "AxisOffsetY", "Dose")
    }
    movies = [name for name in (root.findtext("MoviePath") or "").split("\n") if name.strip()]
    grids = [_grid(root, name, count) for name in ("GridCTF", "GridCTFDefocusDelta", "GridCTFDefocusAngle")]
    defocus = None
    if all(grid is not None for grid in grids):
        mean, delta, angle = (np.asarray(grid)[used] for grid in grids)
        defocus = np.stack([(mean + delta / 2) * 1e4, (mean - delta / 2) * 1e4, angle], axis=1)
    images = [_average_of(path, movies[number].strip()) for number in np.flatnonzero(used)]
    return TiltSeries(
        images,
        tilt_angles(path),
        np.full(len(images), float(root.get("LevelAngleX") or 0)),
        columns["AxisAngle"],
        np.stack([columns["AxisOffsetX"], columns["AxisOffsetY"]], axis=1),
        columns["Dose"],
        defocus,
        hand=1 if root.get("AreAnglesInverted") == "True" else -1,
        stacked=images_of_stack(path, _column(root, "Angles", count)[used]),
    )


def _column(root: ElementTree.Element, name: str, count: int) -> FloatArray:
    values = np.array((root.findtext(name) or "").split(), dtype=np.float64)
    if len(values) != count:
        raise ValueError(f"{len(values)} values in {name} for {count} angles")
    return values


def _grid(root: ElementTree.Element, name: str, count: int) -> FloatArray | None:
    nodes = root.findall(f"{name}/Node")
    values = np.array([float(node.get("Value") or "nan") for node in nodes])
    return values if len(values) == count else np.full(count, values[0]) if len(values) == 1 else None


def _average_of(path: Path, movie: str) -> str:
    """Return the average that Warp made of a movie, in `average` in a folder beside that of the tilt series, or the movie."""
    stem = Path(movie.replace("\\", "/")).stem
    found = sorted(path.absolute().parent.parent.glob(f"*/average/{_literal(stem)}.mrc"))
    return str(found[0]) if found else movie


def _literal(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def _from_aln(path: Path, pixel_size: float) -> TiltSeries:
    """AreTomo: raw = Rz(ROT) aligned + (TX, TY), in pixels (CSaveXF)."""
    text = path.read_text(encoding="utf-8", errors="replace").split("# Local Alignment")[0]
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = np.array([[float(word) for word in line.split()] for line in lines])
    name = re.sub(r"\.(mrc|st)$", "", path.stem)
    acquired = _numbers(path.with_name(f"{name}_TLT.txt"), 3)
    offset = re.search(r"#\s*AlphaOffset\s*=\s*(\S+)", text)
    places = _places_in_stack(rows, acquired[:, 0], float(offset[1]) if offset else 0.0)
    # _TLT.txt: tilt, order of acquisition and dose of the images of the stack; doses of earlier images add up
    before = np.array([acquired[acquired[:, 1] < one[1], 2].sum() for one in acquired])
    optics = _numbers(path.with_name(f"{name}_CTF.txt"), 4)[:, 1:4]
    if len(optics) == len(acquired) > len(rows):
        optics = optics[places]
    return TiltSeries(
        _of_stack(path.parent, name, (places + 1).tolist()),
        rows[:, -1],
        np.zeros(len(rows)),
        rows[:, 1],
        rows[:, 3:5] * pixel_size,
        before[places] if len(acquired) else None,
        optics if len(optics) == len(rows) else None,
    )


def _places_in_stack(rows: FloatArray, tilts: FloatArray, offset: float) -> NDArray[np.intp]:
    """Return which images of the stack, from 0, the rows of an .aln file are.

    Images are found by their tilts, with or without the offset that AreTomo added, among those of the stack. Without these,
    the number SEC is used, which some versions count from 0.
    """
    sections = rows[:, 0].astype(np.intp)
    if not len(tilts):
        return sections - min(1, int(sections.min()))
    distances = [np.abs(rows[:, -1, None] - shift - tilts) for shift in (0.0, offset)]
    best = min(distances, key=lambda one: float(one.min(axis=1).max()))
    places = best.argmin(axis=1).astype(np.intp)
    if best.min(axis=1).max() > _SAME_TILT or len(set(places.tolist())) < len(places):
        raise ValueError("its tilts are not those of the file _TLT.txt")
    return places


def _numbers(path: Path, columns: int) -> FloatArray:
    """Return the (n, columns) first numbers of each line of a text file, none if there is no such file."""
    if not path.is_file():
        return np.zeros((0, columns))
    lines = (
        line for line in path.read_text(errors="replace").splitlines() if line.strip() and "#" not in line
    )
    rows = [[float(word) for word in line.split()[:columns]] for line in lines]
    return np.array([row for row in rows if len(row) == columns]).reshape(-1, columns)


def _from_tlt(path: Path, pixel_size: float) -> TiltSeries:
    """IMOD: aligned = A (raw - centre) + shift + centre, so that raw = A^-1 aligned - A^-1 shift."""
    transforms = path.with_suffix(".xf")
    if not transforms.is_file():
        raise DataError(
            "is missing: without it, the images cannot be aligned",
            file=transforms,
            remedy=f"put it beside {path.name}, or leave the column tilt_series blank",
        )
    angles, views = kept_views(path)
    values = np.loadtxt(transforms, dtype=np.float64, ndmin=2)
    if values.shape[1:] != (6,) or len(values) <= views.max():
        raise ValueError(f"{len(values)} transforms for {views.max() + 1} angles")
    values = values[views]
    matrices = values[:, :4].reshape(-1, 2, 2)
    shifts: FloatArray = -np.linalg.solve(matrices, values[:, 4:, None])[..., 0].astype(np.float64)
    return TiltSeries(
        _of_stack(path.parent, path.stem, (views + 1).tolist()),
        angles,
        np.zeros(len(angles)),
        np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0])),
        shifts * pixel_size,
        _exposures_of_mdoc(path, views),
        half_pixel=0.5,
    )


def _exposures_of_mdoc(path: Path, views: NDArray[np.intp]) -> FloatArray | None:
    """SerialEM's PriorRecordDose of each image."""
    names = (path.with_suffix(ending) for ending in (".mdoc", ".st.mdoc", ".mrc.mdoc"))
    file = next((name for name in names if name.is_file()), None)
    if file is None:
        return None
    found = filter(None, map(_EXPOSURE.match, file.read_text(errors="replace").splitlines()))
    doses = np.array([float(match[2]) for match in found if match[1] == "PriorRecordDose"])
    return doses[views] if len(doses) > views.max() else None


def _of_stack(folder: Path, name: str, numbers: Sequence[int]) -> list[str]:
    """Return the names of images of the stack of a tilt series, counted from 1."""
    stacks = (folder / f"{name}{ending}" for ending in _STACKS)
    stack = next((path for path in stacks if path.is_file()), folder / f"{name}.mrc")
    return [f"{number:06d}@{stack.absolute()}" for number in numbers]


def _from_star(path: Path, pixel_size: float) -> TiltSeries:
    """RELION 5: the columns themselves."""
    table = next(iter(read_star(path).values()))
    needed = ("rlnMicrographName", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
    missing = [name for name in needed if name not in table]
    if missing:
        raise ValueError(f"no column {missing[0]}: the tilt series is not aligned")
    numbers = {
        name: table[name].to_numpy(np.float64)
        for name in table
        if name != "rlnMicrographName" and _is_number(table[name])
    }
    optics = [numbers.get(name) for name in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")]
    return TiltSeries(
        table["rlnMicrographName"].astype(str).tolist(),
        numbers["rlnTomoYTilt"],
        numbers.get("rlnTomoXTilt", np.zeros(len(table))),
        numbers["rlnTomoZRot"],
        np.stack([numbers["rlnTomoXShiftAngst"], numbers["rlnTomoYShiftAngst"]], axis=1),
        numbers.get("rlnMicrographPreExposure"),
        None
        if any(column is None for column in optics)
        else np.stack([np.asarray(one) for one in optics], axis=1),
    )


def _is_number(values: object) -> bool:
    return bool(np.issubdtype(np.asarray(values).dtype, np.number))


_READERS: dict[str, Callable[[Path, float], TiltSeries]] = {
    ".xml": _from_xml,
    ".aln": _from_aln,
    ".tlt": _from_tlt,
    ".star": _from_star,
}
