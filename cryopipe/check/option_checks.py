"""Checks of options against the voxel size and the dimensions of a tomogram."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cryopipe.check.finding import Finding

SMALLEST_PARTICLE = 2 * math.sqrt(3.3)
"""Voxels; the smallest particle diameter that the picking filters can detect."""
FINER_THAN = 0.99
"""A voxel size below this fraction of the tomogram's counts as finer than the tomogram's."""


def check_options(
    config: Mapping[str, Any], shape_zyx: tuple[int, int, int], voxel_size: float
) -> list[Finding]:
    """Check the options that depend on a tomogram's sampling.

    Parameters
    ----------
    config
        The complete configuration.
    shape_zyx
        Voxels of the tomogram, (z, y, x).
    voxel_size
        Angstrom.

    Returns
    -------
    "bad" findings would make a job fail; "warning" findings are possible but probably unintended.
    """
    findings = []
    shortest = min(shape_zyx) * voxel_size
    for diameter in config["pick"]["diameters"]:
        shown = f"pick.diameters contains {diameter:g} A"
        if diameter < SMALLEST_PARTICLE * voxel_size:
            problem = f"{shown}, which is only {diameter / voxel_size:.2g} voxels of {voxel_size:g} A"
            remedy = f"set at least {math.ceil(SMALLEST_PARTICLE * voxel_size)} A for this voxel size"
            findings.append(Finding("bad", problem, remedy))
        elif diameter > shortest:
            problem = f"{shown}, but the tomogram's shortest edge is {shortest:.0f} A"
            findings.append(Finding("bad", problem, "set a smaller diameter, or correct the voxel size"))
    boxes = config["subtomograms"]
    width = boxes["box_size"] * boxes["voxel_size"]
    if width > shortest:
        drop = boxes["border"] == "drop"
        effect = "all boxes are dropped" if drop else "every box is partly filled with noise"
        problem = f"boxes of {width:.0f} A are wider than the tomogram's shortest edge of {shortest:.0f} A: {effect}"
        findings.append(Finding("bad" if drop else "warning", problem, "set a smaller subtomograms.box_size"))
    for section in ("subtomograms", "averaging"):
        fine = config[section]["voxel_size"]
        if fine is not None and fine < FINER_THAN * voxel_size:
            problem = f"{section}.voxel_size of {fine:g} A is finer than the tomogram's voxel size of {voxel_size:g} A"
            findings.append(
                Finding("warning", problem, f"set {voxel_size:g} or more: smaller voxels add no information")
            )
    return findings
