"""Reference-free alignment and averaging of a cluster's boxes."""

from cryopipe.averaging.alignment import AlignmentResult, align_cluster
from cryopipe.averaging.options import AveragingOptions
from cryopipe.averaging.particle_alignment import align_particles, ctf_limit, locate_particles
from cryopipe.averaging.particle_table import fsc_blocks, particle_table

__all__ = [
    "AlignmentResult",
    "AveragingOptions",
    "align_cluster",
    "align_particles",
    "ctf_limit",
    "fsc_blocks",
    "locate_particles",
    "particle_table",
]
