"""Readers of the projects of other programs: names, volumes and tilt series of their tomograms."""

from __future__ import annotations

from pathlib import Path

from cryopipe.files.projects.aretomo_project import read_aretomo
from cryopipe.files.projects.copick_project import read_zarr
from cryopipe.files.projects.imod_project import read_imod
from cryopipe.files.projects.relion_project import read_relion
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.warp_project import read_warp

__all__ = ["Project", "Series", "read_project"]

READERS = (read_relion, read_warp, read_imod, read_aretomo, read_zarr)
"""Readers in the order in which they are tried; each returns None for what is not of its program."""


def read_project(source: Path, denoised: bool = False) -> Project | None:
    """Read the project of another program; return None if the file or folder is of none.

    Parameters
    ----------
    source
        A file or folder of a project of RELION 4 or 5, Warp, IMOD (etomo), AreTomo or Copick, or OME-Zarr volumes.
    denoised
        Whether denoised tomograms are preferred to others.

    Raises
    ------
    FileError, DataError
        If a file of the project cannot be read.
    """
    found = (reader(source, denoised) for reader in READERS)
    return next((project for project in found if project is not None), None)
