"""Options of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cryopipe.config.option import Options, option


@dataclass(frozen=True)
class ReportOptions(Options):
    """The page that shows the results."""

    SECTION: ClassVar[str] = "report"

    embedding: str = option(
        "auto",
        "How features become a picture; auto takes t-SNE up to 20000 particles and principal components beyond;"
        " umap wants the package umap-learn.",
        choices=["auto", "tsne", "umap", "pca"],
    )
    tomogram_pictures: int = option(
        24,
        "Largest number of tomograms that are shown as a picture; the table lists all.",
        minimum=0,
        maximum=1000,
    )
