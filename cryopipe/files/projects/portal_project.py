"""Folders of the CryoET Data Portal: DATASET/RUN with its reconstructions, tilt series and alignments."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryopipe.files.json_file import read_json
from cryopipe.files.projects.mdoc import find_mdoc, with_mdoc
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.volumes import voxel_size_of_header
from cryopipe.files.zarr_volumes import is_zarr, resolutions
from cryopipe.volume_names import DENOISED, USUAL_VOXEL_SIZE

RECONSTRUCTIONS = "Reconstructions"
_SPACING = re.compile(r"VoxelSpacing(\d+(?:\.\d+)?)")
_VOLUMES = ("Reconstructions/VoxelSpacing*/Tomograms/*", "Tomograms/VoxelSpacing*/CanonicalTomogram")
"""Folders of tomograms in that of a run, now and in the portal's first years."""
_RAW = "raw"


@dataclass(frozen=True)
class _Volume:
    """A tomogram at one resolution: its path, voxel size in angstrom, and the portal's record and folder."""

    path: Path
    voxel_size: float | None
    record: dict[str, Any]
    folder: Path

    @property
    def denoised(self) -> bool:
        stated = self.record.get("processing")
        return bool(DENOISED.search(self.path.name)) if stated is None else stated != _RAW

    def preference(self) -> tuple[float, bool, bool, str]:
        """Return what sorts the volumes of a run: the usual voxel size, shown by the portal, MRC."""
        far = math.inf if self.voxel_size is None else abs(math.log(self.voxel_size / USUAL_VOXEL_SIZE))
        shown = bool(self.record.get("is_visualization_default"))
        return round(far, 3), not shown, self.path.suffix != ".mrc", str(self.path)


def read_portal(source: Path, denoised: bool) -> Project | None:
    """Read data of the CryoET Data Portal on this machine; return None if `source` is none.

    Parameters
    ----------
    source
        The folder of a run, of a dataset, of several datasets, or a folder in that of a run.
    denoised
        Whether denoised or filtered tomograms are preferred.

    Raises
    ------
    FileError
        If a file of the portal cannot be read.
    """
    if not source.is_dir():
        return None
    above = next(
        (folder.parent for folder in (source, *source.parents) if folder.name == RECONSTRUCTIONS), None
    )
    runs = [above] if above else [run for run in _runs(source) if _folders(run)]
    series = [_of_run(run, denoised, source if above else run) for run in runs]
    if not any(one.volume for one in series):
        return None
    assumed = ("the sense of the tilts, which the portal does not state",)
    return Project(
        "CryoET Data Portal", source, tuple(series), "dark", {"formats": ["portal", "copick"]}, assumed
    )


def _runs(source: Path) -> list[Path]:
    """Return the folder, and those in it and one level below, in which a run can be."""
    inside = [part for part in sorted(source.iterdir()) if part.is_dir()]
    if _folders(source):
        return [source]
    if any(_folders(part) for part in inside):
        return inside
    return [part for folder in inside for part in sorted(folder.iterdir()) if part.is_dir()]


def _folders(run: Path) -> list[Path]:
    return sorted(folder for pattern in _VOLUMES for folder in run.glob(pattern) if folder.is_dir())


def _of_run(run: Path, denoised: bool, inside: Path) -> Series:
    volumes = [
        volume for folder in _folders(run) if folder.is_relative_to(inside) for volume in _volumes_in(folder)
    ]
    wanted = [volume for volume in volumes if volume.denoised == denoised] or volumes
    series = Series(run.name)
    if not wanted:
        return series
    chosen = min(wanted, key=_Volume.preference)
    others = {volume.folder: volume.record for volume in volumes if volume.folder != chosen.folder}
    series = Series(
        run.name,
        left_out=tuple(
            f"{folder}: another volume of the run ({record.get('processing', 'unknown processing')})"
            for folder, record in others.items()
        ),
    ).known(chosen.path, volume=chosen.path, voxel_size=chosen.voxel_size)
    return _with_alignment(_with_tilt_series(series, run), run, chosen.record)


def _volumes_in(folder: Path) -> list[_Volume]:
    """Return the tomogram in a folder, in all its resolutions and formats."""
    records = sorted(folder.glob("*tomogram[_-]metadata.json"))
    record = _object(records[0]) if records else {}
    spacing = _SPACING.search(str(folder))
    stated = float(spacing[1]) if spacing else None
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".mrc" and path.is_file():
            found.append(_Volume(path, voxel_size_of_header(path) or stated, record, folder))
        elif path.suffix == ".zarr" and is_zarr(path):
            for number, (level, size) in enumerate(resolutions(path)):
                known = size or (stated if number == 0 else None)
                found.append(_Volume(level, known, record, folder))
    return found


def _with_tilt_series(series: Series, run: Path) -> Series:
    """Return the series with what the records of its tilt series state; the portal has volts."""
    records = sorted((run / "TiltSeries").glob("**/*tiltseries_metadata.json"))
    if not records:
        return series
    path, record = records[0], _object(records[0])
    voltage = _number(record.get("acceleration_voltage"))
    low, high = (_number((record.get("tilt_range") or {}).get(end)) for end in ("min", "max"))
    known = low is not None and high is not None and -90 <= low < high <= 90
    found = series.known(
        path,
        tilt_series_pixel_size=_number(record.get("pixel_spacing")) or None,
        voltage=None if not voltage else voltage / 1000 if voltage > 10_000 else voltage,
        spherical_aberration=_number(record.get("spherical_aberration_constant")),
        dose=_number(record.get("total_flux")) or None,
        tilt_range=(low, high) if known else None,
    )
    return with_mdoc(found, find_mdoc(run.name, [path.parent, run / "TiltSeries", run / "Frames"]))


def _with_alignment(series: Series, run: Path, record: dict[str, Any]) -> Series:
    """Return the series with the tilts of the images that are aligned, if the alignment is here."""
    stated = Path(str(record.get("alignment_metadata_path") or ""))
    places = [run.joinpath("Alignments", *stated.parts[-2:])] if stated.parts else []
    places += sorted((run / "Alignments").glob("**/*alignment_metadata.json"))
    path = next((place for place in places if place.is_file()), None)
    images = (_object(path).get("per_section_alignment_parameters") or []) if path else []
    tilts = [tilt for tilt in (_number(one.get("tilt_angle")) for one in images) if tilt is not None]
    if path is None or len(tilts) < 2 or not -90 <= min(tilts) < max(tilts) <= 90:
        return series
    return series.known(path, tilt_range=(round(min(tilts), 2), round(max(tilts), 2)))


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} does not hold an object")
    return value


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
