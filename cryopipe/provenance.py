"""Options and input files that each rule's result depends on.

The workflow runs a rule again only if these change. Imports little, because the Snakefile imports
this module in every job.
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

from cryopipe.particle_formats import FORMATS

_MICROSCOPE = ("imaging.voltage", "imaging.spherical_aberration", "imaging.amplitude_contrast")
_TILT_SERIES = (
    *_MICROSCOPE,
    *("export.tilt_series_pixel_size", "export.binned_by", "export.relion_tomograms", "export.tilt_hand"),
)
_BOXES = ("subtomograms.box_size", "subtomograms.voxel_size")
_OF_FORMAT: dict[str, tuple[str, ...]] = {
    "relion": ("seed", *_MICROSCOPE, "export.subtomograms", "export.box_width", *_BOXES),
    "relion4": _TILT_SERIES,
    "relion5": _TILT_SERIES,
    "imod": _BOXES,  # the spheres of particles without a diameter
    "chimerax": _BOXES,
    "copick": _BOXES,
    "eman2": ("export.tilt_series_pixel_size", *_BOXES),
}
"""What formats depend on, besides the particles."""
_NOT_IN_ALIGNMENT = (
    *("-averaging.voxel_size", "-averaging.known_maps", "-averaging.merge", "-averaging.ctf"),
    *("-averaging.merge_correlation", "-averaging.double_distance"),
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "simulate_tomogram": ("seed", "simulation"),
    "read_particles": (
        *("pick.particles", "pick.diameters"),
        *("export.tilt_series_pixel_size", "export.binned_by", "export.relion_tomograms"),
    ),
    "pick_particles": ("pick",),
    "extract_subtomograms": ("seed", "subtomograms"),
    "learn_features": ("seed", "features"),
    "cluster_features": ("seed", "clustering"),
    "classify_particles": ("seed", "classification", "clustering"),
    "apply_curation": ("curation",),
    "decode_cluster": ("subtomograms.voxel_size",),
    "locate_particles": (*("seed", "averaging"), *_NOT_IN_ALIGNMENT),
    "mark_doubles": ("averaging.double_distance",),
    "extract_for_averaging": (
        *("seed", "subtomograms.box_size", "subtomograms.voxel_size", "averaging.voxel_size"),
        *("averaging.ctf", *_MICROSCOPE),
    ),
    "average_cluster": (*("seed", "averaging"), *_NOT_IN_ALIGNMENT),
    "measure_leakage": ("seed", "relations.membranes"),
    "measure_neighbourhood": ("seed", "relations"),
    "pick_decoys": (
        *(
            "seed",
            "pick",
            *_BOXES,
            "subtomograms.border",
            "averaging.voxel_size",
            "averaging.ctf",
            *_MICROSCOPE,
        ),
        *("evidence.decoy_fraction", "evidence.decoys_per_tomogram"),
    ),
    "embed_decoys": ("seed", "features"),
    "average_decoys": (*("seed", "averaging"), *_NOT_IN_ALIGNMENT),
    "assess_classes": (*("seed", "averaging"), *_NOT_IN_ALIGNMENT),
    "triage_averages": (
        "evidence.decoys",
        *("averaging.max_shift", "averaging.initial_resolution"),
        *("averaging.merge_correlation", "averaging.known_maps"),
    ),
    "merge_clusters": ("averaging.merge", "evidence.decoys"),
    "rescan_tomogram": ("rescan", "pick.clip"),
    "reembed_averages": ("reembedding",),
    **{f"export_{name}": ("export.clusters", *_OF_FORMAT.get(name, ())) for name in FORMATS},
    "evaluate": ("evaluation",),
}
"""The options of the configuration that change a rule's result: sections, `section.option`, and `-section.option` for an
option of a section that the rule does not use. The rule `export` has one entry per format."""


RECORDS = "results/.made"
"""Folder of the records, with one subfolder per rule."""
RUN_RECORD = f"{RECORDS}/run.json"
"""How the last run was started: command, versions, computer."""
LEEWAY = 1.0
"""Seconds that clocks of different computers may differ."""


def options_of(rule: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a complete configuration that a rule's result depends on, in canonical form.

    Parameters
    ----------
    rule
        A key of `OPTIONS`.
    config
        The complete configuration.

    Returns
    -------
    Options by name, with one dictionary per section; see `canonical`.
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
    """Return the path of a job's record for the options of this configuration.

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
    """Return a value of the configuration with sorted keys and whole numbers as integers."""
    if isinstance(value, Mapping):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return type(value)(canonical(item) for item in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def file_state(path: str | os.PathLike[str] | None) -> list[list[Any]]:
    """Return name, size in bytes and modification time in seconds of a user's file, to detect changes.

    An earlier modification time, as after `cp -p` or `rsync -t`, is also a change. For a directory, the states of its MRC
    files, or of the metadata of a Zarr volume, are returned; for a missing file, an empty list.
    """
    if not path:
        return []
    place = Path(path)
    try:
        inside = [path for pattern in ("*.mrc", ".z*", "zarr.json") for path in place.glob(pattern)]
        files = sorted(inside) if place.is_dir() else [place]
        states = [(file, file.stat()) for file in files]
    except OSError:
        return []
    return [[file.name, state.st_size, int(state.st_mtime)] for file, state in states]


def future_time(path: str | os.PathLike[str]) -> datetime | None:
    """Return a file's modification time if it is in the future, which makes Snakemake fail; otherwise None."""
    try:
        changed = os.stat(path).st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(changed) if changed > time.time() + LEEWAY else None


def digest(value: Any) -> str:
    """Return a hash of a value of the configuration, eight hexadecimal digits."""
    text = json.dumps(canonical(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
