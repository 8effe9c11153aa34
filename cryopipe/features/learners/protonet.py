"""Few-shot learner (Li 2020): particles belong to the nearest of the prototypes of a few labelled ones."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError, LearningError, one_line
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import Learner, no_history
from cryopipe.features.learners.protonet_episodes import episode_loss
from cryopipe.features.learners.transfer import SHIPPED_WEIGHTS as ENCODER_WEIGHTS
from cryopipe.features.learners.transfer import load_encoder
from cryopipe.features.model_file import BoxFacts, check_boxes, facts_of, load_model, save_model
from cryopipe.features.networks.protonet_network import BACKBONES, SMALLEST_BOX, FewShotNetwork
from cryopipe.features.prototypes import Distances, Prototypes, classify, prototypes_of, squared_distances
from cryopipe.features.training.augment import rotated_copies, uniform_rotations
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import fingerprint_of
from cryopipe.features.training.distributed import Draws
from cryopipe.features.training.fitting import Schedule, fit_episodes
from cryopipe.features.training.loop import Apply
from cryopipe.installation import ROOT
from cryopipe.particle_labels import UNKNOWN, ParticleLabels

logger = logging.getLogger(__name__)

SHIPPED_WEIGHTS = ROOT / "resources" / "protonet.safetensors"
"""ProtoNet3D with the adaptation of ProtoNet-CE; see `resources/protonet.md`."""
KIND = "protonet"
FEWEST_TO_TRAIN = 20
"""Labelled particles of each class that training in episodes needs."""
EPISODES = 25
"""Episodes of an epoch, as published."""
HALVED_EVERY = 20
"""Epochs after which the learning rate is halved, as published."""
_QUERIES_AT_ONCE = 4096


class ProtonetLearner(Learner):
    """Features (n, d) of the network, and classes by prototypes; see `resources/protonet.md`."""

    network: FewShotNetwork | None = None
    facts = BoxFacts()
    prototypes: Prototypes | None = None
    _labels: NDArray[np.int64] | None = None
    _embedded: tuple[Boxes, NDArray[np.float32]] | None = None

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Load the weights and, with `features.protonet.train`, train them in episodes on the labelled boxes."""
        options = self.options.protonet
        network = self._network(boxes)
        self._labels = labels
        if labels is not None:
            self.facts = facts_of(boxes, any_size=True)  # prototypes fit boxes of this voxel size
        if not options.train:
            return no_history()
        numbers = np.zeros(0, np.int64) if labels is None else labels
        members = [
            torch.from_numpy(np.flatnonzero(numbers == one))
            for one in range(int(numbers.max(initial=-1)) + 1)
        ]
        rarest = min((len(one) for one in members), default=0)
        if rarest < FEWEST_TO_TRAIN or len(members) < 2:
            logger.warning(
                "training in episodes needs %d labelled particles of each of two or more classes, and there are %d of "
                "the rarest of %d: the weights are used unchanged",
                *(FEWEST_TO_TRAIN, rarest, len(members)),
            )
            return no_history()
        source = BoxSource(boxes, self.device, self.memory_gb)

        def loss(apply: Apply, generator: torch.Generator) -> Tensor:
            episode = self._episode(source, members, generator)
            features = apply(episode.flatten(0, 1)).float().unflatten(0, episode.shape[:2])
            return episode_loss(network, features, (options.shots[0], options.shots[1]), generator)

        return fit_episodes(
            network,
            torch.optim.Adam(network.parameters(), lr=options.learning_rate),
            self.device,
            loss,
            EPISODES,
            Schedule(options.epochs, 1, lambda epoch: options.learning_rate * 0.5 ** (epoch // HALVED_EVERY)),
            self.seed,
            checkpoint=checkpoint,
            fingerprint=fingerprint_of(self.options, self.seed, boxes, network) + str(members),
            what="training in episodes",
        )

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return the network's features (n, d) of `boxes` (n, z, y, x)."""
        source = BoxSource(boxes, self.device, self.memory_gb)
        features = embed_all(self._network(boxes), source, "embedding boxes").cpu().numpy()
        self._embedded = (boxes, features)
        return features

    def classify(self, boxes: Boxes) -> ClassProbabilities | None:
        """Return the classes of `boxes` by the labelled ones among them, or by the prototypes of an earlier run."""
        known = None
        features = self._embedded[1] if self._embedded and self._embedded[0] is boxes else self.embed(boxes)
        if self._labels is not None and (self._labels >= 0).any():
            names = self.class_names or tuple(str(n) for n in range(1, int(self._labels.max()) + 2))
            known = self._labels != UNKNOWN
            self.prototypes = prototypes_of(features, ParticleLabels(names, self._labels), self.distances())
        if self.prototypes is None:
            return None
        return classify(self.prototypes, features, known, self.distances())

    def distances(self) -> Distances:
        """Return the distances of the chosen network: Euclidean, or with the adaptation added."""
        network = self.network
        if self.options.protonet.network != "protonet_ce" or network is None:
            return squared_distances

        def adapted(means: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
            centres = torch.from_numpy(means).to(self.device)
            with torch.no_grad():
                parts = [
                    network.distances(centres, part.to(self.device), True).cpu()
                    for part in torch.from_numpy(features).split(_QUERIES_AT_ONCE)
                ]
            return torch.cat(parts).numpy()

        return adapted

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights and the prototypes."""
        if self.network is None:
            raise LearningError("the few-shot network has no weights", remedy="call fit or load first")
        tensors, notes = _stored(self.prototypes)
        save_model(path, KIND, self.network, self.facts, tensors, notes)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a model that `save` wrote."""
        model = load_model(path, KIND, {"FewShotNetwork": FewShotNetwork}, self.device)
        self.network, self.facts = model.network, model.facts
        self.prototypes = _restored(path, model.tensors, model.notes)

    def _network(self, boxes: Boxes) -> FewShotNetwork:
        """Return the network: the present one, that of `features.weights`, the shipped or a random one."""
        if self.network is None:
            self._choose_weights(int(boxes.shape[-1]))
        network = self.network
        assert network is not None
        check_boxes(self.facts, boxes)
        edge, needed = int(boxes.shape[-1]), int(network.sizes["view"])
        if BACKBONES[network.sizes["backbone"]] == "protonet3d" and edge < needed:
            raise LearningError(
                f"the network needs boxes of {needed} voxels, these have {edge}",
                remedy=f"set subtomograms.box_size to {needed} or more, or features.protonet.network to encoder",
            )
        return network

    def _choose_weights(self, edge: int) -> None:
        options, weights = self.options.protonet, self.options.weights
        if weights not in (None, "random"):
            self.load(str(weights))
            return
        if weights is None and options.network != "encoder":
            self.load(SHIPPED_WEIGHTS)
            return
        backbone = int(options.network != "encoder")
        if backbone and edge < SMALLEST_BOX:
            raise LearningError(
                f"ProtoNet3D needs boxes of {SMALLEST_BOX} voxels, these have {edge}",
                remedy=f"set subtomograms.box_size to {SMALLEST_BOX} or more, or features.protonet.network to encoder",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            widths = (options.width,) if backbone else (16, 32, 64)
            network = FewShotNetwork(backbone, widths, edge)
        if weights is None:
            network.backbone = load_encoder(ENCODER_WEIGHTS)
        self.network = network.to(self.device)

    def _episode(self, source: BoxSource, members: list[Tensor], generator: torch.Generator) -> Tensor:
        """Return rotated copies (ways, per class, z, y, x) of boxes of some classes."""
        options = self.options.protonet
        most = options.shots[1] + options.queries

        def draw(count: int) -> Tensor:
            return torch.randperm(count, generator=generator, device=self.device).cpu()

        chosen = [members[int(number)] for number in draw(len(members))[: options.ways]]
        # of rare classes, boxes are drawn more than once, each time with another rotation
        rows = [torch.cat([draw(len(one)) for _ in range(-(-most // len(one)))])[:most] for one in chosen]
        indices = torch.cat([one[row] for one, row in zip(chosen, rows, strict=True)])
        draws = Draws(generator, len(indices), whole=True)
        boxes = rotated_copies(source.batch(indices), uniform_rotations(draws), draws)
        return boxes.unflatten(0, (len(chosen), most))


def save_few_shot(path: str | os.PathLike[str], network: FewShotNetwork, notes: Mapping[str, str]) -> None:
    """Write a network that was trained on simulated boxes, in half precision, for boxes of any voxel size."""
    save_model(path, KIND, copy.deepcopy(network).half(), BoxFacts(), notes=notes)


def _stored(prototypes: Prototypes | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return prototypes as tensors and texts of a model file."""
    if prototypes is None:
        return {}, {}
    numbers = torch.tensor([prototypes.unit, prototypes.dimensions], dtype=torch.float64)
    tensors = {
        "prototypes.means": torch.from_numpy(prototypes.means),
        "prototypes.counts": torch.from_numpy(prototypes.counts),
        "prototypes.numbers": numbers,
    }
    return tensors, {"classes": json.dumps(prototypes.names)}


def _restored(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], notes: Mapping[str, str]
) -> Prototypes | None:
    if "classes" not in notes:
        return None
    try:
        names = tuple(str(name) for name in json.loads(notes["classes"]))
        means, counts = (tensors[f"prototypes.{name}"].cpu().numpy() for name in ("means", "counts"))
        unit, dimensions = tensors["prototypes.numbers"].tolist()
        if not len(names) == len(means) == len(counts) or counts.min() < 1:
            raise ValueError(f"{len(names)} names for {len(means)} prototypes")
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise FileError(
            f"the prototypes are damaged ({one_line(str(error))[:80]})", file=path, remedy="train again"
        ) from error
    return Prototypes(names, means, counts, unit, dimensions)
