"""The target of a table: which rows have one, and its values as classes or numbers."""

from typing import TYPE_CHECKING

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables import columns
from fastnet.tables.columns import Place, shorten
from fastnet.tables.schema import Class, fits_int64

if TYPE_CHECKING:
    import polars as pl


def has_target(column: "pl.Series", place: Place) -> Array:
    """Which rows have a target; words for a missing number count only among numbers."""
    pl = polars()
    if column.dtype.is_float():
        column = column.fill_nan(None)
    elif column.dtype == pl.String:
        _, values = columns.infer(column, place)
        return np.zeros(len(column), bool) if values is None else ~columns.missing(values)
    return np.asarray(column.is_not_null().to_numpy())


def encode(
    column: "pl.Series", task: str | None, place: Place, rows: Array
) -> tuple[tuple[Class, ...], Array]:
    """Convert a target without missing values.

    Args:
        column: the values.
        task: "classification" or "regression"; None: as the values suggest.
        place: where the column is, for errors.
        rows: the values' indices in the table, for errors.

    Returns:
        The classes in order, none for a regression; and class indices or numbers `(rows,)`.

    Raises:
        DataError: if the values are all the same, or are no target for the task.
    """
    pl = polars()
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        column = _parse_target(columns.texts(column, place), place)
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean)):
        raise DataError(f"{place} holds {column.dtype}; it must hold numbers or text.")
    fractions = column.dtype.is_float() or column.dtype.is_decimal()
    if (task or ("regression" if fractions else "classification")) == "classification":
        return _classes(column, place, rows)
    if column.dtype == pl.String:
        raise DataError(
            f"{place} holds text ({shorten(column[0])} in data row {rows[0] + 1}), not numbers; "
            "use task 'classification', or correct it."
        )
    y = column.cast(pl.Float64).to_numpy()
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise DataError(
            f"{place} holds {y[row]} in data row {rows[row] + 1}; it must be a finite number: "
            "correct it, or leave that row out."
        )
    if y.min() == y.max():
        raise DataError(f"{place} is {y[0]:g} in every row; nothing to learn.")
    return (), y


def _parse_target(column: "pl.Series", place: Place) -> "pl.Series":
    """Convert text to booleans, integers or floats, if all of it can be."""
    pl = polars()
    kind, values = columns.infer(column, place)
    if kind != "number":
        return column
    if column.str.to_lowercase().is_in(["true", "false"]).all():
        return column.str.to_lowercase() == "true"
    integers = column.cast(pl.Int64, strict=False)
    return integers if not integers.null_count() else pl.Series(values)


def _classes(column: "pl.Series", place: Place, rows: Array) -> tuple[tuple[Class, ...], Array]:
    """The classes in order, and the class index of each row."""
    pl = polars()
    if column.dtype.is_float() or column.dtype.is_decimal():
        values = column.cast(pl.Float64).to_numpy()
        inexact = (np.rint(values) != values) | (np.abs(values) >= 2**53)
        if inexact.any():
            row = int(np.argmax(inexact))
            raise DataError(
                f"{place} is {values[row]:g} in data row {rows[row] + 1}; classes are integers or "
                "text. To predict numbers use task 'regression'."
            )
        column = pl.Series(values).cast(pl.Int64)
    classes = tuple(column.unique().sort().to_list())
    if len(classes) < 2:
        raise DataError(
            f"{place} is {shorten(classes[0])} in every row; a classification needs two classes "
            "or more."
        )
    if column.dtype.is_integer() and not fits_int64(classes):
        raise DataError(f"{place} holds integers beyond 64 bits; write them as text.")
    # The dense rank of a value is the index of its class.
    return classes, (column.rank("dense").cast(pl.Int64) - 1).to_numpy().astype(np.intp)
