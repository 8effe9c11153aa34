"""The command `cryopipe spike`: what a dataset could have shown, by molecules added to copies of its tomograms."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cryopipe.cli.init import SNAKEFILE
from cryopipe.config import read_config
from cryopipe.errors import FileError, SimulationError
from cryopipe.files.atomic import write_text
from cryopipe.tomograms import COLUMNS, Tomogram, read_tomogram_table

HEADING = """# Made by `cryopipe spike`: the configuration of {dataset}, with `evaluation` set to the added molecules, without
# `curation` and `pick.particles`, and with absolute paths.
"""


def spike(
    dataset: Annotated[
        Path, typer.Argument(help="Dataset directory with finished results; it is only read.")
    ],
    output: Annotated[Path, typer.Argument(help="New dataset directory; must not exist.")],
    mass: Annotated[
        list[float] | None,
        typer.Option(help="Mass of a molecule, kDa, 50 to 5,000; may be given several times."),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(help="Directory of density maps (MRC) that are added instead of procedural molecules."),
    ] = None,
    copies: Annotated[
        int, typer.Option(min=1, max=10_000, help="Copies of each molecule in the whole dataset.")
    ] = 100,
    contrast: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Contrast of solid protein in standard deviations of the noise; default: measured on the particles of "
            "the dataset, or from the dose.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of positions and orientations.")] = 1,
) -> None:
    """Add molecules of known mass to copies of a dataset's tomograms, where nothing lies.

    Writes a dataset of its own: tomograms, config/, truth.star, maps/. Run snakemake in it, then
    `cryopipe detection-limit` on it.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if output.exists():
        raise FileError("exists", file=output, remedy="name a new directory")
    masses = mass or ([] if maps else [50.0, 150.0, 500.0, 1500.0, 4000.0])
    if any(not 50 <= one <= 5000 for one in masses):
        raise SimulationError(f"masses {masses} kDa", remedy="give masses from 50 to 5,000 kDa")
    options = read_config(dataset / "config" / "config.yaml")
    usual = options["imaging"]
    table = read_tomogram_table(dataset / options["tomograms"], tuple(usual["tilt_range"]), usual["contrast"])
    # Imported here, because they are slow and not needed to report mistakes in the command line.
    from cryopipe.evidence import spike_dataset
    from cryopipe.evidence.added_molecules import spike_phantoms
    from cryopipe.files.opening import open_tomogram
    from cryopipe.simulation import read_maps

    tomograms = [_beside(dataset, one) for one in table.values()]
    tables = {one.name: spike_dataset.finished_tables(dataset, one.name) for one in tomograms}
    done, phantoms = [], []
    for number, one in enumerate(tomograms):
        voxel_size = open_tomogram(one).voxel_size
        phantoms = (
            read_maps(maps, voxel_size, 2.2 * voxel_size)
            if maps
            else spike_phantoms([1e3 * each for each in masses], voxel_size, seed)
        )
        here = [copies // len(tomograms) + (number < copies % len(tomograms))] * len(phantoms)
        path = output.absolute() / "tomograms" / f"{one.name}.mrc"
        corrected = options["averaging"]["ctf"] == "corrected"
        found, real = tables[one.name]
        done.append(
            spike_dataset.spike_tomogram(
                one, found, real, phantoms, here, usual, corrected, path, seed, contrast
            )
        )
    spike_dataset.write_truth(output, done, phantoms)
    given = yaml.safe_load((dataset / "config" / "config.yaml").read_text(encoding="utf-8")) or {}
    config = yaml.safe_dump(spike_dataset.changed_config(given, dataset), sort_keys=False, allow_unicode=True)
    write_text(output / "config" / "config.yaml", HEADING.format(dataset=dataset) + config)
    write_text(output / "config" / "tomograms.tsv", _table([one.tomogram for one in done]))
    write_text(output / "Snakefile", SNAKEFILE)
    added = sum(len(one.truth) for one in done)
    wanted = copies * len(phantoms)
    typer.echo(f"{output}: {added} of {wanted} molecules added to {len(done)} tomograms")
    typer.echo(f"next: cd {output} && snakemake --cores all, then cryopipe detection-limit {output}")


def detection_limit(
    datasets: Annotated[list[Path], typer.Argument(help="Finished datasets of `cryopipe spike`.")],
    output: Annotated[
        Path, typer.Option(help="Table that is written, with a chart of the same name.")
    ] = Path("detection_limit.tsv"),
) -> None:
    """Write how well added molecules were found, by mass and number: table and chart."""
    import pandas as pd

    from cryopipe.evidence.detection_limit import detection_table
    from cryopipe.files.atomic import atomic_path
    from cryopipe.files.star import read_particles
    from cryopipe.files.tables import read_table, write_table
    from cryopipe.report.detection_chart import detection_chart

    tables = []
    for folder in datasets:
        scores = folder / "results" / "evaluation"
        truth = read_particles(folder / "truth.star")
        picking, averages = (
            read_table(scores / f"{name}.tsv", ("class", "tomogram")) for name in ("picking", "averages")
        )
        tables.append(detection_table(truth, picking, averages).assign(dataset=str(folder)))
    table = pd.concat(tables, ignore_index=True)
    write_table(output, table)
    with atomic_path(output.with_suffix(".png")) as temporary:
        detection_chart(table).save(temporary)
    typer.echo(table.drop(columns="dataset").to_string(index=False, float_format="{:.2f}".format))


def _beside(dataset: Path, one: Tomogram) -> Tomogram:
    """Return a tomogram whose relative paths are relative to the dataset."""
    place = dataset.absolute()
    mask = None if one.mask is None else str(place / one.mask)
    return replace(one, path=str(place / one.path), mask=mask)


def _table(tomograms: list[Tomogram]) -> str:
    """Return the tomogram table; halves and tilt series do not contain the molecules and are left out."""
    lines = ["\t".join(COLUMNS)]
    for one in tomograms:
        low, high = one.tilt_range
        cells = {
            **{
                "tomogram": one.name,
                "path": one.path,
                "tilt_min": low,
                "tilt_max": high,
                "contrast": one.contrast,
            },
            **{"mask": one.mask, "tilt_axis": one.tilt_axis, "dose": one.dose, "defocus": one.defocus},
        }
        lines.append("\t".join("" if cells.get(name) is None else str(cells[name]) for name in COLUMNS))
    return "\n".join(lines) + "\n"
