"""Training of few-shot networks on simulated episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from cryopipe.features.learners.protonet_episodes import episode_loss
from cryopipe.features.networks.protonet_network import BACKBONES, FewShotNetwork
from cryopipe.features.training.fitting import Schedule, fit_episodes
from cryopipe.features.training.loop import Apply
from cryopipe.pretraining.episodes import EpisodeBoxes, EpisodeRecipe
from cryopipe.simulation.phantoms import Phantom

EPISODES = 25
"""Episodes of an epoch, as published; the state is written after each epoch."""
WEIGHT_DECAY = 1e-4


def train_few_shot(
    recipe: EpisodeRecipe,
    class_sets: Sequence[Sequence[Phantom]],
    device: torch.device,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[FewShotNetwork, pd.DataFrame]:
    """Train a few-shot network on simulated episodes.

    Parameters
    ----------
    recipe
        Network, classes, imaging conditions.
    class_sets
        Phantoms of each class set of the recipe.
    device
        Device to compute on.
    seed
        Seed of the random numbers; the same seed and device give the same network.
    checkpoint
        File of the state of training. If it belongs to the same training, training resumes from it, with the same result
        as without the interruption.

    Returns
    -------
    The network, and the history: one row per epoch.
    """
    torch.manual_seed(seed)
    stage = recipe.episodes
    network = FewShotNetwork(BACKBONES.index(recipe.network), recipe.widths, recipe.box_size).to(device)
    boxes = EpisodeBoxes(class_sets, stage, recipe.box_size, device, seed)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)

    def loss(apply: Apply, generator: torch.Generator) -> Tensor:
        number = int(torch.randint(2**62, (), generator=generator, device=device))
        episode = boxes.draw(number)
        features = apply(episode.flatten(0, 1)).float().unflatten(0, episode.shape[:2])
        return episode_loss(network, features, stage.shots, generator)

    epochs = max(1, stage.steps // EPISODES)
    schedule = Schedule(epochs, 1, lambda epoch: stage.rate(epoch * EPISODES))
    names = [phantom.name for phantoms in class_sets for phantom in phantoms]
    history = fit_episodes(
        network, optimiser, device, loss, min(EPISODES, stage.steps), schedule, seed,
        checkpoint=checkpoint, fingerprint=f"{recipe} seed={seed} classes={names}", what="training in episodes",
    )  # fmt: skip
    return network, history
