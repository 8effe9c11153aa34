"""Gaussian filters for blocks with unknown voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor

_TRUNCATE = 4.0
_LEAST_WEIGHT = 1e-30
"""Smallest divisor, for regions without any known voxel, where the dividend is 0."""
_CACHED = 2**17
"""Values per filtered slab; slab and input take one or two megabytes, which fit into the cache."""


@dataclass(frozen=True)
class Block:
    """Values (z, y, x), 0 at unknown voxels, and the factors of their weights.

    There are three factors, (z, 1, 1), (1, y, 1) and (1, 1, x), or a single one (z, y, x). The weights of smoothed
    values are smoothed in the same way.
    """

    values: Tensor
    weights: list[Tensor]


def difference(block: Block, kernel: list[float], step: int = 1) -> Tensor:
    """Return the smoothed values minus the same values smoothed further; smaller by the kernel's radius on every side.

    Parameters
    ----------
    block
        Values and weights after the narrow Gaussian.
    kernel
        Weights of the Gaussian that widens it to the wide one, from its centre outwards.
    step
        Only every `step`-th point along each axis is computed.

    Returns
    -------
    The response; unknown values are replaced by the mean of the known values under the wide Gaussian.
    """
    radius = len(kernel) - 1
    wide = filtered(block.values, kernel, step)
    for factor in block.weights:
        far = filtered(factor, kernel, step)
        wide.mul_(_inner(factor, radius, step).div(far.clamp_(min=_LEAST_WEIGHT)))
    return torch.sub(_inner(block.values, radius, step), wide, out=wide)


def _inner(block: Tensor, margin: int, step: int) -> Tensor:
    """Return every `step`-th value inside a margin along the axes longer than 1."""
    return block[tuple(slice(margin, n - margin, step) if n > 1 else slice(None) for n in block.shape)]


def filtered(block: Tensor, kernel: list[float], step: int = 1) -> Tensor:
    """Convolve with a kernel along every axis and keep every `step`-th value.

    Axes of length 1, as in the factors of weights, are skipped.
    """
    for axis in range(3):
        if block.shape[axis] > 1:
            block = _convolve(block, kernel, axis, step)
    return block


def _convolve(block: Tensor, kernel: list[float], axis: int, step: int = 1) -> Tensor:
    """Convolve along one axis with a symmetric kernel, given from its centre outwards; keep every `step`-th value."""
    radius = len(kernel) - 1
    shape = list(block.shape)
    shape[axis] = count = (block.shape[axis] - 2 * radius - 1) // step + 1
    result = block.new_empty(shape)
    # Slabs along another axis that fit into the processor's cache, because memory access limits the speed.
    other = 1 if axis == 0 else 0
    slab = shape[other] if block.is_cuda else max(1, _CACHED * shape[other] // result.numel())
    for start in range(0, shape[other], slab):
        source = block.narrow(other, start, min(slab, shape[other] - start))
        target = result.narrow(other, start, source.shape[other])

        def shifted(by: int, source: Tensor = source) -> Tensor:
            index: list[slice] = [slice(None)] * 3
            index[axis] = slice(radius + by, radius + by + (count - 1) * step + 1, step)
            return source[tuple(index)]

        torch.mul(shifted(0), kernel[0], out=target)
        pair = torch.empty_like(target)
        for k in range(1, radius + 1):
            torch.add(shifted(-k), shifted(k), out=pair)
            target.add_(pair.mul_(kernel[k]))
    return result


def gaussian(sigma: float) -> list[float]:
    """Return the weights of a Gaussian from its centre outwards, normalised to a sum of 1 over both sides."""
    if sigma == 0:
        return [1.0]
    weights = np.exp(-0.5 * (np.arange(radius_of(sigma) + 1) / sigma) ** 2)
    return list(map(float, weights / (2 * weights.sum() - weights[0])))


def discrete_gaussian(sigma: float) -> list[float]:
    """Return the weights of the discrete analogue of a Gaussian from its centre outwards.

    Its variance is exact even below one step, where samples of a Gaussian have too small a variance.
    """
    weights = ive(np.arange(radius_of(sigma) + 1), sigma**2)
    return list(map(float, weights / (2 * weights.sum() - weights[0])))


def radius_of(sigma: float) -> int:
    """Return the radius of a Gaussian's kernel, same unit."""
    return int(_TRUNCATE * sigma + 0.5)
