"""Columns that say something about the rows and are no inputs: groups, times, weights, names.

Such a column is not learned from, because what it holds on new rows is unknown in training: a new
patient, a later day. One that is named in `categorical` is an input as well.
"""

from typing import TYPE_CHECKING

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.tables import columns, dates
from fastnet.tables.columns import Place
from fastnet.tables.notation import Notation

if TYPE_CHECKING:
    import polars as pl

#: How a report says why a column of each role is left out.
REMARKS = {
    "group": "groups, which are held out together",
    "time": "times, by which the last rows are held out",
    "weights": "weights of the rows",
    "id": "names the rows in predictions",
}

#: What a column of each role is for, as errors say it.
PURPOSES = {
    "group": "to group rows by",
    "time": "to order rows by",
    "weights": "to weight rows by",
    "id": "to name rows by",
}

_REMEDY = "fill it in, or leave those rows out"


def groups(column: "pl.Series", place: Place, notation: Notation) -> Array:
    """The number of each row's group, `(rows,)`.

    Raises:
        DataError: if a row has none.
    """
    temporal = column.dtype.is_temporal()
    words = column if temporal else columns.spelled(column, place, notation)
    columns.refuse_missing(words, place, _REMEDY)
    return np.asarray(words.rank("dense").to_numpy())


def times(column: "pl.Series", place: Place, notation: Notation) -> Array:
    """When each row was, `(rows,)` float64: later times are larger.

    Raises:
        DataError: if a row has none, or one that is neither a number nor a date.
    """
    try:
        found = columns.numbers(column, place, notation)
    except DataError:  # which says what is no number, and not what is no date
        found, _ = dates.parse(column, place)
    columns.refuse_missing(found, place, _REMEDY)
    return found


def weights(column: "pl.Series", place: Place, notation: Notation) -> Array:
    """How much each row counts, `(rows,)` float64.

    Raises:
        DataError: if a row has no weight or a negative one.
    """
    found = columns.numbers(column, place, notation)
    columns.refuse_missing(found, place, _REMEDY)
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise DataError(
            f"{place} holds {found[row]:g} in {place.row(row)}; a weight must be 0 or more: "
            "correct it, or leave that row out."
        )
    return found


#: How the columns of a role are read; those that name rows are copied as they are.
READ = {"group": groups, "time": times, "weights": weights}
