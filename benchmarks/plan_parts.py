"""Parts of a benchmark's plan: classes, conditions, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Classes:
    """The particle classes of a benchmark.

    Attributes
    ----------
    count
        Number of classes with a particle.
    templates
        Names of the density maps that represent them if a directory of maps is given.
    first_seed
        Seed of the first procedural phantom, used without maps.
    largest_radius
        Angstrom; larger phantoms are skipped.
    empty
        Whether boxes without a central particle form an additional class.
    alike
        Whether the classes are variants of one phantom, and of which sort: "species" or "states", see
        `benchmarks.alike_phantoms`; None for different phantoms.
    """

    count: int
    templates: Sequence[str]
    first_seed: int
    largest_radius: float
    empty: bool = False
    alike: str | None = None


@dataclass(frozen=True)
class Condition:
    """One condition of a published table.

    Attributes
    ----------
    name
        As in the table.
    snr
        See `BoxOptions`; for tomograms see `SimulationOptions`.
    labels
        Fraction of the labels that a protocol with labels uses; None for all.
    clusters
        (lowest, highest) number of clusters considered when scoring; None for the plan's.
    boxes
        Number of boxes of each class, and last, with empty boxes, of those; missing ones are 0. None for the size's
        number of every class.
    """

    name: str
    snr: float
    labels: float | None = None
    clusters: Sequence[int] | None = None
    boxes: Sequence[int] | None = None


@dataclass(frozen=True)
class Size:
    """Amount of computation.

    Attributes
    ----------
    boxes_per_class
        Number of boxes.
    box_size
        Voxels.
    seeds
        One run per seed; the table contains mean and standard deviation.
    template_box_size
        Voxels, used with density maps, which are larger than the phantoms; None for `box_size`.
    learners
        Options of individual learners at this size; they update those of the plan.
    conditions
        Names of the conditions that run at this size; empty for all.
    """

    boxes_per_class: int
    box_size: int
    seeds: Sequence[int]
    template_box_size: int | None = None
    learners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conditions: Sequence[str] = ()
