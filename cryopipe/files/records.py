"""Records of the options that results were made with.

A record is a small file, `{name}.{digest}.json`, with a digest of the rule's options in its name. Records are needed
because Snakemake stores the options only when a job ends while Snakemake itself is running. They also list the results
of tomograms and clusters that no longer exist.
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
"""Seconds since 1970; 0 would mean no time."""
LARGEST = 100_000_000
"""Bytes; larger files get no checksum, because reading them would take too long."""


def write_record(path: str | Path, options: Mapping[str, Any], files: Iterable[str | Path]) -> None:
    """Write the record of a job, and remove those of earlier options.

    Parameters
    ----------
    path
        `{name}.{digest}.json`.
    options
        The parameters of the rule.
    files
        The output files; their checksums show later whether they were changed.
    """
    record = Path(path)
    earlier = glob.glob(f"{glob.escape(_name(record))}.????????.json", root_dir=record.parent)
    for name in {*earlier} - {record.name}:
        (record.parent / name).unlink(missing_ok=True)
    small = {file: Path(file).is_file() and Path(file).stat().st_size <= LARGEST for file in files}
    marks = {str(file): fingerprint(file) if small[file] else None for file in small}
    write_text(record, json.dumps({"options": options, "files": marks}, indent=1, default=str) + "\n")


def expire_unrecorded_results(folder: str | Path, digests: Mapping[str, str], notes: str | Path) -> None:
    """Set the modification times of results of other options to the past, if Snakemake has no metadata of them.

    These results are then older than their inputs, so that Snakemake makes them again. For results with metadata,
    Snakemake compares the options itself.

    Parameters
    ----------
    folder
        Folder of the records, with one subfolder per rule.
    digests
        Digests of the current options, by rule.
    notes
        Snakemake's folder of metadata (`.snakemake/metadata`).
    """
    for rule, digest in digests.items():
        for record in sorted(Path(folder, rule).glob("*.????????.json")):
            if record.name.removesuffix(".json").rpartition(".")[2] == digest:
                continue
            for file in _read_marks(record):
                if not _note_of(file, notes).exists() and os.path.isfile(file):
                    logger.warning("%s: was made with other options and will be made again", file)
                    os.utime(file, (LONG_AGO, LONG_AGO))


def _note_of(file: str, notes: str | Path) -> Path:
    """Return the path of Snakemake's metadata of a result; long names are split into folders."""
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
    """Remove the results of tomograms or clusters that no longer exist; changed files are kept, with a warning.

    Parameters
    ----------
    folder
        Folder of the records of a rule.
    current
        Names of the current tomograms or clusters.
    """
    names = set(current)
    for path in sorted(Path(folder).glob("*.????????.json")):
        if _name(path) in names:
            continue
        for file, mark in _read_marks(path).items():
            if not remove_unchanged(file, mark):
                logger.warning(
                    "%s: belongs to %s, which no longer exists, but is kept, because it was changed after cryopipe wrote it",
                    *(file, _name(path)),
                )
        path.unlink(missing_ok=True)


def _name(record: Path) -> str:
    return record.name.removesuffix(".json").rpartition(".")[0]
