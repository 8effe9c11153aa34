"""DISCA (Zeng et al. 2023): a network is trained on cluster labels computed from its own features.

One iteration: features of all boxes -> principal components -> Gaussian mixture -> labels matched to the previous ones
-> training on boxes and rotated copies with these labels. A particle and its rotated copy have the same label, so the
features of a species become independent of orientation. The iteration is kept whose clusters two halves of the boxes
agree on most.

It differs from the publication where that did not learn from random weights: the number of clusters is chosen as in the
final clustering instead of by BIC, the network is warmed up, an iteration has at least `steps` steps, part of the boxes
are not rotated, and the kept iteration is not the one with the lowest separation index (which the history contains).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryopipe.boxes import Boxes
from cryopipe.errors import FileError
from cryopipe.features.embedding import embed_all
from cryopipe.features.learner import Learner, no_history
from cryopipe.features.learners.disca_model import DiscaModel, build_model, load_model, save_model
from cryopipe.features.learners.disca_state import Best, DiscaState, read_checkpoint, write_checkpoint
from cryopipe.features.learners.disca_steps import cluster_features, fit_head
from cryopipe.features.learners.disca_warm_up import warm_up
from cryopipe.features.model_file import check_boxes, facts_of
from cryopipe.features.network_learner import enough_boxes
from cryopipe.features.networks.yopo import noisy_input
from cryopipe.features.training.box_source import BoxSource
from cryopipe.features.training.checkpoint import fingerprint_of, read_fingerprint
from cryopipe.features.training.compilation import compile_network, worth_compiling
from cryopipe.features.training.distributed import Draws, broadcast, is_first_process, synchronise_batch_norm
from cryopipe.features.training.loop import LOSSES, rotated_classification, smoothed_targets, train_epoch
from cryopipe.mixtures.components import Projection, principal_components
from cryopipe.mixtures.gaussian import Mixture
from cryopipe.mixtures.label_matching import agreement

logger = logging.getLogger(__name__)
Forward = Callable[[Tensor], Tensor]

UNCHANGED = 3
"""Training ends after this many iterations in a row with unchanged labels: improving features may allow more clusters."""


class Disca(Learner):
    """Learner that alternates clustering and training; features are the principal components of the best iteration."""

    model: DiscaModel | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._work: dict[str, tuple[int, float]] = {}

    def fit(
        self, boxes: Boxes, labels: NDArray[np.int64] | None = None, checkpoint: Path | None = None
    ) -> pd.DataFrame:
        """Train; see `Learner.fit` and the docstring of the module."""
        model = self._model_for(boxes)
        source = self._source(model, boxes)
        synchronise_batch_norm(model.network)
        if not self.options.disca.train or not enough_boxes(source.count):
            return self._not_trained(model, source)
        fingerprint = fingerprint_of(self.options, self.seed, boxes, model.network)
        state = self._initial_state(model, source, fingerprint, checkpoint)
        forward = self._compiled(state, source)
        while not state.finished:
            self._iterate(state, source, forward)
            if checkpoint is not None and is_first_process():
                write_checkpoint(checkpoint, state, fingerprint)
        best = state.best_so_far()
        model.network.load_state_dict(best.network)
        model.projection, model.facts, model.random = best.projection, facts_of(boxes), False
        logger.info("best iteration: %d, with %d clusters", best.iteration, best.mixture.count)
        for what, (count, seconds) in self._work.items():
            logger.info("%s: %s boxes at %.3g boxes/s", what, f"{count:,}", count / max(seconds, 1e-9))
        return pd.DataFrame(state.history)

    def embed(self, boxes: Boxes) -> NDArray[np.float32]:
        """Return the principal components (n, d) of the features of `boxes` (n, z, y, x).

        Before `fit` there are no principal components; the features themselves are returned.

        Raises
        ------
        LearningError
            If the model was trained on boxes of another box size or voxel size.
        """
        model = self._model_for(boxes)
        features = embed_all(model.network, self._source(model, boxes), "embedding boxes")
        if model.projection is not None:
            features = model.projection.apply(features)
        return features.cpu().numpy()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network's weights and the projection."""
        if self.model is None:
            self.model = build_model(self.options, self.device, self.seed)
        save_model(path, self.model)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read a model that `save` wrote."""
        self.model = load_model(path, self.device)

    def _model_for(self, boxes: Boxes) -> DiscaModel:
        """Return the present model, or the initial one, after a check that it fits `boxes`."""
        if self.model is None:
            self.model = build_model(self.options, self.device, self.seed)
        check_boxes(self.model.facts, boxes)
        return self.model

    def _source(self, model: DiscaModel, boxes: Boxes) -> BoxSource:
        return BoxSource(model.reduced(boxes), self.device, self.memory_gb)

    def _not_trained(self, model: DiscaModel, source: BoxSource) -> pd.DataFrame:
        """Compute principal components for a model without any; return an empty history."""
        if model.projection is None and source.count:
            features = embed_all(model.network, source, "embedding boxes")
            made = principal_components(features, self.options.principal_components)
            model.projection = Projection(*broadcast(lambda: [made.mean, made.axes], self.device))
        return no_history()

    def _initial_state(
        self, model: DiscaModel, source: BoxSource, fingerprint: str, checkpoint: Path | None
    ) -> DiscaState:
        """Return the state after the last complete iteration, or the one before the first, after the warm-up."""
        options, warming = self.options.disca, f"warm-up {fingerprint}"

        def fresh() -> DiscaState:
            return DiscaState.fresh(model.network, options.learning_rate, options.label_smoothing)

        state = fresh()
        if checkpoint is not None and checkpoint.exists() and read_fingerprint(checkpoint) != warming:
            try:
                read_checkpoint(checkpoint, state, fingerprint)
                logger.info("resuming after iteration %d from %s", state.iteration, checkpoint)
                return state
            except FileError as error:
                logger.warning("%s; training restarts", error)
                state = fresh()
        if model.random and options.warm_up:
            warm_up(model.network, source, options, self._noise(), self.seed, checkpoint, warming)
        return state

    def _noise(self) -> Callable[[Tensor, Draws], Tensor] | None:
        options = self.options.disca
        return noisy_input if options.noise and options.network == "yopo" else None

    def _compiled(self, state: DiscaState, source: BoxSource) -> Forward | None:
        """Return the compiled network, or None if compilation does not pay.

        The decision does not depend on the iterations done, so that a resumed run computes the same numbers.
        """
        boxes = source.count * self._copies(source) * self.options.disca.iterations
        if state.finished or not worth_compiling(self.device, boxes):
            return None
        return compile_network(
            state.network, (self.options.disca.batch_size, 1, *source.box_shape), self.device
        )

    def _copies(self, source: BoxSource) -> int:
        """Return how many times each box is trained on in an iteration.

        The floor of steps is for random weights: they learn nothing in a few steps, trained ones are spoilt by many.
        """
        options = self.options.disca
        if self.model is None or not self.model.random:
            return options.copies
        steps = -(-source.count // options.batch_size)
        return max(options.copies, -(-options.steps // steps))

    def _iterate(self, state: DiscaState, source: BoxSource, forward: Forward | None) -> None:
        """Cluster the current features, store them if they are the best so far, and train on the labels."""
        options, started = self.options.disca, time.monotonic()
        what = f"iteration {state.iteration + 1} of {options.iterations}"
        if state.iteration == options.iterations:
            what = "final clustering"
        with self._timed("embedding", source.count):
            features = embed_all(state.network, source, f"{what}: embedding")
        labels, row = self._cluster(state, features)
        recent = [one["agreement"] for one in [*state.history[1 - UNCHANGED :], row]]
        settled = len(recent) == UNCHANGED and min(recent) >= options.stop_agreement
        last = state.iteration == options.iterations or settled
        row |= {"loss": float("nan"), "bad_steps": 0, "learning_rate": state.learning_rate}
        if not last:
            count = int(labels.max()) + 1
            if state.head is None or state.head.out_features != count:
                generator = self._generator(state, 1)
                weight, bias = broadcast(lambda: fit_head(features, labels, count, generator), self.device)
                state.replace_head(weight, bias)
            with self._timed("training", source.count * self._copies(source)):
                row |= self._train(state, source, labels, count, what, forward)
        state.labels = labels
        state.iteration += 1
        state.finished = last
        row["seconds"] = time.monotonic() - started
        state.history.append(row)
        logger.info("%s: %s", what, ", ".join(f"{name} {value:.4g}" for name, value in row.items()))

    def _cluster(self, state: DiscaState, features: Tensor) -> tuple[NDArray[np.int64], dict[str, float]]:
        """Return labels (n,) of `features` (n, width) and the iteration's row of the history so far.

        The first process clusters and broadcasts the result.
        """
        options = self.options
        seed = 1000 * self.seed + 100_003 * state.iteration
        found = broadcast(lambda: cluster_features(features, options, state.labels, seed), self.device)
        labels = found[0].cpu().numpy()
        bic, separation, stability, information = found[1].tolist()
        # Not measured with few boxes: then the last iteration is kept. Of equal ones the later is, too.
        rank = information if information >= 0 else 0.0
        if state.best is None or rank >= state.best.information:
            projection, mixture = Projection(*found[2:4]), Mixture(*found[4:7])
            state.best = Best(state.iteration, rank, clone(state.network), projection, labels, mixture)
        return labels, {
            "iteration": state.iteration,
            "clusters": int(labels.max()) + 1,
            "bic": bic,
            "separation": separation,
            "stability": stability,
            "information": information,
            "agreement": 0.0 if state.labels is None else agreement(labels, state.labels),
        }

    def _train(
        self,
        state: DiscaState,
        source: BoxSource,
        labels: NDArray[np.int64],
        count: int,
        what: str,
        forward: Forward | None,
    ) -> dict[str, float]:
        """Train on `labels`, one epoch for each copy; return the columns of the history."""
        options, classifier = self.options.disca, state.classifier()
        head = classifier[1]
        state.smoothing *= options.smoothing_decay
        targets = smoothed_targets(torch.from_numpy(labels).to(source.device), count, state.smoothing)
        for group in state.optimiser.param_groups:
            group["lr"] = state.learning_rate
        used, losses, bad = state.learning_rate, [], 0
        loss = rotated_classification(targets, LOSSES[options.loss], self._noise(), options.originals)
        for copy in range(self._copies(source)):
            report = train_epoch(
                classifier,
                state.optimiser,
                source,
                loss,
                options.batch_size,
                self._generator(state, 2 + copy),
                f"{what}: training",
                None if forward is None else lambda volumes: head(forward(volumes)),
            )
            losses.append(report.loss)
            bad += report.bad_steps
        state.learning_rate = state.optimiser.param_groups[0]["lr"] * options.learning_rate_decay
        return {"loss": float(np.mean(losses)), "bad_steps": bad, "learning_rate": used}

    @contextmanager
    def _timed(self, what: str, boxes: int) -> Iterator[None]:
        """Add the time of the block and its number of boxes to the totals of `what`."""
        started = time.monotonic()
        yield
        count, seconds = self._work.get(what, (0, 0.0))
        self._work[what] = (count + boxes, seconds + time.monotonic() - started)

    def _generator(self, state: DiscaState, purpose: int) -> torch.Generator:
        """Return the random generator for one purpose in one iteration.

        Its seed depends on seed, iteration and purpose only, so that a resumed run draws the same numbers as an
        uninterrupted one.
        """
        number = (self.seed * 1_000_003 + state.iteration) * 100_003 + purpose
        return torch.Generator(self.device).manual_seed(number)


def clone(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's weights and running statistics."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
