"""How much each column of a table matters to a model, by permutation.

A column's values are shuffled over the rows, and the error of the predictions rises by what the
model drew from it (Breiman, "Random forests", 2001, section 10). Columns that say the same share
what they say: each alone may matter little.
"""

from typing import TYPE_CHECKING

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError
from fastnet.tables import metrics
from fastnet.tables.columns import shorten
from fastnet.tables.evaluating import Evaluation, Rows
from fastnet.tables.schema import Table
from fastnet.training.metrics import rmse

if TYPE_CHECKING:
    from fastnet.many.ensemble import Ensemble
    from fastnet.model import Model

#: How often each column is shuffled; the errors' mean counts.
_TIMES = 5

#: The most numbers that are predicted from, and the fewest rows that tell something.
_MOST_NUMBERS = 2**28
_FEWEST_ROWS = 20


def importances(model: "Model | Ensemble", evaluation: Evaluation) -> dict[str, float]:
    """How much the error rises when a column is shuffled.

    Args:
        model: trained on a table, or an ensemble of such.
        evaluation: its own, of rows that it has not been trained on, if there are any.

    Returns:
        For each column the rise of the log loss, or of the RMSE in the target's unit, the largest
        first; empty for tables too wide to try every column.

    Raises:
        DataError: if the evaluation has no rows.
        DefinitionError: if one of the two is something else.
    """
    table = Table.of(model)
    if not isinstance(evaluation, Evaluation):
        raise DefinitionError(
            f"evaluation is {shorten(evaluation)}; it must be what tables.evaluate(model, table) "
            "returns, or an evaluation of tables.train."
        )
    if evaluation.sample is None:
        raise DataError("the evaluation has no rows; take that of tables.train or tables.evaluate.")
    widths = [len(column.inputs) for column in table.columns]
    room = _MOST_NUMBERS // (_TIMES * len(widths) * sum(widths))
    if room < _FEWEST_ROWS:
        return {}
    sample = evaluation.sample.take(slice(None, None, -(-len(evaluation.sample) // room)))
    before = _error(table, sample, model.predict(sample.x, encoded=True))
    found, first = {}, 0
    for name, width in zip(table.names, widths, strict=True):
        x, errors = sample.x.copy(), []
        for time in range(_TIMES):
            order = random.permutation(0, random.SHUFFLE, time, len(sample))
            x[:, first : first + width] = sample.x[order, first : first + width]
            errors.append(_error(table, sample, model.predict(x, encoded=True)))
        found[name] = float(np.mean(errors)) - before
        first += width
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _error(table: Table, rows: Rows, outputs: Array) -> float:
    if table.classes:
        return metrics.log_loss(rows.targets, outputs, rows.weight)
    return rmse(rows.targets, table.decode_outputs(outputs), rows.weight)
