"""Networks compiled by torch where that pays, and left as they are where it fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cryopipe.errors import one_line
from cryopipe.features.training.devices import autocast, lay_out
from cryopipe.features.training.distributed import processes

logger = logging.getLogger(__name__)

WORTHWHILE_BOXES = 1_000_000
"""Compiling takes a minute or two: it is for trainings that show the network at least this many boxes on a GPU.

On a busy processor core it took two minutes, and the encoder then trained 13 % faster (70 boxes/s for 62), less than
the channels' order gains there without it (27 to 47 %).
"""


def pays(device: torch.device, boxes: int) -> bool:
    """Return whether to compile for a training on `boxes` boxes in all."""
    return device.type == "cuda" and processes() == 1 and boxes >= WORTHWHILE_BOXES


def compiled(
    network: nn.Module, shape: tuple[int, ...], device: torch.device, backend: str = "inductor"
) -> Callable[[Tensor], Tensor]:
    """Return `network`, compiled for training; after a failure, which is logged, the network itself.

    Parameters
    ----------
    network
        Boxes (n, 1, z, y, x) -> features. Its weights and statistics stay as they are.
    shape
        (n, 1, z, y, x) of the batches.
    device
        Where the network is.
    backend
        torch's name of what compiles.
    """
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    started = time.monotonic()
    network.train()
    try:
        made: Callable[[Tensor], Tensor] = torch.compile(network, backend=backend, dynamic=False)
        layout = lay_out(network, device)
        # A trial of both directions: what cannot be compiled fails here and not in the middle of a training.
        with autocast(device):
            features = made(torch.zeros(shape, device=device).contiguous(memory_format=layout))
        features.float().sum().backward()
    except Exception as error:
        # Compilers, drivers and disks fail in too many ways to name, and none of them may end a training.
        reason = one_line(str(error))[:200]
        logger.warning("the network could not be compiled (%s): it runs as it is, somewhat slower", reason)
        made = network
    else:
        logger.info("the network was compiled in %.0f s", time.monotonic() - started)
    finally:
        network.zero_grad(set_to_none=True)
        for name, buffer in network.named_buffers():
            buffer.copy_(statistics[name])
    return made
