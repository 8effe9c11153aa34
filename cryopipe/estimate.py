"""Estimate of a run's processor time and disk space, printed by `cryopipe check` and at the start of a run.

The costs per voxel and per particle are those of docs/scale.md, measured on processors. The headers of at most
`SAMPLED` tomograms are read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryopipe.tomograms import Tomogram, blank_cells

SECONDS_PER_VOXEL = {"check": 0.094e-6, "pick": 0.24e-6, "re-embed": 0.40e-6}
"""Processor seconds."""
SECONDS_PER_BOX = {"cut": 5.4e-3, "embed": 6.5e-3, "cluster": 0.9e-3, "tables": 1.6e-3}
"""Processor seconds for a box of `MEASURED_BOX` voxels along an edge."""
SECONDS_PER_AVERAGED_BOX = 46.4e-3
SECONDS_PER_TRAINED_BOX = {"encoder": 13e-3, "yopo": 89e-3}
"""Processor seconds for one box in one pass over the data; docs/throughput.md, boxes of 24 to 32 voxels."""
MEASURED_BOX = 32
START_SECONDS = 3.0
"""Of any job, until its script begins."""
CLUSTER_SECONDS = 35.0
"""Of the alignment of a cluster, however small."""
PARTICLES = 0.31
"""Picks per cube whose edge is the particle's diameter."""
BYTES_PER_VOXEL = 6
"""Disk space of the re-embedded density and labels."""
BYTES_PER_BOX_VOXEL = 2
BYTES_PER_PARTICLE = 2000
"""Disk space of the tables."""
SAMPLED = 20
"""Number of tomograms whose headers are read; the others are assumed to be similar."""
GUESSED_VOXEL_SIZE = 10.0


@dataclass(frozen=True)
class Estimate:
    """Estimated size and cost of a run.

    Attributes
    ----------
    tomograms, particles
        Their numbers.
    processor_hours
        Without a GPU; a GPU shortens learning and averaging.
    gigabytes
        Disk space of all results.
    """

    tomograms: int
    particles: int
    processor_hours: float
    gigabytes: float

    def __str__(self) -> str:
        noun = "tomogram" if self.tomograms == 1 else "tomograms"
        time = f"{self.processor_hours:.2g} hours" if self.processor_hours >= 1 else "less than one hour"
        return (
            f"Estimate, from docs/scale.md, good to a factor of about three: {self.tomograms} {noun}, "
            f"about {_rounded(self.particles)} picks, {time} of processor time (divide by the number of cores; a GPU "
            f"shortens learning and averaging), {max(0.1, self.gigabytes):.2g} GB in results/"
        )


def estimate_run(config: Mapping[str, Any], tomograms: Sequence[Tomogram]) -> Estimate:
    """Estimate the processor time and disk space of a run from the options and the sizes of the tomograms.

    Parameters
    ----------
    config
        The complete configuration.
    tomograms
        The tomograms of the table. A file that does not exist yet counts as a simulated tomogram.
    """
    work = _work_of(config, tomograms)
    seconds = (
        work.trained_seconds
        + work.voxels * sum(SECONDS_PER_VOXEL.values())
        + work.particles
        * (sum(SECONDS_PER_BOX.values()) * work.per_box + SECONDS_PER_AVERAGED_BOX * work.per_averaged_box)
    )
    box_voxels = work.edge**3 + (work.averaged_edge**3 if config["averaging"]["voxel_size"] else 0)
    bytes_on_disk = BYTES_PER_VOXEL * work.voxels + work.particles * (
        BYTES_PER_PARTICLE + BYTES_PER_BOX_VOXEL * box_voxels
    )
    return Estimate(len(tomograms), round(work.particles), seconds / 3600, bytes_on_disk / 1e9)


def job_seconds(config: Mapping[str, Any], tomograms: Sequence[Tomogram], clusters: int) -> dict[str, float]:
    """Estimate the time of one job of each rule, in seconds, before any was measured.

    Parameters
    ----------
    config
        The complete configuration.
    tomograms
        The tomograms of the table.
    clusters
        Their expected number.

    Returns
    -------
    Seconds by rule; every other rule takes about `START_SECONDS`.
    """
    work, count = _work_of(config, tomograms), max(1, len(tomograms))
    voxels, particles = work.voxels / count, work.particles / count
    boxes = {stage: seconds * work.per_box for stage, seconds in SECONDS_PER_BOX.items()}
    of_cluster = SECONDS_PER_AVERAGED_BOX * work.particles / max(1, clusters)
    found = {
        "simulate_tomogram": 12.0,
        "check_tomogram": voxels * SECONDS_PER_VOXEL["check"],
        "pick_particles": voxels * SECONDS_PER_VOXEL["pick"],
        "extract_subtomograms": particles * boxes["cut"],
        "learn_features": work.trained_seconds + work.particles * boxes["embed"],
        "cluster_features": 5.0 + work.particles * boxes["cluster"],
        "classify_particles": work.particles * boxes["tables"],
        "locate_particles": CLUSTER_SECONDS + of_cluster * work.per_box,
        "extract_for_averaging": particles * boxes["cut"] * work.per_averaged_box / work.per_box,
        "average_cluster": CLUSTER_SECONDS + of_cluster * work.per_averaged_box,
        "triage_averages": 12.0 * clusters,
        "reembed_averages": 5.0 + voxels * SECONDS_PER_VOXEL["re-embed"],
        "evaluate": 12.0 * clusters,
        "export": 5.0 + work.particles * boxes["tables"],
        "report": 10.0 + work.particles * boxes["tables"],
    }
    return {rule: START_SECONDS + seconds for rule, seconds in found.items()}


@dataclass(frozen=True)
class _Work:
    """Sizes of all tomograms together, and of boxes.

    Attributes
    ----------
    voxels, particles
        Of all tomograms.
    trained_seconds
        Processor seconds of training.
    edge, averaged_edge
        Of the boxes for learning and for averaging, voxels.
    """

    voxels: float
    particles: float
    trained_seconds: float
    edge: int
    averaged_edge: float

    @property
    def per_box(self) -> float:
        """Voxels of a box for learning, as a multiple of the measured ones."""
        return (self.edge / MEASURED_BOX) ** 3

    @property
    def per_averaged_box(self) -> float:
        """Voxels of a box for averaging, as a multiple of the measured ones."""
        return (self.averaged_edge / MEASURED_BOX) ** 3


def _work_of(config: Mapping[str, Any], tomograms: Sequence[Tomogram]) -> _Work:
    sampled = tomograms[:: max(1, -(-len(tomograms) // SAMPLED))]
    sizes = [_size(tomogram, config["simulation"]) for tomogram in sampled]
    each = len(tomograms) / max(1, len(sampled))
    voxels = each * sum(count for count, _ in sizes)
    pick = config["pick"]
    most = pick["max_particles"] or float("inf")
    particles = each * sum(
        min(most, PARTICLES * count * (voxel_size / min(pick["diameters"])) ** 3)
        for count, voxel_size in sizes
    )
    boxes, features = config["subtomograms"], config["features"]
    edge = boxes["box_size"]
    averaged = edge * boxes["voxel_size"] / (config["averaging"]["voxel_size"] or boxes["voxel_size"])
    disca = features["disca"]
    trained = 0.0
    if features["learner"] == "disca" and disca["train"]:
        random = disca["network"] == "yopo" or features["weights"] == "random"
        floor = disca["steps"] * disca["batch_size"] if random else 0
        in_iteration = max(disca["copies"] * particles, floor)
        trained = disca["iterations"] * in_iteration * SECONDS_PER_TRAINED_BOX[disca["network"]]
        trained *= (min(edge, disca["reduced_size"] or edge) / MEASURED_BOX) ** 3
    return _Work(voxels, particles, trained, edge, averaged)


def describe_assumptions(config: Mapping[str, Any]) -> str:
    """Return the values assumed for blank cells of the tomogram table; empty if no cell is blank."""
    blank, imaging = blank_cells(config["tomograms"]), config["imaging"]
    low, high = imaging["tilt_range"]
    assumed = {
        "tilt_min": f"tilts from {low:g} to {high:g} degrees (imaging.tilt_range)",
        "contrast": f"{imaging['contrast']} particles (imaging.contrast)",
        "voxel_size": "the voxel size in the header",
    }
    found = [f"{words} for {blank[name]}" for name, words in assumed.items() if blank[name]]
    return f"Assumed where the table is blank: {', '.join(found)}" if found else ""


def describe_run(config: Mapping[str, Any], tomograms: Sequence[Tomogram]) -> str:
    """Return the assumptions and the estimate of a run, one line each."""
    return "\n".join(filter(None, (describe_assumptions(config), str(estimate_run(config, tomograms)))))


def _size(tomogram: Tomogram, simulation: Mapping[str, Any]) -> tuple[float, float]:
    """Return the number of voxels and the voxel size, angstrom."""
    try:
        with Path(tomogram.path).open("rb") as stream:
            start = stream.read(52)
        order = "<" if struct.unpack("<i", start[:4])[0] < 2**24 else ">"
        x, y, z = struct.unpack(f"{order}3i", start[:12])
        intervals, length = (
            struct.unpack(f"{order}i", start[28:32])[0],
            struct.unpack(f"{order}f", start[40:44])[0],
        )
    except (OSError, struct.error):
        x, y, z = simulation["size"]
        return float(x * y * z), tomogram.voxel_size or simulation["voxel_size"]
    known = length / intervals if intervals > 0 else 0.0
    voxel_size = tomogram.voxel_size or (known if 1.0001 < known < 1000 else GUESSED_VOXEL_SIZE)
    return float(max(0, x) * max(0, y) * max(0, z)), voxel_size


def _rounded(count: int) -> str:
    return f"{float(f'{count:.2g}'):,.0f}"
