"""Colours and markers of clusters, the same in the report, ChimeraX, ArtiaX, IMOD and napari.

The colours are those of Okabe and Ito (2008), which colour-blind readers can distinguish; Tol's olive replaces the
yellow, which is invisible on white. After seven clusters the colours repeat with the next marker.
"""

from __future__ import annotations

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#3F7FD0", "#999933")
MARKERS = ("circle", "square", "diamond", "triangle")
UNASSIGNED_COLOUR = "#8C8C8C"
PICK_COLOUR = COLOURS[0]
"""Of picks that are not yet clustered."""


def cluster_colour(cluster: int) -> str:
    """Return the colour of a cluster as #RRGGBB; grey for unassigned particles, 0."""
    return COLOURS[(cluster - 1) % len(COLOURS)] if cluster > 0 else UNASSIGNED_COLOUR


def cluster_rgb(cluster: int) -> tuple[int, int, int]:
    """Return the colour of a cluster as red, green and blue, 0 to 255."""
    red, green, blue = (int(cluster_colour(cluster)[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def cluster_marker(cluster: int) -> str:
    """Return the marker of a cluster, one of `MARKERS`."""
    return MARKERS[(cluster - 1) // len(COLOURS) % len(MARKERS)] if cluster > 0 else MARKERS[0]
