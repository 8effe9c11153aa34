"""Options of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ReportOptions(Options):
    """HTML report of the results."""

    SECTION: ClassVar[str] = "report"

    embedding: str = option(
        "auto",
        "Method for the two-dimensional plot of features; auto uses t-SNE for up to 20000 particles and principal "
        "components for more; umap requires the package umap-learn.",
        choices=["auto", "tsne", "umap", "pca"],
    )
    tomogram_pictures: int = option(
        100,
        "Largest number of tomograms shown with pictures; the table lists all. With more, each has fewer sections.",
        minimum=0,
        maximum=1000,
    )
