"""What the folds of a small table choose: the epochs of a refit, and whether numbers are binned.

The validation rows of a small table are few, and others would choose otherwise. So five folds of
the training and validation rows are trained besides, each on the rows of the others, and the mean
of their losses, by epoch, chooses. The inputs of all folds are encoded as those of all these rows.
"""

import warnings
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.errors import DataError, Diverged
from fastnet.many.population import Population
from fastnet.tables.recipe import Recipe
from fastnet.tables.splitting import RowFacts, folds
from fastnet.training.progress import Bar

if TYPE_CHECKING:
    from fastnet.tables.fitting import TableFit

FOLDS = 5

#: The fewest and the most rows that are divided into folds: of fewer, folds tell nothing; more
#: have validation rows enough. A choice.
ROWS = 50, 10_000

#: The most numbers that these rows are as a network takes them, which folds copy five times. A
#: choice.
MOST_NUMBERS = 2**24

#: The most weights of a network of which folds train five at once: with gradients and an
#: optimizer's memory they take half a gigabyte. A choice.
MOST_WEIGHTS = 2**22

#: Bins of a column of numbers, and the most columns of a table with which they are tried: every
#: bin is an input, which takes time. A choice.
BINS, MOST_COLUMNS = 32, 20


def wanted(
    recipe: Recipe,
    facts: RowFacts,
    inputs: int,
    *,
    in_memory: bool,
    held_out: bool,
    own_table: bool,
) -> bool:
    """Whether folds choose.

    Args:
        recipe: the settings.
        facts: of the training and validation rows.
        inputs: of the network, without bins that folds choose.
        in_memory: whether all of them are, as they were read.
        held_out: whether some of the table's rows are held out for validation.
        own_table: whether validation rows have a table of their own.
    """
    if recipe.refit is False or not in_memory or not held_out or own_table:
        return False
    if facts.times is not None:  # the last rows choose, as they are what is to be predicted
        return False
    if not ROWS[0] <= facts.count <= ROWS[1] or facts.count * inputs > MOST_NUMBERS:
        return False
    hidden = (
        recipe.units
        if recipe.layers is None
        else [int(layer["units"]) for layer in recipe.layers if "units" in layer]
    )
    if sum(a * b for a, b in pairwise((inputs, *hidden))) > MOST_WEIGHTS:
        return False
    return facts.groups is None or len(np.unique(facts.groups)) >= FOLDS


def bins_to_try(recipe: Recipe, task: str, columns: int) -> tuple[int, ...]:
    """The numbers of bins that folds choose from, of a table with so many columns."""
    if recipe.bins is not None or task == "classification" or columns > MOST_COLUMNS:
        return (recipe.bins or 0,)
    return 0, BINS


def losses(fit: "TableFit", bins: int, bar: Bar | None) -> list[float]:
    """The mean loss of the folds, by epoch; a fold that has stopped early keeps its last one.

    Of several processes the first one trains them: so all choose alike, whatever their machines.

    Args:
        fit: whose settings they have, and whose training and validation rows they are.
        bins: of a column of numbers.
        bar: what shows them, or None.

    Returns:
        Nothing, if the loss of a fold stops being finite, or a fold has no rows, as where most
        classes have one, or rows without weight.
    """
    whole, settings = fit.with_all_rows(bins=bins, alone=True), fit.settings()
    return fit.among.on_first(partial(_losses, whole, settings, bar))


def _losses(whole: "TableFit", settings: dict[str, Any], bar: Bar | None) -> list[float]:
    """The same, of a fit without validation rows; settings are those of `Model.fit`."""
    rows, recipe = whole.training, whole.recipe
    try:
        parts = list(folds(whole.facts, recipe.seed, FOLDS))
    except DataError:
        return []
    if rows.weight is not None and not all(
        rows.weight[part].any() for pair in parts for part in pair
    ):
        return []
    population = Population(
        whole.model.network,
        seed=[recipe.seed] * FOLDS,
        backend=recipe.backend,
        dtype=recipe.dtype,
    )
    settings = {**settings, "sample_weight": rows.weight}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of folds that diverge
            histories = population.fit(
                rows.x,
                rows.y,
                rows=[kept for kept, _ in parts],
                validation="rest",
                early_stopping=recipe.patience,
                progress=bar.replace(measure=None) if bar else False,
                **settings,
            )
    except Diverged:
        return []
    if population.diverged:
        return []
    curves = [history.validation_loss for history in histories]
    longest = max(map(len, curves))
    filled = [curve + curve[-1:] * (longest - len(curve)) for curve in curves]
    return [float(loss) for loss in np.mean(filled, axis=0)]
