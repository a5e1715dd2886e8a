"""Training once more on the rows that chose the epoch.

Rows that are held out for validation are missing in the training. So once it is known how many
epochs are good, another model with the same start is trained for that many, on these rows too.

That is read off the losses of the validation rows, or of the folds of a small table
(`fastnet.tables.folding`).

For classes the number is that of the best epoch: after it, probabilities become overconfident. For
numbers it is that of the last epoch whose validation loss is at most one standard error above the
lowest, because few rows do not tell such losses apart (Breiman et al., "Classification and
Regression Trees", 1984, section 3.4.3), and with more rows to learn from, and a learning rate that
falls, later is the better guess. If that is where the first training ended, even by early stopping,
the second one has all epochs of the recipe. The standard error is that of losses whose deviation is
their mean. Where little can be learned, it may be larger than all that the training has gained, and
later epochs overfit: so no more than a small part of that gain counts.

An ensemble of numbers is not trained again unless that is asked for: its validation rows calibrate
intervals, and those of one training do not hold for another.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastnet.advice import setting
from fastnet.errors import DefinitionError
from fastnet.many.ensemble import Ensemble
from fastnet.tables.recipe import Recipe
from fastnet.training.checkpoints import Checkpoint
from fastnet.training.history import History
from fastnet.training.progress import Bar

if TYPE_CHECKING:
    from fastnet.model import Model
    from fastnet.tables.fitting import TableFit
    from fastnet.tables.trained import Trained

#: The most rows with which a refit is the default: with more, a fifth more improves a model less,
#: and a second training takes longer. A choice.
MOST_ROWS = 20_000

#: The most that a validation loss may be above the lowest, as a part of what the training has
#: gained over predicting the mean, whose loss is 1 for a standardized target. A choice.
MOST_OF_GAIN = 0.05


def wanted(
    recipe: Recipe,
    rows: int,
    *,
    in_memory: bool = False,
    held_out: bool,
    own_table: bool = False,
    intervals: bool = False,
) -> bool:
    """Whether a training is followed by a refit.

    Args:
        recipe: the settings.
        rows: of training and validation.
        in_memory: whether all of them are, as they were read.
        held_out: whether some of the table's rows are held out for validation.
        own_table: whether validation rows have a table of their own.
        intervals: whether validation rows also calibrate intervals.

    Raises:
        DefinitionError: if it is asked for, and cannot be.
    """
    if not recipe.refit:
        usual = in_memory and held_out and rows <= MOST_ROWS and not intervals
        return recipe.refit is None and usual
    reason = ""
    if own_table:
        reason = "validation rows are in a table of their own; add them to the training table"
    elif not held_out:
        reason = "no rows are held out for validation, which would choose the epochs"
    elif not in_memory:
        reason = "the table is not read into memory as a whole; leave that out"
    if reason:
        raise DefinitionError(f"{setting('refit', True)} is given, but {reason}.")
    return True


def epochs_of(losses: Sequence[float], task: str, rows: int, most: int) -> int:
    """How many epochs a refit has.

    Args:
        losses: of rows not trained on, by epoch; for a regression of a standardized target.
        task: "classification" or "regression".
        rows: how many these are.
        most: epochs that the first training would have had if it had not stopped early.
    """
    if task == "classification":
        return losses.index(min(losses)) + 1
    lowest = min(losses)
    margin = min(lowest / math.sqrt(rows), MOST_OF_GAIN * max(1 - lowest, 0))
    last = max(epoch for epoch, loss in enumerate(losses, 1) if loss <= lowest + margin)
    return most if last == len(losses) else last


def refit(
    fit: "TableFit",
    trained: "Trained",
    losses: Sequence[float],
    checkpoint: str | os.PathLike[str] | None,
    resume: bool,
    bars: Iterator[Bar | None],
) -> "Trained":
    """Train anew on training and validation rows.

    Args:
        fit: the one that chose the epochs.
        trained: its result.
        losses: of folds, by epoch; empty: those of the validation rows choose.
        checkpoint: its checkpoint; the refit has another one beside it meanwhile.
        resume: as for `TableFit.run`.
        bars: the next one shows it.
    """
    chosen, again = trained.model, fit.with_all_rows()
    fit.again = again
    models = list(chosen) if isinstance(chosen, Ensemble) else [chosen]
    rows = again.rows["training"] if losses else fit.rows["validation"]
    epochs = {
        model.seed: epochs_of(
            losses or model.history.validation_loss, trained.table.task, rows, fit.epochs
        )
        for model in models
        if model.history is not None
    }

    def enough(model: "Model", history: History) -> bool:
        # All epochs are asked for, so that a schedule over them is as in the first training.
        return len(history) >= epochs.get(model.seed, fit.epochs)

    path = None if checkpoint is None else refit_checkpoint(checkpoint)
    done = again.train(path, resume, bars, (enough,))
    if path is not None:
        path.unlink(missing_ok=True)
    facts = {**(trained.table.training or {}), "test": (done.table.training or {})["test"]}
    facts["refit_epochs"] = round(sum(epochs.values()) / len(epochs))
    table = replace(done.table, training=facts)
    done.model.table = table.to_dict()
    return replace(
        trained,
        model=done.model,
        table=table,
        columns=done.columns,
        test=done.test,
        selection=chosen,
    )


def check_checkpoint(checkpoint: str | os.PathLike[str], resume: bool) -> None:
    """Make sure, before the first training, that the refit can write its checkpoint.

    Raises:
        DefinitionError: if the file exists and is not to be resumed from.
        FileAccessError: if it cannot be written.
    """
    Checkpoint(refit_checkpoint(checkpoint)).checked(resume)


def refit_checkpoint(checkpoint: str | os.PathLike[str]) -> Path:
    """The checkpoint of a refit, beside that of the training before it."""
    return Path(f"{os.fspath(checkpoint)}-refit")
