"""`fastnet predict`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fastnet.cli import options, results
from fastnet.cli.opening import opened
from fastnet.cli.terminal import (
    BackendOption,
    JsonOption,
    SeparatorOption,
    document,
    note,
    write,
)

#: The most columns with missing or unknown values that are named.
_MOST_NAMED = 5


def command(
    model: Annotated[Path, typer.Argument(help="Model file that `fastnet train` wrote.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Table to predict: .csv, .tsv, .csv.gz, .tsv.gz or .parquet; - for CSV on "
            "standard input."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the predictions: .csv or .parquet (default: print them as CSV).",
            show_default=False,
        ),
    ] = None,
    separator: SeparatorOption = None,
    decimal: options.KeptDecimal = None,
    thousands: options.KeptThousands = None,
    allow_unknown: options.AllowUnknown = False,
    id: options.RepeatedId = None,  # noqa: A002, as the option is called
    interval: options.Interval = None,
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the target of every row of a table.

        fastnet predict digits.safetensors new.csv -o predictions.csv

    The table needs the columns that the model was trained with, in any order. Row labels, and
    columns that the training left out, may be present; they are ignored. If the target is there,
    standard error says how good the predictions are; `fastnet evaluate` has the whole report.

    The result has one row for each row of the table, in its order. First come the columns of --id.
    Of a classification it has the predicted class, its probability and the probability of each
    class; of a regression the predicted number. With --interval 0.9 an ensemble (`fastnet train
    --members 8`) adds `lower` and `upper`, between which nine of ten targets should lie.

    Files are processed block by block, so they may be larger than memory. An output file is
    written completely or not at all; printed results stop where an error occurs.

    --json prints the predictions as an array with one object per row; with -o, it prints a
    summary instead.
    """
    from fastnet import files, tables
    from fastnet.tables import reading, reporting, writing

    if output is not None:
        reading.extension(output, "the output")
        files.check_apart({"output": output}, {"table": data, "model": model})
        files.check_writable(output, "output")
    predictions = tables.stream(
        opened(model, backend),
        data,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        allow_unknown=allow_unknown,
        ids=options.names(id),
        interval=interval,
        judge=True,
    )
    if output is not None:
        writing.write(_with_progress(predictions), output)
    elif as_json:
        _print_json(predictions)
    else:
        writing.write_csv(predictions, write)
    note_unusual(predictions)
    evaluation = predictions.evaluation
    if predictions.unjudged:
        note(f"how good the predictions are: {predictions.unjudged}")
    if evaluation is not None:
        found = reporting.on_one_line(evaluation.metrics)
        note(f"{found} (of the {evaluation.rows:,} rows with a target)")
    if output is not None and as_json:
        done = {"output": str(output), "rows": predictions.rows}
        unusual = {"missing": dict(predictions.missing), "unknown": dict(predictions.unseen)}
        judged = {} if evaluation is None else {"evaluation": results.figures(evaluation)}
        document({**done, **unusual, **judged})
    elif output is not None:
        note(f"{predictions.rows:,} predictions written to {str(output)!r}")


def _with_progress(predictions: Any) -> Iterator[Any]:
    """The frames; on a terminal, standard error shows the number of rows so far."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True)
    text = TextColumn("{task.completed:,.0f} rows")
    off = not console.is_terminal or console.is_dumb_terminal
    with Progress(text, console=console, transient=True, auto_refresh=False, disable=off) as bar:
        task = bar.add_task("")
        for frame in predictions:
            bar.update(task, completed=predictions.rows, refresh=True)
            yield frame


def _print_json(predictions: Any) -> None:
    """Print one array, with an object on each line."""
    between = b"[\n"
    for frame in predictions:
        lines = frame.write_ndjson().strip().encode()
        write(between + lines.replace(b"\n", b",\n"))
        between = b",\n"
    write(b"\n]\n")


def note_unusual(predictions: Any) -> None:
    """Report missing and unknown values, which may not be intended."""
    for counts, problem, treatment in (
        (predictions.missing, "missing", ", treated as in training"),
        (predictions.unseen, "rare or unknown category", ""),
    ):
        for name, rows in counts.most_common(_MOST_NAMED):
            note(f"column {name!r}: {problem} in {rows:,} of {predictions.rows:,} rows{treatment}")
        if len(counts) > _MOST_NAMED:
            note(f"and {len(counts) - _MOST_NAMED} more columns likewise")
