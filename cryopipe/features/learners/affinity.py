"""affinity-VAE: a variational autoencoder whose latent space is arranged by the similarity of known structures.

The network is trained on boxes of known classes: simulated ones of given maps, or the user's labelled ones. Its loss
(`cryopipe.features.training.affinity_loss`) has a term that makes the cosine of two latent codes equal to the affinity of
their classes, the average Fourier shell correlation of the maps. Known structures span the latent space, and boxes of
unknown ones are placed between or beside them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes
from cryopipe.errors import ConfigError, FileError
from cryopipe.features.affinity_matrix import affinity_matrix, class_maps
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import no_history
from cryopipe.features.model_file import load_model, save_model
from cryopipe.features.network_learner import NetworkLearner, enough_boxes
from cryopipe.features.networks.affinity_vae import AffinityVae, LatentPart
from cryopipe.features.networks.restoring import REMEDY
from cryopipe.features.prototypes import classify_by_prototypes
from cryopipe.features.simulated_classes import largest_radius, scale_of, simulated_boxes
from cryopipe.features.training.affinity_loss import (
    LossParts,
    affinity_error,
    annealing,
    divergence_from_prior,
    reconstruction_error,
)
from cryopipe.features.training.augment import rotated_copies, uniform_rotations
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import fingerprint_of
from cryopipe.features.training.distributed import Draws, gather_with_gradient
from cryopipe.features.training.fitting import Schedule, fit_network
from cryopipe.features.training.loop import Apply
from cryopipe.particle_labels import UNKNOWN, ParticleLabels
from cryopipe.simulation.phantoms import Phantom, stock_phantoms

logger = logging.getLogger(__name__)

KIND = "affinity"
BUILT_IN = 16
"""Number of artificial structures that define the latent space if no maps are given."""
BUILT_IN_SEED = 5000
"""First seed of these structures; benchmarks use others."""
EXAMPLES = 40
"""Simulated boxes of each known structure, not trained on, by which boxes are classified."""
_AT_ONCE = 32


class AffinityLearner(NetworkLearner[AffinityVae]):
    """Features (n, latent_width): means of the latent distributions; `decode` reconstructs boxes from them.

    Attributes
    ----------
    affinity
        (k, k) affinities of the classes of the labels, set before `fit`; None to compute them, see `fit`.
    known
        Names of the structures in `features.affinity.maps`, and the latent codes (k, EXAMPLES, latent_width) of
        simulated boxes of each; None without maps, or if labels were given.
    """

    SECTION = "affinity"
    TITLE = "affinity-VAE"
    affinity: NDArray[np.float32] | None = None
    known: tuple[tuple[str, ...], NDArray[np.float32]] | None = None

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Train; see `Learner.fit`.

        With labels, the labelled boxes are trained on, and the affinities are those of the maps with the names of the
        classes, or 0 between different classes if there are no maps. Without, boxes of the maps are simulated like
        `boxes`; these then are embedded only.
        """
        options = self.options.affinity
        network = self.initial_network(boxes)
        if not options.train:
            return no_history()
        shown: Boxes
        if labels is None:
            phantoms = self._class_maps(boxes)
            shown, classes = simulated_boxes(
                phantoms, boxes, options.boxes_per_class, options.snr, self.device, self.seed
            )
            affinity = affinity_matrix(phantoms, options.align)
        else:
            shown, classes = boxes, np.asarray(labels, np.int64)
            affinity = self._affinity_of_labels(boxes, classes)
        members = np.flatnonzero(classes >= 0)
        if not enough_boxes(len(members), "boxes with a class"):
            return no_history()
        truth = hashlib.sha256(affinity.tobytes() + classes.tobytes()).hexdigest()
        steps = options.epochs * -(-len(members) // options.batch_size)
        known = torch.from_numpy(classes).to(self.device)
        target = torch.from_numpy(affinity).to(self.device)

        def batch_loss(apply: Apply, batch: Tensor, indices: Tensor, draws: Draws) -> Tensor:
            parts = self._parts(apply, batch, known[indices], target, draws)
            factor = annealing(int(network.step), steps, options.cycles)
            network.step += 1
            return parts.weighted_sum(factor * options.beta, factor * options.gamma, batch[0].numel())

        history = fit_network(
            network,
            torch.optim.Adam(network.parameters(), lr=options.learning_rate),
            BoxSource(shown, self.device, self.memory_gb),
            batch_loss,
            Schedule(options.epochs, options.batch_size, lambda epoch: options.learning_rate),
            self.seed,
            checkpoint=checkpoint,
            fingerprint=fingerprint_of(f"{self.options} {truth}", self.seed, shown, network),
            members=torch.from_numpy(members),
            what="affinity-VAE",
        )
        if labels is None and options.maps is not None:
            fresh, _ = simulated_boxes(phantoms, boxes, EXAMPLES, options.snr, self.device, self.seed + 1)
            codes = self.embed(fresh).reshape(len(phantoms), EXAMPLES, -1)
            self.known = tuple(phantom.name for phantom in phantoms), codes
        return history

    def classify(self, boxes: Boxes) -> ClassProbabilities | None:
        """Return the probabilities of the structures in `features.affinity.maps` for `boxes` (n, z, y, x).

        The most probable class is that of the nearest centre in the latent space; boxes far from all centres are unknown.
        None without maps, and if the network was trained with labels: then the labelled boxes are the examples.
        """
        if self.known is None:
            return None
        names, codes = self.known
        count = codes.shape[0] * codes.shape[1]
        numbers = np.full(count + len(boxes), UNKNOWN)
        numbers[:count] = np.repeat(np.arange(len(names)), codes.shape[1])
        together = np.concatenate([codes.reshape(count, -1), self.embed(boxes)])
        found = classify_by_prototypes(together, ParticleLabels(names, numbers))
        return found.of(numbers == UNKNOWN)

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return the latent codes (n, latent_width) of `boxes` (n, z, y, x)."""
        return self._encoded(boxes)[:, : self.existing_network().sizes["latent_width"]]

    def poses(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return the poses (n, pose_width) of `boxes` (n, z, y, x)."""
        return self._encoded(boxes)[:, self.existing_network().sizes["latent_width"] :]

    def decode(
        self, features: NDArray[np.float32], poses: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the boxes (m, z, y, x) of latent codes (m, latent_width) and poses (m, pose_width).

        Without poses, all have the mean pose of the training.

        Raises
        ------
        LearningError
            If there is no model yet.
        """
        network = self.existing_network().eval()
        codes = torch.from_numpy(np.asarray(features, np.float32)).to(self.device)
        pose = network.typical_pose.expand(len(codes), -1)
        if poses is not None:
            pose = torch.from_numpy(np.asarray(poses, np.float32)).to(self.device)
        pairs = zip(codes.split(_AT_ONCE), pose.split(_AT_ONCE), strict=True)
        with torch.no_grad():
            return torch.cat([network.decode(*pair)[:, 0].cpu() for pair in pairs]).numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights."""
        if self.known is None:
            save_model(path, KIND, self.existing_network(), self.facts)
            return
        names, codes = self.known
        tensors, notes = {"known": torch.from_numpy(codes)}, {"known": json.dumps(names)}
        save_model(path, KIND, self.existing_network(), self.facts, tensors, notes)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a model that `save` wrote."""
        model = load_model(path, KIND, {"AffinityVae": AffinityVae}, self.device)
        self.network, self.facts, self.known = model.network, model.facts, None
        if "known" in model.tensors:
            names, codes = json.loads(model.notes.get("known", "[]")), model.tensors["known"]
            if codes.ndim != 3 or list(codes.shape[::2]) != [len(names), model.network.sizes["latent_width"]]:
                raise FileError(
                    f"latent codes of {len(names)} known structures have shape {list(codes.shape)}",
                    file=path,
                    remedy=REMEDY,
                )
            self.known = tuple(map(str, names)), codes.cpu().numpy()

    def _parts(
        self, apply: Apply, boxes: Tensor, labels: Tensor, affinity: Tensor, draws: Draws
    ) -> LossParts:
        """Return the terms of the loss of boxes (m, z, y, x) and their rotated copies."""
        options, count = self.options.affinity, len(boxes)
        shown = torch.cat(
            [boxes] + [rotated_copies(boxes, uniform_rotations(draws), draws) for _ in range(options.copies)]
        )
        versions = options.copies + 1
        noise = draws.normal(versions, options.latent_width).transpose(0, 1).flatten(0, 1)
        coded = apply(shown, noise)
        # Pairs are those of the whole batch, so the codes of all processes are needed.
        own = coded.mean.view(versions, count, -1).transpose(0, 1).flatten(1)
        latents = gather_with_gradient(own, draws.count).unflatten(1, (versions, -1)).flatten(0, 1)
        pose = gather_with_gradient(coded.pose[:count].detach(), draws.count).mean(dim=0)
        self.existing_network().typical_pose.lerp_(pose, 0.1)
        classes = gather_with_gradient(labels[:, None].float(), draws.count).long()
        return LossParts(
            reconstruction_error(coded.restored[:, 0].float(), shown),
            divergence_from_prior(coded.mean, coded.log_variance),
            affinity_error(latents, classes.expand(-1, versions).flatten(), affinity),
        )

    def _class_maps(self, boxes: Boxes) -> list[Phantom]:
        """Return the maps of `features.affinity.maps`, or the built-in structures that fit into the boxes."""
        voxel_size, resolution = scale_of(boxes)
        radius = largest_radius(int(boxes.shape[-1]), voxel_size)
        if self.options.affinity.maps is None:
            return stock_phantoms(BUILT_IN, voxel_size, resolution, BUILT_IN_SEED, radius)
        return class_maps(self.options.affinity.maps, voxel_size, resolution, radius)

    def _affinity_of_labels(self, boxes: Boxes, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the affinities of the labels' classes, see `fit`."""
        count = max(int(labels.max(initial=-1)) + 1, len(self.class_names))
        if self.affinity is not None:
            return self.affinity
        if self.options.affinity.maps is None:
            return np.eye(count, dtype=np.float32)
        maps = {phantom.name: phantom for phantom in self._class_maps(boxes)}
        missing = [name for name in self.class_names if name not in maps]
        if missing or len(self.class_names) < count:
            raise ConfigError(
                f"features.affinity.maps: {self.options.affinity.maps} has no map of the class "
                f"{missing[0] if missing else count}",
                remedy="name each map after its class, CLASS.mrc, or set features.affinity.maps to null",
            )
        return affinity_matrix([maps[name] for name in self.class_names], self.options.affinity.align)

    def _encoded(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return latent codes and poses side by side."""
        network = LatentPart(self.initial_network(boxes), with_pose=True)
        source = BoxSource(boxes, self.device, self.memory_gb)
        return embed_all(network, source, "embedding boxes").cpu().numpy()

    def new_network(self, boxes: Boxes) -> AffinityVae:
        """Return a network for the size of `boxes`."""
        options = self.options.affinity
        widths = [options.channels * 2**level for level in range(options.depth)]
        return AffinityVae(int(boxes.shape[-1]), widths, options.latent_width, options.pose_width)
