"""Records of what results were made with, which also tell the results of things that are no more.

A record is a small file whose name ends in a digest of the rule's options: `{name}.{digest}.json`. The workflow asks for the
record of the options it is given, so that a result of others, of a job that outlived its driver for instance, is missing.
"""

from __future__ import annotations

import glob
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryopipe.errors import FileError
from cryopipe.files.atomic import write_text
from cryopipe.files.ownership import fingerprint, remove_unchanged

logger = logging.getLogger(__name__)

LARGEST = 100_000_000
"""Bytes; larger files, of which only tomograms have some, get no fingerprint: it would take a while to read them."""


def write_record(path: str | Path, options: Mapping[str, Any], files: Iterable[str | Path]) -> None:
    """Write the record of a job, and remove those of earlier options.

    Parameters
    ----------
    path
        `{name}.{digest}.json`.
    options
        What the rule was given.
    files
        What it wrote; fingerprints tell later whether somebody changed them.
    """
    record = Path(path)
    earlier = glob.glob(f"{glob.escape(_name(record))}.????????.json", root_dir=record.parent)
    for name in {*earlier} - {record.name}:
        (record.parent / name).unlink(missing_ok=True)
    small = {file: Path(file).is_file() and Path(file).stat().st_size <= LARGEST for file in files}
    marks = {str(file): fingerprint(file) if small[file] else None for file in small}
    write_text(record, json.dumps({"options": options, "files": marks}, indent=1, default=str) + "\n")


def recorded_names(folder: str | Path) -> set[str]:
    """Return the names of the jobs that have a record in a folder: tomograms, clusters."""
    return {_name(path) for path in Path(folder).glob("*.????????.json")}


def remove_results(folder: str | Path, current: Iterable[str]) -> None:
    """Remove the results of jobs that are no more; a file that was changed since is left, with a warning.

    Parameters
    ----------
    folder
        Where the records of a rule lie.
    current
        Names of the jobs that there are.
    """
    names = set(current)
    for path in sorted(Path(folder).glob("*.????????.json")):
        if _name(path) in names:
            continue
        try:
            marks = json.loads(path.read_text(encoding="utf-8"))["files"]
            known = {file: (int(mark[0]), str(mark[1])) for file, mark in marks.items() if mark}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileError("is not a record that cryopipe wrote", file=path, remedy="remove it") from error
        for file, mark in known.items():
            if not remove_unchanged(file, mark):
                logger.warning(
                    "%s: belongs to %s, which is no more, and was changed since cryopipe wrote it; it is left there",
                    *(file, _name(path)),
                )
        path.unlink(missing_ok=True)


def _name(record: Path) -> str:
    return record.name.removesuffix(".json").rpartition(".")[0]
