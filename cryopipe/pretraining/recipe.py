"""What the transfer encoder is trained on and how: the content of a recipe (YAML)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryopipe.config import section_of
from cryopipe.errors import ConfigError
from cryopipe.features.networks.encoder import VIEW


@dataclass(frozen=True)
class ClassSet:
    """Particles at one voxel size; the same particle at another voxel size is another class.

    Attributes
    ----------
    voxel_size, resolution
        Angstrom.
    count, first_seed, largest_radius
        Procedural phantoms, see `stock_phantoms`; the radius in angstrom.
    templates
        Names of density maps without ".mrc" that take the phantoms' place where a folder of maps is given.
    """

    voxel_size: float
    resolution: float
    count: int
    first_seed: int
    largest_radius: float
    templates: Sequence[str] = ()


@dataclass(frozen=True)
class Stage:
    """One part of the training.

    Attributes
    ----------
    boxes
        How many are shown, counting each showing.
    learning_rate
        (at the beginning, at the end), linear in between.
    batch_size
        Boxes per step.
    reuse
        How often each simulated box is shown on average, every time under another half-turn.
    snr
        (lowest, highest), drawn per box, see `BoxOptions`.
    defocus
        (lowest, highest) micrometre, drawn per box.
    displacement
        Angstrom; centres lie within a ball of this radius about the box centre.
    empty_fraction
        Part of the boxes that has no particle at its centre.
    conditions
        Number of imaging conditions that the boxes of each class set are spread over. Each is drawn from the ranges
        below.
    tilt_limit
        (lowest, highest) degrees; the tilt series goes from minus to plus it.
    tilt_step
        (lowest, highest) degrees.
    crowding
        (lowest, highest) volume fraction of protein around the particle.
    structural_noise
        (lowest, highest) part of the noise that lies in the specimen.
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
    """A whole training.

    Attributes
    ----------
    classes
        Sets of particles; the boxes are divided among them by their number of classes.
    stages
        One after another, each from the weights of the one before.
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
    """Build the recipe that a YAML file holds.

    Raises
    ------
    ConfigError
        For keys that are unknown or missing.
    """
    plain = dict(content)
    plain["classes"] = [section_of(ClassSet, "classes", _fixed(part)) for part in plain.get("classes", [])]
    plain["stages"] = [section_of(Stage, "stages", _fixed(part)) for part in plain.get("stages", [])]
    recipe = section_of(Recipe, "recipe", _fixed(plain))
    if not recipe.classes or not recipe.stages:
        raise ConfigError("a recipe without classes or stages", remedy="give at least one of each")
    return recipe


def _fixed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with tuples in place of lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
