"""The command `cryopipe curate`: decisions about clusters and particles without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from cryopipe import columns
from cryopipe.config import read_config
from cryopipe.curation import (
    Accept,
    BadTomogram,
    Choose,
    Curated,
    Curation,
    Decision,
    Merge,
    Note,
    Reject,
    Rename,
    Select,
    Split,
    apply_decisions,
    decision_mapping,
    fingerprint,
    parse_decision,
)
from cryopipe.curation.apply import NOT_APPLIED
from cryopipe.curation.curation_files import append_decisions, read_curation, write_curation
from cryopipe.curation.label_table import label_table
from cryopipe.curation.replay import feature_divider
from cryopipe.errors import DataError, FileError, reading_fault
from cryopipe.files.labels import FEWEST
from cryopipe.files.star import read_particles, write_particles

CONFIG = Path("config") / "config.yaml"
FOUND = Path("results") / "clusters" / "found.star"
FEATURES = Path("results") / "features" / "features.npz"

curate_app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Write decisions about clusters and particles to a file, which the option `curation` names. Run this command in "
    "the dataset's directory.",
)
File = Annotated[Path, typer.Option("--file", help="The file of decisions.")]
Cluster = Annotated[int, typer.Argument(help="Number of the cluster.")]
Clusters = Annotated[list[int], typer.Argument(help="Numbers of clusters.")]
DECISIONS = Path("config/curation.yaml")


@curate_app.command()
def accept(clusters: Clusters, file: File = DECISIONS) -> None:
    """Export these clusters, and no others."""
    _decide(file, [Accept(number) for number in clusters])


@curate_app.command()
def reject(clusters: Clusters, file: File = DECISIONS) -> None:
    """Leave these clusters out."""
    _decide(file, [Reject(number) for number in clusters])


@curate_app.command()
def merge(clusters: Clusters, file: File = DECISIONS) -> None:
    """Make one cluster of several, with the number of the first."""
    _decide(file, [Merge(tuple(clusters))])


@curate_app.command()
def split(
    cluster: Cluster,
    into: Annotated[int, typer.Argument(help="Number of parts.")],
    file: File = DECISIONS,
) -> None:
    """Divide a cluster by the features of its particles."""
    _decide(file, [Split(cluster, into)])


@curate_app.command()
def rename(cluster: Cluster, name: Annotated[str, typer.Argument()], file: File = DECISIONS) -> None:
    """Give a cluster a name."""
    _decide(file, [Rename(cluster, name)])


@curate_app.command()
def note(cluster: Cluster, text: Annotated[str, typer.Argument()], file: File = DECISIONS) -> None:
    """Add a remark about a cluster."""
    _decide(file, [Note(cluster, text)])


@curate_app.command()
def choose(
    cluster: Cluster,
    above: Annotated[float, typer.Argument(help="Lowest score of the particles that remain.")],
    score: Annotated[str, typer.Option(help="posterior, pick or template.")] = "posterior",
    file: File = DECISIONS,
) -> None:
    """Keep the particles of a cluster with a score of at least a number."""
    _decide(file, [Choose(cluster, above, score)])


@curate_app.command()
def select(
    name: Annotated[str, typer.Argument(help="Name of the selection: the label, or the new cluster's name.")],
    particles: Annotated[
        Path, typer.Argument(help="Text file with one particle's name a line, such as TS_01/17.")
    ],
    purpose: Annotated[str, typer.Option("--as", help="accept, reject, label or split.")],
    file: File = DECISIONS,
) -> None:
    """Accept, reject, label or separate the particles that a file names."""
    try:
        lines = particles.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        problem, remedy = reading_fault(error)
        raise FileError(problem, file=particles, remedy=remedy) from error
    names = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    _decide(file, [Select(name, (), names, purpose)])


@curate_app.command(name="bad-tomogram")
def bad_tomogram(name: Annotated[str, typer.Argument()], file: File = DECISIONS) -> None:
    """Remove all particles of a tomogram."""
    _decide(file, [BadTomogram(name)])


@curate_app.command()
def undo(file: File = DECISIONS) -> None:
    """Remove the last decision."""
    curation = read_curation(file)
    if not curation.decisions:
        raise DataError("contains no decisions", file=file, remedy="there is nothing to undo")
    write_curation(file, Curation(curation.run, curation.decisions[:-1]))
    show(file)


@curate_app.command()
def show(file: File = DECISIONS) -> None:
    """Print what becomes of the decisions, and the clusters after them."""
    typer.echo(_describe(_apply(read_curation(file))))


@curate_app.command()
def labels(
    output: Annotated[
        Path, typer.Argument(help="STAR file to write; the option `features.labels` reads it.")
    ],
    file: File = DECISIONS,
) -> None:
    """Write the labels that follow from the decisions.

    Accepted clusters are classes of their name, rejected ones of their name or `rejected`; selections `--as label` are
    classes of their name.
    """
    if output.exists():
        raise FileError("exists", file=output, remedy="name a new file")
    curated = _apply(read_curation(file))
    table = label_table(curated.particles, curated.labels)
    counts = table[columns.LABEL].value_counts()
    if len(counts) < 2 or counts.min() < FEWEST:
        raise DataError(
            f"leads to {len(counts)} classes of at least {counts.min() if len(counts) else 0} particles",
            file=file,
            remedy=f"accept, reject or label two classes or more, of {FEWEST} particles or more each",
        )
    write_particles(output, table)
    typer.echo(f"{output}: {len(table):,} particles of {len(counts)} classes")


def _decide(file: Path, decisions: list[Decision]) -> None:
    """Add decisions to a file if each of them can be applied, and print what becomes of all."""
    decisions = [parse_decision(decision_mapping(one)) for one in decisions]
    earlier = read_curation(file) if file.exists() else Curation(fingerprint(_particles()))
    curated = _apply(Curation(earlier.run, (*earlier.decisions, *decisions)))
    for row in curated.outcomes.tail(len(decisions)).to_dict("records"):
        if row["outcome"] == NOT_APPLIED:
            raise DataError(
                f"{row['decision']}: {row['detail']}",
                remedy="nothing was written; see `cryopipe curate show`",
            )
    if file.exists():
        append_decisions(file, decisions)
    else:
        write_curation(file, Curation(earlier.run, tuple(decisions)))
    typer.echo(_describe(curated))
    if not CONFIG.exists() or read_config(CONFIG)["curation"] is None:
        typer.echo(f"To use these decisions, set `curation: {file}` in {CONFIG} and run snakemake again.")


def _particles() -> pd.DataFrame:
    if not FOUND.is_file():
        raise FileError("no such file", file=FOUND, remedy="run snakemake in this directory first")
    return read_particles(FOUND)


def _apply(curation: Curation) -> Curated:
    particles = _particles()
    return apply_decisions(particles, curation, feature_divider(particles, FEATURES))


def _describe(curated: Curated) -> str:
    """Return the outcomes of the decisions and the clusters after them as text."""
    rows = curated.outcomes.to_dict("records")
    lines = [f"{number}. {row['decision']}: {row['outcome']}" + (f" ({row['detail']})" if row["detail"] else "")
             for number, row in enumerate(rows, 1)]  # fmt: skip
    lines += ["", f"{'cluster':>9} {'particles':>10}  {'state':<9} name"]
    for row in curated.clusters.to_dict("records"):
        more = f" ({row['note']})" if row["note"] else ""
        lines.append(f"{row['cluster']:>9} {row['particles']:>10,}  {row['state']:<9} {row['name']}{more}")
    return "\n".join(lines)
