"""The command line: results on standard output, everything else on standard error.

It ends with 0, with 1 after an error (one line, `error: ...`), with 2 after a mistake in the
command itself, and with 130 after Ctrl-C.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from fastnet import __version__
from fastnet import backend as backends
from fastnet.cli import bench, train, xor
from fastnet.cli.terminal import (
    HOW_TO_CHOOSE,
    INTERRUPTED,
    BackendOption,
    Commands,
    how_chosen,
    note,
    say,
    write,
)
from fastnet.errors import BackendUnavailable, DefinitionError

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
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
    """Train and use dense neural networks, at the speed of the machine.

    Begin with `fastnet xor`, which needs no data. For a table of your own:

        fastnet train digits.csv --target digit -o digits.safetensors

        fastnet predict digits.safetensors new.csv
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("backends")
def list_backends() -> None:
    """List who can compute here, and why others cannot."""
    try:
        chosen, trouble = backends.choose().name, None
    except BackendUnavailable as error:
        chosen, trouble = "", error
    grid = Grid(box=None, pad_edge=False, show_header=True, header_style="bold")
    grid.add_column("", width=1)
    grid.add_column("backend", no_wrap=True)
    grid.add_column("usable", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name in backends.known():
        found = backends.probe(name)
        if found.usable:
            facts = backends.load(name).describe()
            lines = [f"{key}: {value}" for key, value in facts.items()]
        else:
            lines = [f"why not: {found.reason}", f"what to do: {found.remedy}"]
        mark = "*" if name == chosen else ""
        grid.add_row(mark, name, "yes" if found.usable else "no", escape("\n".join(lines)))
    Console().print(grid)
    if trouble is not None:
        raise trouble
    say()
    say(f"* is used now ({how_chosen(None)})")
    say(HOW_TO_CHOOSE)


app.command("xor")(xor.command)
app.command("train")(train.command)
app.command("bench")(bench.command)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Model that `fastnet train` wrote.")],
    data: Annotated[Path, typer.Argument(help="Table to predict: .csv or .parquet.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the predictions: .csv or .parquet. Without it they are printed as CSV.",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = None,
) -> None:
    """Predict the target of every row of a table, in the table's order.

        fastnet predict digits.safetensors new.csv -o predictions.csv

    The table needs the columns that the model was trained with, in any order. The target may
    be there; it is not looked at.
    """
    from fastnet import columns, files, tables
    from fastnet.model import load

    if output is not None:
        columns.ending(output, "the output")
        if output.absolute() == data.absolute():
            raise DefinitionError(f"output is {str(output)!r}, the table itself; name another.")
        files.check_writable(output, "output")
    found = tables.predict(load(model, backend=backend), data)
    if output is None:
        write(columns.render(found, ".csv"))
        return
    columns.write(found, output)
    note(f"{found.height:,} predictions in {str(output)!r}")


def main() -> None:
    """Run the command line; Ctrl-C outside of a command ends it quietly too."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
