"""Decisions of the user about clusters and particles, and their replay on a run."""

from cryopipe.curation.apply import Curated, apply_decisions
from cryopipe.curation.decisions import (
    Accept,
    BadTomogram,
    Choose,
    Curation,
    Decision,
    Merge,
    Note,
    Reject,
    Rename,
    Select,
    Split,
    decision_mapping,
    parse_decision,
)
from cryopipe.curation.fingerprint import fingerprint
from cryopipe.curation.replay import curate

__all__ = [
    "Accept",
    "BadTomogram",
    "Choose",
    "Curated",
    "Curation",
    "Decision",
    "Merge",
    "Note",
    "Reject",
    "Rename",
    "Select",
    "Split",
    "apply_decisions",
    "curate",
    "decision_mapping",
    "fingerprint",
    "parse_decision",
]
