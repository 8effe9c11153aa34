"""The console command `cryopipe`: init, check, simulate and view.

It prepares and looks; the work itself is started with `snakemake`, whose options stay reachable that way.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cryopipe import __version__
from cryopipe.cli.check import check
from cryopipe.cli.init import init
from cryopipe.cli.simulate import simulate
from cryopipe.cli.view import view
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
app.command(short_help="Tell what is wrong with the configuration and the tomograms.")(check)
app.command(short_help="Make tomograms with known truth.")(simulate)
app.command(short_help="Open the report.")(view)


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
    """Run the console command and end the process with its status.

    What a user can mend is told in one line on standard error, status 1; mistakes in the command line itself,
    likewise, status 2.

    Parameters
    ----------
    arguments
        Words of the command line after the command's name; None takes the process's own.
    """
    try:
        sys.exit(app(arguments, standalone_mode=False))
    except CryopipeError as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except Exception as error:
        # mistakes in the command line have a message of their own, under whatever name the version gives the class
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{one_line(error.format_message()).rstrip('.')}; see cryopipe --help", 2)


def _fail(message: str, status: int) -> None:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(status)
