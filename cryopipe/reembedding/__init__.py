"""Placement of averages in tomograms at the particles' positions and orientations.

The names are imported when they are first used: tables of particles need no torch.
"""

from typing import TYPE_CHECKING

from cryopipe.lazy_names import lazy_names

if TYPE_CHECKING:
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
__getattr__ = lazy_names(
    __name__,
    {
        "PlacedTomogram": "placed_tomogram",
        "Reembedded": "placement",
        "ReembeddingOptions": "options",
        "Template": "templates",
        "artiax_table": "placed_particles",
        "choose_particles": "placed_particles",
        "make_template": "templates",
        "make_templates": "templates",
        "reembed": "placement",
        "reembed_tomogram": "placed_tomogram",
        "write_placed_tomogram": "placed_tomogram",
    },
)
