"""Template matching learner: features are the scores of given maps in their best pose."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from cryopipe.alignment.fourier_band import Band
from cryopipe.alignment.search import Grid, shift_grid
from cryopipe.alignment.template_matching import Matches, TemplateMatcher, noise_of_boxes
from cryopipe.boxes import Boxes, ChosenBoxes, TiltBoxes, voxel_size_of
from cryopipe.columns import TEMPLATE_ANGLES, TEMPLATE_ORIGINS, TEMPLATE_SCORE
from cryopipe.errors import ConfigError, LearningError
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.learner import Learner, no_history
from cryopipe.features.model_file import BoxFacts, check_boxes, facts_of, load_model, save_model
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.distributed import gather_rows, own_slice
from cryopipe.progress import Progress
from cryopipe.simulation.maps import read_maps
from cryopipe.simulation.optics import Optics, contrast_transfer
from cryopipe.simulation.phantoms import Phantom
from cryopipe.volume.fourier import frequency_grid
from cryopipe.volume.geometry import relion_angles, rotation_grid
from cryopipe.volume.windows import overlap_windows

KIND = "template"
NOISE_BOXES = 300
"""Largest number of boxes from which the spectrum of the noise is estimated."""


class Templates(nn.Module):
    """Maps (count, n, n, n) of boxes of n voxels, and the standard deviation (n // 2 + 1,) of the noise in each shell."""

    maps: Tensor
    noise: Tensor

    def __init__(self, count: int, box_size: int) -> None:
        super().__init__()
        self.sizes = {"count": count, "box_size": box_size}
        self.register_buffer("maps", torch.zeros(count, box_size, box_size, box_size))
        self.register_buffer("noise", torch.ones(box_size // 2 + 1))


class TemplateMatching(Learner):
    """Features (n, m): largest correlation coefficient, -1 to 1, of each of m maps over rotations and shifts.

    `fit` reads the maps and estimates the noise; nothing is trained. `classify` names the best map of every particle.
    """

    templates: Templates | None = None
    names: tuple[str, ...] = ()
    facts = BoxFacts()
    _latest: tuple[Boxes, Matches] | None = None

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Read the maps and estimate the noise of `boxes`; return an empty history.

        Raises
        ------
        ConfigError
            If there is neither a directory of maps nor a model of an earlier run.
        LearningError
            If the voxel size of the boxes is unknown, or a map does not fit into them.
        """
        if self.templates is None and self.options.weights not in (None, "random"):
            self.load(str(self.options.weights))
        if self.templates is None:
            if self.options.template.maps is None:
                raise ConfigError(
                    "features.template.maps is blank",
                    remedy="give a directory of density maps (.mrc) of the expected particles",
                )
            voxel_size = _known_voxel_size(boxes)
            resolution = max(self.options.template.resolution, 2 * voxel_size)
            self.use(read_maps(self.options.template.maps, voxel_size, resolution), boxes)
        check_boxes(self.facts, boxes)
        return no_history()

    def use(self, maps: list[Phantom], boxes: Boxes) -> None:
        """Use density maps at the voxel size of `boxes`, and estimate the noise of `boxes`."""
        size, voxel_size = int(boxes.shape[-1]), _known_voxel_size(boxes)
        templates = Templates(len(maps), size).to(self.device)
        templates.maps[:] = torch.stack([self._map_in_box(one, size) for one in maps])
        chosen = np.unique(np.linspace(0, len(boxes) - 1, min(len(boxes), NOISE_BOXES)).astype(np.intp))
        if len(chosen):
            band = self._band(size, voxel_size)
            sample = BoxSource(ChosenBoxes(cast(TiltBoxes, boxes), chosen), self.device, self.memory_gb)
            everything = sample.batch(torch.arange(sample.count))
            templates.noise[band.shell] = noise_of_boxes(everything, _tilts(boxes)[chosen], band)
        self.templates, self.names, self.facts = templates, tuple(one.name for one in maps), facts_of(boxes)
        self._latest = None

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return the scores (n, m) of the maps in `boxes` (n, z, y, x), which know their tilt ranges."""
        return self.matches(boxes).scores.cpu().numpy()

    def matches(self, boxes: Boxes) -> Matches:
        """Return the best pose of every map in every box; the latest result is kept for the same boxes."""
        if self._latest is None or self._latest[0] is not boxes:
            self._latest = boxes, self._match(boxes)
        return self._latest[1]

    def classify(self, boxes: Boxes) -> ClassProbabilities | None:
        """Return the probabilities of the maps, and of none of them; None if the user labelled particles.

        The likelihood of a map is that of its best pose and amplitude, divided by the number of poses; "none" is pure
        noise, as probable beforehand as all maps together. Columns have score and pose of the most probable map.
        """
        if self.class_names:
            return None
        found = self.matches(boxes)
        gain = found.scores.clamp(min=0).square() * found.power[:, None]
        with_noise = torch.cat([gain - math.log(self._matcher().poses * len(self.names)), gain[:, :1] * 0], 1)
        unknown = with_noise.double().softmax(dim=1)[:, -1]
        best = found.scores.argmax(dim=1)
        return ClassProbabilities(
            self.names,
            gain.double().softmax(dim=1).cpu().numpy(),
            unknown.cpu().numpy(),
            self._columns(found, best),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the maps at the boxes' size and the spectrum of the noise."""
        save_model(path, KIND, self._existing(), self.facts, notes={"names": json.dumps(self.names)})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a model that `save` wrote."""
        model = load_model(path, KIND, {"Templates": Templates}, self.device)
        self.templates, self.facts = model.network, model.facts
        self.names = tuple(json.loads(model.notes["names"]))
        self._latest = None

    def _existing(self) -> Templates:
        if self.templates is None:
            raise LearningError("there are no templates", remedy="call fit or load first")
        return self.templates

    def _match(self, boxes: Boxes) -> Matches:
        """Match all boxes; every process matches its own part."""
        check_boxes(self.facts, boxes)
        matcher, count, tilts = self._matcher(), len(boxes), _tilts(boxes)
        source = BoxSource(boxes, self.device, self.memory_gb)
        own = torch.arange(count)[own_slice(count)]
        parts = own.split(matcher.boxes_at_once())
        progress = Progress(len(own), "boxes", "matching templates")
        rows = [torch.zeros(0, 3 * len(self.names) + 1, dtype=torch.float64, device=self.device)]
        for part, some in zip(parts, source.batches(parts if len(own) else ()), strict=False):
            found = matcher.match(some, tilts[part.numpy()])
            columns = (found.scores, found.rotations, found.shifts, found.power[:, None])
            rows.append(torch.cat([column.double() for column in columns], dim=1))
            progress.advance(len(part))
        m = len(self.names)
        scores, rotations, shifts, power = gather_rows(torch.cat(rows), count).split([m, m, m, 1], dim=1)
        return Matches(scores.float(), rotations.long(), shifts.long(), power[:, 0].float())

    def _matcher(self) -> TemplateMatcher:
        templates, options = self._existing(), self.options.template
        voxel_size = self.facts.voxel_size or 1.0
        band = self._band(templates.maps.shape[-1], voxel_size)
        matrices = torch.from_numpy(rotation_grid(options.angular_step).as_matrix()).to(templates.maps)
        search = Grid(matrices, shift_grid(options.max_shift / voxel_size, 1.0, self.device))
        return TemplateMatcher(templates.maps, band, templates.noise[band.shell], search)

    def _band(self, box_size: int, voxel_size: float) -> Band:
        finest = max(self.options.template.resolution, 2 * voxel_size)
        return Band(box_size, math.ceil(box_size * voxel_size / finest), self.device)

    def _map_in_box(self, phantom: Phantom, size: int) -> Tensor:
        """Return the (z, y, x) map cut or padded to the box, filtered by the contrast transfer function if asked for."""
        if phantom.radius > size * phantom.voxel_size / 2:
            raise LearningError(
                f"the map {phantom.name} of radius {phantom.radius:.0f} angstrom does not fit into boxes of {size} voxels "
                f"of {phantom.voxel_size:g} angstrom",
                remedy="remove the map, or increase subtomograms.box_size",
            )
        box, density = np.zeros((size,) * 3, np.float32), phantom.density
        low = np.full(3, density.shape[0] // 2 - size // 2)
        source, target = overlap_windows(low, box.shape, density.shape)
        box[target] = density[source]
        volume = torch.from_numpy(box).to(self.device)
        options = self.options.template
        if options.defocus is None:
            return volume
        optics = Optics(voltage=options.voltage, defocus=options.defocus)
        transfer = contrast_transfer(frequency_grid(size, phantom.voxel_size, self.device), optics)
        return torch.fft.ifftn(torch.fft.fftn(volume) * transfer).real

    def _columns(self, found: Matches, best: Tensor) -> dict[str, NDArray[np.float64]]:
        """Return the columns of the particle table with score and pose of each particle's best map."""
        rows = torch.arange(len(best), device=best.device)
        search = self._matcher().search
        rotations = Rotation.from_matrix(search.matrices[found.rotations[rows, best]].cpu().numpy())
        shifts = search.shifts_voxels[found.shifts[rows, best]].double().cpu().numpy()
        columns = {TEMPLATE_SCORE: found.scores[rows, best].double().cpu().numpy()}
        columns |= dict(zip(TEMPLATE_ANGLES, relion_angles(rotations).T, strict=True))
        origins = -shifts * (self.facts.voxel_size or 1.0) + 0.0
        return columns | dict(zip(TEMPLATE_ORIGINS, origins.T, strict=True))


def _known_voxel_size(boxes: Boxes) -> float:
    voxel_size = voxel_size_of(boxes)
    if voxel_size is None:
        raise LearningError(
            "the voxel size of the boxes is unknown",
            remedy="give boxes with a voxel size, because the maps are rescaled to it",
        )
    return voxel_size


def _tilts(boxes: Boxes) -> NDArray[np.float64]:
    """Return the (n, 2) tilt ranges of the boxes' tomograms, degrees."""
    ranges = getattr(boxes, "tilt_ranges", None)
    if ranges is None:
        raise LearningError(
            "the tilt ranges of the boxes are unknown",
            remedy="give boxes with tilt ranges, because templates are compared inside the missing wedge",
        )
    return np.asarray(ranges, np.float64)
