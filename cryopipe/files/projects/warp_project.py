"""Projects of Warp, WarpTools and M: the settings, and one XML file per tilt series."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from cryopipe.errors import FileError, check_size, reading_fault
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.volumes import with_volumes
from cryopipe.files.star import read_star

RECONSTRUCTIONS = ("reconstruction", "denoised")
"""Folders of the processing folder with tomograms; `reconstruction` contains even, odd and deconv."""
_REMEDY = "give the unchanged file of Warp"
_SAME_TILT = 0.5
"""Degrees; tilts of one image in two files differ by less."""


def read_warp(source: Path, denoised: bool) -> Project | None:
    """Read a project of Warp; return None if `source` is none.

    Parameters
    ----------
    source
        A .settings, .tomostar or tilt-series .xml file, or the folder of the project, of the XML files, of the
        .tomostar files or of the reconstructions.
    denoised
        Whether denoised tomograms are preferred.

    Raises
    ------
    FileError
        If a file of the project cannot be read.
    """
    settings, processing, tomostars = _find(source)
    if processing is None and not tomostars:
        return None
    options = _parameters(_root(settings)) if settings is not None else {}
    series = [] if processing is None else [_of_xml(path) for path in _xml_files(processing)]
    if not series:
        series = [_of_tomostar(path) for path in tomostars]
    if not series:
        return None
    if settings is not None:
        series = [_with_settings(one, options, settings) for one in series]
    if processing is not None:
        series = with_volumes(series, [processing / name for name in RECONSTRUCTIONS], denoised)
    assumed = ("bright particles: WarpTools inverts the contrast by default (--contrast dark if it did not)",)
    return Project(
        "Warp", settings or processing or source, tuple(series), "bright", {"formats": ["warp"]}, assumed
    )


def _find(source: Path) -> tuple[Path | None, Path | None, list[Path]]:
    """Return the settings, the processing folder and the .tomostar files, if any."""
    suffix = source.suffix.lower()
    if suffix == ".settings" and source.is_file():
        return _of_settings(source)
    if suffix == ".tomostar" and source.is_file():
        return _around(source.parent, None, [source])
    if suffix == ".xml" and source.is_file():
        return _around(source.parent, source.parent, []) if _xml_files(source.parent) else (None, None, [])
    if not source.is_dir():
        return None, None, []
    for folder in (source, *list(source.parents)[:2]):
        inside = folder == source or source.name in (*RECONSTRUCTIONS, "even", "odd", "deconv")
        if inside and _xml_files(folder):
            return _around(folder, folder, [])
    if tomostars := sorted(source.glob("*.tomostar")):
        return _around(source, None, tomostars)
    for settings in sorted(source.glob("*.settings")):
        found = _of_settings(settings)
        if found[1] is not None:
            return found
    return None, None, []


def _of_settings(path: Path) -> tuple[Path | None, Path | None, list[Path]]:
    options = _parameters(_root(path))
    processing = path.parent / options.get("Import/ProcessingFolder", "").replace("\\", "/")
    data = path.parent / options.get("Import/DataFolder", "").replace("\\", "/")
    tomostars = sorted(data.glob("*.tomostar")) if data != path.parent else []
    if processing == path.parent or not processing.is_dir():
        processing = data
    if not _xml_files(processing):
        return (path, None, tomostars) if tomostars else (None, None, [])
    return path, processing, tomostars


def _around(
    folder: Path, processing: Path | None, tomostars: list[Path]
) -> tuple[Path | None, Path | None, list[Path]]:
    """Return what was found with the settings beside or above `folder` that belong to it."""
    for place in (folder, folder.parent):
        for settings in sorted(place.glob("*.settings")):
            options = _parameters(_root(settings))
            named = [options.get(f"Import/{name}Folder", "") for name in ("Processing", "Data")]
            if folder.resolve() in [(place / name.replace("\\", "/")).resolve() for name in named if name]:
                found = _of_settings(settings)
                return settings, processing or found[1], tomostars or found[2]
    return None, processing, tomostars


def _xml_files(folder: Path) -> list[Path]:
    """Return the XML files of tilt series in a folder."""
    return [path for path in sorted(folder.glob("*.xml")) if _is_tilt_series(path)]


def _is_tilt_series(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"<TiltSeries" in stream.read(4096)
    except OSError:
        return False


def _of_xml(path: Path) -> Series:
    root = _root(path)
    numbers = _parameters(root)
    dose = [float(word) for word in (root.findtext("Dose") or "").split()]
    pixel_size = _number(numbers, "OptionsCTF/PixelSize") or _number(numbers, "CTF/PixelSize")
    found = {
        "tilt_series_pixel_size": pixel_size,
        "voltage": _number(numbers, "CTF/Voltage"),
        "spherical_aberration": _number(numbers, "CTF/Cs"),
        "amplitude_contrast": _number(numbers, "CTF/Amplitude"),
        "dose": max(dose, default=None),
        "defocus": _number(numbers, "CTF/Defocus"),
    }
    return Series(path.stem).known(path, tilt_axis="y", **found).with_tilts(path)


def _of_tomostar(path: Path) -> Series:
    table = next(iter(read_star(path).values()))
    dose = float(table["wrpDose"].max()) if "wrpDose" in table else None
    return Series(path.stem).known(path, tilt_axis="y", dose=dose).with_tilts(path)


def _with_settings(series: Series, options: dict[str, str], path: Path) -> Series:
    """Return the series with what the settings state."""
    size = [_number(options, f"Tomo/Dimensions{axis}") for axis in "XYZ"]
    found = {
        "tilt_series_pixel_size": _number(options, "Import/PixelSize"),
        "unbinned_size": tuple(int(number) for number in size if number) if all(size) else None,
        "voltage": series.voltage or _number(options, "CTF/Voltage"),
        "spherical_aberration": series.spherical_aberration or _number(options, "CTF/Cs"),
        "amplitude_contrast": series.amplitude_contrast or _number(options, "CTF/Amplitude"),
    }
    return series.known(path, **{key: value for key, value in found.items() if value != getattr(series, key)})


def _root(path: Path) -> ElementTree.Element:
    try:
        check_size(path, 100)
        return ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=path, remedy=remedy) from error
    except (LookupError, ValueError, ElementTree.ParseError) as error:
        raise FileError(f"is not readable XML ({str(error)[:200]})", file=path, remedy=_REMEDY) from error


def _parameters(root: ElementTree.Element) -> dict[str, str]:
    """Return the parameters of an XML file by section and name, such as `CTF/Voltage`."""
    return {
        f"{section.tag}/{item.get('Name')}": item.get("Value") or ""
        for section in root
        for item in section.findall("Param")
    }


def _number(parameters: dict[str, str], name: str) -> float | None:
    try:
        return float(parameters[name])
    except (KeyError, ValueError):
        return None


def images_of_stack(path: Path, angles: NDArray[np.float64]) -> list[str] | None:
    """Return the names of a tilt series' images in the stack that `WarpTools ts_stack` made; None without one.

    Parameters
    ----------
    path
        The tilt series' .xml file.
    angles
        (n,) of the images that are used, degrees; the images are found by the order of their tilts.
    """
    stack = path.absolute().parent / "tiltstack" / path.stem / f"{path.stem}.st"
    listed = stack.with_suffix(".rawtlt")
    if not (stack.is_file() and listed.is_file()):
        return None
    tilts = np.array(listed.read_text(errors="replace").split(), dtype=np.float64)
    if len(tilts) != len(angles):
        return None
    places = np.empty(len(angles), dtype=np.intp)
    places[np.argsort(angles)] = np.argsort(tilts)
    shifts = tilts[places] - angles  # the alignment may have added an offset to all tilts
    if np.abs(shifts - np.median(shifts)).max() > _SAME_TILT:
        return None
    return [f"{place + 1:06d}@{stack}" for place in places]
