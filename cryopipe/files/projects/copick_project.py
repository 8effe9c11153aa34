"""Copick projects on this machine, and OME-Zarr volumes: one volume of each run."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from urllib.parse import urlparse

from cryopipe.errors import FileError, check_size, reading_fault
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.zarr_volumes import is_zarr, resolutions
from cryopipe.volume_names import DENOISED, USUAL_VOXEL_SIZE

RUNS = "ExperimentRuns"
_SPACING = re.compile(r"VoxelSpacing(\d+(?:\.\d+)?)")
_LOCAL = ("", "file", "local")
_REMEDY = "download the tomograms, and give their folder"


def read_zarr(source: Path, denoised: bool) -> Project | None:
    """Read a Copick project or OME-Zarr volumes; return None if `source` is neither.

    Parameters
    ----------
    source
        The configuration of a Copick project (.json), its folder, or one with the folder `ExperimentRuns`; an OME-Zarr volume, or
        a folder of them.
    denoised
        Whether denoised tomograms are preferred.

    Raises
    ------
    FileError
        If the configuration cannot be read or its data are not on this machine, or a volume is not OME-Zarr.
    """
    roots = _roots(source)
    if roots:
        runs: dict[str, list[Path]] = {}
        for root in roots:
            for volume in sorted((root / RUNS).glob("*/VoxelSpacing*/*.zarr")):
                runs.setdefault(volume.parts[-3], []).append(volume)
        if not runs:
            raise FileError(f"has no tomograms on this machine in {RUNS}", file=source, remedy=_REMEDY)
        series = [_of_run(name, volumes, denoised) for name, volumes in sorted(runs.items())]
        return Project("Copick", source, tuple(series), "dark", {"formats": ["copick"]})
    volumes = [source] if is_zarr(source) else sorted(path for path in source.glob("*.zarr") if is_zarr(path))
    if not volumes:
        return None
    series = [_of_run(path.name.removesuffix(".zarr"), [path], denoised) for path in volumes]
    return Project("OME-Zarr", source, tuple(series), "dark", {})


def _of_run(name: str, volumes: list[Path], denoised: bool) -> Series:
    """Return the series with the volume nearest to the usual voxel size among all resolutions."""
    wanted = [path for path in volumes if bool(DENOISED.search(path.stem)) == denoised] or volumes
    levels = [(level, size, path) for path in wanted for level, size in _levels(path)]
    level, _, path = min(levels, key=lambda one: (_distance(one[1]), str(one[0])))
    left_out = tuple(f"{other}: another volume of the run" for other in volumes if other != path)
    return Series(name, left_out=left_out).known(path, volume=level)


def _levels(path: Path) -> list[tuple[Path, float | None]]:
    spacing = _SPACING.fullmatch(path.parent.name)
    levels = resolutions(path)
    return [
        (level, size or (float(spacing[1]) if spacing and not number else None))
        for number, (level, size) in enumerate(levels)
    ]


def _distance(size: float | None) -> float:
    return math.inf if size is None else abs(math.log(size / USUAL_VOXEL_SIZE))


def _roots(source: Path) -> list[Path]:
    """Return the folders with `ExperimentRuns` of a Copick project."""
    if (source / RUNS).is_dir():
        return [source]
    if source.suffix.lower() != ".json" or not source.is_file():
        return []
    try:
        check_size(source, 10)
        config = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=source, remedy=remedy) from error
    except ValueError as error:
        raise FileError(
            f"is not JSON ({str(error)[:100]})", file=source, remedy="give the unchanged file"
        ) from error
    named = [config.get(key) for key in ("static_root", "overlay_root")] if isinstance(config, dict) else []
    places = [urlparse(text) for text in named if isinstance(text, str)]
    roots = [Path(place.netloc + place.path) for place in places if place.scheme in _LOCAL]
    found = [root for root in roots if (root / RUNS).is_dir()]
    datasets = config.get("dataset_ids", []) if isinstance(config, dict) else []
    if (places or datasets) and not found:
        listed = [text for text in named if text] + [
            f"dataset {one} of the CryoET Data Portal" for one in datasets
        ]
        raise FileError(
            f"names no folder on this machine with {RUNS}, but {', '.join(map(str, listed))}",
            file=source,
            remedy=_REMEDY,
        )
    return found
