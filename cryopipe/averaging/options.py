"""The options of the averaging stage; the keys of the section `averaging` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

MASK_MARGIN = 1.5
"""Diameter of the mask over that of the picking filter."""


@dataclass(frozen=True)
class AveragingOptions:
    """How a cluster's boxes are aligned and averaged. Lengths in angstrom, angles in degrees."""

    voxel_size: float | None = None
    """Voxel size of the boxes that are averaged, cut anew; None for those that features were learned from."""
    symmetry: str = "C1"
    """Point group that is imposed: C1, C2, ..., D2, ..., T or O."""
    mask_diameter: float | None = None
    """Diameter of the soft mask about the average; None for one and a half times the picked diameter, at most four
    fifths of the box."""
    max_shift: float = 40.0
    """Farthest that a particle's centre may lie from its pick."""
    starts: int = 3
    """Random starts per half-set, of which the likeliest goes on."""
    start_boxes: int = 150
    """Boxes per half-set that the starts use at most."""
    start_resolution: float = 65.0
    """Resolution of the starts and of the first search over all orientations."""
    start_iterations: int = 12
    """Rounds of expectation and maximisation per start."""
    angular_step: float = 15.0
    """Covering radius of the search over all orientations."""
    refinement_iterations: int = 8
    """Rounds of local refinement at most."""
    refinement_boxes: int = 2500
    """Boxes per half-set that are refined round by round at most; the refined map then gives the others their poses."""
    finest_resolution: float = 0.0
    """Band limit of the data; no frequency beyond it is used. 0 for Nyquist."""
    outlier_deviations: float = 3.0
    """A box is left out when its score lies more robust standard deviations than this below the median."""
    recognised_resolution: float = 40.0
    """A cluster whose average is finer than this counts as recognised."""
    merge_correlation: float = 0.9
    """Averages that correlate better than this after alignment are offered as one cluster."""
    merge: bool = False
    """Whether offered mergers are applied."""
    known_maps: str = ""
    """Directory of known maps (MRC) that the averages are compared with; empty for none."""

    def for_particles(self, diameter: float) -> AveragingOptions:
        """Return the options with a mask for particles picked at `diameter` (angstrom), unless one was asked for."""
        return self if self.mask_diameter else replace(self, mask_diameter=MASK_MARGIN * diameter)
