"""Options against the data: particles, boxes and averages against a tomogram's voxels and edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cryopipe.check.finding import Finding

SMALLEST_PARTICLE = 2 * math.sqrt(3.3)
"""Voxels; the diameter of the smallest particle that the picking filters answer to."""
FINER = 0.99
"""Boxes finer than this fraction of the tomogram's voxel size count as finer than the tomogram."""


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
    "bad" for what a job would fail on, "warning" for what is possible, but hardly meant.
    """
    findings = []
    shortest = min(shape_zyx) * voxel_size
    for diameter in config["pick"]["diameters"]:
        shown = f"pick.diameters holds {diameter:g} A"
        if diameter < SMALLEST_PARTICLE * voxel_size:
            problem = f"{shown}, which is {diameter / voxel_size:.2g} voxels of {voxel_size:g} A"
            remedy = f"give at least {math.ceil(SMALLEST_PARTICLE * voxel_size)} A for this voxel size"
            findings.append(Finding("bad", problem, remedy))
        elif diameter > shortest:
            problem = f"{shown}, but the tomogram's shortest edge is {shortest:.0f} A"
            findings.append(Finding("bad", problem, "give a smaller diameter, or correct the voxel size"))
    boxes = config["subtomograms"]
    width = boxes["box_size"] * boxes["voxel_size"]
    if width > shortest:
        drop = boxes["border"] == "drop"
        effect = "no box lies inside it, and all are dropped" if drop else "every box is filled up with noise"
        problem = f"boxes of {width:.0f} A are wider than the tomogram's shortest edge of {shortest:.0f} A: {effect}"
        findings.append(
            Finding("bad" if drop else "warning", problem, "give a smaller subtomograms.box_size")
        )
    for section in ("subtomograms", "averaging"):
        fine = config[section]["voxel_size"]
        if fine is not None and fine < FINER * voxel_size:
            problem = (
                f"{section}.voxel_size of {fine:g} A is finer than the tomogram's voxels of {voxel_size:g} A"
            )
            findings.append(
                Finding("warning", problem, f"give {voxel_size:g} or more: finer boxes hold nothing more")
            )
    return findings
