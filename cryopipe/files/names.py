"""Relative and absolute paths of files for other programs."""

from __future__ import annotations

import os
from pathlib import Path


def relative_name(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Return the path of `file` relative to `folder`; links in the folders are resolved, but not `file` itself."""
    path = Path(file)
    return os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(folder))


def absolute_name(file: str | os.PathLike[str]) -> str:
    """Return the absolute path of `file` without `..`.

    Links are resolved only before a `..`, because other nodes of a cluster may mount disks at other places.
    """
    parts = Path(file).absolute().parts
    behind = len(parts) - parts[::-1].index("..") if ".." in parts else 0
    return str(Path(os.path.realpath(Path(*parts[:behind])), *parts[behind:]) if behind else Path(*parts))
