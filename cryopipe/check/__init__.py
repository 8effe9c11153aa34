"""Checks of tomograms, masks and options against the data, before a run.

All problems of a tomogram are reported together. `check_volume` and `check_mask` check arrays; `check_tomogram`
checks the files of one row of the tomogram table and never writes to them. A tomogram is read once, in slabs.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from cryopipe.check.finding import Finding
from cryopipe.check.option_checks import check_options
from cryopipe.check.usability import is_usable, open_if_usable, usable_tomograms
from cryopipe.check.volume_checks import check_mask, check_volume
from cryopipe.errors import ConfigError, DataError, FileError, one_line, size_text
from cryopipe.files.chimerax import quoted
from cryopipe.files.mrc import MrcHeader, open_mask, open_volume, read_header
from cryopipe.files.names import relative_name
from cryopipe.provenance import future_time
from cryopipe.tomograms import Tomogram
from cryopipe.volume_names import read_volume_name

__all__ = [
    "Finding",
    "TomogramCheck",
    "check_header",
    "check_mask",
    "check_options",
    "check_tomogram",
    "check_volume",
    "checks_table",
    "is_usable",
    "open_if_usable",
    "report_findings",
    "usable_tomograms",
]

logger = logging.getLogger(__name__)

COLUMNS = ("tomogram", "path", "shape", "voxel_size", "status", "problem", "remedy")
SMALLEST_SIDE = 16
"""Voxels; no particle fits into a shorter edge."""


@dataclass(frozen=True)
class TomogramCheck:
    """Result of the check of one tomogram.

    Attributes
    ----------
    tomogram
        The row of the tomogram table.
    header
        None if the file could not be read.
    voxel_size
        Angstrom; from the table, else from the header, else None.
    findings
        In the order of the checks; empty if there is no problem.
    """

    tomogram: Tomogram
    header: MrcHeader | None
    voxel_size: float | None
    findings: tuple[Finding, ...]

    @property
    def status(self) -> str:
        """The most severe status of the findings: "ok" (none, or only notes), "warning" or "bad"."""
        found = {finding.status for finding in self.findings}
        return "bad" if "bad" in found else "warning" if "warning" in found else "ok"

    @property
    def bad(self) -> str:
        """All findings that make the tomogram unusable, on one line."""
        return " | ".join(str(finding) for finding in self.findings if finding.status == "bad")

    def of_options(self, config: Mapping[str, Any]) -> list[Finding]:
        """Check the options of a complete configuration against this tomogram; empty if it has no voxel size."""
        if self.header is None or self.voxel_size is None:
            return []
        return check_options(config, self.header.shape_zyx, self.voxel_size)


def check_tomogram(
    tomogram: Tomogram, twins: Sequence[str] = (), siblings: Sequence[str] = ()
) -> TomogramCheck:
    """Check one tomogram: its file, header, voxels, contrast and mask.

    Parameters
    ----------
    tomogram
        A row of the tomogram table; paths are relative to the working directory.
    twins
        Names of other rows of the table with the same file; see `cryopipe.tomograms.find_same_files`.
    siblings
        Names of other rows with volumes of the same tilt series; see `cryopipe.tomograms.find_same_series`.
    """
    findings = []
    if twins:
        problem = f"is the same file as tomogram {', '.join(twins)}: its particles would be counted twice"
        findings.append(Finding("bad", problem, "delete one of these rows from the tomogram table"))
    if siblings:
        mark = read_volume_name(tomogram.path).mark
        named = f" ({mark} in its name)" if mark else ""
        others = ", ".join(siblings)
        problem = f"is from the same tilt series as tomogram {others}{named}: its particles are counted twice"
        findings.append(
            Finding("warning", problem, "keep one volume of each tilt series in the tomogram table")
        )
    findings += _check_path(tomogram.path)
    findings += _check_times(tomogram)
    try:
        header = read_header(tomogram.path)
    except FileError as error:
        findings.append(Finding("bad", error.problem, error.remedy or ""))
        return TomogramCheck(tomogram, None, tomogram.voxel_size, tuple(findings))
    findings += check_header(header, tomogram.voxel_size)
    voxel_size = tomogram.voxel_size or header.voxel_size
    volume = open_volume(tomogram.path)
    findings += check_volume(volume, tomogram.contrast, voxel_size, tomogram.name)
    if tomogram.mask is not None:
        findings += _check_mask_file(tomogram.mask, header.shape_zyx)
    return TomogramCheck(tomogram, header, voxel_size, tuple(findings))


def _check_times(tomogram: Tomogram) -> list[Finding]:
    """Name files whose time of change lies in the future; the workflow then goes by table and size alone."""
    findings = []
    for name, path in (("its", tomogram.path), ("its mask's", tomogram.mask)):
        ahead = future_time(path) if path else None
        if ahead is not None:
            problem = f"{name} time of change, {ahead:%Y-%m-%d %H:%M:%S}, lies in the future"
            findings.append(
                Finding(
                    "warning",
                    problem,
                    f"run `touch {shlex.quote(str(path))}`, or correct this computer's clock",
                )
            )
    return findings


def _check_path(path: str) -> list[Finding]:
    """Check that the ChimeraX script of the re-embedded averages, written at the end of a run, can name the file."""
    try:
        quoted(relative_name(path, "."))
    except DataError as error:
        return [Finding("bad", error.problem, error.remedy or "")]
    return []


def check_header(header: MrcHeader, voxel_size: float | None) -> list[Finding]:
    """Check a header against `voxel_size`, angstrom, of the tomogram table (None if blank)."""
    findings = [Finding("warning", problem, remedy) for problem, remedy in header.remarks]
    if header.stack:
        remedy = "use a reconstructed volume; if it is one, correct its header, for example with mrcfile's set_volume()"
        findings.append(Finding("bad", f"is {header.stack}, not a volume, according to its header", remedy))
    if voxel_size is None and header.voxel_size is None:
        remedy = "enter the voxel size, in angstrom, in the column voxel_size of the tomogram table"
        findings.append(Finding("bad", header.voxel_size_problem, remedy))
    elif voxel_size and header.voxel_size and not 0.99 < voxel_size / header.voxel_size < 1.01:
        problem = f"the voxel size is {voxel_size:g} A in the tomogram table but {header.voxel_size:g} A in the header"
        findings.append(
            Finding("warning", problem, "the value of the table is used; correct it or leave it blank")
        )
    if sorted(header.axes) == [1, 2, 3] and header.axes != (1, 2, 3):
        order = ", ".join("xyz"[axis - 1] for axis in header.axes)
        problem = f"the header maps columns, rows and sections to {order}; cryopipe reads them as x, y, z"
        findings.append(Finding("warning", problem, "transpose the volume if its axes are wrong"))
    z, y, x = header.shape_zyx
    if min(z, y, x) < SMALLEST_SIDE:
        problem = f"has only {x} x {y} x {z} voxels (x, y, z): no particle fits into it"
        findings.append(Finding("bad", problem, "use a reconstructed volume, not an image"))
    elif 1.5 * y < min(z, x):
        problem = f"has {x} x {y} x {z} voxels (x, y, z): the thinnest axis is y, not z, as in output of IMOD's tilt"
        findings.append(Finding("warning", problem, "if so, rotate it with IMOD: trimvol -rx IN OUT"))
    return findings


def _check_mask_file(path: str, shape_zyx: tuple[int, ...]) -> list[Finding]:
    try:
        findings = check_mask(open_mask(path), shape_zyx)
    except FileError as error:
        findings = [Finding("bad", error.problem, error.remedy or "")]
    return [replace(finding, problem=f"mask {one_line(path)}: {finding.problem}") for finding in findings]


def checks_table(checks: Iterable[TomogramCheck]) -> pd.DataFrame:
    """Return a table with one row per finding, or one row "ok" for a tomogram without findings."""
    rows = []
    for check in checks:
        tomogram = check.tomogram
        shape = "" if check.header is None else size_text(check.header.shape_zyx[::-1])
        about = (tomogram.name, one_line(tomogram.path), shape, check.voxel_size)
        rows += [
            (*about, finding.status, one_line(finding.problem), one_line(finding.remedy))
            for finding in check.findings
        ] or [(*about, "ok", "", "")]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def report_findings(check: TomogramCheck, config: Mapping[str, Any]) -> None:
    """Log the findings about a tomogram and about the options for it; raise an error if the run has to stop.

    Parameters
    ----------
    check
        Check of the tomogram.
    config
        The complete configuration.

    Raises
    ------
    ConfigError
        If an option cannot be used for the tomogram.
    DataError
        If the tomogram cannot be used and `bad_tomograms` is "stop".
    """
    name, of_options = check.tomogram.name, check.of_options(config)
    for finding in (*check.findings, *of_options):
        logger.warning("%s: %s: %s", name, finding.status, finding)
    for finding in of_options:
        if finding.status == "bad":
            raise ConfigError(f"tomogram {name}: {finding}")
    if check.bad and config["bad_tomograms"] == "stop":
        raise DataError(f"tomogram {name}: {check.bad}", file=check.tomogram.path)
