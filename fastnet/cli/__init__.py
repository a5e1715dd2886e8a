"""The command line: results on standard output, everything else on standard error.

Each command is a module of its own; this one holds the app. May import all of fastnet.
"""

import signal
import sys
from typing import Annotated

import typer

from fastnet.cli import backends, bench, convert, evaluate, export, predict, show, train, xor
from fastnet.cli.terminal import INTERRUPTED, Commands, prepare_streams
from fastnet.version import __version__

app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"fastnet {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train and run dense neural networks, at the speed of the machine.

    Start with `fastnet xor`, which needs no data. With a table of your own:

        fastnet train digits.csv --target digit -o digits.safetensors

        fastnet show digits.safetensors

        fastnet predict digits.safetensors new.csv

        fastnet evaluate digits.safetensors known.csv

    Results go to standard output, everything else to standard error. Exit codes: 0 for success,
    1 for an error, 2 for a mistake in the command, 130 after Ctrl-C or SIGTERM.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


for name, module in {
    "xor": xor,
    "backends": backends,
    "train": train,
    "convert": convert,
    "predict": predict,
    "evaluate": evaluate,
    "show": show,
    "export": export,
    "bench": bench,
}.items():
    app.command(name)(module.command)


def main() -> None:
    """Run the command line; Ctrl-C before or after a command exits quietly too.

    SIGTERM, by which a machine or a queue ends a program, does what Ctrl-C does.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        prepare_streams()
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
