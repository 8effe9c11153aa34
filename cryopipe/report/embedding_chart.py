"""Features of many dimensions laid out in a plane."""

from __future__ import annotations

import logging

import numpy as np

from cryopipe.errors import ConfigError

TSNE_LIMIT = 20_000
"""Particles up to which t-SNE takes a minute or less on two cores."""
SMALLEST = 12
"""Below this many particles neighbourhoods mean nothing and principal components are drawn."""
_COMPONENTS = 50
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}


def embed_in_plane(features: np.ndarray, method: str, seed: int) -> tuple[np.ndarray, str]:
    """Lay out features in two dimensions; the same seed gives the same picture.

    Parameters
    ----------
    features
        (n, d).
    method
        "tsne", "umap", "pca", or "auto".
    seed
        Of the methods that draw random numbers.

    Returns
    -------
    (n, 2), centred and scaled to unit spread, and the name of the method that was used in the end.
    """
    features = np.asarray(features, np.float64)
    if method == "auto":
        method = "tsne" if len(features) <= TSNE_LIMIT else "pca"
    if len(features) < SMALLEST:
        method = "pca"
    components = _principal_components(features)
    if method == "tsne":
        plane = _tsne(components, seed)
    elif method == "umap":
        plane = _umap(components, seed)
    else:
        plane = components[:, :2]
    plane = plane - plane.mean(axis=0) if len(plane) else plane
    spread = plane.std() if len(plane) else 0.0
    return plane / spread if spread > 0 else plane, NAMES[method]


def _principal_components(features: np.ndarray) -> np.ndarray:
    """Return (n, 2 or more) scores; directions of a fixed sign, so that the picture does not flip."""
    centred = features - features.mean(axis=0) if len(features) else features
    if min(centred.shape) == 0:
        return np.zeros((len(features), 2))
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :_COMPONENTS]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    scores = centred @ axes
    return scores if scores.shape[1] > 1 else np.pad(scores, ((0, 0), (0, 1)))


def _tsne(components: np.ndarray, seed: int) -> np.ndarray:
    from openTSNE import TSNE

    logging.getLogger("openTSNE").setLevel(logging.WARNING)
    perplexity = min(30.0, (len(components) - 1) / 3)
    layout = TSNE(perplexity=perplexity, random_state=seed, n_jobs=1, negative_gradient_method="auto")
    return np.asarray(layout.fit(components))


def _umap(components: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ModuleNotFoundError as error:
        raise ConfigError(
            "report.embedding is umap, which is not installed",
            remedy="install umap-learn (the extra `umap`; under conda, a line of envs/report.yaml), or set `report.embedding` to tsne or pca",
        ) from error

    neighbours = min(15, len(components) - 1)
    return np.asarray(UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(components))
