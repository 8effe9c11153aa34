"""Tilt series for RELION 4 and 5, from the files of the program that aligned them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from cryopipe import columns
from cryopipe.errors import CryopipeError, DataError
from cryopipe.export.options import TomogramRecord
from cryopipe.export.particle_set import FloatArray
from cryopipe.export.unbinned import Frames
from cryopipe.export.writer import ExportContext
from cryopipe.files.aligned_series import TiltSeries, read_tilt_series
from cryopipe.files.mrc import read_header
from cryopipe.files.star import write_star

logger = logging.getLogger(__name__)

FOLDER = "tilt_series"
_SAME_PIXEL = 0.02
"""Relative difference; headers state rounded pixel sizes."""
_OPTICS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnCtfScalefactor", "rlnMicrographPreExposure")


def add_tilt_series(
    tomograms: pd.DataFrame, frames: Frames, context: ExportContext, folder: Path
) -> pd.DataFrame:
    """Write a STAR file of RELION 5 for every tilt series, and return the table of tomograms with their names.

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
    found = _known_series(frames, context)
    if not found:
        return tomograms
    files = [f"{FOLDER}/{name}.star" for name in frames.names]
    for file, series, (name, pixel_size, offset) in zip(
        files, found, _places(frames, context, found), strict=True
    ):
        write_star(folder / file, {name: tilt_series_table(series, offset, pixel_size)})
    result = tomograms.assign(rlnTomoTiltSeriesStarFile=pd.Series(files, dtype=str))
    return result.assign(rlnTomoHand=_hands(found, context))


def add_matrices(
    tomograms: pd.DataFrame, frames: Frames, context: ExportContext
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return the table of tomograms with their stacks, and a table of projection matrices for each, for RELION 4.

    The matrices of RELION 4 act on positions counted from 1. The tables are empty unless the alignment of all tilt
    series is known and each uses all images of one stack, because RELION 4 takes the images of a stack in order.

    Parameters
    ----------
    tomograms
        One row per tomogram of `frames`.
    frames
        The unbinned frames.
    context
        Tomograms and options.
    """
    found = [_in_order_of_the_stack(series) for series in _known_series(frames, context)]
    stacks, tables = [], {}
    for number, (series, (name, pixel_size, offset)) in enumerate(
        zip(found, _places(frames, context, found), strict=True)
    ):
        try:
            stack, size = _whole_stack(series, pixel_size)
        except CryopipeError as error:
            logger.warning("tomograms.star contains no tilt series: %s", error)
            return tomograms, {}
        table = tilt_series_table(series, offset, pixel_size)
        matrices = projection_matrices(table, size, frames.sizes[number], pixel_size)
        rows = {f"rlnTomoProj{row}": _texts(matrices[:, place]) for place, row in enumerate("XYZW")}
        tables[name] = pd.DataFrame(rows).join(table[list(_OPTICS)])
        stacks.append(stack)
    if not tables:
        return tomograms, {}
    result = tomograms.assign(
        rlnTomoTiltSeriesName=pd.Series(stacks, dtype=str),
        rlnTomoFrameCount=[len(series) for series in found],
    )
    doses = [_dose_per_image(series) for series in found]
    return result.assign(rlnTomoImportFractionalDose=doses, rlnTomoHand=_hands(found, context)), tables


def projection_matrices(
    table: pd.DataFrame, image_size: tuple[int, int], size: FloatArray, pixel_size: float
) -> FloatArray:
    """Return RELION 4's projection matrices (n, 4, 4), which act on x, y, z counted from 1, in pixels.

    Parameters
    ----------
    table
        The images; see `tilt_series_table`.
    image_size
        x, y in pixels.
    size
        Of the unbinned tomogram, x, y, z in pixels.
    pixel_size
        Angstrom.
    """
    angles = table[["rlnTomoZRot", "rlnTomoYTilt", "rlnTomoXTilt"]].to_numpy(np.float64)
    matrices = np.tile(np.eye(4), (len(table), 1, 1))
    matrices[:, :3, :3] = Rotation.from_euler("ZYX", angles, degrees=True).as_matrix()
    centre = np.asarray(size, dtype=np.float64) / 2 + 1
    matrices[:, :3, 3] = -matrices[:, :3, :3] @ centre
    shifts = table[["rlnTomoXShiftAngst", "rlnTomoYShiftAngst"]].to_numpy(np.float64)
    matrices[:, :2, 3] += np.array(image_size) // 2 + shifts / pixel_size
    return matrices


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


def _known_series(frames: Frames, context: ExportContext) -> list[TiltSeries]:
    """Return the tilt series of all tomograms; none if one is unknown."""
    found: list[TiltSeries] = []
    for name, pixel_size in zip(frames.names, frames.pixel_sizes, strict=True):
        record = context.tomograms[name]
        if record.tilt_series is None:
            logger.info("tomograms.star contains no tilt series: the alignment of %s is unknown", name)
            return []
        if record.tilt_axis != "y":
            axis = record.tilt_axis
            logger.warning("tomograms.star contains no tilt series: %s has the tilt axis %s", name, axis)
            return []
        try:
            series = read_tilt_series(record.tilt_series, float(pixel_size))
        except CryopipeError as error:
            logger.warning("tomograms.star contains no tilt series: %s", error)
            return []
        known = {"dose": series.exposures, "defocus": series.defocus}
        unknown = [what for what, values in known.items() if values is None]
        if unknown:
            what, verb = " and ".join(unknown), "are" if len(unknown) > 1 else "is"
            logger.warning("%s: the %s of the images %s unknown and written as 0", name, what, verb)
        found.append(series)
    return found


def _places(
    frames: Frames, context: ExportContext, found: list[TiltSeries]
) -> list[tuple[str, float, FloatArray]]:
    """Return name, pixel size and offset of the centre, see `_centre_offset`, of every tilt series."""
    return [
        (
            name,
            float(frames.pixel_sizes[number]),
            _centre_offset(series, context.tomograms[name], frames, number),
        )
        for number, (name, series) in enumerate(zip(frames.names, found, strict=False))
    ]


def _hands(found: list[TiltSeries], context: ExportContext) -> FloatArray:
    return np.array([series.hand or context.options.tilt_hand for series in found], dtype=np.float64)


def _in_order_of_the_stack(series: TiltSeries) -> TiltSeries:
    """Return a tilt series with the images of its program's stack, if it has one besides single images."""
    if series.stacked is None:
        return series
    rows = np.argsort(series.stacked)
    arrays: dict[str, Any] = {
        name: value[rows] for name, value in vars(series).items() if isinstance(value, np.ndarray)
    }
    return replace(series, images=[series.stacked[row] for row in rows], stacked=None, **arrays)


def _whole_stack(series: TiltSeries, pixel_size: float) -> tuple[str, tuple[int, int]]:
    """Return the stack of a tilt series and the size x, y of its images.

    Raises
    ------
    FileError, DataError
        If the images are not those of one stack, all, in order and of this pixel size, or the stack cannot be read.
    """
    numbers, stacks = zip(*(name.rpartition("@")[::2] for name in series.images), strict=True)
    if not all(numbers):
        raise DataError(
            "is a single image, and RELION 4 needs a stack",
            file=stacks[0],
            remedy="make one with WarpTools ts_stack at the full pixel size, or export to relion5",
        )
    header = read_header(stacks[0])
    if header.voxel_size is not None and abs(header.voxel_size / pixel_size - 1) > _SAME_PIXEL:
        raise DataError(
            f"has pixels of {header.voxel_size:g} A, not {pixel_size:g} A as the tilt series",
            file=stacks[0],
            remedy="make the stack at the full pixel size, or export to relion5",
        )
    if len(set(stacks)) > 1 or [int(number or 0) for number in numbers] != list(
        range(1, header.shape_zyx[0] + 1)
    ):
        raise DataError(
            f"{len(series)} images are used, not all {header.shape_zyx[0]} of the stack",
            file=stacks[0],
            remedy="export to relion5, which takes images one by one",
        )
    return stacks[0], (header.shape_zyx[2], header.shape_zyx[1])


def _dose_per_image(series: TiltSeries) -> float:
    """Return the median step between the doses of consecutive images."""
    steps = np.diff(np.unique(series.exposures)) if series.exposures is not None else np.zeros(0)
    return float(np.median(steps)) if len(steps) else 0.0


def _texts(rows: FloatArray) -> list[str]:
    return ["[" + ",".join(f"{value:.10g}" for value in row) + "]" for row in rows]


def _centre_offset(series: TiltSeries, record: TomogramRecord, frames: Frames, number: int) -> FloatArray:
    """Return RELION's centre N / 2 less that of the program, x, y, z in pixels."""
    binned = np.array(record.shape_zyx[::-1], dtype=np.float64) * frames.binnings[number]
    size = binned if record.unbinned_size is None else np.array(record.unbinned_size, dtype=np.float64)
    return frames.sizes[number] / 2 - (size / 2 - series.half_pixel)
