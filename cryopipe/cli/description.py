"""Descriptions of tomogram files as rows of the table, from headers and the files of their tilt series."""

from __future__ import annotations

from pathlib import Path

from cryopipe.cli.rows import Row
from cryopipe.errors import CryopipeError, size_text
from cryopipe.files.metadata import find_tilt_file, tilt_angles
from cryopipe.files.mrc import MrcHeader, read_header
from cryopipe.files.projects import Series
from cryopipe.files.projects.mdoc import find_mdoc, with_mdoc
from cryopipe.volume_names import read_volume_name, shorter_stems


def describe(path: Path, voxel_size: float | None) -> Row:
    """Return a tomogram's row from its header and the tilt file in its folder."""
    series = Series(read_volume_name(path).series, volume=path)
    source = find_tilt_file(path)
    if source is not None:
        series = series.with_tilts(source)
    mdoc = next(filter(None, (find_mdoc(stem, [path.parent]) for stem in shorter_stems(path))), None)
    return of_series(with_mdoc(series, mdoc), voxel_size)


def of_series(series: Series, voxel_size: float | None) -> Row:
    """Return the row of a tilt series with a tomogram.

    Parameters
    ----------
    series
        With a volume.
    voxel_size
        Angstrom, if neither the header nor the project states it.
    """
    path = Path(str(series.volume)).absolute()
    try:
        header = read_header(path)
    except CryopipeError as error:
        return Row(path, series, unusable=str(error))
    remarks = list(series.remarks)
    size = ""
    stated = series.voxel_size or voxel_size
    if header.voxel_size is None and stated is not None:
        size = f"{stated:g}"
    elif header.voxel_size is None:
        remarks.append(f"{header.voxel_size_problem}; write it into the column voxel_size")
    elif series.voxel_size and not 0.99 < series.voxel_size / header.voxel_size < 1.01:
        remarks.append(
            f"the header states {header.voxel_size:g} A, {series.sources['voxel_size']} {series.voxel_size:g} A; "
            "the header is used"
        )
    remarks += _doubts(series, header, header.voxel_size or stated)
    return Row(path, series, voxel_size=size, remarks=tuple(remarks), header_voxel_size=header.voxel_size)


def _doubts(series: Series, header: MrcHeader, voxel_size: float | None) -> list[str]:
    """Return doubts about the volume: a stack of images, or another size than the project states."""
    doubts = []
    angles = series.sources.get("tilt_range")
    listed = angles is not None and angles.suffix not in (".star", ".json")
    if angles is not None and listed and header.shape_zyx[0] == tilt_angles(angles).size:
        doubts.append(f"has as many sections as {angles} has tilts; is it the tilt series itself?")
    pixel, size = series.tilt_series_pixel_size, series.unbinned_size
    if pixel and size and voxel_size:
        expected = [number * pixel / voxel_size for number in size]
        shape = header.shape_zyx[::-1]
        if any(abs(number - count) >= 1.5 for number, count in zip(expected, shape, strict=True)):
            doubts.append(
                f"has {size_text(shape)} voxels, but {series.sources['unbinned_size']} states the size of "
                f"{size_text([round(number, 1) for number in expected], '.10g')} voxels of {voxel_size:g} A"
            )
    return doubts
