"""The public names of the library, by stage of the pipeline; each is imported when it is first used."""

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
    "Picking": {
        "PickOptions": "picking",
        "pick_particles": "picking",
        "pick_tomogram": "picking",
        "pick_table": "particles",
    },
    "Subtomograms": {
        "SubtomogramOptions": "subtomograms",
        "extract_subtomograms": "subtomograms",
        "write_subtomograms": "box_extraction",
        "BoxWriter": "files.box_stacks",
        "BoxStack": "files.box_stacks",
    },
    "Features": {
        "FeatureOptions": "features",
        "create_learner": "features",
        "learn_features": "features",
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
        "reembed_tomogram": "reembedding",
        "write_placed_tomogram": "reembedding",
    },
    "Export": {
        "ExportOptions": "export",
        "gather_particles": "export",
        "export_context": "export",
        "export_particles": "export",
    },
    "Evaluation": {"EvaluationOptions": "evaluation.options", "score_run": "evaluation.run_scores"},
    "Report": {"read_results": "report.results", "write_report": "report.report_files"},
    "Particle files": {"read_particles": "files.star", "write_particles": "files.star"},
    "Errors": {"CryopipeError": "errors"},
}
"""Stage, public name, and the module in `cryopipe` that defines it."""
MODULES = {name: f"cryopipe.{module}" for names in STAGES.values() for name, module in names.items()}


def find(name: str) -> Any:
    """Import the module of a public name and return the object.

    Raises
    ------
    AttributeError
        If the name is not a public one.
    """
    if name not in MODULES:
        raise AttributeError(f"module 'cryopipe' has no attribute {name!r}")
    return getattr(importlib.import_module(MODULES[name]), name)
