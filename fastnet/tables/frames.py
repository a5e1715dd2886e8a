"""Mappings of columns, and frames of other libraries, as Polars frames.

What a column becomes depends on its values, never on their order: whole numbers are integers,
with other numbers among them floats, with text among them text. That text is then judged as that
of a CSV file is.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.errors import DataError
from fastnet.extras import need, polars
from fastnet.tables.columns import shorten

if TYPE_CHECKING:
    import polars as pl

#: What polars, NumPy and pandas raise for values that make no column.
_UNFIT = (TypeError, ValueError, OverflowError, ImportError, ArithmeticError)


def to_polars(source: Any) -> "pl.DataFrame":
    """Convert a mapping of columns, or a frame that Narwhals knows, such as one of pandas.

    The index of a pandas frame holds row labels: it is not a column.

    Raises:
        DataError: if it is neither, or its columns do not make a table.
        MissingExtra: without Narwhals, for a frame of another library than Polars.
    """
    pl = polars()
    if isinstance(source, pl.LazyFrame):
        return source.collect()  # type: ignore[no-any-return]
    if isinstance(source, Mapping):
        return _join({str(name): values for name, values in source.items()}, len(source))
    if isinstance(source, np.ndarray) or not hasattr(source, "columns"):
        raise _no_table(source)
    narwhals = need("narwhals", "tables", f"reading a {type(source).__module__} frame")
    try:
        frame = narwhals.from_native(source, eager_only=True)
    except TypeError as error:
        raise _no_table(source) from error
    except narwhals.exceptions.NarwhalsError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the columns do not make a table: {reason}") from error
    found = {str(one.name): one for one in frame.iter_columns()}
    return _join(found, len(frame.columns))


def _no_table(source: Any) -> DataError:
    return DataError(
        f"the table is a {type(source).__name__}; it must be a path, a Polars frame, a pandas "
        "frame or another that Narwhals knows, or a mapping of columns."
    )


def _join(columns: Mapping[str, Any], count: int) -> "pl.DataFrame":
    """One frame of columns of equal length; single values are repeated."""
    if len(columns) < count:
        raise DataError("the table has two columns of one name; names are compared as text.")
    series = {name: _column(name, values) for name, values in columns.items()}
    lengths = {name: len(one) for name, one in series.items() if not _single(columns[name])}
    rows = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != rows:
            longest = next(n for n, rows_of in lengths.items() if rows_of == rows)
            raise DataError(
                f"the columns do not make a table: {name!r} has {length:,} values and "
                f"{longest!r} {rows:,}."
            )
    whole = {
        name: one.new_from_index(0, rows) if name not in lengths else one
        for name, one in series.items()
    }
    return polars().DataFrame(whole)  # type: ignore[no-any-return]


def _single(values: Any) -> bool:
    """Whether it is one value for all rows, not a value for each."""
    if isinstance(values, np.ndarray):
        return values.ndim == 0
    if isinstance(values, str | bytes | np.generic):
        return True
    return not (isinstance(values, Iterable) or hasattr(values, "__array__"))


def _column(name: str, values: Any) -> "pl.Series":
    pl = polars()
    if isinstance(values, pl.Series):
        return values.alias(name)  # type: ignore[no-any-return]
    try:
        if _single(values):
            return _from_list(name, [values[()] if isinstance(values, np.ndarray) else values])
        if isinstance(values, np.ndarray):
            return _from_array(name, values)
        if hasattr(values, "is_null") and type(values).__module__.startswith("narwhals"):
            return _from_narwhals(name, values)
        if hasattr(values, "dtype") and hasattr(values, "to_list"):  # of pandas, say
            narwhals = need("narwhals", "tables", f"reading a {type(values).__name__}")
            return _from_narwhals(name, narwhals.from_native(values, series_only=True))
        if hasattr(values, "__array__"):
            return _from_array(name, np.asarray(values))
        if isinstance(values, Mapping) or not isinstance(values, Iterable):
            raise TypeError(f"a {type(values).__name__} is no list of values")
        return _from_list(name, list(values))
    except (*_UNFIT, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"the columns do not make a table: column {name!r} holds what cannot be read "
            f"({shorten(reason, 160)}); give it numbers, or text."
        ) from error


def _from_array(name: str, values: Any) -> "pl.Series":
    if values.ndim != 1:
        raise DataError(
            f"the columns do not make a table: column {name!r} has the shape {values.shape}; a "
            "column has one dimension."
        )
    if isinstance(values, np.ma.MaskedArray) or values.dtype.kind not in "biufmM":
        return _from_list(name, values.tolist())
    if values.dtype == np.float16 or values.dtype.itemsize > 8:  # which Polars may not know
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return polars().Series(name, native)  # type: ignore[no-any-return]


def _from_narwhals(name: str, values: Any) -> "pl.Series":
    """A column of a frame of pandas or the like, whose own way to Polars may need PyArrow."""
    gaps = np.asarray(values.is_null().to_numpy())
    kind = values.dtype
    if kind.is_float() or (kind.is_numeric() and not gaps.any()):
        array = np.asarray(values.to_numpy())
        if array.dtype.kind in "iuf":
            return _from_array(name, array)
    given = values.to_list()
    known = [None if gap else value for value, gap in zip(given, gaps.tolist(), strict=True)]
    if str(kind) in ("Categorical", "Enum") or str(kind).startswith("Enum"):
        pl = polars()
        words = [None if value is None else _word(value) for value in known]
        return pl.Series(name, words, pl.String).cast(pl.Categorical)  # type: ignore[no-any-return]
    return _from_list(name, known)


def _from_list(name: str, values: list[Any]) -> "pl.Series":
    pl = polars()
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {bool} and kinds:
        return pl.Series(name, values, pl.Boolean)  # type: ignore[no-any-return]
    if kinds <= {bool, int}:
        integers = [None if value is None else int(value) for value in values]
        known = [value for value in integers if value is not None]
        if not known:
            return pl.Series(name, values)  # type: ignore[no-any-return]
        if -(2**63) <= min(known) <= max(known) < 2**63:
            return pl.Series(name, integers, pl.Int64)  # type: ignore[no-any-return]
        if 0 <= min(known) <= max(known) < 2**64:
            return pl.Series(name, integers, pl.UInt64)  # type: ignore[no-any-return]
    elif kinds <= {bool, int, float, Decimal} and kinds != {Decimal}:
        try:
            floats = [None if value is None else float(value) for value in values]
        except OverflowError:
            pass
        else:
            return pl.Series(name, floats, pl.Float64)  # type: ignore[no-any-return]
    if kinds == {Decimal}:
        return pl.Series(name, values)  # type: ignore[no-any-return]
    if kinds <= {bool, int, float, Decimal, str}:
        words = [None if value is None or value != value else _word(value) for value in values]
        return pl.Series(name, words, pl.String)  # type: ignore[no-any-return]
    if len(kinds) > 1:
        found = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"column {name!r} holds {found} values; it must hold numbers or text.")
    return pl.Series(name, values)  # type: ignore[no-any-return]


def _word(value: Any) -> str:
    """A value as a CSV file would hold it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return f"{value:.0f}" if abs(value) < 2**53 else repr(value)
    return str(value)
