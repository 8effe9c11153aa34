"""The STAR columns that the stages hand on to one another, named once.

Positions are 0-based voxels of the tomogram as stored, in the order x, y, z; voxel i's centre is at i.
Angles are RELION's Rot, Tilt, Psi in degrees; origins are RELION's shifts in angstrom, so that the
particle's true position is `coordinate - origin / voxel size`.
"""

from __future__ import annotations

TOMOGRAM = "rlnTomoName"
MICROGRAPH = "rlnMicrographName"
PARTICLE = "rlnTomoParticleName"
COORDINATES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
CLASS = "rlnClassNumber"
HALF_SET = "rlnRandomSubset"

VOXEL_SIZE = "cryopipeVoxelSize"
"""Angstrom; of the tomogram that the coordinates count in."""
PICK_SCORE = "cryopipePickScore"
"""Height of the Difference-of-Gaussians peak in robust standard deviations of its tomogram."""
DIAMETER = "cryopipeDiameter"
"""Angstrom; the diameter that the picking filter was set to when it found the particle."""
POSTERIOR = "cryopipePosterior"
"""Probability of the particle's own cluster under the fitted mixture, 0 to 1."""
ALIGNMENT_SCORE = "cryopipeAlignmentScore"
"""Correlation of the aligned particle with its half-set's average inside their common wedge, -1 to 1."""
ALIGNMENT_KEPT = "cryopipeAlignmentKept"
"""1 if the particle went into the average, 0 if its score was below the stated limit."""

NOISE_CLASS = 0
"""Class number of particles that fit no cluster; clusters count from 1."""

TEXT_COLUMNS = (TOMOGRAM, MICROGRAPH, PARTICLE, "rlnImageName", "rlnCtfImage", "rlnOpticsGroupName")
"""Columns that stay text even where every value looks like a number."""
