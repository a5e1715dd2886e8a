"""The target of a table: which rows have one, and its values as classes or numbers.

Text, booleans and integers are classes, other numbers a quantity. Classes are spelled as the table
spells them: 01 and 1 are two classes, and so are the categories "1.0" and "1.00". Integers that
look like a quantity, with many values or few rows for each, are neither until the user says so.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.advice import setting
from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.records import Record
from fastnet.tables import columns
from fastnet.tables.columns import Place, shorten
from fastnet.tables.notation import Notation
from fastnet.tables.schema import Class, fits_int64

if TYPE_CHECKING:
    import polars as pl

#: Integers with more values than this, or with fewer rows for each, look like a quantity.
_MANY_VALUES = 30
_ROWS_PER_VALUE = 5

#: The skewness beyond which a logarithm is learned; that of an exponential distribution is 2. A
#: choice: of `bench/real_tables` only the prices of football players are beyond.
_SKEWED = 3.0


class Target(Record):
    """A target without missing values.

    Attributes:
        classes: in order; none for a regression.
        y: class indices or numbers, `(rows,)`.
        remark: advice about the task; empty if there is none.
    """

    classes: tuple[Class, ...]
    y: Array
    remark: str = ""


def values(
    column: "pl.Series",
    task: str | None,
    place: Place,
    notation: Notation,
    categorical: bool = False,
) -> "pl.Series":
    """Find out what the target holds, and convert it.

    Args:
        column: all rows of it.
        task: "classification" or "regression"; None: as the values suggest.
        place: where the column is, for errors.
        notation: how numbers are written in it.
        categorical: whether every value is a text, whatever it looks like.

    Returns:
        Text, booleans, integers or floats, null in rows that have no target. Words for a missing
        number count only among numbers.

    Raises:
        DataError: if the values are no target for the task.
    """
    pl = polars()
    if categorical or (column.dtype in (pl.Categorical, pl.Enum) and task != "regression"):
        return columns.texts(column, place)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _parse(column.cast(pl.String), task, place, notation)
    if column.dtype.is_float():
        return column.fill_nan(None)
    if column.dtype.is_decimal() and not getattr(column.dtype, "scale", 0):
        integers = column.cast(pl.Int64, strict=False)
        if integers.null_count() == column.null_count():
            return integers
    columns.check_type(column, place)
    return column


def _parse(column: "pl.Series", task: str | None, place: Place, notation: Notation) -> "pl.Series":
    """Convert text to booleans, integers or floats, if all of it can be and keeps its spelling."""
    pl = polars()
    words = columns.texts(column, place)
    if task == "classification":
        try:
            kind, found = columns.infer(column, place, notation)
        except DataError:  # dates, or numbers with marks: text like any other
            return words
    else:
        kind, found = columns.infer(column, place, notation)
    if kind != "number":
        return words
    numbers: Any = pl.Series(found).fill_nan(None)
    if task == "regression":
        return numbers  # type: ignore[no-any-return]
    words = words.set(numbers.is_null(), None)
    present = words.drop_nulls()
    lower = present.str.to_lowercase()
    if lower.is_in(["true", "false"]).all():
        # Only the spelling of the boolean type itself is that type; True and true are one class.
        if present.n_unique() == 2 and lower.n_unique() == 2 and not present.equals(lower):
            return words
        return words.str.to_lowercase() == "true"
    if present.str.contains(r"^[+-]?\d+$").all():
        integers = words.cast(pl.Int64, strict=False)
        codes = present.str.contains(r"^[+-]?0\d|^\+|^-0$").any()
        if not codes and integers.null_count() == words.null_count():
            return integers
        if task is None and present.n_unique() > _MANY_VALUES:  # a padded number, or a code?
            raise _quantity(present, place)
        return words
    return words if task == "classification" else numbers


def encode(column: "pl.Series", task: str | None, place: Place, rows: Array) -> Target:
    """Convert what `values` returned, without the rows that have no target.

    Args:
        column: the values.
        task: "classification" or "regression"; None: as the values suggest.
        place: where the column is, for errors.
        rows: the values' indices in the table, for errors.

    Raises:
        DataError: if the values are all the same, or are no target for the task.
    """
    pl = polars()
    fractions = column.dtype.is_float() or column.dtype.is_decimal()
    if (task or ("regression" if fractions else "classification")) == "classification":
        whole = task is None and column.dtype.is_integer()
        if whole and _is_quantity(column.n_unique(), len(column)):
            raise _quantity(column, place)
        return Target(*_classes(column, place, rows))
    if column.dtype == pl.String:
        raise DataError(
            f"{place} holds text ({shorten(column[0])} in data row {rows[0] + 1}), and a "
            "regression needs numbers; correct it, or choose another target."
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
    remark = ""
    if task is None and (np.rint(y) == y).all():
        count = len(np.unique(y))
        if not _is_quantity(count, len(y)):
            remark = (
                f"{place.name!r} holds {count} different whole numbers with a decimal point, and "
                "is predicted as a number: if they are classes, add "
                f"{setting('task', 'classification')}"
            )
    return Target((), y, remark)


def _is_quantity(count: int, rows: int) -> bool:
    """Whether so many different whole numbers look like a quantity; two never do."""
    return count > _MANY_VALUES or (count > 2 and rows < _ROWS_PER_VALUE * count)


def _quantity(column: "pl.Series", place: Place) -> DataError:
    return DataError(
        f"{place} holds {column.n_unique():,} different whole numbers in {len(column):,} rows: add "
        f"{setting('task', 'regression')} to predict a number, or "
        f"{setting('task', 'classification')} to make each a class."
    )


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
                f"text. If each value is a class, add {setting('categorical', [place.name])}."
            )
        column = pl.Series(values).cast(pl.Int64)
    classes = tuple(column.unique().sort().to_list())
    if len(classes) < 2:
        raise DataError(
            f"{place} is {shorten(classes[0])} in every row; a classification needs two classes "
            "or more."
        )
    if column.dtype.is_integer() and not fits_int64(classes):
        raise DataError(
            f"{place} holds integers beyond 64 bits with a sign (above 2**63 - 1); if they are "
            f"classes, add {setting('categorical', [place.name])}, which takes them as text."
        )
    # The dense rank of a value is the index of its class.
    return classes, (column.rank("dense").cast(pl.Int64) - 1).to_numpy().astype(np.intp)


def suits_logarithm(y: Array) -> bool:
    """Whether the logarithm of numbers `(rows,)` is easier to predict than the numbers.

    It is if all are above 0 and most are small beside a few, as prices and populations are: their
    skewness is above 3, and larger than that of their logarithms.
    """
    if y.min() <= 0:
        return False
    skewness = _skewness(y)
    return skewness > _SKEWED and abs(_skewness(np.log(y))) < skewness


def _skewness(y: Array) -> float:
    """The third standardized moment; 0 where all are alike, or too large to be squared."""
    with np.errstate(over="ignore", invalid="ignore"):
        apart = y / y.max() - np.mean(y / y.max()) if y.max() else y
        spread = float(np.sqrt(np.mean(apart**2)))
        return float(np.mean((apart / spread) ** 3)) if spread else 0.0


def known(
    column: "pl.Series", classes: tuple[Class, ...], place: Place, notation: Notation
) -> tuple[Array, Array]:
    """Convert the target of a table other than the one that the model was trained on.

    Args:
        column: all rows of it.
        classes: those of the model; none for a regression.
        place: where the column is, for errors.
        notation: how numbers are written in it.

    Returns:
        Class indices or numbers, `(rows,)`, and which rows have a target, `(rows,)` bool.

    Raises:
        DataError: for a class that the model does not have, or what is no number in a regression.
    """
    pl = polars()
    if not classes:
        numbers = columns.numbers(column, place, notation)
        return numbers, ~np.isnan(numbers)
    spelled = _as_class(column, type(classes[0]), place)
    index = spelled.replace_strict(
        list(classes), list(range(len(classes))), default=None, return_dtype=pl.Int64
    )
    given = columns.texts(column, place)
    if not isinstance(classes[0], str):  # where a word for a missing number is no class
        given = given.set(given.str.to_lowercase().is_in(columns.MISSING), None)
    wrong = (given.is_not_null() & index.is_null()).arg_true()
    if len(wrong):
        raise DataError(
            f"{place} holds {shorten(column[wrong[0]])} in {place.row(wrong[0])}, and the model's "
            f"classes are {columns.listed(classes)}: correct it, or leave that row out."
        )
    return index.fill_null(-1).to_numpy(), np.asarray(index.is_not_null().to_numpy())


def _as_class(column: "pl.Series", kind: type, place: Place) -> "pl.Series":
    """The values as classes of one type; null for those that are none."""
    pl: Any = polars()
    if kind is bool and column.dtype != pl.Boolean:
        words = columns.texts(column, place).str.to_lowercase()
        return words.replace_strict({"true": True, "false": False}, default=None)
    if kind is int and column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return columns.texts(column, place).cast(pl.Int64, strict=False)
    if kind is int:
        integers = column.cast(pl.Int64, strict=False)
        return integers.set((integers != column).fill_null(True), None)
    return column if kind is bool else columns.texts(column, place)
