"""The command `cryopipe preview`: proposal of picking diameters, with a page that shows picks at each."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from cryopipe.config import read_config
from cryopipe.errors import TableError
from cryopipe.files.atomic import write_text
from cryopipe.tomograms import read_tomogram_table


def preview(
    config: Annotated[Path, typer.Option(help="The dataset's configuration.")] = Path("config/config.yaml"),
    tomogram: Annotated[
        list[str] | None,
        typer.Option(help="Tomogram to search; repeatable. Without: three, spaced over the table."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Page that is written.")] = Path("preview.html"),
) -> None:
    """Propose picking diameters: the sizes of which the tomograms hold more objects than noise gives.

    Run this command in the dataset's directory. It prints what to write into config.yaml, and writes a page with the picks
    at each proposed diameter.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options = read_config(config)
    low, high = options["imaging"]["tilt_range"]
    table = read_tomogram_table(options["tomograms"], (low, high), options["imaging"]["contrast"])
    unknown = [name for name in tomogram or () if name not in table]
    if unknown:
        raise TableError(
            f"no tomogram {unknown[0]!r}",
            file=options["tomograms"],
            remedy=f"give one of {', '.join(list(table)[:10])}",
        )
    # Imported here, because they are slow and not needed to report mistakes in the command line.
    from cryopipe.files.opening import open_tomogram
    from cryopipe.picking.proposal import chosen_tomograms, no_proposal, search_sizes
    from cryopipe.report.page import render_preview_page
    from cryopipe.report.preview_page import config_lines, preview_content

    names = list(dict.fromkeys(tomogram)) if tomogram else chosen_tomograms(list(table))
    opened = {name: open_tomogram(table[name]) for name in names}
    proposal, counts = search_sizes(
        [(table[name], opened[name]) for name in names], options["pick"]["clip"], options["seed"]
    )
    lines = config_lines(proposal.diameters, options["subtomograms"])
    content = preview_content(Path.cwd().name, proposal, opened, counts, lines)
    write_text(output, render_preview_page(content))
    if not proposal.diameters:
        typer.echo(f"page: {output}")
        raise no_proposal(names)
    for diameter, count in zip(proposal.diameters, proposal.counts, strict=True):
        typer.echo(f"{diameter:g} A: about {count:.0f} objects more than noise gives in {', '.join(names)}")
    typer.echo(f"for {config}:\n{lines}\npage: {output}")
