"""Files that arrive in watched folders, and what a dataset needs done about them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryopipe.files.projects.volumes import SUFFIXES
from cryopipe.live.progress_page import ARRIVALS, CLUSTERED

MODEL = Path("results") / "features" / "model.safetensors"
ANEW = ARRIVALS / "anew"
"""A file that asks for learning and clustering anew."""

State = tuple[int, int]
"""Size in bytes and modification time in nanoseconds of a file."""


@dataclass
class Arriving:
    """Tomogram files in watched folders, and since when they have not changed.

    Attributes
    ----------
    settle
        Seconds for which a file must not have changed before it is read.
    waiting
        Number of files that had changed more recently, at the last look.
    """

    settle: float
    waiting: int = 0
    _seen: dict[Path, tuple[State, float]] = field(default_factory=dict)

    def settled(self, folders: Iterable[Path], now: float) -> list[Path]:
        """Return the tomogram files that have not changed for `settle` seconds, in order of name.

        Files that are still being copied grow, or were changed a moment ago.

        Parameters
        ----------
        folders
            Folders; hidden files are left out. A folder that is missing, as an unmounted disk is, has no files.
        now
            Seconds since 1970.
        """
        found, self.waiting = [], 0
        for folder in folders:
            for path in _tomogram_files(folder):
                state = file_state(path)
                if state is None:
                    continue
                earlier = self._seen.get(path)
                if earlier is None or earlier[0] != state:
                    # a file that is older than `settle` when it is seen first was complete before
                    changed = min(now, state[1] / 1e9)
                    self._seen[path] = (state, changed if earlier is None else now)
                if now - self._seen[path][1] >= self.settle:
                    found.append(path)
                else:
                    self.waiting += 1
        return sorted(dict.fromkeys(found))


def file_state(path: Path) -> State | None:
    """Return size and modification time of a file; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def is_clustered(dataset: Path) -> bool:
    """Return whether a dataset has a model and clusters."""
    return (dataset / MODEL).is_file() and (dataset / CLUSTERED).is_file()


def unassigned_tomograms(dataset: Path, tomograms: Sequence[str], clustered: set[str]) -> list[str]:
    """Return the tomograms that were neither clustered nor assigned to the clusters since.

    Parameters
    ----------
    dataset
        Its directory.
    tomograms
        Those of the table.
    clustered
        Those with particles in the clusters.
    """
    made = file_state(dataset / CLUSTERED) or (0, 0)
    missing = []
    for name in tomograms:
        state = file_state(dataset / ARRIVALS / f"{name}.star")
        if name not in clustered and (state is None or state[1] < made[1]):
            missing.append(name)
    return missing


def results_of(tomograms: Iterable[str]) -> list[str]:
    """Return the files that the workflow makes to assign tomograms."""
    return [(ARRIVALS / f"{name}.star").as_posix() for name in tomograms]


def newer_than_tried(tried: Mapping[str, State | None], paths: Mapping[str, Path]) -> list[str]:
    """Return the tomograms whose files changed since their jobs failed, or that were not tried."""
    return [name for name, path in paths.items() if name not in tried or tried[name] != file_state(path)]


def _tomogram_files(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    kept = (folder.absolute() / name for name in names if not name.startswith("."))
    return [path for path in kept if path.suffix.lower() in SUFFIXES and path.is_file()]
