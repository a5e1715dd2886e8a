"""Cross-validation: how good the models of a recipe are, and how much that varies.

    from fastnet import tables

    found = tables.cross_validate("digits.csv", "digit", tables.Recipe(hidden=(128,)), folds=5)
    found.mean["accuracy"], found.deviation["accuracy"]

`fastnet.tables.splitting` says which rows make a fold.
"""

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import html
from fastnet.arguments import explained
from fastnet.errors import DefinitionError
from fastnet.records import Record
from fastnet.tables import reporting
from fastnet.tables.evaluating import Evaluation
from fastnet.tables.fitting import TableFit
from fastnet.tables.recipe import SETTINGS, Recipe
from fastnet.tables.trained import Trained


class CrossValidation(Record):
    """The result of a cross-validation.

    Attributes:
        folds: the trainings, each with its model; `test` of each is of the rows of its fold.
    """

    folds: tuple[Trained, ...]

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """On the test rows of each fold."""
        return tuple(one.test for one in self.folds if one.test is not None)

    @cached_property
    def metrics(self) -> Mapping[str, tuple[float, ...]]:
        """Of each fold, by metric; NaN where one is undefined."""
        names = self.evaluations[0].metrics
        return {name: tuple(one.metrics[name] for one in self.evaluations) for name in names}

    @cached_property
    def mean(self) -> Mapping[str, float]:
        """Over the folds."""
        return {name: float(np.mean(values)) for name, values in self.metrics.items()}

    @cached_property
    def deviation(self) -> Mapping[str, float]:
        """The standard deviation between the folds, which divides by their number less one."""
        return {name: float(np.std(values, ddof=1)) for name, values in self.metrics.items()}

    def _repr_html_(self) -> str:
        """The figures, for notebooks."""
        grid = reporting.cross_validation(self.mean, self.deviation, self.metrics)
        return html.paragraph(grid.title) + html.table(grid.head, grid.rows)


@explained(
    "tables.cross_validate",
    "the recipe has the settings: tables.Recipe(epochs=100)",
    elsewhere=("tables.Recipe", SETTINGS),
)
def cross_validate(
    source: Any,
    target: str,
    recipe: Recipe | None = None,
    *,
    folds: int = 5,
    validation: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Any = False,
    on_fold: Callable[[int, TableFit], Any] | None = None,
) -> CrossValidation:
    """Train on all folds of a table but one, and test on that one, for each fold.

    Every row is tested once (the only row of a class is not). `recipe.group` keeps groups in one
    fold; with `recipe.time` each fold is tested on the rows that follow those it is trained on.
    Medians, means and categories are learned anew in each fold, and the epoch is chosen by
    validation rows that are not tested.

    Args:
        source: as of `train`.
        target: the column to predict.
        recipe: the settings; None: `Recipe()`.
        folds: their number, at least 2.
        validation: a table of validation rows, in place of a fraction of the rows of each fold.
        checkpoint: each fold has one, named after this path: `fold_checkpoint`. They stay, as
            those of `train` do.
        resume: continue from these checkpoints, as far as they exist.
        progress: as in `Model.fit`.
        on_fold: is called with the number of a fold, from 1, and its fit before it is trained.

    Raises:
        DataError: if the table cannot be used for training, or has too few rows for the folds.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
        Diverged: if a loss stops being finite.
        KeyboardInterrupt: after Ctrl-C; the checkpoint, if there is one, is then written.
        ModelFileError: if a checkpoint cannot be written, or belongs to another fit.
    """
    settings = Recipe() if recipe is None else recipe
    if on_fold is not None and not callable(on_fold):
        raise DefinitionError(
            f"on_fold is {on_fold!r}; it must be a function of a fold's number and its fit."
        )
    done = []
    fits = TableFit.folds(source, target, settings, folds, validation=validation)
    for number, fit in enumerate(fits, 1):
        if on_fold is not None:
            on_fold(number, fit)
        path = None if checkpoint is None else fold_checkpoint(checkpoint, number)
        done.append(fit.run(path, resume, progress))
    return CrossValidation(tuple(done))


def fold_checkpoint(checkpoint: str | os.PathLike[str], number: int) -> Path:
    """The checkpoint of a fold, numbered from 1."""
    return Path(f"{os.fspath(checkpoint)}-fold-{number}")
