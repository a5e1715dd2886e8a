"""The options of `fastnet train`, and of commands that read tables, as `--help` shows them.

The keys of a configuration have the same names: `fastnet.cli.configuration`. An option that is not
given is None, so that the configuration's value, or the recipe's default, holds.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.optimizers import OPTIMIZERS

_HIDDEN = ", ".join(name for name in ACTIVATIONS if name != "softmax")

Data = Annotated[
    Path,
    typer.Argument(
        help="Table to train on: .csv, .tsv, .csv.gz, .tsv.gz or .parquet; - for CSV on "
        "standard input; or a folder that `fastnet convert` wrote."
    ),
]

Memory = Annotated[
    str | None,
    typer.Option(
        help="Memory for the table in each process, such as 2GB: one that does not fit is encoded "
        "into a scratch folder beside the output, and trained on from there (default: all of it in "
        "memory).",
        show_default=False,
        rich_help_panel="Training",
    ),
]

Target = Annotated[
    str | None,
    typer.Option(help="Column to predict (required, here or in --config).", show_default=False),
]

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="File for the trained model (required, here or in --config).",
        show_default=False,
    ),
]

Config = Annotated[
    Path | None,
    typer.Option(help="TOML file of these options; those given here override it."),
]

Plot = Annotated[
    Path | None,
    typer.Option(
        help="File for a chart of the losses and the predictions: .png, .svg or .pdf.",
        show_default=False,
    ),
]

PlotPredictions = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        help="File for a chart of the predictions: .png, .svg or .pdf.",
        show_default=False,
    ),
]

Task = Annotated[
    str | None,
    typer.Option(
        help="classification or regression (default: classification if the target is text or "
        "a few integers, regression if it has decimal points; integers that look like a "
        "quantity need this option).",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Missing = Annotated[
    str | None,
    typer.Option(
        help="Treatment of missing values: impute (default) or error, which refuses them.",
        rich_help_panel="Columns",
    ),
]

Categories = Annotated[
    int | None,
    typer.Option(
        help="Maximum number of categories of a text column (default 20); others share one.",
        rich_help_panel="Columns",
    ),
]

Bins = Annotated[
    int | None,
    typer.Option(
        help="Bins of a column of numbers, each an input that says how far a number has come in "
        "it; 0: none (default: 32 if a number is predicted from up to 10,000 rows in memory, of up "
        "to 20 columns, and five folds show that it helps; else none).",
        min=0,
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Drop = Annotated[
    list[str] | None,
    typer.Option(
        help="Columns to leave out, separated by commas (for names with commas use a list in "
        "--config).",
        metavar="COLUMNS",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Categorical = Annotated[
    list[str] | None,
    typer.Option(
        help="Columns to one-hot encode whatever they hold, such as numeric codes, or text "
        "that would be left out; of the target, its values are classes as they are spelled.",
        metavar="COLUMNS",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Date = Annotated[
    list[str] | None,
    typer.Option(
        help="Columns of dates and times to take as numbers: days, year, month, day of the week, "
        "time of day.",
        metavar="COLUMNS",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Decimal = Annotated[
    str | None,
    typer.Option(
        help='Mark before the fraction of numbers in text (default "."); kept in the model.',
        rich_help_panel="Columns",
    ),
]

Thousands = Annotated[
    str | None,
    typer.Option(
        help="Mark between groups of digits (default: none); kept in the model.",
        rich_help_panel="Columns",
    ),
]

CrossValidate = Annotated[
    int | None,
    typer.Option(
        help="Folds of a cross-validation: mean and deviation of the metrics, on rows that the "
        "model was not trained on. -o is then optional.",
        metavar="FOLDS",
        min=2,
        rich_help_panel="Rows",
    ),
]

Weights = Annotated[
    str | None,
    typer.Option(
        help="Column that says how much each row counts, in training and in all metrics.",
        metavar="COLUMN",
        rich_help_panel="Rows",
    ),
]

Id = Annotated[
    list[str] | None,
    typer.Option(
        help="Columns that name the rows: they are not learned from, and predictions repeat them.",
        metavar="COLUMNS",
        show_default=False,
        rich_help_panel="Rows",
    ),
]

ClassWeight = Annotated[
    str | None,
    typer.Option(
        help="balanced: all classes count alike, however many rows they have; or a weight for "
        "each class, as in yes=5,no=1 (default: all rows count alike).",
        metavar="balanced|CLASS=WEIGHT,...",
        rich_help_panel="Rows",
    ),
]

KeptDecimal = Annotated[
    str | None,
    typer.Option(
        help="Mark before the fraction of numbers in text (default: as in training).",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

KeptThousands = Annotated[
    str | None,
    typer.Option(
        help="Mark between groups of digits (default: as in training).",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

AllowUnknown = Annotated[
    bool,
    typer.Option(
        "--allow-unknown",
        help="Predict even if all rows of a column hold categories unknown to the model.",
        rich_help_panel="Columns",
    ),
]

RepeatedId = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        help="Columns to repeat in front of the predictions (default: those that --id named in "
        "training).",
        metavar="COLUMNS",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Hidden = Annotated[
    str | None,
    typer.Option(
        help="Units of each hidden layer, or none (default 64,64).", rich_help_panel="Network"
    ),
]

Activation = Annotated[
    str | None,
    typer.Option(
        help=f"Activation of the hidden layers (default relu): {_HIDDEN}.",
        rich_help_panel="Network",
    ),
]

Dropout = Annotated[
    float | None,
    typer.Option(
        help="Fraction of hidden units dropped in training (default 0).",
        rich_help_panel="Network",
    ),
]

Dtype = Annotated[
    str | None,
    typer.Option(help="float32 or float64 (default float32).", rich_help_panel="Network"),
]

Optimizer = Annotated[
    str | None,
    typer.Option(
        help="Optimizer (default: adam with a learning rate that falls to 0 along a cosine): "
        f"{', '.join(OPTIMIZERS)}.",
        rich_help_panel="Training",
    ),
]

Epochs = Annotated[
    int | None,
    typer.Option(
        help="Maximum number of passes over the training rows (default: enough for 10,000 steps, "
        "30 to 200; for a regression 20,000 steps, 30 to 400).",
        rich_help_panel="Training",
    ),
]

BatchSize = Annotated[
    str | None,
    typer.Option(help="Rows per training step, or all (default 32).", rich_help_panel="Training"),
]

LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Learning rate (default 0.002, at first; of a named optimizer, its own).",
        rich_help_panel="Training",
    ),
]

Test = Annotated[
    str | None,
    typer.Option(
        help="Fraction of rows, or a table of rows, to test on: the training never sees them, and "
        "the report has them first (default: none).",
        metavar="FRACTION|FILE",
        rich_help_panel="Rows",
    ),
]

Validation = Annotated[
    str | None,
    typer.Option(
        help="Fraction of the other rows, or a table of rows, that chooses the best epoch "
        "(default 0.2; 0: none).",
        metavar="FRACTION|FILE",
        rich_help_panel="Rows",
    ),
]

Refit = Annotated[
    bool | None,
    typer.Option(
        "--refit/--no-refit",
        help="Train once more on training and validation rows, for as many epochs as the "
        "validation rows, or five folds of up to 10,000 rows, have shown to be good (default: with "
        "up to 20,000 rows in memory).",
        show_default=False,
        rich_help_panel="Rows",
    ),
]

LogTarget = Annotated[
    bool | None,
    typer.Option(
        "--log-target/--no-log-target",
        help="Learn the logarithm of a numeric target; predictions and metrics stay in its unit "
        "(default: if all are above 0 and very skewed, as prices may be).",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

Group = Annotated[
    str | None,
    typer.Option(
        help="Column of groups, such as patients, which are held out whole or not at all.",
        metavar="COLUMN",
        rich_help_panel="Rows",
    ),
]

Time = Annotated[
    str | None,
    typer.Option(
        help="Column of dates, times or numbers: the latest rows are held out, not random ones.",
        metavar="COLUMN",
        rich_help_panel="Rows",
    ),
]

Members = Annotated[
    int | None,
    typer.Option(
        help="Networks to train at once, each from a seed of its own: their mean is the prediction "
        "(default 1).",
        min=1,
        rich_help_panel="Training",
    ),
]

Search = Annotated[
    str | None,
    typer.Option(
        help="Time, such as 60s or 5m, in which to look for hidden layers, dropout, learning rate "
        "and l2 by cross-validation of the training rows, before the training (default: none).",
        metavar="TIME",
        show_default=False,
        rich_help_panel="Training",
    ),
]

Interval = Annotated[
    float | None,
    typer.Option(
        help="Add the columns lower and upper, which enclose the target with this probability, "
        "such as 0.9; of numbers predicted by an ensemble with validation rows.",
        show_default=False,
    ),
]

Patience = Annotated[
    int | None,
    typer.Option(
        help="Epochs without a lower validation loss before stopping (default 50).",
        rich_help_panel="Training",
    ),
]

L2 = Annotated[
    float | None,
    typer.Option(
        help="L2 penalty on the weights (default: for classes 10 / training rows, for numbers 5, "
        "at most 0.03).",
        rich_help_panel="Training",
    ),
]

Seed = Annotated[
    int | None,
    typer.Option(
        help="Random seed; the same seed gives the same model (default 0).",
        rich_help_panel="Training",
    ),
]

Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="File for the checkpoint, written every minute and on Ctrl-C (default: the "
        "output's name with .checkpoint, removed when the model is written).",
        show_default=False,
        rich_help_panel="Training",
    ),
]

Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume",
        help="Continue from the checkpoint, if it exists.",
        rich_help_panel="Training",
    ),
]


def names(given: Iterable[str] | None) -> list[str] | None:
    """Split the column names in an option, which may be repeated, at commas."""
    if not given:
        return None
    return [name.strip() for text in given for name in text.split(",") if name.strip()]
