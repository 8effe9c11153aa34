"""Template-free particle picking with Differences of Gaussians."""

from cryopipe.picking.options import PickOptions
from cryopipe.picking.pick import Picks, pick_particles
from cryopipe.picking.tomogram_picks import given_picks, pick_tomogram

__all__ = ["PickOptions", "Picks", "given_picks", "pick_particles", "pick_tomogram"]
