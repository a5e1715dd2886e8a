"""The command line: results on standard output, everything else on standard error.

It ends with 0, with 1 after an error (one line, `error: ...`), with 2 after a mistake in the
command itself, and with 130 after Ctrl-C.
"""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from fastnet.cli import bench, export, predict, show, train, xor
from fastnet.cli.terminal import (
    HOW_TO_CHOOSE,
    INTERRUPTED,
    Commands,
    JsonOption,
    document,
    how_chosen,
    say,
)
from fastnet.contract import choosing as backends
from fastnet.contract import loading
from fastnet.errors import BackendUnavailable
from fastnet.version import __version__

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

        fastnet show digits.safetensors

        fastnet predict digits.safetensors new.csv

    Results are on standard output, everything else on standard error. It ends with 0, with 1
    after an error, with 2 after a mistake in the command, and with 130 after Ctrl-C.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


@app.command("backends")
def list_backends(as_json: JsonOption = False) -> None:
    """List who can compute here, and why others cannot."""
    try:
        chosen, trouble = backends.choose().name, None
    except BackendUnavailable as error:
        chosen, trouble = "", error
    if as_json:
        document([_plain(name, name == chosen) for name in loading.known()])
        if trouble is not None:
            raise trouble
        return
    grid = Grid(box=None, pad_edge=False, show_header=True, header_style="bold")
    grid.add_column("", width=1)
    grid.add_column("backend", no_wrap=True)
    grid.add_column("usable", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name in loading.known():
        found = backends.probe(name)
        if found.usable:
            facts = loading.load(name).describe()
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


def _plain(name: str, chosen: bool) -> dict[str, Any]:
    """What is known of a backend, for programs."""
    found = backends.probe(name)
    facts = loading.load(name).describe() if found.usable else {}
    return {
        "name": name,
        "chosen": chosen,
        "usable": found.usable,
        "facts": {key: str(value) for key, value in facts.items()},
        "reason": found.reason or None,
        "remedy": found.remedy or None,
    }


app.command("xor")(xor.command)
app.command("train")(train.command)
app.command("predict")(predict.command)
app.command("show")(show.command)
app.command("export")(export.command)
app.command("bench")(bench.command)


def main() -> None:
    """Run the command line; Ctrl-C outside of a command ends it quietly too."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
