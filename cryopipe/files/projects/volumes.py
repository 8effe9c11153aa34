"""The volumes of tilt series in the folders of a project: the tomogram, its halves, and the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cryopipe.errors import CryopipeError
from cryopipe.files.mrc import read_header
from cryopipe.files.projects.series import Series
from cryopipe.volume_names import (
    DENOISED,
    HALF,
    STACK,
    STACK_SUFFIXES,
    preferred_volume,
    read_volume_name,
    shorter_stems,
    why_left_out,
)

SUFFIXES = (".mrc", ".rec", ".map")
"""Suffixes of the tomograms in a folder."""
_FIRST_HALF = re.compile(r"ev|half[_-]?1|halfmap1", re.IGNORECASE)


def with_volumes(
    series: Iterable[Series], folders: Sequence[Path], denoised: bool, named: bool = True
) -> list[Series]:
    """Return tilt series with the volumes in `folders` that have their names.

    Parameters
    ----------
    series
        Tilt series; volumes that they have already are kept.
    folders
        Folders of volumes, and of folders such as `even`; missing ones are ignored.
    denoised
        Whether a denoised volume is preferred to others.
    named
        Whether NAME.mrc can be a tomogram, not only names such as NAME_rec.mrc; it is the tilt series of AreTomo.
    """
    series = list(series)
    by_name: dict[str, list[Path]] = {one.name: [] for one in series}
    for path in _files(folders):
        stem = next((stem for stem in shorter_stems(path) if stem in by_name), None)
        if stem is not None and (named or stem != path.stem):
            by_name[stem].append(path)
    return [
        one if one.volume is not None else _with_chosen(one, by_name[one.name], denoised) for one in series
    ]


def voxel_size_of_header(path: Path) -> float | None:
    """Return the voxel size in the header of a volume, angstrom; None if unknown or unreadable."""
    try:
        return read_header(path).voxel_size
    except CryopipeError:
        return None


def _files(folders: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        if folder.is_dir():
            inside = [folder, *(part for part in sorted(folder.iterdir()) if part.is_dir())]
            for place in inside:
                found += sorted(
                    file for file in place.iterdir() if file.suffix.lower() in (*SUFFIXES, *STACK_SUFFIXES)
                )
    visible = (file for file in found if not file.name.startswith(".") and file.is_file())
    return list(dict.fromkeys(visible))


def _with_chosen(series: Series, paths: list[Path], denoised: bool) -> Series:
    sizes = {path: voxel_size_of_header(path) for path in paths}
    parts = {path: read_volume_name(path) for path in paths}
    whole = [path for path in paths if parts[path].part not in (HALF, STACK)]
    if denoised:
        whole = [path for path in whole if DENOISED.search(parts[path].mark)] or whole
    if not whole:
        halves = [path for path in paths if parts[path].part == HALF]
        reasons = tuple(f"{path}: {why_left_out(path, path)}" for path in paths)
        if not halves:
            return replace(series, left_out=reasons)
        whole = [half_volume(halves, 0, None, sizes) or halves[0]]
        series = replace(
            series,
            remarks=(*series.remarks, "only halves of the data were found; the volume of one half is used"),
        )
    chosen = preferred_volume(whole, sizes)
    even, odd = (
        half_volume([path for path in paths if parts[path].part == HALF], number, sizes[chosen], sizes)
        for number in (0, 1)
    )
    others = [path for path in paths if path not in (chosen, even, odd)]
    return replace(
        series,
        volume=chosen,
        even=even,
        odd=odd,
        sources={**series.sources, "volume": chosen.parent},
        left_out=tuple(f"{path}: {why_left_out(path, chosen)}" for path in others),
    )


def half_volume(
    halves: Iterable[Path], number: int, voxel_size: float | None, sizes: Mapping[Path, float | None]
) -> Path | None:
    """Return the volume of the even (0) or odd (1) frames among halves, if possible of the given voxel size."""
    mine = [path for path in halves if bool(_FIRST_HALF.search(read_volume_name(path).mark)) == (number == 0)]
    return min(mine, key=lambda path: (sizes[path] != voxel_size, str(path)), default=None)
