"""Contrastive learning (Gupta et al. 2022): SimCLR, MoCo or SwAV without labels, then fine-tuning on labelled particles."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError, LearningError
from cryopipe.features.class_probabilities import ClassProbabilities
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import no_history
from cryopipe.features.learners.contrastive_steps import contrastive_loss, views_of
from cryopipe.features.learners.transfer import KIND as TRANSFER
from cryopipe.features.learners.transfer import SHIPPED_WEIGHTS, load_encoder
from cryopipe.features.model_file import (
    BoxFacts,
    LoadedModel,
    load_model,
    save_model,
)
from cryopipe.features.network_learner import NetworkLearner, enough_boxes
from cryopipe.features.networks.contrastive_network import ContrastiveNetwork
from cryopipe.features.networks.encoder import TransferEncoder
from cryopipe.features.networks.rb3d import RB3D
from cryopipe.features.networks.restoring import REMEDY
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import fingerprint_of
from cryopipe.features.training.distributed import synchronise_batch_norm
from cryopipe.features.training.fine_tuning import (
    Classifier,
    FineTuning,
    classifier_logits,
    fine_tune,
    held_out_examples,
)
from cryopipe.features.training.fitting import Schedule, fit_network
from cryopipe.files.weights import load_weights

logger = logging.getLogger(__name__)

KIND = "contrastive"
NETWORKS: dict[str, type[nn.Module]] = {"TransferEncoder": TransferEncoder, "RB3D": RB3D}


class Contrastive(NetworkLearner[TransferEncoder | RB3D]):
    """Features of length 1: the network without its projection, trained on views and on labels, if there are any."""

    SECTION = KIND
    TITLE = "contrastive learning"
    head: nn.Linear | None = None

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Train without labels on all boxes, then on those with labels; see `Learner.fit`.

        The state of the second training is in a file beside `checkpoint`.
        """
        backbone = self.initial_network(boxes)
        if not self.options.contrastive.train or not enough_boxes(len(boxes)):
            return no_history()
        self.head = None
        source = BoxSource(boxes, self.device, self.memory_gb)
        history = self._train_on_views(backbone, source, boxes, checkpoint)
        if labels is None or not (labels >= 0).any():
            return history
        beside = None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}_fine_tuning")
        tuned = self.fine_tune(boxes, labels, held_out_examples(labels, self.seed), beside)
        tuned["iteration"] += len(history)
        return pd.concat([history, tuned], ignore_index=True) if len(history) else tuned

    def fine_tune(
        self,
        boxes: Boxes,
        labels: NDArray[np.int64],
        held_out: NDArray[np.bool_],
        checkpoint: Path | None = None,
    ) -> pd.DataFrame:
        """Train the network with a new classifier on labelled boxes.

        Parameters
        ----------
        boxes
            (n, z, y, x).
        labels
            (n,) class numbers, -1 where unknown.
        held_out
            (n,) which boxes choose the best epoch; see `fine_tune` in `cryopipe.features.training.fine_tuning`.
        checkpoint
            See `Learner.fit`.

        Returns
        -------
        The history: one row per epoch.

        Raises
        ------
        LearningError
            If fewer than two boxes with a label are left to train on.
        """
        backbone, options = self.initial_network(boxes), self.options.contrastive
        if int(((labels >= 0) & ~held_out).sum()) < 2:
            raise LearningError("fewer than two labelled boxes to train on", remedy="label more particles")
        if not self.class_names:
            self.class_names = tuple(str(number + 1) for number in range(int(labels.max()) + 1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            classifier = Classifier(backbone, len(self.class_names)).to(self.device)
        synchronise_batch_norm(classifier)
        history = fine_tune(
            classifier,
            BoxSource(boxes, self.device, self.memory_gb),
            labels,
            held_out,
            FineTuning(
                options.fine_tuning_epochs,
                options.fine_tuning_batch_size,
                options.fine_tuning_learning_rate,
                options.weight_decay,
            ),
            self.seed,
            view=views_of(options, boxes, self.device) if options.fine_tuning_views else None,
            checkpoint=checkpoint,
            fingerprint=f"{fingerprint_of(self.options, self.seed, boxes, classifier)} {labels.tobytes().hex()}",
        )
        self.head = classifier.head
        return history

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return features (n, d) of length 1 of `boxes` (n, z, y, x)."""
        return F.normalize(self._features(boxes)).cpu().numpy()

    def classify(self, boxes: Boxes) -> ClassProbabilities | None:
        """Return the probabilities of the classes of `boxes`; None if the network was not trained on labels.

        There is no class for other particles: `unknown` is 0.
        """
        if self.head is None:
            return None
        features = self._features(boxes)
        with torch.no_grad():
            probabilities = classifier_logits(self.head, features).softmax(dim=1)
        return ClassProbabilities(
            self.class_names, probabilities.double().cpu().numpy(), np.zeros(len(probabilities))
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights, and the classifier with the names of its classes."""
        head = {} if self.head is None else {f"head.{n}": v for n, v in self.head.state_dict().items()}
        save_model(
            path, KIND, self.existing_network(), self.facts, head, {"classes": json.dumps(self.class_names)}
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a model that `save` wrote, or a transfer encoder."""
        if load_weights(path)[1].get("kind") == TRANSFER:
            self.network, self.head, self.facts = load_encoder(path).to(self.device), None, BoxFacts()
            return
        model = load_model(path, KIND, NETWORKS, self.device)
        self.network, self.facts, self.head = model.network, model.facts, None
        if "head.weight" in model.tensors:
            self.class_names, self.head = _read_head(path, model)

    def _features(self, boxes: Boxes) -> torch.Tensor:
        backbone = self.initial_network(boxes)
        return embed_all(backbone, BoxSource(boxes, self.device, self.memory_gb), "embedding boxes")

    def new_network(self, boxes: Boxes) -> TransferEncoder | RB3D:
        """Return the network of the options: the shipped encoder, unless random weights are asked for, or RB3D."""
        options = self.options.contrastive
        if options.network != "encoder":
            return RB3D(options.widths)
        return TransferEncoder() if self.needs_training() else load_encoder(SHIPPED_WEIGHTS)

    def needs_training(self) -> bool:
        """Return whether a new network is of no use before it is trained: any but the shipped encoder."""
        return self.options.contrastive.network != "encoder" or self.options.weights is not None

    def _train_on_views(
        self, backbone: TransferEncoder | RB3D, source: BoxSource, boxes: Boxes, checkpoint: Path | None
    ) -> pd.DataFrame:
        options = self.options.contrastive
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = ContrastiveNetwork(
                backbone, options.method, options.projection_width, options.queue, options.prototypes
            ).to(self.device)
        view = views_of(options, boxes, self.device)
        return fit_network(
            network,
            torch.optim.Adam(network.parameters(), options.learning_rate, weight_decay=options.weight_decay),
            source,
            contrastive_loss(options, network, view),
            Schedule(options.epochs, options.batch_size, lambda epoch: options.learning_rate),
            self.seed,
            checkpoint=checkpoint,
            fingerprint=fingerprint_of(self.options, self.seed, boxes, network),
            what=options.method,
        )


def _read_head(path: str | os.PathLike[str], model: LoadedModel) -> tuple[tuple[str, ...], nn.Linear]:
    """Return the names of the classes and the classifier in the tensors of a model file."""
    weight, bias = model.tensors["head.weight"], model.tensors.get("head.bias")
    try:
        names = tuple(str(name) for name in json.loads(model.notes["classes"]))
    except (LookupError, TypeError, ValueError) as error:
        raise FileError(
            f"the names of the classes are missing or damaged ({error!r})", file=path, remedy=REMEDY
        ) from error
    if (
        bias is None
        or weight.shape != (len(names), model.network.feature_width)
        or bias.shape != weight.shape[:1]
    ):
        raise FileError(
            f"the classifier does not fit the network and the {len(names)} classes of the file",
            file=path,
            remedy=REMEDY,
        )
    head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    head.load_state_dict({"weight": weight, "bias": bias})
    return names, head
