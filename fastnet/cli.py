"""The command line: results on standard output, everything else on standard error.

It ends with 0, with 1 after an error (one line, `error: ...`), with 2 after a mistake in the
command itself, and with 130 after Ctrl-C.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from fastnet import __version__
from fastnet import backend as backends
from fastnet.cli_train import train
from fastnet.errors import BackendUnavailable, DefinitionError, FastnetError
from fastnet.terminal import INTERRUPTED, BackendOption, Commands, check_writable, note, say

_HOW_TO_CHOOSE = "--backend NAME or FASTNET_BACKEND=NAME chooses; fastnet backends lists them"


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


@app.command()
def xor(
    steps: Annotated[int, typer.Option(help="Steps of training, each on all four rows.")] = 10_000,
    learning_rate: Annotated[float, typer.Option(help="Length of a step.")] = 2.0,
    seed: Annotated[
        str, typer.Option(help="Start: 'tutorial' for the tutorial's own, or a whole number.")
    ] = "tutorial",
    backend: BackendOption = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw loss and predictions into this file (.png, .svg or .pdf)."),
    ] = None,
) -> None:
    """Train the tutorial's network on XOR and show what it learned.

    Ends with 0 only if all four rows are on the right side of 0.5.
    """
    from fastnet.xor import Lesson, check_picture, stops

    ends = stops(steps)
    if plot is not None:
        check_picture(plot)
    lesson = Lesson(seed, backend, dtype, learning_rate)
    say(f"backend {lesson.model.backend}, {lesson.model.dtype} ({_how_chosen(backend)})")
    say(_HOW_TO_CHOOSE)
    say()
    width = max(len(f"{steps:,}"), 6)
    say(f"{'step':>{width}}  {'mean squared error':<22}  mean |y - prediction|")
    for end in [0, *ends]:
        if end:
            lesson.train(end)
        line = lesson.line()
        say(f"{line.step:>{width},}  {line.squared!r:<22}  {line.absolute!r}")
    say()
    predicted, right = lesson.truth()
    say("  inputs  target  prediction  right?")
    for x, y, p, ok in zip(lesson.x, lesson.y[:, 0], predicted, right, strict=True):
        inputs = " ".join(f"{value:g}" for value in x)
        say(f"  {inputs:<6}  {y:>6g}  {p:>10.6f}  {'yes' if ok else 'NO'}")
    say()
    say(f"{lesson.seconds_per_step() * 1e6:.3g} µs per step")
    if plot is not None:
        from fastnet import plots

        plots.xor(lesson.history, lesson.model, plot)
        say(f"picture in {str(plot)!r}")
    if not right.all():
        raise FastnetError(
            f"after {steps:,} steps only {int(right.sum())} of 4 rows are on the right side of "
            "0.5; try more --steps, another --learning-rate or another --seed."
        )


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
            lines = [text for text in (found.reason, found.remedy) if text]
        mark = "*" if name == chosen else ""
        grid.add_row(mark, name, "yes" if found.usable else "no", escape("\n".join(lines)))
    Console().print(grid)
    if trouble is not None:
        raise trouble
    say()
    say(f"* is used now ({_how_chosen(None)})")
    say(_HOW_TO_CHOOSE)


def _how_chosen(option: str | None) -> str:
    if option and option != "auto":
        return "chosen by --backend"
    asked = os.environ.get("FASTNET_BACKEND", "").strip()
    if asked and asked != "auto" and not option:
        return f"chosen by FASTNET_BACKEND={asked}"
    return "chosen automatically"


app.command()(train)


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
    from fastnet import columns, tables
    from fastnet.model import load

    if output is not None:
        columns.ending(output, "the output")
        if output.absolute() == data.absolute():
            raise DefinitionError(f"output is {str(output)!r}, the table itself; name another.")
        check_writable(output, "output")
    found = tables.predict(load(model, backend=backend), data)
    if output is None:
        sys.stdout.write(columns.render(found, ".csv").decode())
        return
    columns.write(found, output)
    note(f"{found.height:,} predictions in {str(output)!r}")


def main() -> None:
    """Run the command line; Ctrl-C outside of a command ends it quietly too."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
