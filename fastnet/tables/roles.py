"""Columns that say something about the rows and are no inputs: groups, times, weights, names.

Such a column is not learned from, because what it holds on new rows is unknown in training: a new
patient, a later day. One that is named in `categorical` is an input as well.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables import columns
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

#: Dates and times as they sort: the year first. T and / are written as a space and as -.
_FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m", "%H:%M", "%H:%M:%S%.f")

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
    pl = polars()
    if column.dtype.is_temporal():
        found = column.to_physical().cast(pl.Float64)
    elif column.dtype in (pl.String, pl.Categorical, pl.Enum):
        found = _written(column.cast(pl.String), place, notation)
    else:
        found = pl.Series(columns.numbers(column, place, notation)).fill_nan(None)
    columns.refuse_missing(found, place, _REMEDY)
    return np.asarray(found.to_numpy())


def _written(column: "pl.Series", place: Place, notation: Notation) -> "pl.Series":
    """Times in text: dates of one format, or numbers."""
    pl: Any = polars()
    words = column.str.strip_chars()
    words = words.set(words == "", None)
    dates = words.str.replace_all("/", "-", literal=True).str.replace("T", " ")
    dates = dates.str.strip_suffix("Z")
    for form in _FORMATS:
        kind = pl.Time if form.startswith("%H") else pl.Datetime("us")
        text, full = (dates + "-01", "%Y-%m-%d") if form == "%Y-%m" else (dates, form)
        found = text.str.strptime(kind, full, strict=False)
        if found.null_count() == words.null_count():
            return found.to_physical().cast(pl.Float64)
    try:
        return pl.Series(columns.numbers(words, place, notation)).fill_nan(None)  # type: ignore[no-any-return]
    except DataError as error:
        raise DataError(
            f"{error} A time may also be a date, such as 2026-11-28 or 2026-11-28 14:30, written "
            "in the same way in every row."
        ) from error


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
