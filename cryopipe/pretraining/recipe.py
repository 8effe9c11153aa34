"""Recipe of the transfer encoder's training: classes, stages and imaging conditions (YAML)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryopipe.config import section_of
from cryopipe.errors import ConfigError
from cryopipe.features.networks.encoder import VIEW


@dataclass(frozen=True)
class ClassSet:
    """Set of classes at one voxel size; the same particle at another voxel size is another class.

    Attributes
    ----------
    voxel_size, resolution
        Angstrom.
    count, first_seed, largest_radius
        Number, first seed and largest radius (angstrom) of procedural phantoms, see `stock_phantoms`.
    templates
        Names of density maps without ".mrc", used instead of the phantoms if a folder of maps is given.
    """

    voxel_size: float
    resolution: float
    count: int
    first_seed: int
    largest_radius: float
    templates: Sequence[str] = ()


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes
    ----------
    boxes
        Number of boxes to train on, repetitions included.
    learning_rate
        (at the beginning, at the end); linear in between.
    batch_size
        Boxes per step.
    reuse
        Mean number of times that each simulated box is used, with a random rotation by 180 degrees each time.
    snr
        (lowest, highest), drawn per box, see `BoxOptions`.
    defocus
        (lowest, highest) micrometre, drawn per box.
    displacement
        Angstrom; centres are within a ball of this radius about the box centre.
    empty_fraction
        Fraction of boxes without a particle at the centre.
    conditions
        Number of imaging conditions of each class set, each drawn from the ranges below.
    tilt_limit
        (lowest, highest) degrees; the tilt range is from minus to plus this angle.
    tilt_step
        (lowest, highest) degrees.
    crowding
        (lowest, highest) volume fraction of protein around the particle.
    structural_noise
        (lowest, highest) fraction of the noise that is in the specimen.
    thickness
        (lowest, highest) angstrom, of the specimen.
    """

    boxes: int
    learning_rate: tuple[float, float]
    batch_size: int = 128
    reuse: int = 2
    snr: tuple[float, float] = (0.02, 1.0)
    defocus: tuple[float, float] = (1.5, 7.0)
    displacement: float = 25.0
    empty_fraction: float = 0.08
    conditions: int = 6
    tilt_limit: tuple[float, float] = (40.0, 65.0)
    tilt_step: tuple[float, float] = (2.0, 3.0)
    crowding: tuple[float, float] = (0.0, 0.2)
    structural_noise: tuple[float, float] = (0.0, 0.6)
    thickness: tuple[float, float] = (600.0, 2500.0)

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return max(1, self.boxes // self.batch_size)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        start, end = self.learning_rate
        return start + (end - start) * (step + 0.5) / self.steps


@dataclass(frozen=True)
class Recipe:
    """Recipe of a training.

    Attributes
    ----------
    classes
        Class sets; boxes are divided among them in proportion to their number of classes.
    stages
        Stages in order, each starting from the weights of the previous one.
    box_size
        Voxels.
    scale
        Factor on the cosines before the softmax.
    widths
        Filters of the encoder at full, half and quarter resolution.
    """

    classes: Sequence[ClassSet]
    stages: Sequence[Stage]
    box_size: int = VIEW
    scale: float = 16.0
    widths: tuple[int, ...] = (16, 32, 64)


def recipe_from_mapping(content: Mapping[str, Any]) -> Recipe:
    """Return the recipe from the content of a YAML file.

    Raises
    ------
    ConfigError
        For keys that are unknown or missing.
    """
    plain = dict(content)
    plain["classes"] = [
        section_of(ClassSet, "classes", with_tuples(part)) for part in plain.get("classes", [])
    ]
    plain["stages"] = [section_of(Stage, "stages", with_tuples(part)) for part in plain.get("stages", [])]
    recipe = section_of(Recipe, "recipe", with_tuples(plain))
    if not recipe.classes or not recipe.stages:
        raise ConfigError("the recipe has no classes or no stages", remedy="give at least one of each")
    return recipe


def with_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with tuples in place of lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
