"""The options of the report, as config.yaml names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportOptions:
    """Section `report` of the configuration.

    Attributes
    ----------
    embedding
        "tsne", "umap", "pca", or "auto": t-SNE for moderate numbers of particles, else principal components.
    tomogram_pictures
        Largest number of tomograms that are shown as a picture.
    """

    embedding: str = "auto"
    tomogram_pictures: int = 24
