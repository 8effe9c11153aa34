"""SerialEM's .mdoc files: pixel size, voltage, dose and defocus of a tilt series."""

from __future__ import annotations

import re
from pathlib import Path

from cryopipe.files.projects.series import Series

_LINE = re.compile(r"\s*(\w+)\s*=\s*(\S+)")
_LARGEST = 100_000_000


def find_mdoc(name: str, folders: list[Path]) -> Path | None:
    """Return the .mdoc file of a tilt series in the first folder that has one."""
    places = (
        folder / f"{name}{ending}" for folder in folders for ending in (".mdoc", ".mrc.mdoc", ".st.mdoc")
    )
    return next((path for path in places if path.is_file() and path.stat().st_size < _LARGEST), None)


def with_mdoc(series: Series, path: Path | None) -> Series:
    """Return the series with what a .mdoc file states and the series does not know yet."""
    if path is None:
        return series
    values: dict[str, list[float]] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        match = _LINE.match(line)
        if match:
            try:
                values.setdefault(match[1], []).append(float(match[2]))
            except ValueError:
                continue
    doses = [dose for dose in values.get("ExposureDose", []) if dose > 0]
    defocus = values.get("Defocus", [])
    found = {
        "tilt_series_pixel_size": next((size for size in values.get("PixelSpacing", []) if size > 0), None),
        "voltage": next((voltage for voltage in values.get("Voltage", []) if voltage > 0), None),
        "dose": sum(doses) or None,
        "defocus": sum(defocus) / len(defocus) if any(defocus) else None,
    }
    return series.known(path, **{key: value for key, value in found.items() if getattr(series, key) is None})
