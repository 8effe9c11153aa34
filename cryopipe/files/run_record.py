"""Record of how a run was started: command, versions, computer."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from cryopipe import __version__
from cryopipe.files.atomic import write_text

PACKAGES = (
    "snakemake",
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "scikit-learn",
    "scikit-image",
    "openTSNE",
    "mrcfile",
)


def write_run_record(path: str | os.PathLike[str], arguments: Sequence[str], source: Path) -> None:
    """Write how the run was started.

    Parameters
    ----------
    path
        A JSON file.
    arguments
        The command line.
    source
        Folder of the workflow, for the commit of a checkout.
    """
    record = {
        "command": shlex.join(["snakemake", *arguments[1:]]),
        "directory": os.getcwd(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "commit": commit_of(source),
        "versions": {"python": platform.python_version(), **package_versions()},
        "computer": describe_computer(),
    }
    write_text(path, json.dumps(record, indent=1) + "\n")


def read_run_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the record of a run; empty if there is none or it cannot be read."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def commit_of(source: Path) -> str:
    """Return the commit of a checkout, followed by `with changes` if files differ from it; "" without one."""
    if not (source / ".git").exists():
        return ""
    try:
        commit = _git(source, "rev-parse", "HEAD")
        changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit} with changes" if changes else commit


def _git(source: Path, *arguments: str) -> str:
    command = ["git", "-C", str(source), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that compute results."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def describe_computer() -> str:
    """Return processor, cores and memory of this computer in one line."""
    processor = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    text = f"{processor}, {os.cpu_count()} cores"
    with suppress(OSError, ValueError, AttributeError):
        text += f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    return f"{text}, {platform.system()} {platform.release()}"
