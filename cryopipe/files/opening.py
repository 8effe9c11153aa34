"""Opening of a tomogram of the table: volume, voxel size and mask."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cryopipe.errors import DataError
from cryopipe.files.mrc import open_mask, open_volume, read_header
from cryopipe.tomograms import Tomogram


@dataclass(frozen=True)
class OpenTomogram:
    """Volume, voxel size and mask of a tomogram.

    Attributes
    ----------
    volume
        (z, y, x), a read-only memory map of the stored type.
    voxel_size
        Angstrom.
    mask
        (z, y, x) like the volume, or None.
    """

    volume: NDArray[Any]
    voxel_size: float
    mask: NDArray[Any] | None


def open_tomogram(tomogram: Tomogram) -> OpenTomogram:
    """Open a tomogram; a voxel size in the table overrides that of the header.

    Raises
    ------
    FileError
        If a file is missing, truncated or not an MRC file.
    DataError
        If neither the table nor the header state the voxel size, or the mask has another shape.
    """
    header = read_header(tomogram.path)
    voxel_size = tomogram.voxel_size or header.voxel_size
    if voxel_size is None:
        raise DataError(
            header.voxel_size_problem,
            file=tomogram.path,
            remedy="write it, in angstrom, to the column voxel_size of the tomogram table",
        )
    mask = None if tomogram.mask is None else open_mask(tomogram.mask)
    if mask is not None and mask.shape != header.shape_zyx:
        raise DataError(
            f"mask of shape {mask.shape} (z, y, x) for a tomogram of shape {header.shape_zyx}",
            file=tomogram.mask,
            remedy="give a mask of the tomogram's shape",
        )
    return OpenTomogram(open_volume(tomogram.path), voxel_size, mask)


def release_pages(volume: NDArray[Any]) -> None:
    """Release the pages of a memory map from the process's memory; the system's file cache is not changed.

    Pages that were read count as the process's memory until they are released. An array that is not a memory map is
    not changed.
    """
    pages = getattr(volume, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
