"""Report of `cryopipe init`: what was read from which file, and what is assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryopipe.cli.rows import Row
from cryopipe.errors import one_line, size_text
from cryopipe.files.projects import Project

_PROPERTIES = (
    ("tilt_series_pixel_size", "pixel size of the tilt series", "A"),
    ("unbinned_size", "unbinned size", "pixels"),
    ("tilt_range", "tilts", "degrees"),
    ("tilt_axis", "tilt axis", ""),
    ("even", "halves of the data", ""),
    ("voltage", "voltage", "kV"),
    ("spherical_aberration", "spherical aberration", "mm"),
    ("amplitude_contrast", "amplitude contrast", ""),
    ("dose", "dose", "e/A^2"),
    ("defocus", "defocus", "micrometre"),
)
_USED_IF_MISSING = {
    "voltage": "300 kV (imaging.voltage)",
    "spherical_aberration": "2.7 mm (imaging.spherical_aberration)",
    "amplitude_contrast": "0.07 (imaging.amplitude_contrast)",
    "tilt_range": "-60 to 60 degrees (imaging.tilt_range)",
    "tilt_axis": "y, as after IMOD's trimvol -rx",
    "tilt_series_pixel_size": "that of the tomogram, no binning (column tilt_series_pixel_size)",
}
_WIDTH = 30


def reading_report(
    rows: Sequence[Row],
    projects: Sequence[Project],
    settings: Mapping[str, Any],
    assumed: Sequence[str],
    contrast_given: bool,
) -> list[str]:
    """Return the lines of the table of what was read, and of what is assumed.

    Parameters
    ----------
    rows
        The rows of the tomogram table.
    projects
        The projects they are from; there is no table without one.
    settings
        Sections of the configuration as written.
    assumed
        Assumptions that are known already.
    contrast_given
        Whether the user stated the contrast.
    """
    usable = [row for row in rows if not row.unusable]
    if not projects or not usable:
        return []
    lines = [f"Read from {project.program}: {one_line(str(project.source))}" for project in projects]
    names = [row.series.name for row in usable]
    lines.append(_line("names", _few(names), None))
    sizes = [row.header_voxel_size for row in usable if row.header_voxel_size and not row.voxel_size]
    if sizes:
        lines.append(_line("voxel size", f"{_range(sizes)} A", "the headers"))
    guesses = [*assumed]
    for name, label, unit in _PROPERTIES:
        known = [row for row in usable if name in row.series.sources or (name == "even" and row.series.even)]
        if known:
            values = [getattr(row.series, name) for row in known]
            source = known[0].series.sources.get(name, known[0].series.sources.get("volume"))
            few = "" if len(known) == len(usable) else f", {len(known)} of {len(usable)} tomograms"
            lines.append(
                _line(label, f"{_value(name, values)} {unit}".strip() + few, _seen_from(source, projects))
            )
        if len(known) < len(usable) and name in _USED_IF_MISSING:
            guesses.append(f"{label}: {_USED_IF_MISSING[name]}")
    if not contrast_given and not any("particles" in text for text in guesses):
        guesses.append(f"{settings['imaging']['contrast']} particles (imaging.contrast, or --contrast)")
    if "relion_tomograms" not in settings["export"]:
        binned = settings["export"].get("binned_by", "fourier")
        guesses.append(f"tomograms binned by {binned} (export.binned_by), for exports to RELION 4 and 5")
    chosen = [f"{key} {_shown(value)}" for key, value in settings["export"].items()]
    lines += [f"Export: {'; '.join(chosen)}"] if chosen else []
    return [*lines, "ASSUMED:", *(f"  {text}" for text in guesses)]


def _line(label: str, value: str, source: str | None) -> str:
    start = f"  {label:<{_WIDTH}} {value}"
    return start if source is None else f"{start:<{2 * _WIDTH + 6}} from {one_line(source)}"


def _seen_from(source: Path | None, projects: Sequence[Project]) -> str | None:
    """Return a file's path, relative to the project that it is in."""
    if source is None:
        return None
    folders = [project.source if project.source.is_dir() else project.source.parent for project in projects]
    inside = [source.relative_to(folder) for folder in folders if source.is_relative_to(folder)]
    return str(inside[0] if inside and inside[0].name else source)


def _value(name: str, values: Sequence[Any]) -> str:
    if name == "tilt_range":
        different = list(dict.fromkeys(values))
        texts = [f"{low:g} to {high:g}" for low, high in different]
    elif name == "unbinned_size":
        texts = [size_text(size) for size in dict.fromkeys(values)]
    elif name == "even":
        return "columns even and odd"
    elif name == "tilt_axis":
        texts = list(dict.fromkeys(values))
    else:
        return _range(values)
    return _few(texts)


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:.5g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _few(texts: Sequence[str]) -> str:
    shown = ", ".join(one_line(text) for text in texts[:3])
    return shown if len(texts) <= 3 else f"{shown}, ... ({len(texts)})"


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, (list, tuple)) else one_line(str(value))
