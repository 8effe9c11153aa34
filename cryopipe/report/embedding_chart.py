"""Embedding of features in two dimensions for the scatter plot."""

from __future__ import annotations

import logging

import numpy as np
from sklearn.neighbors import NearestNeighbors

from cryopipe.errors import ConfigError

TSNE_LIMIT = 20_000
"""Largest number of particles for t-SNE with `auto`; it takes a minute or less on two cores."""
SMALLEST = 12
"""With fewer particles than this, principal components are used."""
_COMPONENTS = 50
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}


def particle_plane(features: np.ndarray, count: int, method: str, seed: int) -> tuple[np.ndarray, str]:
    """Embed the features of a run's particles.

    t-SNE and UMAP embed at most `TSNE_LIMIT` particles, chosen at random; the others are placed at the mean of their
    nearest three.

    Parameters
    ----------
    features
        (n, d); NaN for particles without features. Empty if there are no features.
    count
        n.
    method, seed
        As in `embed_in_plane`.

    Returns
    -------
    (n, 2), NaN for particles without features, and the name of the method.
    """
    plane = np.full((count, 2), np.nan)
    usable = np.flatnonzero(np.isfinite(features).all(axis=1)) if len(features) else np.zeros(0, int)
    if len(usable) <= TSNE_LIMIT or method in ("auto", "pca"):
        plane[usable], name = embed_in_plane(features[usable], method, seed)
        return plane, name
    chosen = np.zeros(len(usable), bool)
    chosen[np.random.default_rng(seed).choice(len(usable), TSNE_LIMIT, replace=False)] = True
    first, others = usable[chosen], usable[~chosen]
    plane[first], name = embed_in_plane(features[first], method, seed)
    neighbours = NearestNeighbors(n_neighbors=3).fit(features[first])
    plane[others] = plane[first][neighbours.kneighbors(features[others], return_distance=False)].mean(axis=1)
    return plane, f"{name} of {TSNE_LIMIT:,} particles, the others placed beside those with similar features"


def embed_in_plane(features: np.ndarray, method: str, seed: int) -> tuple[np.ndarray, str]:
    """Embed features in two dimensions; the same seed gives the same result.

    Parameters
    ----------
    features
        (n, d).
    method
        "tsne", "umap", "pca", or "auto".
    seed
        Random seed.

    Returns
    -------
    (n, 2), centred, with a standard deviation of 1, and the name of the method that was used.
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
    deviation = plane.std() if len(plane) else 0.0
    return plane / deviation if deviation > 0 else plane, NAMES[method]


def _principal_components(features: np.ndarray) -> np.ndarray:
    """Return (n, 2 or more) scores; the signs of the axes are fixed, so that the plot is reproducible."""
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
