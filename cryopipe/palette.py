"""Colours and markers of clusters in the report and in ChimeraX.

The colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; Tol's olive replaces the
yellow, which is invisible on white. After seven clusters the colours repeat with the next marker.
"""

from __future__ import annotations

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#3F7FD0", "#999933")
MARKERS = ("circle", "square", "diamond", "triangle")
UNASSIGNED_COLOUR = "#8C8C8C"


def cluster_colour(cluster: int) -> str:
    """Return the colour of a cluster as #RRGGBB; grey for unassigned particles, 0."""
    return COLOURS[(cluster - 1) % len(COLOURS)] if cluster > 0 else UNASSIGNED_COLOUR


def cluster_marker(cluster: int) -> str:
    """Return the marker of a cluster, one of `MARKERS`."""
    return MARKERS[(cluster - 1) // len(COLOURS) % len(MARKERS)] if cluster > 0 else MARKERS[0]
