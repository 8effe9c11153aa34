"""Placement of averages in tomograms at the particles' positions and orientations."""

from cryopipe.reembedding.options import ReembeddingOptions
from cryopipe.reembedding.placed_particles import artiax_table, choose_particles
from cryopipe.reembedding.placed_tomogram import PlacedTomogram, reembed_tomogram, write_placed_tomogram
from cryopipe.reembedding.placement import Reembedded, reembed
from cryopipe.reembedding.templates import Template, make_template, make_templates

__all__ = [
    "PlacedTomogram",
    "Reembedded",
    "ReembeddingOptions",
    "Template",
    "artiax_table",
    "choose_particles",
    "make_template",
    "make_templates",
    "reembed",
    "reembed_tomogram",
    "write_placed_tomogram",
]
