"""Readers of the projects of other programs: names, volumes and tilt series of their tomograms."""

from __future__ import annotations

from pathlib import Path

from cryopipe.errors import FileError, reading_fault
from cryopipe.files.projects.aretomo_project import read_aretomo
from cryopipe.files.projects.copick_project import read_zarr
from cryopipe.files.projects.imod_project import read_imod
from cryopipe.files.projects.portal_project import read_portal
from cryopipe.files.projects.relion_project import read_relion
from cryopipe.files.projects.series import Project, Series
from cryopipe.files.projects.warp_project import read_warp

__all__ = ["Project", "Series", "read_project"]

READERS = (read_relion, read_warp, read_imod, read_aretomo, read_portal, read_zarr)
"""Readers in the order in which they are tried; each returns None for what is not of its program."""


def read_project(source: Path, denoised: bool = False) -> Project | None:
    """Read the project of another program; return None if the file or folder is of none.

    Parameters
    ----------
    source
        A file or folder of a project of RELION 4 or 5, Warp, IMOD (etomo), AreTomo, Copick or the CryoET Data Portal, or
        OME-Zarr volumes.
    denoised
        Whether denoised tomograms are preferred to others.

    Raises
    ------
    FileError, DataError
        If a file of the project cannot be read.
    """
    try:
        found = (reader(source, denoised) for reader in READERS)
        return next((project for project in found if project is not None), None)
    except OSError as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=error.filename or source, remedy=remedy) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise FileError(
            f"contains a file that is damaged or of an unknown version ({type(error).__name__}: {str(error)[:200]})",
            file=source,
            remedy="give the unchanged project, or the MRC files with --all, which reads no project",
        ) from error
