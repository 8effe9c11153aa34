"""The files that a benchmark needs. Light: the Snakefile imports this module in every job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def find_benchmarks(folder: Path) -> dict[str, Path]:
    """Return the plans (YAML) of a folder by their names."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def weights_of(plan: Path, chosen: Sequence[str]) -> list[str]:
    """Return the files of weights that a plan's learners name for themselves; other rules make them.

    Parameters
    ----------
    plan
        The YAML file.
    chosen
        Names of the learners that run; none for all.
    """
    learners = _read(plan)["learners"]
    named = [learners.get(name, {}).get("weights") for name in chosen or learners]
    return [path for path in named if path not in (None, "random")]


def boxes_of(plan: Path, suffix: str) -> list[str]:
    """Return the file of boxes ("h5") or of their truth ("tsv") where a plan cuts boxes from tomograms, or none."""
    return [f"boxes/{plan.stem}.{suffix}"] if _read(plan).get("tomograms") else []


def _read(plan: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(plan.read_text(encoding="utf-8"))
    return content
