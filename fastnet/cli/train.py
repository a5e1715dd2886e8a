"""`fastnet train`."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastnet import files
from fastnet.cli import configuration, results
from fastnet.cli.report import count
from fastnet.cli.terminal import (
    INTERRUPTED,
    BackendOption,
    JsonOption,
    SeparatorOption,
    document,
    note,
    say,
)
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS
from fastnet.errors import DefinitionError, Diverged, FileAccessError
from fastnet.training import checkpoints

_HIDDEN = ", ".join(name for name in ACTIVATIONS if name != "softmax")


#: More classes than this, with fewer rows for each, are worth a word.
_MANY_CLASSES = 20
_ROWS_PER_CLASS = 5

#: The most classes without training rows that are named.
_MOST_NAMED = 5


def command(
    data: Annotated[
        Path,
        typer.Argument(
            help="Table to train on: .csv, .tsv, .csv.gz, .tsv.gz or .parquet; - for CSV on "
            "standard input."
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(help="Column to predict (required, here or in --config).", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the trained model (required, here or in --config).",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification or regression (default: classification if the target is text or "
            "a few integers, regression if it has decimal points; integers that look like a "
            "quantity need this option).",
            show_default=False,
            rich_help_panel="Columns",
        ),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            help="Treatment of missing values: impute (default) or error, which refuses them.",
            rich_help_panel="Columns",
        ),
    ] = None,
    categories: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of categories of a text column (default 20); others share one.",
            rich_help_panel="Columns",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to leave out, separated by commas (for names with commas use a list in "
            "--config).",
            metavar="COLUMNS",
            show_default=False,
            rich_help_panel="Columns",
        ),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to one-hot encode whatever they hold, such as numeric codes, or text "
            "that would be left out; of the target, its values are classes as they are spelled.",
            metavar="COLUMNS",
            show_default=False,
            rich_help_panel="Columns",
        ),
    ] = None,
    separator: SeparatorOption = None,
    decimal: Annotated[
        str | None,
        typer.Option(
            help='Mark before the fraction of numbers in text (default "."); kept in the model.',
            rich_help_panel="Columns",
        ),
    ] = None,
    thousands: Annotated[
        str | None,
        typer.Option(
            help="Mark between groups of digits (default: none); kept in the model.",
            rich_help_panel="Columns",
        ),
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Units of each hidden layer, or none (default 64,64).", rich_help_panel="Network"
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help=f"Activation of the hidden layers (default relu): {_HIDDEN}.",
            rich_help_panel="Network",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help=f"Optimizer (default adam): {', '.join(OPTIMIZERS)}.", rich_help_panel="Training"
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of passes over the training rows (default 200).",
            rich_help_panel="Training",
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            help="Rows per training step, or all (default 32).", rich_help_panel="Training"
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Learning rate (default: the optimizer's own).", rich_help_panel="Training"
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Fraction of rows held out for validation (default 0.2).",
            rich_help_panel="Training",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without a lower validation loss before stopping (default 20).",
            rich_help_panel="Training",
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Fraction of hidden units dropped in training (default 0).",
            rich_help_panel="Network",
        ),
    ] = None,
    l2: Annotated[
        float | None,
        typer.Option(help="L2 penalty on the weights (default 0.003).", rich_help_panel="Training"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Random seed; the same seed gives the same model (default 0).",
            rich_help_panel="Training",
        ),
    ] = None,
    backend: BackendOption = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 or float64 (default float32).", rich_help_panel="Network"),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="File for the checkpoint, written every minute and on Ctrl-C (default: the "
            "output's name with .checkpoint, removed when the model is written).",
            show_default=False,
            rich_help_panel="Training",
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume",
            help="Continue from the checkpoint, if it exists.",
            rich_help_panel="Training",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of these options (not --plot); those given here override it."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="File for a chart of the losses: .png, .svg or .pdf.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network on a table with one row for each example and one column for the target.

        fastnet train digits.csv --target digit -o digits.safetensors

    Some rows, chosen at random, are held out for validation. The model of the epoch with the
    lowest validation loss is kept. The report shows its metrics on the training and the
    validation rows, and how each column is used. Medians, means and categories come from the
    training rows only, and are stored with the model.

    Numbers are standardized; true and false are 1 and 0. A missing number (an empty field, NaN,
    NA, n/a, null, none, ?, - or .) is replaced by the median, and one more input indicates it.

    Text is one-hot encoded: one input for each of the most frequent categories, and one for all
    others, including those that are not in the training rows. Missing text (an empty field) is a
    category of its own.

    Left out are columns with the same value in every row, text that differs in more than half of
    the rows (such as names and identifiers), row labels that pandas or R saved, and rows without
    a target. Dates and times are refused: convert them to numbers, or --drop them.
    """
    options = dict(locals())
    for name in ("data", "config", "plot", "as_json"):
        del options[name]
    for name in ("drop", "categorical"):
        options[name] = _column_names(options[name])
    read = configuration.read(config) if config is not None else {}
    settings = configuration.merge(read, options)
    for needed, flag in (("target", "--target COLUMN"), ("output", "-o FILE")):
        if not settings.get(needed):
            raise typer.BadParameter(f"{flag} is required, here or in --config.")
    files_read = {"table": data, "configuration": config}
    done, written = _train(files_read, settings, configuration.recipe(settings), plot)
    if as_json:
        document(results.plain(done, written))
    else:
        results.show(done)
        say(f"model written to {str(written)!r}; use it with")
        say(f"    fastnet predict {shlex.quote(str(written))} new.csv")


def _column_names(given: Iterable[str] | None) -> list[str] | None:
    """Split the column names in an option, which may be repeated, at commas."""
    if not given:
        return None
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def _train(
    files_read: dict[str, Any], settings: dict[str, Any], recipe: Any, plot: Path | None
) -> tuple[Any, Path]:
    """Train, write the model and the chart, and report progress on standard error."""
    from fastnet.tables import TableFit
    from fastnet.tables.fitting import score_name
    from fastnet.training.progress import Bar

    output, resume = Path(settings["output"]), bool(settings.get("resume"))
    checkpoint = settings.get("checkpoint")
    temporary = checkpoint is None and not isinstance(recipe.build_optimizer(), LBFGS)
    if temporary:
        checkpoint = f"{output}.checkpoint"
    written = {"output": output, "checkpoint": checkpoint, "plot": plot}
    files.check_apart(written, files_read)
    _check_paths(output, checkpoint, resume)
    if plot is not None:
        from fastnet import plots

        plots.check(plot, "plot")
    fit = TableFit(files_read["table"], settings["target"], recipe)
    table = fit.table
    classes = f" into {len(table.classes)} classes" if table.classes else ""
    held_out = len(fit.validation[1]) if fit.validation else 0
    rows = len(fit.training[1]) + held_out

    def scores() -> str:
        return f"{score_name(table)} " + "/".join(f"{value:.3f}" for value in fit.scores().values())

    try:
        note(
            f"{table.task} of {table.target!r}{classes} from {count(len(table.columns), 'column')}"
        )
        if len(table.features) != len(table.columns):
            note(f"the columns are encoded as {len(table.features):,} inputs of the network")
        if fit.without_target:
            note(f"{count(fit.without_target, 'row')} without a target left out")
        note(
            f"{len(fit.training[1]):,} training rows, {held_out:,} validation rows"
            f"{' (scores: training/validation)' if held_out else ''}; "
            f"backend {fit.model.backend}"
        )
        for remark in fit.remarks:
            note(remark)
        if len(table.classes) > _MANY_CLASSES and rows < _ROWS_PER_CLASS * len(table.classes):
            note(f"{len(table.classes):,} classes in {rows:,} rows: few to learn each from")
        for name in fit.unseen_classes()[:_MOST_NAMED]:
            note(f"all rows of the class {name!r} are validation rows: it cannot be learned")
        if resume and checkpoint is not None:
            note(_resuming(checkpoint, recipe.epochs))
        done = fit.run(checkpoint, resume, Bar(scores))
    except Diverged as error:
        if temporary and checkpoint is not None:
            Path(checkpoint).unlink(missing_ok=True)
        problem = str(error).partition(";")[0]
        raise Diverged(
            f"{problem}; no model was written. Try {_smaller_rate(recipe)}another --optimizer."
        ) from error
    except KeyboardInterrupt as error:
        history = fit.model.history
        note(f"interrupted after {len(history) if history else 0} epochs; no model was written")
        if checkpoint is None:
            note("training with lbfgs cannot be resumed")
        elif Path(checkpoint).exists():
            note(f"checkpoint in {checkpoint!r}: to continue, repeat the command with --resume")
        else:
            note("training had not started, so there is no checkpoint")
        raise typer.Exit(INTERRUPTED) from error
    try:
        done.model.save(output)
    except FileAccessError as error:
        raise FileAccessError(error.errno, f"{error}. {_kept(checkpoint)}") from error
    if temporary and checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    if plot is not None:
        try:
            results.draw(done, plot)
        except FileAccessError as error:
            text = f"{error}. The model is written to {str(output)!r}"
            raise FileAccessError(error.errno, text) from error
        note(f"chart written to {str(plot)!r}")
    return done, output


def _kept(checkpoint: str | None) -> str:
    """Where a training is whose model could not be written."""
    if checkpoint is None or not Path(checkpoint).exists():
        return "There is no checkpoint: the training is lost"
    again = f"--resume --checkpoint {shlex.quote(checkpoint)}"
    return (
        f"The training is in the checkpoint {checkpoint!r}: to go on from there, repeat the "
        f"command with {again}, and another -o if the model does not fit there"
    )


def _smaller_rate(recipe: Any) -> str:
    """Advice on the learning rate; none for L-BFGS, which has no rate."""
    from fastnet.definition.optimizers import LBFGS
    from fastnet.definition.schedules import as_schedule

    optimizer = recipe.build_optimizer()
    if isinstance(optimizer, LBFGS):
        return ""
    rates = as_schedule(optimizer.learning_rate).rates(np.zeros(1), float(recipe.epochs))
    return f"a smaller --learning-rate than {rates[0]:g}, or "


def _resuming(checkpoint: str, epochs: int) -> str:
    """Where a resumed training starts."""
    if not Path(checkpoint).exists():
        return f"there is no checkpoint {checkpoint!r} yet: starting from the beginning"
    done = checkpoints.epochs_done(checkpoint)
    if done >= epochs:
        return f"the checkpoint has {done} epochs, and --epochs is {epochs}: nothing left to train"
    return f"continuing after epoch {done} of the checkpoint"


def _check_paths(output: Path, checkpoint: str | None, resume: bool) -> None:
    """Check, before a long training, that its results can be written.

    Raises:
        DefinitionError: if a file that is needed would be overwritten.
        FileAccessError: if a folder is not writable.
    """
    if output.suffix.lower() in (".csv", ".parquet"):
        raise DefinitionError(
            f"output is {str(output)!r}, the name of a table; the model needs a file of its "
            f"own, such as {output.stem + '.safetensors'!r}."
        )
    if output.suffix.lower() == ".onnx":
        raise DefinitionError(
            f"output is {str(output)!r}, the name of an ONNX file; train to "
            f"{output.stem + '.safetensors'!r}, and then export that with `fastnet export`."
        )
    files.check_writable(output, "output")
    if checkpoint is None:
        if resume:
            raise DefinitionError("resume needs a checkpoint, the file to continue from.")
        return
    kept = Path(checkpoint)
    files.check_writable(kept, "checkpoint")
    if kept.exists() and not resume:
        raise DefinitionError(
            f"checkpoint {checkpoint!r} already exists: add --resume to continue from it, remove "
            "it to start again, or give another name."
        )
