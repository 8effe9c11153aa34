"""Tilt series for RELION 5, from the files of the program that aligned them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import CryopipeError
from cryopipe.export.options import TomogramRecord
from cryopipe.export.particle_set import FloatArray
from cryopipe.export.unbinned import Frames
from cryopipe.export.writer import ExportContext
from cryopipe.files.aligned_series import TiltSeries, read_tilt_series
from cryopipe.files.star import write_star

logger = logging.getLogger(__name__)

FOLDER = "tilt_series"


def add_tilt_series(
    tomograms: pd.DataFrame, frames: Frames, context: ExportContext, folder: Path
) -> pd.DataFrame:
    """Write a STAR file for every tilt series, and return the table of tomograms with their names.

    Nothing is written unless the alignment of all tilt series is known, since RELION needs a file for every tomogram.

    Parameters
    ----------
    tomograms
        One row per tomogram of `frames`.
    frames
        The unbinned frames.
    context
        Tomograms and options.
    folder
        Folder of the export.
    """
    found: list[TiltSeries] = []
    for name, pixel_size in zip(frames.names, frames.pixel_sizes, strict=True):
        record = context.tomograms[name]
        if record.tilt_series is None or record.tilt_axis != "y":
            reason = (
                "the alignment is unknown" if record.tilt_series is None else f"tilt axis {record.tilt_axis}"
            )
            logger.warning("tomograms.star names no tilt series: %s: %s", name, reason)
            return tomograms
        try:
            found.append(read_tilt_series(record.tilt_series, float(pixel_size)))
        except CryopipeError as error:
            logger.warning("tomograms.star names no tilt series: %s", error)
            return tomograms
    files = [f"{FOLDER}/{name}.star" for name in frames.names]
    for number, (file, series) in enumerate(zip(files, found, strict=True)):
        record = context.tomograms[frames.names[number]]
        offset = _centre_offset(series, record, frames, number)
        write_star(
            folder / file,
            {frames.names[number]: tilt_series_table(series, offset, frames.pixel_sizes[number])},
        )
        unknown = [
            what for what, known in (("dose", series.exposures), ("defocus", series.defocus)) if known is None
        ]
        if unknown:
            logger.warning(
                "%s: the %s of the images is unknown and written as 0", record.name, " and ".join(unknown)
            )
    result = tomograms.assign(rlnTomoTiltSeriesStarFile=pd.Series(files, dtype=str))
    hands = [series.hand or context.options.tilt_hand for series in found]
    return result.assign(rlnTomoHand=np.array(hands, dtype=np.float64))


def tilt_series_table(series: TiltSeries, offset: FloatArray, pixel_size: float) -> pd.DataFrame:
    """Return the table of a tilt series' images.

    Parameters
    ----------
    series
        The tilt series.
    offset
        RELION's centre N / 2 less the centre of the program, x, y, z in pixels.
    pixel_size
        Angstrom.
    """
    rotations = Rotation.from_euler(
        "ZYX", np.stack([series.z_rotations, series.tilts, series.x_tilts], axis=1), degrees=True
    )
    shifts = series.shifts + pixel_size * (rotations.apply(offset)[:, :2] - series.half_pixel)
    exposures = np.zeros(len(series)) if series.exposures is None else series.exposures
    defocus = np.zeros((len(series), 3)) if series.defocus is None else series.defocus
    return pd.DataFrame(
        {
            columns.MICROGRAPH: pd.Series(series.images, dtype=str),
            "rlnTomoNominalStageTiltAngle": series.tilts,
            "rlnMicrographPreExposure": exposures,
            "rlnTomoXTilt": series.x_tilts,
            "rlnTomoYTilt": series.tilts,
            "rlnTomoZRot": series.z_rotations,
            "rlnTomoXShiftAngst": shifts[:, 0],
            "rlnTomoYShiftAngst": shifts[:, 1],
            "rlnDefocusU": defocus[:, 0],
            "rlnDefocusV": defocus[:, 1],
            "rlnDefocusAngle": defocus[:, 2],
            "rlnCtfScalefactor": np.cos(np.radians(series.tilts)),
        }
    )


def _centre_offset(series: TiltSeries, record: TomogramRecord, frames: Frames, number: int) -> FloatArray:
    """Return RELION's centre N / 2 less that of the program, x, y, z in pixels."""
    binned = np.array(record.shape_zyx[::-1], dtype=np.float64) * frames.binnings[number]
    size = binned if record.unbinned_size is None else np.array(record.unbinned_size, dtype=np.float64)
    return frames.sizes[number] / 2 - (size / 2 - series.half_pixel)
