"""Names of the STAR columns of particle tables.

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
"""Angstrom; voxel size of the tomogram to which the coordinates refer."""
PICK_SCORE = "cryopipePickScore"
"""Height of the Difference-of-Gaussians peak in robust standard deviations of its tomogram."""
DIAMETER = "cryopipeDiameter"
"""Angstrom; the diameter of the picking filter that found the particle."""
ROUND = "cryopipeRound"
"""Round of picking that found the particle: 1, or 2 for the search with the averages of round 1."""
RESCAN_SCORE = "cryopipeRescanScore"
"""Correlation of the tomogram with the average that found the particle in the search of round 2, -1 to 1; 0 for none."""
RESCAN_CLASS = "cryopipeRescanClass"
"""Number, in round 1, of the class of that average; 0 if no class explains the particle."""
RESCAN_ANGLES = ("cryopipeRescanRot", "cryopipeRescanTilt", "cryopipeRescanPsi")
"""Rot, Tilt, Psi of that average in the tomogram, degrees; 0 for none."""
POSTERIOR = "cryopipePosterior"
"""Posterior probability of the particle's cluster, 0 to 1: under the fitted mixture, or of classification by averages."""
CLASS_LIKELIHOOD = "cryopipeClassLogLikelihood"
"""Log-likelihood of the particle's class over all poses relative to noise alone, from averages without the particle."""
LABEL = "cryopipeLabel"
"""Class that the user gave to a particle, in the file of `features.labels`."""
CLASS_NAME = "cryopipeClass"
"""Name of the particle's class, if the user gave labels; `CLASS` is its number."""
DECISION = "cryopipeDecision"
"""What the user decided about a particle: open, accepted or rejected; only in runs with `curation`."""
TEMPLATE_SCORE = "cryopipeTemplateScore"
"""Correlation of the particle with the template of its class in the best pose, -1 to 1 (learner template)."""
TEMPLATE_ANGLES = ("cryopipeTemplateRot", "cryopipeTemplateTilt", "cryopipeTemplatePsi")
"""Rot, Tilt, Psi of that pose, degrees."""
TEMPLATE_ORIGINS = ("cryopipeTemplateOriginX", "cryopipeTemplateOriginY", "cryopipeTemplateOriginZ")
"""Origin of that pose in angstrom, to be added to `ORIGINS`."""
ALIGNMENT_SCORE = "cryopipeAlignmentScore"
"""Correlation of the aligned particle with its half-set's average over the Fourier coefficients that both contain, -1 to 1."""
ALIGNMENT_KEPT = "cryopipeAlignmentKept"
"""1 if the particle was averaged, 0 if its alignment score was below the limit."""
EXTENT = "cryopipeExtent"
"""Angstrom; extent of the particle in the first average of its cluster, about its centre of mass."""
CTF_LIMIT = "cryopipeCtfLimit"
"""Angstrom; first zero of the contrast transfer function of a particle's tomogram if it was not corrected, otherwise 0."""
DOUBLE_OF = "cryopipeDoubleOf"
"""Name of the particle that is kept at this place, for a double; otherwise `NO_DOUBLE`."""
NO_DOUBLE = "None"

DECOY = "cryopipeDecoy"
"""How a decoy was made: in inverted contrast or with random phases."""
FALSE_DISCOVERY = "cryopipeLocalFalseDiscoveryRate"
"""Probability that a particle is picked noise, by the density of decoys among particles with similar features, 0 to 1."""

GIVEN_CLASS = "cryopipeGivenClass"
"""Name or number of the particle's class in the file of `pick.particles`."""
GIVEN_ANGLES = ("cryopipeGivenRot", "cryopipeGivenTilt", "cryopipeGivenPsi")
"""Rot, Tilt, Psi of the particle in that file, degrees."""

UNASSIGNED = 0
"""Class number of unassigned particles; clusters are numbered from 1."""
NO_CLASS = "none of these"
"""Class name of unassigned particles."""

TEXT_COLUMNS = (
    TOMOGRAM,
    MICROGRAPH,
    PARTICLE,
    LABEL,
    CLASS_NAME,
    DECISION,
    DOUBLE_OF,
    DECOY,
    "rlnImageName",
    "rlnCtfImage",
    "rlnOpticsGroupName",
)
"""Columns that are read as text even if every value is a number."""
