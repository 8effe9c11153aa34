"""The command `cryopipe simulate`: simulated tomograms with known truth."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe.config import defaults, read_config
from cryopipe.errors import FileError, TableError
from cryopipe.tomograms import NAME


def simulate(
    directory: Annotated[Path, typer.Argument(help="Output directory; created if missing.")],
    count: Annotated[int, typer.Option(min=1, help="Number of tomograms.")] = 1,
    name: Annotated[str, typer.Option(help="Beginning of the tomograms' names.")] = "simulated",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the scenes; default: that of the configuration.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration file, of which the section `simulation` is used; default: all default values."
        ),
    ] = None,
) -> None:
    """Simulate tomograms with known truth.

    Writes NAME_NN.mrc, NAME_NN_truth.star (RELION's conventions) and NAME_NN_labels.mrc for each tomogram, and the
    true maps of the species in maps/. Prints the measured SNR.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not NAME.fullmatch(name):
        raise TableError(f"tomogram name {name!r}", remedy="use letters, digits, '_' and '-' only")
    options = _options(config)
    # Imported here, because they are slow and not needed to report mistakes in the command line.
    from cryopipe.simulation import SimulationOptions, seed_for, simulate_tomogram, write_tomogram
    from cryopipe.volume.device import choose_device

    asked = SimulationOptions(**options["simulation"])
    first = options["seed"] if seed is None else seed
    for number in range(1, count + 1):
        tomogram = f"{name}_{number:02d}"
        simulated = simulate_tomogram(
            asked, seed_for(first, tomogram), tomogram, choose_device(options["device"])
        )
        write_tomogram(
            simulated,
            directory / f"{tomogram}.mrc",
            directory / f"{tomogram}_truth.star",
            directory / f"{tomogram}_labels.mrc",
            directory / "maps",
        )
        typer.echo(
            f"{directory / tomogram}.mrc: {len(simulated.truth)} particles, SNR {simulated.measured_snr:.3f}"
        )


def _options(config: Path | None) -> dict[str, Any]:
    if config is None:
        return defaults()
    if not config.is_file():
        raise FileError("no such file", file=config, remedy="give a config.yaml, or omit --config")
    return read_config(config)
