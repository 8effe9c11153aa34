"""Template-free particle picking with Differences of Gaussians."""

from cryopipe.picking.options import PickOptions
from cryopipe.picking.pick import Picks, pick_particles

__all__ = ["PickOptions", "Picks", "pick_particles"]
