"""The context of an export, from the rows of the tomogram table and the sections of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cryopipe.config import ImagingOptions
from cryopipe.export.options import ExportOptions, TomogramRecord
from cryopipe.export.writer import ExportContext
from cryopipe.files.cluster_averages import ClusterAverage
from cryopipe.files.opening import open_tomogram
from cryopipe.tomograms import Tomogram


def tomogram_record(tomogram: Tomogram) -> TomogramRecord:
    """Return what the writers need of a tomogram; opens its file.

    Raises
    ------
    FileError
        If the file is missing, truncated or not an MRC.
    DataError
        If its voxel size is not known.
    """
    opened = open_tomogram(tomogram)
    z, y, x = opened.volume.shape
    return TomogramRecord(
        tomogram.name,
        tomogram.path,
        (z, y, x),
        opened.voxel_size,
        tomogram.tilt_range,
        tomogram.contrast,
        tomogram.exported_name,
        tomogram.tilt_axis,
        tomogram.tilt_series,
        tomogram.tilt_series_pixel_size,
        tomogram.unbinned_size,
    )


def export_context(
    tomograms: Iterable[Tomogram],
    averages: Mapping[int, ClusterAverage],
    sections: Mapping[str, Any],
    formats: list[str] | None = None,
) -> ExportContext:
    """Return the context of an export.

    Parameters
    ----------
    tomograms
        Rows of the tomogram table; those that failed their check are left out.
    averages
        By cluster number.
    sections
        Sections `imaging`, `subtomograms` and `export` of the configuration, and the `seed`; all may be missing.
    formats
        The formats to write; None takes those of the section `export`.

    Raises
    ------
    FileError, DataError
        As `tomogram_record`.
    """
    boxes = sections.get("subtomograms", {"box_size": 0, "voxel_size": 0})
    options = dict(sections.get("export", {}))
    if formats is not None:
        options["formats"] = formats
    return ExportContext(
        {tomogram.name: tomogram_record(tomogram) for tomogram in tomograms},
        ImagingOptions(**sections.get("imaging", {})),
        ExportOptions(**options),
        boxes["box_size"] * boxes["voxel_size"],
        sections.get("seed", 0),
        averages,
    )
