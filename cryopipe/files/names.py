"""Names under which other programs find files."""

from __future__ import annotations

import os
from pathlib import Path


def relative_name(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Return how `file` is found from `folder`; a link keeps its own name, those above it are followed."""
    path = Path(file)
    return os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(folder))


def absolute_name(file: str | os.PathLike[str]) -> str:
    """Return how `file` is found from anywhere: as its user named it, without `..`.

    Links are followed only where a `..` stands behind them: other nodes of a cluster may see other disks there.
    """
    parts = Path(file).absolute().parts
    behind = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return str(Path(os.path.realpath(Path(*parts[:behind])), *parts[behind:]) if behind else Path(*parts))
