"""`fastnet train`."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastnet import files
from fastnet.cli import outcome
from fastnet.cli.report import count
from fastnet.cli.terminal import INTERRUPTED, BackendOption, JsonOption, document, note, say
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS
from fastnet.errors import DefinitionError, Diverged
from fastnet.training import checkpoints

_HIDDEN = ", ".join(name for name in ACTIVATIONS if name != "softmax")


#: More classes than this, with few rows to each, may well be a quantity in whole numbers.
_MANY_CLASSES = 20
_ROWS_A_CLASS = 5

#: So many classes without training rows are named at most.
_NAMED = 5


def command(
    data: Annotated[Path, typer.Argument(help="Table to learn from: .csv or .parquet.")],
    target: Annotated[
        str | None,
        typer.Option(help="Column to predict; needed, here or in --config.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="File for the trained model; needed too.", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification or regression. Without it, text and whole numbers are classes, "
            "numbers with a decimal point are quantities.",
            show_default=False,
            rich_help_panel="Columns",
        ),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            help="Missing values: impute, as said above (the default), or error to refuse them.",
            rich_help_panel="Columns",
        ),
    ] = None,
    categories: Annotated[
        int | None,
        typer.Option(
            help="Categories of a text column that get an input of their own (default 20).",
            rich_help_panel="Columns",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to leave out, with commas between (a list in --config takes any name).",
            metavar="COLUMNS",
            show_default=False,
            rich_help_panel="Columns",
        ),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns to one-hot encode whatever they hold: codes that are numbers, or text "
            "that would be left out.",
            metavar="COLUMNS",
            show_default=False,
            rich_help_panel="Columns",
        ),
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Units of the hidden layers, or none (default 64,64).", rich_help_panel="Network"
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help=f"Of the hidden layers (default relu): {_HIDDEN}.", rich_help_panel="Network"
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help=f"Who moves the weights (default adam): {', '.join(OPTIMIZERS)}.",
            rich_help_panel="Training",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="How often every row is seen, at most (default 200).", rich_help_panel="Training"
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(help="Rows of a step, or all (default 32).", rich_help_panel="Training"),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Length of a step (default the optimizer's own).", rich_help_panel="Training"
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Part of the rows, at random, held out to judge by (default 0.2).",
            rich_help_panel="Training",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better loss on the rows held out; the best "
            "is kept (default 20).",
            rich_help_panel="Training",
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Part of the hidden units dropped (default 0).", rich_help_panel="Network"
        ),
    ] = None,
    l2: Annotated[
        float | None,
        typer.Option(help="Penalty on large weights (default 0.003).", rich_help_panel="Training"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed, the same model (default 0).", rich_help_panel="Training"),
    ] = None,
    backend: BackendOption = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 or float64 (default float32).", rich_help_panel="Network"),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="File to keep the training in, every minute and on Ctrl-C (default: the "
            "output's name with .checkpoint, removed when the model is written).",
            show_default=False,
            rich_help_panel="Training",
        ),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume",
            help="Go on from the checkpoint, if it is there.",
            rich_help_panel="Training",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with these options; those given here go before it."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the loss of every epoch into this file (.png, .svg or .pdf).",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network on a table: one row an example, one column the target.

        fastnet train digits.csv --target digit -o digits.safetensors

    A part of the rows, taken at random, is held out. The model that did best on them is kept, and
    the report says how well it does on them and on the training rows, and what became of each
    column. Medians, means and categories are those of the training rows, and are stored with
    the model.

    Numbers are standardized; true and false are 1 and 0. A missing number (an empty field, NaN,
    NA, n/a, null, none, ?, - or .) is imputed: the median takes its place, and one more input
    says where.

    Text is one-hot encoded: an input for each of the most frequent categories, and one for all
    others, also those that no training row has. Missing text (an empty field) is a category of
    its own.

    Left out are columns with the same value in every row, and text that differs in more than half
    of the rows, such as names and identifiers. So are rows without a target. Dates and times are
    refused: turn them into numbers, or --drop them.
    """
    options = dict(locals())
    for place in ("data", "config", "plot", "as_json"):
        del options[place]
    for names in ("drop", "categorical"):
        options[names] = _names(options[names])
    from fastnet.cli import config as configuration

    read = configuration.read(config) if config is not None else {}
    settings = configuration.merge(read, options)
    for needed, flag in (("target", "--target COLUMN"), ("output", "-o FILE")):
        if not settings.get(needed):
            raise typer.BadParameter(f"{flag} is needed, here or in --config.")
    done, written = _train(data, settings, configuration.recipe(settings), plot)
    if as_json:
        document(outcome.plain(done, written))
    else:
        outcome.show(done)
        say(f"model in {str(written)!r}; use it with")
        say(f"    fastnet predict {shlex.quote(str(written))} new.csv")


def _names(given: Iterable[str] | None) -> list[str] | None:
    """The columns in repeated options with commas in them."""
    if not given:
        return None
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def _train(
    data: Path, settings: dict[str, Any], recipe: Any, plot: Path | None
) -> tuple[Any, Path]:
    """Train and write model and picture; say on standard error how it goes."""
    from fastnet.tables.recipe import Fit, metric_name
    from fastnet.training.progress import Bar

    output, resume = Path(settings["output"]), bool(settings.get("resume"))
    checkpoint = settings.get("checkpoint")
    passing = checkpoint is None and not isinstance(recipe.rule(), LBFGS)
    if passing:
        checkpoint = f"{output}.checkpoint"
    _check_places(data, output, checkpoint, resume)
    if plot is not None:
        from fastnet import plots

        plots.check(plot, "plot")
    fit = Fit(data, settings["target"], recipe)
    table = fit.table
    aim = f" into {len(table.classes)} classes" if table.classes else ""
    held = len(fit.held_out[1]) if fit.held_out else 0
    metric = metric_name(table)

    def measure() -> str:
        found = fit.measure()
        return f"{metric} " + "/".join(f"{value:.3f}" for value in found.values())

    try:
        note(f"{table.task} of {table.target!r}{aim} from {count(len(table.columns), 'column')}")
        if len(table.features) != len(table.columns):
            note(f"the columns are {len(table.features):,} inputs of the network")
        if fit.without_target:
            note(f"{count(fit.without_target, 'row')} without a target left out")
        note(
            f"{len(fit.training[1]):,} rows to train on, {held:,} held out"
            f"{' (figures: training/held out)' if held else ''}; "
            f"backend {fit.model.backend}"
        )
        rows = len(fit.training[1]) + held
        if len(table.classes) > _MANY_CLASSES and rows < _ROWS_A_CLASS * len(table.classes):
            note(
                f"{len(table.classes):,} classes in {rows:,} rows: if {table.target!r} is a "
                "quantity, add --task regression"
            )
        for name in fit.unseen()[:_NAMED]:
            note(f"all rows of the class {name!r} are held out: it cannot be learned")
        if resume and checkpoint is not None:
            note(_going_on(checkpoint, recipe.epochs))
        done = fit.run(checkpoint, resume, Bar(measure))
    except Diverged as error:
        if passing and checkpoint is not None:
            Path(checkpoint).unlink(missing_ok=True)
        what = str(error).partition(";")[0]
        raise Diverged(
            f"{what}; no model was written. Try a smaller --learning-rate than "
            f"{_rate(recipe):g}, or another --optimizer."
        ) from error
    except KeyboardInterrupt as error:
        history = fit.model.history
        note(f"interrupted after {len(history) if history else 0} epochs; no model was written")
        if checkpoint is None:
            note("a training by lbfgs cannot be resumed")
        elif Path(checkpoint).exists():
            note(f"the training is kept in {checkpoint!r}: repeat the command with --resume")
        else:
            note("it had not begun, so there is no checkpoint")
        raise typer.Exit(INTERRUPTED) from error
    done.model.save(output)
    if passing and checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    if plot is not None:
        outcome.draw(done, plot)
        note(f"picture in {str(plot)!r}")
    return done, output


def _rate(recipe: Any) -> float:
    """The first learning rate of a fit that diverged."""
    from fastnet.definition.schedules import as_schedule

    rule = recipe.rule()
    return float(as_schedule(rule.learning_rate).rates(np.zeros(1), float(recipe.epochs))[0])


def _going_on(checkpoint: str, epochs: int) -> str:
    """Where a resumed training begins."""
    if not Path(checkpoint).exists():
        return f"there is no checkpoint {checkpoint!r} yet: beginning anew"
    done = checkpoints.epochs_done(checkpoint)
    if done >= epochs:
        return f"the checkpoint has {done} epochs behind it, --epochs {epochs}: nothing to add"
    return f"going on after epoch {done} of the checkpoint"


def _check_places(data: Path, output: Path, checkpoint: str | None, resume: bool) -> None:
    """Find out before a long training that its result has nowhere to go.

    Raises:
        DefinitionError: if a file that is needed would be written over.
        FileAccessError: if a folder cannot be written to.
    """
    if output.suffix.lower() in (".csv", ".parquet"):
        raise DefinitionError(
            f"output is {str(output)!r}, the name of a table; the model needs a file of its "
            f"own, such as {output.stem + '.safetensors'!r}."
        )
    if output.suffix.lower() == ".onnx":
        raise DefinitionError(
            f"output is {str(output)!r}, the name of an ONNX graph; train into "
            f"{output.stem + '.safetensors'!r}, and then `fastnet export` makes the graph of it."
        )
    files.check_writable(output, "output")
    if checkpoint is None:
        if resume:
            raise DefinitionError("resume needs a checkpoint, the file to go on from.")
        return
    kept = Path(checkpoint)
    if kept.absolute() in (output.absolute(), data.absolute()):
        raise DefinitionError(f"checkpoint is {checkpoint!r}; it needs a file of its own.")
    files.check_writable(kept, "checkpoint")
    if kept.exists() and not resume:
        raise DefinitionError(
            f"checkpoint {checkpoint!r} is there already: add --resume to go on from it, remove "
            "it to begin anew, or give another name."
        )
