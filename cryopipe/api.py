"""The public names of the library, by the way of the data. Light: `import cryopipe` imports this module."""

from __future__ import annotations

import importlib
from typing import Any

STAGES: dict[str, dict[str, str]] = {
    "Tomograms and volumes": {
        "Tomogram": "tomograms",
        "read_tomogram_table": "tomograms",
        "open_tomogram": "files.opening",
        "open_volume": "files.mrc",
        "write_volume": "files.mrc",
    },
    "Simulation": {
        "SimulationOptions": "simulation",
        "simulate_tomogram": "simulation",
        "write_tomogram": "simulation",
    },
    "Picking": {"PickOptions": "picking", "pick_particles": "picking", "pick_table": "particles"},
    "Subtomograms": {
        "SubtomogramOptions": "subtomograms",
        "extract_subtomograms": "subtomograms",
        "BoxWriter": "files.box_stacks",
        "BoxStack": "files.box_stacks",
    },
    "Features": {
        "FeatureOptions": "features",
        "create_learner": "features",
        "learn_features": "features.learning",
    },
    "Clusters": {"ClusteringOptions": "clustering", "cluster_particles": "clustering"},
    "Averages": {
        "AveragingOptions": "averaging",
        "align_particles": "averaging",
        "align_cluster": "averaging",
        "read_averages": "files.cluster_averages",
    },
    "Re-embedding": {
        "ReembeddingOptions": "reembedding",
        "make_template": "reembedding",
        "make_templates": "reembedding",
        "reembed": "reembedding",
    },
    "Particle files": {"read_particles": "files.star", "write_particles": "files.star"},
    "Errors": {"CryopipeError": "errors"},
}
"""Stage, public name, and the module below `cryopipe` that holds it."""
MODULES = {name: f"cryopipe.{module}" for names in STAGES.values() for name, module in names.items()}


def find(name: str) -> Any:
    """Return what a public name stands for, importing its module.

    Raises
    ------
    AttributeError
        If there is no such name.
    """
    if name not in MODULES:
        raise AttributeError(f"module 'cryopipe' has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)
