"""The measured facts about a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterFacts:
    """Measured facts about one cluster.

    Attributes
    ----------
    particles, kept
        Particles, and those in the average.
    tomograms, in_one
        Number of tomograms with particles of the cluster, and the fraction of particles in the one with most of them.
    resolution
        Angstrom at FSC 0.143; infinite if not reported.
    half_correlation, structure_correlation
        Correlation of the half-maps around the structure, and the same of what is left without their radial means:
        picked noise averages to a ball like the picking filter in both half-maps, and has nothing else in common.
    diameter, elongation, flatness, at_rim
        See `ParticleShape`.
    hollow
        Density at the centre as a fraction of the largest radial mean.
    picking_diameter
        Median diameter of the picking filter, angstrom; NaN if unknown.
    near_faces
        Fraction of particles whose centre is within half a picking diameter of the top or bottom of the particles'
        range in z; NaN if unknown.
    expected_near_faces
        The same of all particles.
    orientation
        How far the orientations are from uniform: 0 uniform, 1 all equal.
    orientation_p
        Probability of at least this value if orientations are uniform.
    pick_score
        Median height of the picks, relative to that of all clusters.
    posterior
        Mean posterior.
    """

    particles: int
    kept: int
    tomograms: int
    in_one: float
    resolution: float
    half_correlation: float
    structure_correlation: float
    diameter: float
    elongation: float
    flatness: float
    at_rim: float
    hollow: float
    picking_diameter: float
    near_faces: float
    expected_near_faces: float
    orientation: float
    orientation_p: float
    pick_score: float
    posterior: float
