"""Direct simulation of labelled subtomograms, equivalent to boxes cut from simulated tomograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cryopipe.errors import SimulationError
from cryopipe.simulation.box_options import BoxOptions
from cryopipe.simulation.box_transfer import box_transfer
from cryopipe.simulation.neighbours import Crowd
from cryopipe.simulation.optics import Optics, tilt_angles
from cryopipe.simulation.phantoms import Phantom, filler_phantoms
from cryopipe.simulation.rendering import ParticleRenderer, paste, random_matrices

_AXES = (-3, -2, -1)
_REFERENCE_DRAWS = 6
_REFERENCE_CLASSES = 50


class SimulatedBoxes(NamedTuple):
    """Boxes and their truth, on the simulator's device.

    Attributes
    ----------
    boxes
        (n, z, y, x) float32, mean 0 and standard deviation 1 each, particles bright.
    labels
        (n,) index of the class, or the number of classes for boxes without a particle at their centre.
    rotations
        (n, 3, 3) active rotation matrices, reference to particle, on xyz column vectors
        (`scipy.spatial.transform.Rotation.from_matrix` reads them).
    shifts
        (n, 3) x, y, z shifts of the particle's centre from voxel box_size // 2, angstrom.
    """

    boxes: Tensor
    labels: Tensor
    rotations: Tensor
    shifts: Tensor


class BoxSimulator:
    """Simulator of labelled subtomograms.

    A particle is rotated (uniform on SO(3)) and displaced, neighbours are placed around it, and the scene,
    1.5 times as large as the box, is filtered by the transfer function of the tilt series: wedge, tilt increment,
    ramp and CTF. Noise is filtered by its own transfer function. The box is cut from the middle, so that it
    contains streaks of the density outside it, as in a tomogram.

    Parameters
    ----------
    classes
        Phantoms, all at one voxel size.
    options
        Options of the boxes.
    device
        Device of the simulation.
    seed
        The same seed and the same calls give the same boxes.
    neighbours
        Species around the particle; by default the classes and an equal number of small unknown proteins.
    renderer
        Renderer of the same classes on the same device, to share its memory between simulators.

    Raises
    ------
    SimulationError
        If a particle does not fit into the box.
    """

    def __init__(
        self,
        classes: Sequence[Phantom],
        options: BoxOptions,
        device: torch.device | str = "cpu",
        seed: int = 0,
        neighbours: Sequence[Phantom] | None = None,
        renderer: ParticleRenderer | None = None,
    ) -> None:
        self.classes = list(classes)
        self.options = options
        self.device = torch.device(device)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._renderer = ParticleRenderer(self.classes, self.device) if renderer is None else renderer
        self.voxel_size = self._renderer.voxel_size
        self._radii = torch.tensor([one.radius / self.voxel_size for one in self.classes], device=self.device)
        _check_fit(self.classes, options, self.voxel_size)
        self.context_size = 2 * round(0.75 * options.box_size)
        self._crowd = None
        if options.crowding > 0:
            self._crowd = Crowd(
                self._default_neighbours() if neighbours is None else neighbours,
                self.context_size,
                options.crowding,
                self._generator,
            )
        self._signal_gain, self._noise_gain = self._transfers()
        self._reference_variance = self._measure_reference()

    def reseed(self, seed: int) -> None:
        """Reset the random generator, so that the next boxes depend only on `seed`."""
        self._generator.manual_seed(seed)

    def sample(self, labels: int | Sequence[int] | Tensor) -> SimulatedBoxes:
        """Simulate boxes.

        Parameters
        ----------
        labels
            Number of boxes, of classes drawn uniformly, or (n,) class of each box. A label equal to the number of
            classes gives a box without a particle at its centre: noise, and neighbours if there is crowding.

        Returns
        -------
        n boxes and their truth.

        Raises
        ------
        SimulationError
            If a label is out of range.
        """
        if isinstance(labels, int):
            wanted = torch.randint(
                len(self.classes), (labels,), generator=self._generator, device=self.device
            )
        else:
            wanted = torch.as_tensor(labels, dtype=torch.long, device=self.device)
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) <= len(self.classes):
            raise SimulationError(
                f"labels {int(wanted.min())} to {int(wanted.max())} are out of range",
                remedy=f"use 0 to {len(self.classes)}",
            )
        batch = 4096 if self.device.type == "cuda" else 64
        batch = max(1, min(batch, int(4e9 / (40 * self.context_size**3))))
        parts = [self._sample_batch(part) for part in wanted.split(batch)]
        return SimulatedBoxes(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def noise_free(
        self, labels: Tensor, rotations: Tensor, shifts: Tensor, transfers: Tensor | None = None
    ) -> Tensor:
        """Return reconstructed boxes (n, z, y, x) without noise and normalisation, from the truth that `sample` returns.

        `transfers` (n,) is the index of each box's defocus, 0 by default.
        """
        if transfers is None:
            transfers = torch.zeros(len(labels), dtype=torch.long, device=self.device)
        scene = self._scene(labels, rotations, shifts)
        return self._imaged(scene, self._signal_gain[transfers])

    def noise(self, count: int, transfers: Tensor | None = None) -> Tensor:
        """Return (count, z, y, x) boxes of reconstructed noise of expected variance 1."""
        if transfers is None:
            transfers = torch.zeros(count, dtype=torch.long, device=self.device)
        white = torch.randn(count, *(self.context_size,) * 3, generator=self._generator, device=self.device)
        return self._imaged(white, self._noise_gain[transfers])

    def _default_neighbours(self) -> list[Phantom]:
        fillers = filler_phantoms(self.voxel_size, self.classes[0].resolution)
        return self.classes + fillers * max(1, round(len(self.classes) / len(fillers)))

    def _sample_batch(self, labels: Tensor) -> SimulatedBoxes:
        options = self.options
        rotations = random_matrices(len(labels), self._generator)
        shifts = options.displacement * random_in_ball(len(labels), self._generator)
        transfers = torch.randint(
            len(self._signal_gain), (len(labels),), generator=self._generator, device=self.device
        )
        boxes = self.noise_free(labels, rotations, shifts, transfers)
        draw = torch.rand(len(labels), generator=self._generator, device=self.device)
        if math.isfinite(options.snr[0]):
            low, high = math.log(options.snr[0]), math.log(options.snr[1])
            snr = torch.exp(low + (high - low) * draw)
            variance = self._signal_variance(boxes, labels, shifts)
            boxes = boxes + self.noise(len(labels), transfers) * (variance / snr).sqrt()[:, None, None, None]
        boxes = boxes - boxes.mean(dim=_AXES, keepdim=True)
        # An empty box without noise is 0 everywhere and must not be divided by 0.
        deviation = boxes.std(dim=_AXES, keepdim=True, correction=0).clamp(min=1e-12)
        return SimulatedBoxes(boxes / deviation, labels, rotations, shifts)

    def _scene(self, labels: Tensor, rotations: Tensor, shifts: Tensor) -> Tensor:
        """Return the specimen (n, z, y, x) around each particle, of the context's size."""
        patch = self._renderer.patch_size
        # The central patch may be larger than the context of a small box; the canvas contains all of it.
        margin = max(0, (patch - self.context_size) // 2 + self._largest_shift_voxels())
        edge = self.context_size + 2 * margin
        canvas = torch.zeros(len(labels), edge, edge, edge, device=self.device)
        shifts_voxels = shifts / self.voxel_size
        whole = shifts_voxels.round()
        filled = torch.nonzero(labels < len(self.classes))[:, 0]
        patches = self._renderer.render(labels[filled], rotations[filled], (shifts_voxels - whole)[filled])
        corners = whole[filled].flip(1).long() + edge // 2 - patch // 2
        paste(canvas, patches, corners, filled, torch.arange(len(filled), device=self.device))
        inside = slice(margin, margin + self.context_size)
        scenes = canvas[:, inside, inside, inside]
        if self._crowd is not None:
            self._crowd.add_neighbours(scenes)
        return scenes

    def _largest_shift_voxels(self) -> int:
        return math.ceil(self.options.displacement / self.voxel_size) + 1

    def _imaged(self, volumes: Tensor, gain: Tensor) -> Tensor:
        """Filter volumes of the context's size and cut the boxes from their middle."""
        transform = torch.fft.rfftn(volumes, dim=_AXES) * gain
        filtered = torch.fft.irfftn(transform, s=volumes.shape[-3:], dim=_AXES)
        start = self.context_size // 2 - self.options.box_size // 2
        window = slice(start, start + self.options.box_size)
        return filtered[:, window, window, window]

    def _signal_variance(self, boxes: Tensor, labels: Tensor, shifts: Tensor) -> Tensor:
        """Return (n,) variance inside each particle's bounding sphere; the reference variance for empty boxes."""
        n = self.options.box_size
        axis = torch.arange(n, device=self.device, dtype=torch.float32) - n // 2
        x, y, z = (shifts / self.voxel_size).unbind(dim=1)
        distance = (
            (axis - z[:, None]).square()[:, :, None, None]
            + (axis - y[:, None]).square()[:, None, :, None]
            + (axis - x[:, None]).square()[:, None, None, :]
        )
        empty = labels == len(self.classes)
        radii = self._radii[labels.clamp(max=len(self.classes) - 1)]
        inside = (distance <= radii.square()[:, None, None, None]).to(boxes.dtype)
        count = inside.sum(dim=_AXES)
        mean = (boxes * inside).sum(dim=_AXES) / count
        centred = (boxes - mean[:, None, None, None]) * inside
        variance = centred.square().sum(dim=_AXES) / count
        return torch.where(empty, torch.full_like(variance, self._reference_variance), variance)

    def _transfers(self) -> tuple[Tensor, Tensor]:
        """Return (t, z, y, x // 2 + 1) gains of signal and of noise for every defocus."""
        options = self.options
        angles = tilt_angles(options.tilt_range, options.tilt_step)
        steps = 1 if options.defocus[0] == options.defocus[1] else max(2, options.transfers)
        signal, noise = [], []
        for defocus in np.linspace(*options.defocus, steps):
            optics = Optics(
                options.voltage, options.spherical_aberration, options.amplitude_contrast, float(defocus)
            )
            transfer = box_transfer(
                self.context_size, self.voxel_size, angles, optics, options.thickness, self.device
            )
            signal.append(transfer.signal)
            noise.append(transfer.noise(options.structural_noise))
        return torch.stack(signal), torch.stack(noise)

    def _measure_reference(self) -> float:
        """Return the median signal variance of isolated particles over classes and orientations."""
        self._reference_variance = 0.0
        generator = torch.Generator(self.device).manual_seed(0)
        step = math.ceil(len(self.classes) / _REFERENCE_CLASSES)
        labels = torch.arange(0, len(self.classes), step, device=self.device).repeat_interleave(
            _REFERENCE_DRAWS
        )
        crowd, self._crowd = self._crowd, None
        variances = []
        for part in labels.split(64):
            shifts = torch.zeros(len(part), 3, device=self.device)
            boxes = self.noise_free(part, random_matrices(len(part), generator), shifts)
            variances.append(self._signal_variance(boxes, part, shifts))
        self._crowd = crowd
        return float(torch.cat(variances).median())


def random_in_ball(count: int, generator: torch.Generator) -> Tensor:
    """Return (count, 3) points, uniform within the ball of radius 1."""
    direction = torch.randn(count, 3, generator=generator, device=generator.device)
    radius = torch.rand(count, 1, generator=generator, device=generator.device) ** (1 / 3)
    return radius * direction / direction.norm(dim=1, keepdim=True)


def _check_fit(classes: Sequence[Phantom], options: BoxOptions, voxel_size: float) -> None:
    for one in classes:
        half = options.box_size * voxel_size / 2
        if one.radius + options.displacement > half:
            raise SimulationError(
                f"{one.name}, of radius {one.radius:.0f} angstrom and displaced by up to {options.displacement:g} "
                f"angstrom, does not fit into a box of {options.box_size} voxels of {voxel_size:g} angstrom",
                remedy=f"use boxes of at least {2 * math.ceil((one.radius + options.displacement) / voxel_size)} "
                "voxels, or smaller particles",
            )
