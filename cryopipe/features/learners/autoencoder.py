"""Autoencoder learner (Zeng et al. 2018): the features of a box are the code from which it is reconstructed.

The code is trained to reconstruct boxes, not to separate species, so it also describes orientation, position and noise.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError, one_line
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import no_history
from cryopipe.features.learners.autoencoder_options import LARGEST_SMOOTHING
from cryopipe.features.model_file import load_model, save_model
from cryopipe.features.network_learner import NetworkLearner, enough_boxes
from cryopipe.features.networks.autoencoder_network import Autoencoder
from cryopipe.features.pose_normalisation import NormalisedBoxes
from cryopipe.features.smoothing import SmoothedBoxes
from cryopipe.features.training.augment import rotated_copies, uniform_rotations
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import fingerprint_of
from cryopipe.features.training.compilation import compile_network, worth_compiling
from cryopipe.features.training.devices import autocast
from cryopipe.features.training.distributed import Draws
from cryopipe.features.training.fitting import Schedule, fit_network
from cryopipe.features.training.loop import Apply

logger = logging.getLogger(__name__)

KIND = "autoencoder"
PREPARATION = "preparation"
"""Name of the model file's note on what is done to boxes before the network."""
_AT_ONCE = 32
"""Boxes per batch in validation and decoding."""


@dataclass(frozen=True)
class Preparation:
    """What is done to boxes before the network: the options of the same names."""

    smoothing: float
    pose_normalisation: bool

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


class AutoencoderLearner(NetworkLearner[Autoencoder]):
    """Features (n, feature_width): the code of each box, 0 or positive; `decode` reconstructs boxes from it."""

    SECTION = KIND
    TITLE = "the autoencoder"

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        options = self.options.autoencoder
        self._preparation = Preparation(float(options.smoothing), options.pose_normalisation)

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Train; see `Learner.fit` and the docstring of the module."""
        options = self.options.autoencoder
        network = self.initial_network(boxes)
        if not options.train or not enough_boxes(len(boxes)):
            return no_history()
        source = self._source(boxes)
        order = np.random.default_rng(self.seed).permutation(source.count)
        held_out = round(options.validation_fraction * source.count)
        unseen, seen = (torch.from_numpy(np.sort(part)) for part in (order[:held_out], order[held_out:]))
        steps = -(-len(seen) // options.batch_size)
        schedule = Schedule(
            options.epochs,
            options.batch_size,
            lambda epoch: options.learning_rate / (1 + options.learning_rate_decay * epoch * steps),
            options.patience,
        )
        forward = None
        if worth_compiling(self.device, len(seen) * options.epochs):
            shape = (options.batch_size * (1 + options.copies), 1, *source.box_shape)
            forward = compile_network(network, shape, self.device)
        return fit_network(
            network,
            torch.optim.Adam(network.parameters(), lr=options.learning_rate),
            source,
            self._batch_loss,
            schedule,
            self.seed,
            checkpoint=checkpoint,
            fingerprint=fingerprint_of(self.options, self.seed, boxes, network),
            validate=self._validation(network, source, unseen) if held_out else None,
            members=seen,
            forward=forward,
            what="autoencoder",
        )

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return the codes (n, feature_width) of `boxes` (n, z, y, x)."""
        encoder = _Encoder(self.initial_network(boxes))
        codes = embed_all(encoder, self._source(boxes), "embedding boxes").cpu().numpy()
        if len(codes) > 1 and not codes.std(axis=0).any():
            logger.warning(
                "the code is the same for all boxes, so there will be one cluster; raise features.autoencoder.smoothing "
                "or lower features.autoencoder.activity_penalty"
            )
        return codes

    def decode(
        self, features: NDArray[np.float32], poses: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the boxes (m, z, y, x) that the network reconstructs from codes (m, feature_width); it has no poses.

        With pose normalisation they are in the common pose.

        Raises
        ------
        LearningError
            If there is no model yet.
        """
        network = self.existing_network()
        codes = torch.from_numpy(np.asarray(features, np.float32)).to(self.device)
        with torch.no_grad():
            parts = [network.eval().decode(part)[:, 0].float().cpu() for part in codes.split(_AT_ONCE)]
        return torch.cat(parts).numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights."""
        notes = {PREPARATION: json.dumps(asdict(self._preparation))}
        save_model(path, KIND, self.existing_network(), self.facts, notes=notes)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a model that `save` wrote; boxes are then prepared as those that it was trained on."""
        model = load_model(path, KIND, {"Autoencoder": Autoencoder}, self.device)
        preparation = _read_preparation(path, model.notes.get(PREPARATION, ""))
        if preparation != self._preparation:
            logger.info("boxes are prepared as for the training of %s: %s", path, preparation)
        self.network, self.facts, self._preparation = model.network, model.facts, preparation

    def new_network(self, boxes: Boxes) -> Autoencoder:
        """Return a network for the size of `boxes`."""
        options = self.options.autoencoder
        return Autoencoder(options.widths, options.feature_width, int(boxes.shape[-1]))

    def _source(self, boxes: Boxes) -> BoxSource:
        if self._preparation.smoothing:
            boxes = SmoothedBoxes(boxes, self._preparation.smoothing, self.device)
        if self._preparation.pose_normalisation:
            boxes = NormalisedBoxes(boxes, self.device)
        return BoxSource(boxes, self.device, self.memory_gb)

    def _batch_loss(self, apply: Apply, boxes: Tensor, indices: Tensor, draws: Draws) -> Tensor:
        copies = [
            rotated_copies(boxes, uniform_rotations(draws), draws)
            for _ in range(self.options.autoencoder.copies)
        ]
        shown = torch.cat([boxes, *copies])
        return self._loss(shown, *apply(shown))

    def _loss(self, boxes: Tensor, reconstructed: Tensor, codes: Tensor) -> Tensor:
        """Return the mean squared error of a voxel, plus the penalty: the mean over the boxes of |code|, summed."""
        error = (reconstructed[:, 0].float() - boxes).square().mean()
        return error + self.options.autoencoder.activity_penalty * codes.float().abs().sum(dim=1).mean()

    def _validation(self, network: Autoencoder, source: BoxSource, unseen: Tensor) -> Callable[[], float]:
        """Return a function for the mean loss of the boxes `unseen` (m,)."""

        def validate() -> float:
            network.eval()
            parts, total = unseen.split(_AT_ONCE), 0.0
            with torch.no_grad(), autocast(source.device):
                for boxes in source.batches(parts):
                    total += len(boxes) * float(self._loss(boxes, *network(boxes[:, None])))
            return total / len(unseen)

        return validate


def _read_preparation(path: str | os.PathLike[str], text: str) -> Preparation:
    try:
        values = json.loads(text)
        smoothing, poses = float(values["smoothing"]), values["pose_normalisation"]
        if not (0 <= smoothing <= LARGEST_SMOOTHING and isinstance(poses, bool)):
            raise ValueError(text)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError(
            f"the description of the boxes' preparation is missing or damaged ({one_line(str(error))[:80]})",
            file=path,
            remedy="give an unchanged file that cryopipe wrote, or train again",
        ) from error
    return Preparation(smoothing, poses)


class _Encoder(nn.Module):
    """Boxes (n, 1, z, y, x) -> codes (n, feature_width)."""

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.widths, self.network = network.widths, network

    def forward(self, boxes: Tensor) -> Tensor:
        """Return the codes of `boxes`."""
        return self.network.encode(boxes)
