"""Training in several processes, one per GPU, with the result of one process.

Every process holds the same network and draws the same random numbers. Of each batch it rotates and trains on its own
part; `DistributedDataParallel` averages the gradients and `SyncBatchNorm` normalises by the statistics of the whole
batch, so the network learns what one process would teach it, up to rounding. Boxes to embed are divided in the same
way. Mixtures and files are the first process's work; it broadcasts the results.

Written here is what torch does not have: batch normalisation over processes without a GPU, which the test needs that
compares two processes with one; random numbers that do not depend on the number of processes; parts of unequal size.

Without `team` there is one process, and everything here is the identity.
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

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: the first one clusters and writes while the others wait."""


def processes() -> int:
    """Return how many processes learn together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Return whether this is the process that clusters and writes files."""
    return processes() == 1 or dist.get_rank() == 0


def share(count: int) -> slice:
    """Return this process's share of `count` things; the shares follow one another and differ by one at most."""
    number, all_of_them = (0, 1) if processes() == 1 else (dist.get_rank(), dist.get_world_size())
    return slice(count * number // all_of_them, count * (number + 1) // all_of_them)


def granted_gpus(gpu: int | None, gres: str | None) -> int:
    """Return how many GPUs a job was granted, by its resources `gpu` (2) or `gres` ("gpu:a100:2"); at least 1."""
    last = (gres or "").rsplit(":", 1)[-1]
    return max(1, int(gpu or (last if last.isdecimal() else 1)))


def relaunched(count: int, script: str) -> bool:
    """Run `script` anew in `count` processes by torch's launcher, unless there is nothing to launch; say whether.

    It returns False in the processes that were launched: there the script goes on.

    Raises
    ------
    LearningError
        If one of the processes failed; the launcher has then ended the others.
    """
    if count < 2 or "LOCAL_RANK" in os.environ:
        return False
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    if subprocess.run([*launcher, script]).returncode:
        raise LearningError(f"one of {count} processes failed", remedy="see its message above")
    return True


@contextmanager
def team(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torch's launcher started beside this one; yield the device to compute on.

    Each takes the GPU of its own number. All but the first keep silent. Unlaunched processes stay alone.
    """
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    number = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if number >= torch.cuda.device_count():
            raise ConfigError(
                f"{os.environ['LOCAL_WORLD_SIZE']} GPUs were asked for, {torch.cuda.device_count()} are to be seen",
                remedy="correct gpu of learn_features in the profile's set-resources",
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    if number:
        logging.disable(logging.INFO)
    logging.getLogger(__name__).info("learning in %d processes", processes())
    yield device
    # Not after an error: the others may be waiting for this process, and the launcher ends them.
    dist.destroy_process_group()


def shared(make: Callable[[], Sequence[Tensor]], device: torch.device) -> list[Tensor]:
    """Return the tensors that `make` returns in the first process, in all of them, on `device`."""
    if processes() == 1:
        return list(make())
    told = [[tensor.cpu() for tensor in make()] if is_first() else None]
    dist.broadcast_object_list(told, src=0, device=device)
    return [tensor.to(device) for tensor in told[0] or ()]


def gathered(part: Tensor, count: int) -> Tensor:
    """Return the rows of all processes' `part` (m, width), each its `share` of `count`, in order: (count, width)."""
    if processes() == 1:
        return part
    width = torch.tensor([part.shape[1] if len(part) else 0], device=part.device)
    dist.all_reduce(width, dist.ReduceOp.MAX)
    largest = -(-count // processes())
    own = part.new_zeros(largest, int(width))
    own[: len(part)] = part
    parts = [torch.empty_like(own) for _ in range(processes())]
    dist.all_gather(parts, own)
    edges = [count * number // processes() for number in range(processes() + 1)]
    sizes = [end - start for start, end in itertools.pairwise(edges)]
    return torch.cat([some[:size] for some, size in zip(parts, sizes, strict=True)])


def in_team(network: nn.Module) -> nn.Module:
    """Return `network` as it is to be called in training: gradients are averaged over the processes."""
    return network if processes() == 1 else DistributedDataParallel(network)


def summed(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; the gradient flows to all of them."""
    return value if processes() == 1 else _Sum.apply(value)


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of its gradient."""

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
    """Random numbers for this process's share of a batch: the ones that one process alone would draw for it.

    Parameters
    ----------
    generator
        In the same state in all processes.
    count
        Size of the whole batch.
    """

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self._generator, self._count, self._share = generator, count, share(count)

    def normal(self, *shape: int) -> Tensor:
        """Return (m, *shape) numbers of the normal distribution, m the share's size."""
        size = (self._count, *shape)
        return torch.randn(size, generator=self._generator, device=self._generator.device)[self._share]

    def uniform(self, *shape: int) -> Tensor:
        """Return (m, *shape) numbers that are uniform on 0..1."""
        size = (self._count, *shape)
        return torch.rand(size, generator=self._generator, device=self._generator.device)[self._share]


def normalise_together(network: nn.Module) -> None:
    """Let the batch normalisations inside `network` use the shares of all processes; weights and names stay."""
    if processes() == 1:
        return
    if next(network.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d):
            # Both have the same state and differ in the shapes that they accept.
            module.__class__ = _CpuSyncBatchNorm  # type: ignore[assignment]


class _CpuSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What `torch.nn.SyncBatchNorm` computes, which refuses tensors that are not on a GPU."""

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
        count = summed(numbers.new_tensor(numbers.numel() / numbers.shape[1]))
        batch_mean = summed(numbers.sum(dim=axes)) / count
        offsets = numbers - batch_mean.view(view)
        batch_variance = summed(offsets.square().sum(dim=axes)) / count
        with torch.no_grad():
            mean.lerp_(batch_mean, float(self.momentum or 0.1))
            variance.lerp_(batch_variance * count / (count - 1), float(self.momentum or 0.1))
        normal = offsets * (batch_variance + self.eps).rsqrt().view(view)
        return (normal * self.weight.view(view) + self.bias.view(view)).to(values.dtype)
