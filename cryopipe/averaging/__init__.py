"""Reference-free alignment and averaging of a cluster's boxes.

The names are imported when they are first used: tables of particles need no torch.
"""

from typing import TYPE_CHECKING

from cryopipe.lazy_names import lazy_names

if TYPE_CHECKING:
    from cryopipe.averaging.alignment import AlignmentResult, align_cluster
    from cryopipe.averaging.options import AveragingOptions
    from cryopipe.averaging.particle_alignment import align_particles, ctf_limit, locate_particles
    from cryopipe.averaging.particle_table import fsc_blocks

__all__ = [
    "AlignmentResult",
    "AveragingOptions",
    "align_cluster",
    "align_particles",
    "ctf_limit",
    "fsc_blocks",
    "locate_particles",
]
__getattr__ = lazy_names(
    __name__,
    {
        "AlignmentResult": "alignment",
        "AveragingOptions": "options",
        "align_cluster": "alignment",
        "align_particles": "particle_alignment",
        "ctf_limit": "particle_alignment",
        "fsc_blocks": "particle_table",
        "locate_particles": "particle_alignment",
    },
)
