"""`fastnet evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from fastnet.cli import options, predict, results
from fastnet.cli.opening import opened
from fastnet.cli.terminal import BackendOption, JsonOption, SeparatorOption, document, note


def command(
    model: Annotated[Path, typer.Argument(help="Model file that `fastnet train` wrote.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Table with the target: .csv, .tsv, .csv.gz, .tsv.gz or .parquet; - for CSV on "
            "standard input."
        ),
    ],
    separator: SeparatorOption = None,
    decimal: options.KeptDecimal = None,
    thousands: options.KeptThousands = None,
    allow_unknown: options.AllowUnknown = False,
    backend: BackendOption = None,
    plot: options.PlotPredictions = None,
    as_json: JsonOption = False,
) -> None:
    """Report how well a model predicts a table whose target is known.

        fastnet evaluate digits.safetensors more_digits.csv

    The table needs the target and the columns that the model was trained with, in any order. Rows
    without a target do not count. If the model was trained with --weights and the table has that
    column, all metrics are weighted.

    --plot draws how often predictions of some probability are right; of a regression, the
    predictions against what is true.
    """
    from fastnet import files, plots, tables

    if plot is not None:
        files.check_apart({"plot": plot}, {"table": data, "model": model})
        plots.check(plot, "plot")
    loaded = opened(model, backend)
    found = tables.Stream(
        loaded,
        data,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        allow_unknown=allow_unknown,
        judge=None,
    )
    evaluation = found.judged()
    rises = tables.importances(loaded, evaluation)
    predict.note_unusual(found)
    if plot is not None:
        from fastnet.tables import charts

        plots.save(charts.draw_evaluation(found.table, evaluation), plot)
        note(f"chart written to {str(plot)!r}")
    if as_json:
        document(results.plain_evaluation(evaluation, found.table, rises))
    else:
        results.show_evaluation(evaluation, found.table, rises)
