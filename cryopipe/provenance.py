"""What each rule's result depends on: its options, and the state of the files it is made from.

A change of what is listed here, and of nothing else, makes the workflow do a rule again. Light on purpose: the Snakefile
imports it in every job.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

_MICROSCOPE = ("imaging.voltage", "imaging.spherical_aberration", "imaging.amplitude_contrast")
_TILT_SERIES = (
    *_MICROSCOPE,
    *("export.tilt_series_pixel_size", "export.binned_by", "export.relion_tomograms", "export.tilt_hand"),
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "simulate_tomogram": ("seed", "simulation"),
    "pick_particles": ("pick",),
    "extract_subtomograms": ("seed", "subtomograms"),
    "learn_features": ("seed", "features"),
    "cluster_features": ("seed", "clustering"),
    "extract_for_averaging": (
        *("seed", "subtomograms.box_size", "subtomograms.voxel_size", "averaging.voxel_size"),
    ),
    "average_cluster": (
        *("seed", "averaging", "-averaging.voxel_size", "-averaging.known_maps", "-averaging.merge"),
        *("-averaging.recognised_resolution", "-averaging.merge_correlation"),
    ),
    "triage_averages": (
        *("averaging.max_shift", "averaging.start_resolution", "averaging.recognised_resolution"),
        *("averaging.merge_correlation", "averaging.known_maps"),
    ),
    "merge_clusters": ("averaging.merge",),
    "reembed_averages": ("reembedding",),
    "export_relion": (
        *("seed", *_MICROSCOPE, "export.subtomograms", "export.box_width"),
        *("subtomograms.box_size", "subtomograms.voxel_size"),
    ),
    "export_relion4": _TILT_SERIES,
    "export_relion5": _TILT_SERIES,
    "export_warp": (),
    "export_dynamo": (),
    "export_artiax": (),
    "evaluate": ("evaluation",),
}
"""The options of the configuration that change a rule's result: sections, `section.option`, and `-section.option` for what
a section holds but the rule does not use. Where a rule has one result per format of the export, each stands here."""


RECORDS = "results/.made"
"""Where the records lie, a folder per rule."""
LEEWAY = 1.0
"""Seconds by which clocks may differ."""
FORMATS = tuple(rule.removeprefix("export_") for rule in OPTIONS if rule.startswith("export_"))
"""The formats of the export."""


def options_of(rule: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a complete configuration that a rule's result depends on, in one order and spelling.

    Parameters
    ----------
    rule
        A key of `OPTIONS`.
    config
        The complete configuration.

    Returns
    -------
    Options by name, those of sections in a dictionary each; see `canonical`.
    """
    chosen: dict[str, Any] = {}
    for entry in OPTIONS[rule]:
        section, _, option = entry.removeprefix("-").partition(".")
        if entry.startswith("-"):
            del chosen[section][option]
        elif option:
            chosen.setdefault(section, {})[option] = config[section][option]
        else:
            whole = config[section]
            chosen[section] = dict(whole) if isinstance(whole, Mapping) else whole
    for section in chosen.values():
        if isinstance(section, dict) and "learner" in section:
            others = [
                key for key in section if isinstance(section[key], Mapping) and key != section["learner"]
            ]
            for name in others:  # the options of learners that do not run
                del section[name]
    result: dict[str, Any] = canonical(chosen)
    return result


def record_path(rule: str, name: str, config: Mapping[str, Any]) -> str:
    """Return where the record of a job lies that was done with the options of this configuration.

    Parameters
    ----------
    rule
        A key of `OPTIONS`.
    name
        The job's tomogram or cluster, or "all".
    config
        The complete configuration.
    """
    return f"{RECORDS}/{rule}/{name}.{digest(options_of(rule, config))}.json"


def canonical(value: Any) -> Any:
    """Return a value of the configuration with keys in alphabetical order and whole numbers without a point."""
    if isinstance(value, Mapping):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(canonical(item) for item in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def file_state(path: str | os.PathLike[str] | None) -> list[list[Any]]:
    """Return what a file of the user's is compared by: name, size in bytes and time of change in seconds.

    A time of change that goes back, as `cp -p` and `rsync -t` leave it, counts as a change. Of a directory, the MRC files in
    it are compared; what is not there has no state.
    """
    if not path:
        return []
    place = Path(path)
    try:
        files = sorted(place.glob("*.mrc")) if place.is_dir() else [place]
        states = [(file, file.stat()) for file in files]
    except OSError:
        return []
    return [[file.name, state.st_size, int(state.st_mtime)] for file, state in states]


def time_ahead(path: str | os.PathLike[str]) -> datetime | None:
    """Return a file's time of change if it lies in the future, which Snakemake takes for a wrong clock; else None."""
    try:
        changed = os.stat(path).st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(changed) if changed > time.time() + LEEWAY else None


def digest(value: Any) -> str:
    """Return eight letters that stand for a value of the configuration."""
    text = json.dumps(canonical(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
