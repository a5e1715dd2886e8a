"""One column of a table: what it holds, and its values as numbers or as text.

A text column, of a CSV file or any other table, is judged by its values, one at a time, so that
a table means the same however it is stored or read. Columns that cannot be used are refused with
the column and the row.

- In a column of numbers an empty field, NaN and the words NA, N/A, #N/A, null, none, nil, ?, -
  and . are missing values. true and false are 1 and 0.
- In a column of text only an empty field is a missing value; NA is a text like any other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fastnet.advice import setting
from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables import notation as notations
from fastnet.tables.notation import Notation

if TYPE_CHECKING:
    import polars as pl

#: What people and programs write for a missing number, in lower case.
MISSING = ("na", "n/a", "#n/a", "null", "none", "nil", "?", "-", ".")

#: From this fraction of numbers, or dates, on, the other values of a column are mistakes.
MOSTLY = 0.9

_DAY = (
    r"(?:19|20)\d\d-(?:0[1-9]|1[0-2])|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}"
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}/\d{1,2}/\d{2}"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_NAMED = rf"\d{{1,2}}[-. ]+{_MONTH}[-., ]+\d{{2,4}}|{_MONTH}\.? \d{{1,2}},? \d{{4}}"
_HOUR = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[ap]m)?(?: ?(?:z|utc|[+-]\d{2}:?\d{2}))?"
#: Dates and times as they are commonly written, in any case.
_DATE = rf"(?i)^(?:(?:{_DAY}|{_NAMED})(?:[t ]+{_HOUR})?|{_HOUR})$"

#: A number that can be written otherwise, as 1.0 and 1e0 are 1, and .5 is 0.5; 01 is a code.
_FRACTIONAL = r"^-?(?:0|[1-9]\d*)(?:\.\d*|(?:\.\d*)?[eE][+-]?\d+)$|^-?\.\d+(?:[eE][+-]?\d+)?$|^-0$"

#: Any text that `spelled` may change.
_RESPELLED = r"(?i)\d|^(?:true|false)$"

USUAL = Notation()


@dataclass(frozen=True)
class Place:
    """Where a column is, for errors.

    Attributes:
        table: its table's name.
        name: its name.
        rows_before: rows of the table before the first one of these.
        role: "optional" if it may be left out, "target", or "needed" by a trained model.
        row_numbers: where in the table each row was, if some were left out, `(rows,)`.
    """

    table: str
    name: str
    rows_before: int = 0
    role: str = "optional"
    row_numbers: Array | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.table}: {'the target' if self.role == 'target' else 'column'} {self.name!r}"

    def row(self, index: int) -> str:
        """The row of an index, as errors name it."""
        if self.row_numbers is not None:
            index = int(self.row_numbers[index])
        return f"data row {self.rows_before + index + 1}"

    @property
    def otherwise(self) -> str:
        """The remedies other than correcting some values."""
        if self.role == "target":
            return f"take every value as a class ({setting('task', 'classification')})"
        return (
            f"leave the column out ({setting('drop', [self.name])}), or treat all of it as text "
            f"({setting('categorical', [self.name])})"
        )

    @property
    def leave_out(self) -> str:
        """The remedy other than converting the values."""
        if self.role == "optional":
            return f"leave it out ({setting('drop', [self.name])}), or "
        return "the model needs it: " if self.role == "needed" else ""


def infer(
    column: "pl.Series", place: Place, notation: Notation = USUAL
) -> "tuple[str, Array | pl.Series | None]":
    """Find out what a column holds, and convert it.

    Returns:
        "number" with the result of `numbers`, "text" with that of `texts`, or "nothing" and None.

    Raises:
        DataError: for dates and times, nested and binary columns, infinity, and for text that is
            mostly numbers, also if they are written in another notation or with marks.
    """
    pl = polars()
    if column.dtype in (pl.Categorical, pl.Enum):
        return ("text", texts(column, place)) if column.count() else ("nothing", None)
    if column.dtype != pl.String:
        check_type(column, place)
    values, wrong = _parse_numbers(column, notation)
    known = int(len(values) - np.isnan(values).sum())
    if not len(wrong):
        if not known:
            return "nothing", None
        if column.dtype == pl.String:
            _check_length(column, place)
        _check_finite(values, place)
        return "number", values
    present = known + len(wrong)
    words = column.gather(wrong)
    written = notations.written(words)
    if not known:  # <5 and >5 alone are categories
        written = written & ~notations.compared(words)
    if written.any() and known + int(written.sum()) >= MOSTLY * present:
        rows = wrong[written.arg_true().to_numpy()]
        also = f" and {len(rows) - 1:,} more like it" if len(rows) > 1 else ""
        raise DataError(
            f"{place} holds {shorten(column[int(rows[0])])} in {place.row(int(rows[0]))}{also}, "
            f"numbers in another form; {notations.remedy(column.gather(rows), notation)}, or "
            f"{place.otherwise}."
        )
    if known >= MOSTLY * present:
        row = int(wrong[0])
        also = f" and no number in {len(wrong) - 1:,} more" if len(wrong) > 1 else ""
        raise DataError(
            f"{place} holds {shorten(column[row])} in {place.row(row)}{also}, and numbers in "
            f"{known:,} others; correct it, or {place.otherwise}."
        )
    dates = words.str.contains(_DATE)
    if dates.sum() >= MOSTLY * present:
        row = int(wrong[int(dates.arg_true()[0])])
        raise _dates(place, f"{shorten(column[row])} in {place.row(row)}", written=True)
    return "text", texts(column, place)


def has_leading_zeros(column: "pl.Series") -> bool:
    """Whether it is text with numbers like 01234, which may be codes."""
    if column.dtype != polars().String:
        return False
    return bool(column.str.contains(r"^\s*[+-]?0[0-9]").any())


def numbers(column: "pl.Series", place: Place, notation: Notation = USUAL) -> Array:
    """The numbers of a column.

    Returns:
        `(rows,)` float64, NaN where a value is missing, else finite.

    Raises:
        DataError: for text, dates and infinity, with the row.
    """
    pl = polars()
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        check_type(column, place)
    values, wrong = _parse_numbers(column, notation)
    if len(wrong):
        row = int(wrong[0])
        word = column.gather(wrong[:1])
        also = notations.remedy(word, notation) if notations.written(word)[0] else "correct it"
        also += "" if place.role == "needed" else ", or leave that row out"
        raise DataError(
            f"{place} holds {shorten(column[row])} in {place.row(row)}, which is not a number; "
            f"{also}."
        )
    _check_finite(values, place)
    return values


def numbers_together(frame: "pl.DataFrame", notation: Notation = USUAL) -> dict[str, Array]:
    """The result of `numbers` for those columns that hold no words, or none but numbers.

    All of them at once, since a call for each column of a wide table takes longer than the rest.
    """
    pl, usual = polars(), notation.usual
    kinds = [
        dtype.is_numeric() or dtype == pl.Boolean or (usual and dtype == pl.String)
        for dtype in frame.dtypes
    ]
    if not any(kinds) or not frame.height:
        return {}
    some = [one for one, kind in zip(frame.iter_columns(), kinds, strict=True) if kind]
    found = [one.cast(pl.Float64, strict=False) for one in some]  # faster than a frame's cast
    values = pl.DataFrame(found).to_numpy()
    usable = ~np.isinf(values).any(axis=0)
    return {
        before.name: values[:, index]
        for index, (before, after) in enumerate(zip(some, found, strict=True))
        if usable[index] and before.null_count() == after.null_count()
    }


def _parse_numbers(column: "pl.Series", notation: Notation) -> tuple[Array, Array]:
    """A column as numbers, NaN where missing, and the indices of values that are not numbers."""
    pl = polars()
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).to_numpy(), np.zeros(0, np.intp)
    usual = notation.to_usual(column) if column.dtype == pl.String else column
    found = usual.cast(pl.Float64, strict=False)
    values: Array = found.to_numpy(writable=True)
    unparsed: Array = (found.is_null() & column.is_not_null()).arg_true().to_numpy()
    if not len(unparsed) or column.dtype != pl.String:
        return values, unparsed
    again = usual.gather(unparsed).str.strip_chars().cast(pl.Float64, strict=False)
    words = column.gather(unparsed).str.strip_chars().str.to_lowercase()
    again = again.fill_null((words == "true").replace_strict({True: 1.0, False: None}))
    again = again.fill_null((words == "false").replace_strict({True: 0.0, False: None}))
    values[unparsed] = again.to_numpy()
    return values, unparsed[(again.is_null() & ~words.is_in(["", *MISSING])).to_numpy()]


def texts(column: "pl.Series", place: Place) -> "pl.Series":
    """The text of a column, as it is written there.

    Returns:
        `(rows,)` text, null where a value is missing; integers without a decimal point.

    Raises:
        DataError: for dates, nested and binary columns.
    """
    pl = polars()
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        check_type(column, place)
    if column.dtype.is_float() or column.dtype.is_decimal():
        return _shortest(column.cast(pl.Float64))
    found = column.cast(pl.String)
    if column.dtype == pl.String:
        found = found.str.strip_chars()
    return found.set(found == "", None)


def spelled(column: "pl.Series", place: Place, notation: Notation = USUAL) -> "pl.Series":
    """The text of a column in the one spelling that it has in every source.

    A number is written with as few digits as it needs, and a truth value in lower case: 1.0 in a
    CSV file, the integer 1 and the float 1.0 are all "1"; True and the boolean are "true". Codes
    such as 01 are not numbers, and stay.

    Returns:
        `(rows,)` text, null where a value is missing.

    Raises:
        DataError: for dates, nested and binary columns.
    """
    pl = polars()
    if column.dtype == pl.Float32:
        return _shortest(column)
    if column.dtype.is_decimal():
        return column.cast(pl.String).str.replace(r"(\.\d*?)0+$", "$1").str.strip_chars_end(".")
    words = texts(column, place)
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return words
    different = words.unique()  # which are few, as a rule
    if not different.str.contains(_RESPELLED).any():  # a wide table has thousands of such columns
        return words
    one = _spell(different, notation)
    changed = different.ne_missing(one)
    if not changed.any():
        return words
    return words.replace(different.filter(changed), one.filter(changed))


def _spell(words: "pl.Series", notation: Notation) -> "pl.Series":
    """The one spelling of texts."""
    pl = polars()
    usual = notation.to_usual(words)
    fractional = usual.str.contains(_FRACTIONAL)
    floats = usual.set(~fractional.fill_null(False), None).cast(pl.Float64, strict=False)
    if not notation.usual:
        whole = usual.str.contains(r"^-?(?:0|[1-9]\d*)$").fill_null(False)
        words = usual.zip_with(whole, words)
    lower = words.str.to_lowercase()
    words = lower.zip_with(lower.is_in(["true", "false"]).fill_null(False), words)
    return _shortest(floats).zip_with(floats.is_finite().fill_null(False), words)


def ambiguous(raw: "pl.Series", words: "pl.Series") -> bool:
    """Whether texts that differ would get one spelling, though their digits may mean something.

    So 1.1 and 1.10 are different versions; 1 and 1.0, and True and TRUE, are the same.
    """
    pairs = polars().DataFrame({"raw": raw, "word": words}).unique()
    pairs = pairs.filter(pairs["word"].str.contains(r"^-?\d*\.\d"))
    return bool(pairs["word"].is_duplicated().any())


def _shortest(column: "pl.Series") -> "pl.Series":
    """Floats with as few digits as they need, integers without a decimal point."""
    pl = polars()
    values = column.fill_nan(None)
    integers = values.cast(pl.Int64, strict=False)
    exact = integers.cast(values.dtype) == values
    return integers.cast(pl.String).zip_with(exact.fill_null(False), values.cast(pl.String))


def missing(values: "Array | pl.Series") -> Array:
    """Which values of a column are missing, `(rows,)` bool."""
    found = np.isnan(values) if isinstance(values, np.ndarray) else values.is_null().to_numpy()
    return np.asarray(found)


def refuse_missing(values: "Array | pl.Series", place: Place, remedy: str) -> None:
    """Make sure that every row has a value.

    Raises:
        DataError: naming the first row that has none; the message ends with `remedy`.
    """
    gaps = missing(values)
    if not gaps.any():
        return
    count = int(gaps.sum())
    also = f" ({count:,} rows have none)" if count > 1 else ""
    raise DataError(f"{place} has no value in {place.row(int(np.argmax(gaps)))}{also}; {remedy}.")


def _check_finite(values: Array, place: Place) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise DataError(
            f"{place} holds {values[row]} in {place.row(row)}; it must be a finite number: "
            "correct it, or leave that row out."
        )


def check_type(column: "pl.Series", place: Place) -> None:
    """Make sure that a column that is no text holds numbers.

    Raises:
        DataError: for dates, times and lengths of time, nested and binary columns.
    """
    pl = polars()
    if column.dtype == pl.Duration:
        raise DataError(
            f"{place} holds lengths of time ({column.dtype}); {place.leave_out}convert them to "
            "numbers, such as seconds."
        )
    if column.dtype.is_temporal():
        raise _dates(place, str(column.dtype))
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise DataError(
            f"{place} holds {column.dtype}; it must hold numbers or text: {place.leave_out}"
            "convert it."
        )


def _dates(place: Place, shown: str, written: bool = False) -> DataError:
    """`written`: as text, which may be something else, such as the ratio 1:10."""
    take = ""
    if place.role == "optional":
        take = f"take it as dates ({setting('date', [place.name])}), "
    codes = setting("categorical", [place.name])
    if place.role == "target":
        codes = setting("task", "classification")
    return DataError(
        f"{place} holds dates or times ({shown}), which have no scale of their own; "
        f"{take}{place.leave_out}convert it to numbers, such as days since a start date, the "
        f"month, or the weekday{f'; if they are codes or ratios, add {codes}' if written else ''}."
    )


def _check_length(column: "pl.Series", place: Place) -> None:
    """Refuse integers beyond 64 bits, which a float would round: they are identifiers."""
    long = column.str.contains(r"^[+-]?\d{19,}$")
    if long.any():
        wide = column.filter(long).cast(polars().Int64, strict=False)
        if wide.null_count() and not column.str.contains(r"[.eE]").any():
            row = int(long.arg_true()[int(wide.is_null().arg_true()[0])])
            raise DataError(
                f"{place} holds {column[row][:60]} in {place.row(row)}, an integer beyond 64 bits; "
                "if it is a measurement, write it with a decimal point; if it is an identifier, "
                f"{place.otherwise}."
            )


def one_column() -> str:
    """What may be wrong with a table that should have more columns."""
    mark = setting("separator")
    return f"it has one column: if another mark separates the values, name it ({mark})"


def shorten(value: object, limit: int = 60) -> str:
    """A value as errors show it: on one line, and not too long."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def listed(names: Iterable[object], limit: int = 8) -> str:
    """Names as errors list them; those beyond the limit are counted."""
    every = [shorten(name) for name in names]
    shown = ", ".join(every[:limit])
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"
