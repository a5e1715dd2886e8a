"""A search for the settings of a table's training, by cross-validation of its training rows.

    tables.train("digits.csv", "digit", tables.Recipe(search=60))  # seconds

`fn.search` tries the recipe's own settings and random ones, and trains longer what does well. It
sees the training rows only; its folds keep groups together and the order of times. Medians, means
and categories are those of all training rows.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.advice import setting
from fastnet.contract.program import Data, Inputs
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS
from fastnet.definition.schedules import as_schedule
from fastnet.errors import DefinitionError, ModelFileError
from fastnet.many.searching import search as search_settings
from fastnet.records import Record
from fastnet.tables.evaluating import Rows
from fastnet.tables.recipe import Recipe
from fastnet.tables.refitting import refit_checkpoint
from fastnet.tables.schema import Table
from fastnet.tables.splitting import RowFacts, folds
from fastnet.training import checkpoints
from fastnet.training.class_weights import weigh_classes
from fastnet.training.progress import Bar

#: What is tried of what a recipe leaves open. Rates and penalties are multiples of those that a
#: training without a search has.
HIDDEN = ((32,), (64,), (128,), (64, 64), (128, 128), (256, 128))
DROPOUT = (0.0, 0.1, 0.3)
RATES = tuple(np.geomspace(1 / 4, 4, 9).tolist())
PENALTIES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)

#: How many candidates are drawn; the time may end the search before all have had their turn.
CANDIDATES = 60

#: Folds of tables up to so many rows, and of larger ones, whose scores vary less.
_FEW_ROWS, _FOLDS = 10_000, (5, 3)

#: How many are reported.
_BEST = 3

_RESULT = "found.json"


class Found(Record):
    """Settings, and how well they did.

    Attributes:
        settings: of a recipe, by name.
        loss: the mean over the folds, on the rows that each held out.
        std: the standard deviation between the folds.
    """

    settings: dict[str, Any]
    loss: float
    std: float


def search_folder(checkpoint: str | os.PathLike[str]) -> Path:
    """Where the search before a training with this checkpoint keeps what it has done."""
    return Path(f"{os.fspath(checkpoint)}-search")


def remove_checkpoint(checkpoint: str | os.PathLike[str]) -> None:
    """Remove a checkpoint, what the search before the training has kept, and that of a refit."""
    Path(checkpoint).unlink(missing_ok=True)
    shutil.rmtree(search_folder(checkpoint), ignore_errors=True)
    refit_checkpoint(checkpoint).unlink(missing_ok=True)


def search(
    recipe: Recipe,
    table: Table,
    rows: Rows,
    facts: RowFacts,
    folder: Path | None,
    resume: bool,
    *,
    settings: dict[str, Any],
    bar: Bar | None,
) -> tuple[Found, ...]:
    """Find settings.

    Args:
        recipe: what it gives stays.
        table: the schema.
        rows: to train on.
        facts: what decides which of them are held out together.
        folder: what a search that is stopped goes on from, or None.
        resume: whether to go on.
        settings: of the training, as for `Model.fit`.
        bar: what shows the seconds, or None.

    Returns:
        The best, best first.

    Raises:
        DefinitionError: if the recipe leaves nothing open; if the folder exists and is not to be
            resumed from, or is of another table or recipe.
        ModelFileError: if what a search has kept there is damaged.
        Diverged: if all candidates diverge.
    """
    if folder is not None and folder.exists() and not resume:
        raise DefinitionError(
            f"{str(folder)!r}, of a search that was stopped, already exists: add "
            f"{setting('resume', True)} to continue it, or remove it to start again."
        )
    open_to, given = space(recipe, settings["l2"])
    same = _identity(recipe, rows)
    if folder is not None and (folder / _RESULT).exists():
        return _kept(folder, same)
    outputs = len(table.classes) or 1

    def network(**values: Any) -> Network:
        return replace(recipe, **values).build_network(len(table.features), outputs, table.task)

    weighed, _ = weigh_classes(
        settings["class_weight"], outputs, Data(Inputs(rows.x), rows.y, rows.weight), None
    )
    found = search_settings(
        network,
        open_to,
        rows.x,
        rows.y,
        initial=[given],
        candidates=CANDIDATES,
        folds=list(folds(facts, recipe.seed, _FOLDS[len(rows) > _FEW_ROWS])),
        epochs=settings["epochs"],
        budget=recipe.search,
        seed=recipe.seed,
        backend=recipe.backend,
        dtype=recipe.dtype,
        checkpoint=folder,
        progress=bar.replace(measure=None, unit="second") if bar else False,
        optimizer=settings["optimizer"],
        batch_size=settings["batch_size"],
        early_stopping=recipe.patience,
        l2=settings["l2"],
        sample_weight=weighed.weight,
    )
    best = tuple(
        Found(dict(one.values), one.score, one.std)
        for one in found.candidates[:_BEST]
        if np.isfinite(one.score)
    )
    if folder is not None:
        _keep(folder, same, best)
    return best


def space(recipe: Recipe, l2: float) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What to choose from, by the names of a recipe, and what it has without a search.

    Args:
        recipe: what it gives is not searched.
        l2: of a training without a search.

    Raises:
        DefinitionError: if the recipe leaves nothing open.
    """
    choices: dict[str, list[Any]] = {}
    given: dict[str, Any] = {}
    if recipe.layers is None and recipe.hidden is None:
        choices["hidden"], given["hidden"] = list(HIDDEN), recipe.units
    if recipe.layers is None and recipe.dropout is None:
        choices["dropout"], given["dropout"] = list(DROPOUT), 0.0
    rule, named = recipe.build_optimizer(), recipe.optimizer
    own_rate = not isinstance(named, str | None) and "learning_rate" in named
    if recipe.learning_rate is None and not own_rate and not isinstance(rule, LBFGS):
        rate = float(as_schedule(rule.learning_rate).rates(np.zeros(1), 1.0)[0])
        choices["learning_rate"] = [float(f"{rate * factor:.3g}") for factor in RATES]
        given["learning_rate"] = rate
    if recipe.l2 is None:
        choices["l2"], given["l2"] = [float(f"{l2 * factor:.3g}") for factor in PENALTIES], l2
    if not choices:
        raise DefinitionError(
            "search has nothing to look for: hidden, dropout, learning_rate and l2 are all given; "
            "leave one of them out, or search."
        )
    return choices, given


def _identity(recipe: Recipe, rows: Rows) -> str:
    """What must be the same for a result to hold; the time may be another."""
    settings = repr(replace(recipe, search=None)).encode()
    return checkpoints.digest(rows.x, rows.y, rows.weight, np.frombuffer(settings, "u1"))


def _keep(folder: Path, same: str, best: tuple[Found, ...]) -> None:
    """Keep the result in place of what the search has done."""
    plain = {"same": same, "best": [vars(one) for one in best]}
    files.store(folder / _RESULT, json.dumps(plain).encode())
    for part in folder.iterdir():
        if part.name != _RESULT:
            part.unlink()


def _kept(folder: Path, same: str) -> tuple[Found, ...]:
    try:
        plain = json.loads((folder / _RESULT).read_bytes())
        kept, best = plain["same"], [Found(**one) for one in plain["best"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(
            f"{str(folder / _RESULT)!r}, which a search wrote, is damaged; remove "
            f"{str(folder)!r} to search again."
        ) from error
    if kept != same:
        raise DefinitionError(
            f"{str(folder)!r} is of a search on another table, or with other settings; remove it "
            "to search again."
        )
    for one in best:
        if "hidden" in one.settings:
            one.settings["hidden"] = tuple(one.settings["hidden"])
    return tuple(best)
