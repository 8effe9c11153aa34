"""The console command `cryopipe`: init, check, preview, convert, curate, simulate, spike, detection-limit, view and watch.

These commands prepare, check and show; the pipeline itself is run with `snakemake`, with all of its options.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cryopipe import __version__
from cryopipe.cli.check import check
from cryopipe.cli.convert import convert
from cryopipe.cli.curate import curate_app
from cryopipe.cli.init import init
from cryopipe.cli.preview import preview
from cryopipe.cli.simulate import simulate
from cryopipe.cli.spike import detection_limit, spike
from cryopipe.cli.view import view
from cryopipe.cli.watch import watch
from cryopipe.errors import CryopipeError, one_line

app = typer.Typer(
    name="cryopipe",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(short_help="Set up a dataset directory.")(init)
app.command(short_help="Check the configuration and the tomograms.")(check)
app.command(short_help="Propose picking diameters.")(preview)
app.command(short_help="Convert particles of one program to another.")(convert)
app.add_typer(curate_app, name="curate", short_help="Decide on clusters and particles.")
app.command(short_help="Simulate tomograms with known truth.")(simulate)
app.command(short_help="Add known molecules to copies of a dataset's tomograms.")(spike)
app.command(short_help="Table and chart of how well added molecules were found.")(detection_limit)
app.command(short_help="Open a tomogram or the report.")(view)
app.command(short_help="Add tomograms as they arrive.")(watch)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cryopipe {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From cryo-electron tomograms to picked, clustered and averaged particles."""


def main(arguments: list[str] | None = None) -> None:
    """Run the console command and exit with its status.

    Errors that a user can fix are printed in one line on standard error, with status 1; mistakes in the command line
    in the same way, with status 2.

    Parameters
    ----------
    arguments
        Arguments of the command line after the command's name; None for those of the process.
    """
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except CryopipeError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except Exception as error:
        # the class of command-line errors depends on the version of typer; all of them have this method
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{one_line(error.format_message()).rstrip('.')}; see cryopipe --help", 2)


def _fail(message: str, status: int) -> None:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(status)
