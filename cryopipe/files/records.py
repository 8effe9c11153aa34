"""Records of what results were made with, which also tell the results of things that are no more.

A record is a small file whose name ends in a digest of the rule's options: `{name}.{digest}.json`. It tells what a result was
made with where Snakemake does not know: its driver notes that when a job ends, unless it is killed before.
"""

from __future__ import annotations

import base64
import glob
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryopipe.errors import FileError
from cryopipe.files.atomic import write_text
from cryopipe.files.ownership import Fingerprint, fingerprint, remove_unchanged

logger = logging.getLogger(__name__)

LONG_AGO = 86_400
"""Seconds since 1970; 0 would count as no time."""
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


def age_orphans(folder: str | Path, digests: Mapping[str, str], notes: str | Path) -> None:
    """Set back the times of results that were made with other options and that Snakemake knows nothing of.

    Such results are older than what they were made from, so that they are made again. Results that Snakemake has notes of
    are left alone: it compares the options itself.

    Parameters
    ----------
    folder
        Where the records lie, in a folder per rule.
    digests
        Of every rule's options as they are now.
    notes
        Snakemake's folder of notes (`.snakemake/metadata`).
    """
    for rule, digest in digests.items():
        for record in sorted(Path(folder, rule).glob("*.????????.json")):
            if record.name.removesuffix(".json").rpartition(".")[2] == digest:
                continue
            for file in _read_marks(record):
                if not _note_of(file, notes).exists() and os.path.isfile(file):
                    logger.warning("%s: was made with other options, by a job that outlived its run", file)
                    os.utime(file, (LONG_AGO, LONG_AGO))


def _note_of(file: str, notes: str | Path) -> Path:
    """Return where Snakemake keeps its notes of a result: names too long for a file are cut into folders."""
    text = base64.urlsafe_b64encode(file.encode()).decode()
    parts = [text[i : i + 254] for i in range(0, len(text), 254)]
    return Path(notes, *(f"@{part}" for part in parts[:-1]), parts[-1])


def _read_marks(record: Path) -> dict[str, Fingerprint | None]:
    try:
        marks = json.loads(record.read_text(encoding="utf-8"))["files"]
        return {file: (int(mark[0]), str(mark[1])) if mark else None for file, mark in marks.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError("is not a record that cryopipe wrote", file=record, remedy="remove it") from error


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
        for file, mark in _read_marks(path).items():
            if not remove_unchanged(file, mark):
                logger.warning(
                    "%s: belongs to %s, which is no more, and was changed since cryopipe wrote it; it is left there",
                    *(file, _name(path)),
                )
        path.unlink(missing_ok=True)


def _name(record: Path) -> str:
    return record.name.removesuffix(".json").rpartition(".")[0]
