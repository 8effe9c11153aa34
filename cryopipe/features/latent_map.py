"""Places in a latent space: centres of classes, the nearest centre of unseen boxes, paths between centres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def class_centres(latents: FloatArray, labels: NDArray[np.int64]) -> FloatArray:
    """Return the mean latent code (k, d) of each class 0..k-1 in `labels` (n,); codes (n, d) of class -1 are ignored."""
    count = int(labels.max(initial=-1)) + 1
    return np.stack([latents[labels == number].mean(axis=0) for number in range(count)])


def nearest_centre(latents: FloatArray, centres: FloatArray) -> NDArray[np.int64]:
    """Return the class (n,) whose centre (k, d) is nearest to each latent code (n, d)."""
    square = np.square(latents[:, None] - centres[None]).sum(axis=2)
    return np.asarray(square.argmin(axis=1), np.int64)


def cosines(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the cosines (n, m) of latent codes (n, d) and (m, d), the similarities that affinity-VAE trains."""
    unit = [
        codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12) for codes in (first, second)
    ]
    return np.asarray(unit[0] @ unit[1].T, np.float32)


def interpolated(start: FloatArray, end: FloatArray, steps: int) -> FloatArray:
    """Return `steps` latent codes (steps, d) at equal distances from `start` (d,) to `end` (d,), both included."""
    weights = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    return (1 - weights) * start + weights * end
