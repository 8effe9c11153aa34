"""The command `cryopipe check`: check of the configuration, the tomogram table and the tomograms."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe.check import TomogramCheck, check_tomogram
from cryopipe.config import check_named_files, read_config
from cryopipe.curation.curation_files import read_curation
from cryopipe.errors import one_line, size_text
from cryopipe.estimate import describe_run
from cryopipe.particle_labels import check_labels
from cryopipe.tomograms import find_same_files, find_same_series, read_tomogram_table

THREADS = 4
"""Largest number of tomograms checked at the same time; each takes about 600 MB, and more are limited by the disk."""
HEADER = ("tomogram", "voxels (x, y, z)", "voxel size", "tilts", "contrast", "status")


def check(
    config: Annotated[Path, typer.Option(help="The dataset's configuration.")] = Path("config/config.yaml"),
) -> None:
    """Check the configuration, the tomogram table and all tomograms; exit with status 1 if one cannot be used.

    Run this command in the dataset's directory. No file is written.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = read_config(config)
    low, high = options["imaging"]["tilt_range"]
    tomograms = read_tomogram_table(options["tomograms"], (low, high), options["imaging"]["contrast"])
    check_named_files(options, tomograms, config)
    twins, siblings = find_same_files(tomograms), find_same_series(tomograms)
    others = ([found[name] for name in tomograms] for found in (twins, siblings))
    with ThreadPoolExecutor(min(THREADS, len(os.sched_getaffinity(0)))) as threads:
        checks = list(threads.map(check_tomogram, tomograms.values(), *others))
    lines, usable = render_options(options, checks)
    labels = options["features"]["labels"]
    if labels is not None:
        classes = check_labels(labels, tomograms, Path("results/subtomograms"))
        counts = [f"{row['examples']} {row['class']}" for row in classes.to_dict("records")]
        lines.append(f"labelled particles: {', '.join(counts)}")
    if options["curation"] is not None:
        lines.append(
            f"decisions: {len(read_curation(options['curation']).decisions)} in {options['curation']}"
        )
    typer.echo(render_checks(checks, lines))
    if not usable or any(result.status == "bad" for result in checks):
        raise typer.Exit(1)


def render_options(options: Mapping[str, Any], checks: Sequence[TomogramCheck]) -> tuple[list[str], bool]:
    """Return the assumptions, the estimate and the findings about the options, and whether the options can be used.

    A finding about several tomograms is listed once.
    """
    lines = describe_run(options, [result.tomogram for result in checks]).splitlines()
    found: dict[str, list[str]] = {}
    for result in checks:
        for finding in result.of_options(options):
            found.setdefault(f"{finding.status}: {finding}", []).append(result.tomogram.name)
    for text, names in found.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"options: {names[0]}{more}: {text}")
    return lines, not any(text.startswith("bad") for text in found)


def render_checks(checks: Sequence[TomogramCheck], remarks: Sequence[str] = ()) -> str:
    """Return a table of the tomograms, one line per finding below it, remarks on the run, and a summary."""
    rows = [HEADER, *(_row(result) for result in checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    findings = [
        f"{result.tomogram.name}: {finding.status}: {one_line(result.tomogram.path)}: {finding}"
        for result in checks
        for finding in result.findings
    ]
    counts = Counter(result.status for result in checks)
    summary = ", ".join(f"{counts[status]} {status}" for status in ("ok", "warning", "bad") if counts[status])
    noun = "tomogram" if len(checks) == 1 else "tomograms"
    return "\n".join(
        [*lines, "", *findings, *([""] if findings else []), *remarks, f"{len(checks)} {noun}: {summary}"]
    )


def _row(result: TomogramCheck) -> tuple[str, ...]:
    tomogram = result.tomogram
    low, high = tomogram.tilt_range
    return (
        tomogram.name,
        "" if result.header is None else size_text(result.header.shape_zyx[::-1]),
        "unknown" if result.voxel_size is None else f"{result.voxel_size:g} A",
        f"{low:g} to {high:g}",
        tomogram.contrast,
        result.status,
    )
