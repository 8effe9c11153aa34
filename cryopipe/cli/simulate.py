"""`cryopipe simulate`: tomograms with known truth."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from cryopipe.config import defaults, read_config
from cryopipe.errors import FileError, TableError
from cryopipe.tomograms import NAME


def simulate(
    directory: Annotated[Path, typer.Argument(help="Where the files go; made if absent.")],
    count: Annotated[int, typer.Option(min=1, help="How many tomograms.")] = 1,
    name: Annotated[str, typer.Option(help="What their names begin with.")] = "simulated",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Another seed gives other scenes; by default the config's.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration whose section `simulation` says what is simulated; by default its defaults."
        ),
    ] = None,
) -> None:
    """Simulate tomograms with known truth.

    For each, NAME_NN.mrc, NAME_NN_truth.star (RELION's conventions) and NAME_NN_labels.mrc are written,
    and the species' true maps to maps/. The SNR that was reached is printed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not NAME.fullmatch(name):
        raise TableError(f"tomogram name {name!r}", remedy="use letters, digits, '_' and '-' only")
    options = _options(config)
    # Heavy imports wait until the command line is known to be right.
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
        raise FileError("no such file", file=config, remedy="name a config.yaml, or leave --config out")
    return read_config(config)
