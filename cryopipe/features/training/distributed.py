"""Training in several processes, one per GPU, with the result of one process.

Every process has the same network and draws the same random numbers. It rotates and trains on its own part of each
batch; `DistributedDataParallel` averages the gradients and `SyncBatchNorm` normalises by the statistics of the whole
batch, so training equals that in one process up to rounding. Boxes to embed are divided in the same way. The first
process fits mixtures and writes files; it broadcasts the results.

This module adds what torch lacks: batch normalisation over processes on CPUs, for the test that compares two processes
with one; random numbers that do not depend on the number of processes; parts of unequal size.

Outside `process_group` there is one process, and all functions here are the identity.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cryopipe.errors import ConfigError, LearningError

TIMEOUT = timedelta(hours=12)
"""Longest time that processes wait for one another, for instance while the first one clusters and writes."""


def process_count() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first_process() -> bool:
    """Return whether this process clusters and writes files."""
    return process_count() == 1 or dist.get_rank() == 0


def own_slice(count: int) -> slice:
    """Return this process's part of `count` items; the parts are consecutive, and their sizes differ by at most 1."""
    number, total = (0, 1) if process_count() == 1 else (dist.get_rank(), dist.get_world_size())
    return slice(count * number // total, count * (number + 1) // total)


def granted_gpus(gpu: int | None, gres: str | None) -> int:
    """Return the number of GPUs granted to a job by its resources `gpu` (2) or `gres` ("gpu:a100:2"); at least 1."""
    last = (gres or "").rsplit(":", 1)[-1]
    return max(1, int(gpu or (last if last.isdecimal() else 1)))


def run_in_processes(count: int, script: str) -> bool:
    """Run `script` in `count` processes by torch's launcher; return whether it was run.

    Returns False for one process, and in the launched processes: there the script continues.

    Raises
    ------
    LearningError
        If one of the processes failed; the launcher then ends the others.
    """
    if count < 2 or "LOCAL_RANK" in os.environ:
        return False
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    if subprocess.run([*launcher, script]).returncode:
        raise LearningError(f"one of {count} processes failed", remedy="see its error message above")
    return True


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes started by torch's launcher; yield the device to compute on.

    Each process uses the GPU of its own number. Only the first logs progress. Without the launcher there is one
    process.
    """
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    number = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if number >= torch.cuda.device_count():
            raise ConfigError(
                f"{os.environ['LOCAL_WORLD_SIZE']} GPUs requested, {torch.cuda.device_count()} available",
                remedy="lower gpu of learn_features in set-resources of the profile or the command line",
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    if number:
        logging.disable(logging.INFO)
    logging.getLogger(__name__).info("training in %d processes", process_count())
    yield device
    # Not after an error: the other processes may be waiting for this one, and the launcher ends them.
    dist.destroy_process_group()


def broadcast(make: Callable[[], Sequence[Tensor]], device: torch.device) -> list[Tensor]:
    """Call `make` in the first process; return its tensors in all processes, on `device`."""
    if process_count() == 1:
        return list(make())
    sent = [[tensor.cpu() for tensor in make()] if is_first_process() else None]
    dist.broadcast_object_list(sent, src=0, device=device)
    return [tensor.to(device) for tensor in sent[0] or ()]


def gather_rows(part: Tensor, count: int) -> Tensor:
    """Return the rows of all processes in order: (count, width); `part` (m, width) has those of `own_slice(count)`."""
    if process_count() == 1:
        return part
    width = torch.tensor([part.shape[1] if len(part) else 0], device=part.device)
    dist.all_reduce(width, dist.ReduceOp.MAX)
    largest = -(-count // process_count())
    own = part.new_zeros(largest, int(width))
    own[: len(part)] = part
    parts = [torch.empty_like(own) for _ in range(process_count())]
    dist.all_gather(parts, own)
    edges = [count * number // process_count() for number in range(process_count() + 1)]
    sizes = [end - start for start, end in itertools.pairwise(edges)]
    return torch.cat([some[:size] for some, size in zip(parts, sizes, strict=True)])


def gather_with_gradient(part: Tensor, count: int) -> Tensor:
    """Return the rows of all processes in order, (count, ...); the gradient is propagated to all processes.

    `part` (m, ...) has the rows of `own_slice(count)`. A loss of all rows is computed by every process; its gradient,
    averaged over processes by `data_parallel`, is that of one process.
    """
    if process_count() == 1:
        return part
    own = own_slice(count)
    before, after = (
        part.new_zeros(own.start, *part.shape[1:]),
        part.new_zeros(count - own.stop, *part.shape[1:]),
    )
    return sum_over_processes(torch.cat([before, part, after]))


def data_parallel(network: nn.Module) -> nn.Module:
    """Return the module to call in training: it averages the gradients of `network` over the processes."""
    return network if process_count() == 1 else DistributedDataParallel(network)


def sum_over_processes(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; the gradient is propagated to all of them."""
    return value if process_count() == 1 else _Sum.apply(value)


class _Sum(torch.autograd.Function):
    """Sum over all processes, in the forward and the backward pass."""

    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class Draws:
    """Random numbers for this process's part of a batch, equal to those that a single process would draw.

    Parameters
    ----------
    generator
        Generator in the same state in all processes.
    count
        Number of boxes in the whole batch.
    whole
        Whether this process computes the whole batch.
    """

    def __init__(self, generator: torch.Generator, count: int, whole: bool = False) -> None:
        self.count = count
        self._generator, self._slice = generator, slice(None) if whole else own_slice(count)

    def normal(self, *shape: int) -> Tensor:
        """Return (m, *shape) numbers of the standard normal distribution for the m boxes of this process."""
        size = (self.count, *shape)
        return torch.randn(size, generator=self._generator, device=self._generator.device)[self._slice]

    def uniform(self, *shape: int) -> Tensor:
        """Return (m, *shape) numbers of the uniform distribution on 0..1."""
        size = (self.count, *shape)
        return torch.rand(size, generator=self._generator, device=self._generator.device)[self._slice]


def synchronise_batch_norm(network: nn.Module) -> None:
    """Let the batch normalisations of `network` use the boxes of all processes; weights and their names do not change."""
    if process_count() == 1:
        return
    if next(network.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d):
            # Both have the same state; they differ in the shapes that they accept.
            module.__class__ = _CpuSyncBatchNorm  # type: ignore[assignment]


class _CpuSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over processes on CPUs; `torch.nn.SyncBatchNorm` requires GPUs."""

    def forward(self, values: Tensor) -> Tensor:
        """Return normalised `values` (n, channels, ...)."""
        mean, variance = self.running_mean, self.running_var
        assert mean is not None
        assert variance is not None
        if not self.training:
            return F.batch_norm(values, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        axes = [axis for axis in range(values.ndim) if axis != 1]
        view = (1, -1, *[1] * (values.ndim - 2))
        numbers = values.float()
        count = sum_over_processes(numbers.new_tensor(numbers.numel() / numbers.shape[1]))
        batch_mean = sum_over_processes(numbers.sum(dim=axes)) / count
        offsets = numbers - batch_mean.view(view)
        batch_variance = sum_over_processes(offsets.square().sum(dim=axes)) / count
        with torch.no_grad():
            mean.lerp_(batch_mean, float(self.momentum or 0.1))
            variance.lerp_(batch_variance * count / (count - 1), float(self.momentum or 0.1))
        normal = offsets * (batch_variance + self.eps).rsqrt().view(view)
        if self.affine:
            normal = normal * self.weight.view(view) + self.bias.view(view)
        return normal.to(values.dtype)
