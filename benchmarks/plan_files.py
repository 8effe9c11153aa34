"""Input files of a benchmark. No arrays: the Snakefile imports this module in every job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def find_benchmarks(folder: Path) -> dict[str, Path]:
    """Return the plan files (YAML) of a folder by name."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def learners_of(plan: Path, chosen: Sequence[str]) -> list[str]:
    """Return the names of the learners that run: the chosen ones, or all of the plan if none is chosen."""
    return list(chosen or read_yaml(plan)["learners"])


def weights_of(plan: Path, learner: str) -> list[str]:
    """Return the weight file named by a plan's learner, if there is one; another rule produces it."""
    path = read_yaml(plan)["learners"].get(learner, {}).get("weights")
    return [] if path in (None, "random") else [path]


def boxes_of(plan: Path, suffix: str) -> list[str]:
    """Return the file of boxes ("h5") or of their truth ("tsv") if a plan cuts boxes from tomograms; otherwise none."""
    return [f"boxes/{plan.stem}.{suffix}"] if read_yaml(plan).get("tomograms") else []


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a plan or a recipe."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content
