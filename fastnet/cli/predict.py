"""`fastnet predict`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fastnet.cli.terminal import BackendOption, JsonOption, document, note, write
from fastnet.errors import DefinitionError

#: So many columns with missing or unknown values are named at most.
_NAMED = 5


def command(
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
    as_json: JsonOption = False,
) -> None:
    """Predict the target of every row of a table, in the table's order.

        fastnet predict digits.safetensors new.csv -o predictions.csv

    The table needs the columns that the model was trained with, in any order. The target, and
    columns that the training left out, may be there; they are not looked at.

    For classes there is a column with the prediction, one with its probability, and one with
    the probability of each class; for quantities there is the prediction alone.

    Files are read, predicted and written block by block, so they may be larger than memory. The
    output file is there whole, or not at all; what is printed ends where an error is met.

    With --json predictions are printed as an array with an object for each row; with -o it tells
    what was done.
    """
    from fastnet import files, tables
    from fastnet.model import load
    from fastnet.tables import reading as table_files

    if output is not None:
        table_files.ending(output, "the output")
        if output.resolve() == data.resolve():
            raise DefinitionError(f"output is {str(output)!r}, the table itself; name another.")
        files.check_writable(output, "output")
    found = tables.stream(load(model, backend=backend), data)
    if output is not None:
        table_files.write(_shown(found), output)
    elif as_json:
        _print_json(found)
    else:
        table_files.write_csv(found, write)
    _remark(found)
    if output is not None and as_json:
        done = {"output": str(output), "rows": found.rows}
        document({**done, "missing": dict(found.missing), "unknown": dict(found.unseen)})
    elif output is not None:
        note(f"{found.rows:,} predictions in {str(output)!r}")


def _shown(found: Any) -> Iterator[Any]:
    """The frames, while the rows that are done are shown where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True)
    text = TextColumn("{task.completed:,.0f} rows")
    off = not console.is_terminal or console.is_dumb_terminal
    with Progress(text, console=console, transient=True, auto_refresh=False, disable=off) as bar:
        task = bar.add_task("")
        for frame in found:
            bar.update(task, completed=found.rows, refresh=True)
            yield frame


def _print_json(found: Any) -> None:
    """One array, an object in each line."""
    between = b"[\n"
    for frame in found:
        lines = frame.write_ndjson().strip().encode()
        write(between + lines.replace(b"\n", b",\n"))
        between = b",\n"
    write(b"\n]\n")


def _remark(found: Any) -> None:
    """Say what the predictions were made of that may not have been meant."""
    for counts, what in (
        (found.missing, "missing, treated as the training said"),
        (found.unseen, "with text that the model does not know"),
    ):
        for name, rows in counts.most_common(_NAMED):
            note(f"column {name!r}: {rows:,} of {found.rows:,} rows {what}")
        if len(counts) > _NAMED:
            note(f"and {len(counts) - _NAMED} more columns likewise")
