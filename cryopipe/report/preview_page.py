"""Page of `cryopipe preview`: the numbers of objects by diameter, and picks at each proposed diameter."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from cryopipe import __version__
from cryopipe.columns import CLASS
from cryopipe.files.opening import OpenTomogram
from cryopipe.palette import cluster_colour
from cryopipe.particles import pick_table
from cryopipe.picking.proposal import Proposal
from cryopipe.picking.size_counts import SizeCounts
from cryopipe.report.charts import Axis, Line, line_chart, number_axis
from cryopipe.report.first_pictures import pick_picture
from cryopipe.report.pictures import picture_address

MOST_PICTURES = 9


@dataclass(frozen=True)
class SizePicture:
    """Picks of one proposed diameter on a section of a tomogram."""

    address: str
    caption: str


def preview_content(
    dataset: str,
    proposal: Proposal,
    tomograms: Mapping[str, OpenTomogram],
    counts: Sequence[SizeCounts],
    configuration: str,
) -> dict[str, Any]:
    """Return the variables of the template of the page.

    Parameters
    ----------
    dataset
        Its name.
    proposal
        Proposed diameters.
    tomograms
        The searched tomograms by name.
    counts
        Objects found in each of them.
    configuration
        Lines to write into config.yaml; empty if nothing is proposed.
    """
    sizes = [
        {"diameter": f"{diameter:g}", "count": round(count), "colour": cluster_colour(number)}
        for number, (diameter, count) in enumerate(
            zip(proposal.diameters, proposal.counts, strict=True), start=1
        )
    ]
    return {
        "dataset": dataset,
        "version": __version__,
        "time": time.strftime("%d %B %Y, %H:%M"),
        "sizes": sizes,
        "chart": size_chart(proposal),
        "rows": [
            (f"{a:.0f}", f"{b:.0f}", f"{c:.1f}")
            for a, b, c in zip(proposal.searched, proposal.found, proposal.expected, strict=True)
        ],
        "tomograms": [(one.name, len(one.objects), f"{one.threshold:.1f}") for one in counts],
        "pictures": size_pictures(proposal, tomograms, counts)[:MOST_PICTURES],
        "configuration": configuration,
    }


def config_lines(diameters: Sequence[float], boxes: Mapping[str, Any]) -> str:
    """Return the lines for config.yaml: the diameters, and a box size if the boxes are too small for the largest one.

    Parameters
    ----------
    diameters
        Angstrom; without any, the text is empty.
    boxes
        The section `subtomograms`.
    """
    if not diameters:
        return ""
    lines = ["pick:", f"  diameters: [{', '.join(f'{one:g}' for one in diameters)}]"]
    wanted = 2 * math.ceil(2 / 3 * max(diameters) / boxes["voxel_size"])
    if wanted > boxes["box_size"]:
        lines += ["subtomograms:", f"  box_size: {wanted}"]
    return "\n".join(lines)


def size_chart(proposal: Proposal) -> Markup:
    """Draw the excess of objects over the null against the diameter, with dots at the proposed diameters."""
    place, excess = np.log2(proposal.searched), proposal.found - proposal.expected
    ticks = [(float(at), f"{size:.0f}") for at, size in zip(place, proposal.searched, strict=True)][::2]
    x = Axis("diameter, Å", float(place[0]), float(place[-1]), ticks)
    y = number_axis("objects", np.concatenate([excess, proposal.expected]), (0.0,))
    dots = [
        Line(f"proposed: {size:g} A", np.array([np.log2(size)]), np.interp([np.log2(size)], place, excess))
        for size in proposal.diameters
    ]
    lines = [
        Line("objects above the number without particles", place, excess),
        Line("objects without particles", place, proposal.expected, "third"),
    ]
    return line_chart("Objects by diameter", [*lines, *dots], x, y)


def size_pictures(
    proposal: Proposal, tomograms: Mapping[str, OpenTomogram], counts: Sequence[SizeCounts]
) -> list[SizePicture]:
    """Draw the picks of each proposed diameter in each tomogram, on the section that cuts most of them."""
    pictures = []
    for one in counts:
        nearest = proposal.nearest(one.objects.diameters)
        for number, diameter in enumerate(proposal.diameters):
            mine = nearest == number
            found = (one.objects.coordinates[mine], one.voxel_size, one.objects.scores[mine])
            picks = pick_table(one.name, "", *found, one.objects.diameters[mine])
            picks[CLASS] = number + 1
            caption = f"{one.name}: {len(picks)} of about {diameter:g} Å"
            address = picture_address(np.asarray(pick_picture(tomograms[one.name], picks)))
            pictures.append(SizePicture(address, caption))
    return pictures
