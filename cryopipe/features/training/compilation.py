"""Compilation of networks by torch for long trainings; networks that cannot be compiled run uncompiled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cryopipe.errors import one_line
from cryopipe.features.training.devices import autocast, set_memory_format
from cryopipe.features.training.distributed import process_count

logger = logging.getLogger(__name__)

WORTHWHILE_BOXES = 1_000_000
"""Smallest number of boxes, all epochs together, for which a training on a GPU is compiled.

Compilation takes one to two minutes. On a CPU core it took two minutes and made the encoder's training 13 % faster (70
boxes/s instead of 62); the channels-last layout alone gives 27 to 47 % there.
"""


def worth_compiling(device: torch.device, boxes: int) -> bool:
    """Return whether to compile for a training on `boxes` boxes, all epochs together."""
    return device.type == "cuda" and process_count() == 1 and boxes >= WORTHWHILE_BOXES


def compile_network(
    network: nn.Module, shape: tuple[int, ...], device: torch.device, backend: str = "inductor"
) -> Callable[[Tensor], Any]:
    """Return `network` compiled for training, or the network itself if compilation fails, which is logged.

    Parameters
    ----------
    network
        Boxes (n, 1, z, y, x) -> a tensor or several. Its weights and running statistics are not changed.
    shape
        (n, 1, z, y, x) of the batches.
    device
        Device of the network.
    backend
        Name of the compiler backend in torch.
    """
    statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
    started = time.monotonic()
    network.train()
    try:
        made: Callable[[Tensor], Any] = torch.compile(network, backend=backend, dynamic=False)
        layout = set_memory_format(network, device)
        # Run forward and backward once, so that a failure to compile occurs here and not during training.
        with autocast(device):
            found = made(torch.zeros(shape, device=device).contiguous(memory_format=layout))
        outputs = found if isinstance(found, tuple) else (found,)
        torch.stack([output.float().sum() for output in outputs]).sum().backward()
    except Exception as error:
        # Compilers, drivers and disks fail with many types of errors, and none of them may end a training.
        reason = one_line(str(error))[:200]
        logger.warning("the network could not be compiled (%s); it runs uncompiled, which is slower", reason)
        made = network
    else:
        logger.info("the network was compiled in %.0f s", time.monotonic() - started)
    finally:
        network.zero_grad(set_to_none=True)
        for name, buffer in network.named_buffers():
            buffer.copy_(statistics[name])
    return made
