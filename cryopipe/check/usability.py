"""Selection of the tomograms that passed their check."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pandas as pd

from cryopipe.files.opening import OpenTomogram, open_tomogram
from cryopipe.tomograms import Tomogram

logger = logging.getLogger(__name__)


def is_usable(checks: pd.DataFrame) -> bool:
    """Return whether a tomogram can be used, by its table of `cryopipe.check.checks_table`."""
    return not bool((checks["status"] == "bad").any())


def usable_tomograms(tomograms: Iterable[Tomogram], checks: Iterable[pd.DataFrame]) -> list[Tomogram]:
    """Return the tomograms that can be used.

    Parameters
    ----------
    tomograms
        Rows of the tomogram table.
    checks
        The table of checks of each, in the same order.
    """
    return [tomogram for tomogram, check in zip(tomograms, checks, strict=True) if is_usable(check)]


def open_if_usable(tomogram: Tomogram, checks: pd.DataFrame) -> OpenTomogram | None:
    """Open a tomogram; return None and log a warning if its check found that it cannot be used.

    Parameters
    ----------
    tomogram
        A row of the tomogram table.
    checks
        Its table of checks.

    Raises
    ------
    FileError, DataError
        As `cryopipe.files.opening.open_tomogram`, for a file that changed since its check.
    """
    if is_usable(checks):
        return open_tomogram(tomogram)
    logger.warning("tomogram %s failed its check and is skipped: its results are empty", tomogram.name)
    return None
