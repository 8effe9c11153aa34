"""The sections of the configuration and the files generated from them.

`python -m cryopipe.sections` writes the schema, the demo's config/config.yaml and docs/options.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryopipe.averaging.options import AveragingOptions
from cryopipe.classification.options import ClassificationOptions
from cryopipe.clustering.options import ClusteringOptions
from cryopipe.config import CHECKOUT, SCHEMA, GeneralOptions, ImagingOptions, Options
from cryopipe.config.option import section_schema
from cryopipe.config.option_pages import render_config, render_options
from cryopipe.evaluation.options import EvaluationOptions
from cryopipe.evidence.options import EvidenceOptions
from cryopipe.evidence.relation_options import RelationOptions
from cryopipe.export.options import ExportOptions
from cryopipe.features.options import FeatureOptions
from cryopipe.files.atomic import write_text
from cryopipe.picking.options import PickOptions
from cryopipe.reembedding.options import ReembeddingOptions
from cryopipe.report.options import ReportOptions
from cryopipe.rescan.options import RescanOptions
from cryopipe.simulation.options import SimulationOptions
from cryopipe.subtomograms import SubtomogramOptions

SECTIONS: tuple[type[Options], ...] = (
    ImagingOptions,
    PickOptions,
    SubtomogramOptions,
    FeatureOptions,
    ClusteringOptions,
    ClassificationOptions,
    AveragingOptions,
    RelationOptions,
    EvidenceOptions,
    RescanOptions,
    ReembeddingOptions,
    ExportOptions,
    ReportOptions,
)
"""The sections of a user's config.yaml, in order."""
SIMULATED = "for simulated data"
OTHER_SECTIONS: dict[type[Options], str] = {
    SimulationOptions: SIMULATED,
    EvaluationOptions: SIMULATED,
}
"""Sections that a user's config.yaml does not list, and their purpose."""
DEMO = {
    "subtomograms": {"box_size": 24},
    "evaluation": {"truth": "results/demo/{tomogram}_truth.star"},
}
"""Values of the demo's config.yaml that differ from the defaults."""
HEADING = """cryopipe: every option, with its default or the demo's value.
Edit what you need; a missing line takes its default. docs/options.md also lists the allowed values."""


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of the whole configuration."""
    general = section_schema(GeneralOptions)
    sections = {kind.SECTION: section_schema(kind) for kind in SECTIONS}
    others = {kind.SECTION: section_schema(kind) | {"x-for": what} for kind, what in OTHER_SECTIONS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cryopipe configuration",
        **general,
        "description": "Every option of a run: type, limits, unit, default and meaning. Made from the option classes by `python -m cryopipe.sections`.",
        "properties": general["properties"] | sections | others,
    }


def rendered_files() -> dict[Path, str]:
    """Return the text of every file that is generated from the sections."""
    schema = config_schema()
    return {
        SCHEMA: json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        CHECKOUT / "config" / "config.yaml": render_config(HEADING, DEMO, schema),
        CHECKOUT / "docs" / "options.md": render_options(schema),
    }


if __name__ == "__main__":
    for file, text in rendered_files().items():
        write_text(file, text)
