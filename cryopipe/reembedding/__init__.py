"""Placement of averages in tomograms at the particles' positions and orientations."""

from cryopipe.reembedding.options import ReembeddingOptions
from cryopipe.reembedding.placed_particles import artiax_table, choose_particles
from cryopipe.reembedding.placement import Reembedded, reembed
from cryopipe.reembedding.templates import Template, make_template, make_templates

__all__ = [
    "Reembedded",
    "ReembeddingOptions",
    "Template",
    "artiax_table",
    "choose_particles",
    "make_template",
    "make_templates",
    "reembed",
]
