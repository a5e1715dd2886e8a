"""Dates and times: reading them, and their parts as numbers.

A moment is a number of days since 1970-01-01 00:00 by its own clock: what a time zone adds is left
out, because the hour that people lived by says more than the same instant elsewhere. In a column
of text all dates are written in one form, which is found in the training table and kept.
"""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables.columns import MISSING, Place, shorten

if TYPE_CHECKING:
    import polars as pl

#: How days and times of day are written, in the terms of strftime.
_DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y",
    "%d-%m-%Y", "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%y", "%Y-%m",
)  # fmt: skip
_TIMES = ("", "%H:%M", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")
_FORMS = tuple(f"{day} {time}".strip() for day, time in product(_DAYS, _TIMES)) + _TIMES[1:]

#: The end of a time that names its zone.
_ZONE = r"(?i)(:\d\d(?:\.\d+)?(?: ?[ap]m)?) ?(?:z|utc|gmt|[+-]\d\d:?\d\d)$"

#: So many values decide which forms are tried on all of them.
_SAMPLE = 100

#: The parts of a moment: numbers that are standardized, then sines and cosines.
NUMBERS = ("days", "year")
CYCLES = ("month", "weekday", "time")
PARTS = (*NUMBERS, *(f"{cycle} {function}" for cycle in CYCLES for function in ("sin", "cos")))

#: A model file's dates are nearer to 1970 than this: what NumPy's years can tell.
MOST_DAYS = 1e9

_ONE_FORM = (
    "write all of the column's dates in one form, such as 2026-11-28 or 2026-11-28 14:30, or "
    "leave those rows out"
)


def parse(column: "pl.Series", place: Place, form: str = "") -> tuple[Array, str]:
    """Read a column of dates and times.

    Args:
        column: dates, times, text, or integers such as 20261128.
        place: where it is, for errors.
        form: how text is written, in the terms of strftime; empty: found in the values.

    Returns:
        Days since 1970-01-01, `(rows,)` float64, NaN where missing, and the form; empty for a
        column that is not text.

    Raises:
        DataError: for what is no date, or not in one form; for dates of which the day or the month
            could be first.
    """
    pl = polars()
    if column.dtype == pl.Null:
        return np.full(len(column), np.nan), form
    if column.dtype.is_temporal() and column.dtype != pl.Duration:
        return _days(column), form
    if column.dtype.is_float():  # integers of which some are missing
        integers = column.fill_nan(None).cast(pl.Int64, strict=False)
        if integers.cast(column.dtype).eq_missing(column.fill_nan(None)).all():
            column = integers
    if column.dtype.is_integer():
        form = "%Y%m%d"
    elif column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise DataError(
            f"{place} holds {column.dtype}, which is no date; those are dates and times, text "
            "such as 2026-11-28, and integers such as 20261128."
        )
    words = column.cast(pl.String).str.strip_chars()
    words = words.set(words.str.to_lowercase().is_in(["", *MISSING]).fill_null(True), None)
    plain = words.str.replace(r"^(.*\d)[Tt](\d.*)$", "$1 $2").str.replace(_ZONE, "$1")
    plain = plain.str.replace_all(r"\s+", " ")
    form = form or _form_of(plain, place)
    found = _read(plain, form)
    wrong = (found.is_null() & words.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{place} holds {shorten(column[row])} in {place.row(row)}, which is no date"
            f"{f' written as {form}' if len(found) > found.null_count() else ''}; {_ONE_FORM}."
        )
    return _days(found), form


def _form_of(words: "pl.Series", place: Place) -> str:
    """The form that most values have.

    Raises:
        DataError: if they would be other dates in another form.
    """
    present = words.drop_nulls().unique(maintain_order=True)
    sample = present.head(_SAMPLE)
    counts = {form: int(_read(sample, form).count()) for form in _FORMS}
    likely = [form for form, count in counts.items() if count == max(counts.values())]
    read = {form: _read(present, form) for form in likely if counts[form]}
    whole = [form for form, values in read.items() if not values.null_count()]
    for other in whole[1:]:
        if not read[other].equals(read[whole[0]]):
            raise DataError(
                f"{place} holds {shorten(sample[0])}, say, and its dates could be written as "
                f"{whole[0]} or as {other}; write them with the year first, as in 2026-11-28."
            )
    return max(likely, key=lambda form: read[form].count() if form in read else 0)


def _read(words: "pl.Series", form: str) -> "pl.Series":
    """Moments, null for what is not written in that form; years before 1000 lack digits."""
    pl: Any = polars()
    if "%Y" not in form and "%y" not in form:
        return words.str.strptime(pl.Time, form, strict=False)
    if form == "%Y-%m":
        words, form = words + "-01", "%Y-%m-%d"
    kind = pl.Datetime("us") if ":" in form else pl.Date
    found = words.str.strptime(kind, form, strict=False)
    return found.set(found.dt.year() < 1000, None)


def _days(column: "pl.Series") -> Array:
    """Days since 1970-01-01 by the clock of the column, NaN where missing."""
    pl = polars()
    if column.dtype == pl.Time:
        days = column.cast(pl.Int64).cast(pl.Float64) / 86_400e9
    elif column.dtype == pl.Date:
        days = column.cast(pl.Int32).cast(pl.Float64)
    else:
        clock = column.dt.replace_time_zone(None).cast(pl.Datetime("us"))
        days = clock.cast(pl.Int64).cast(pl.Float64) / 86_400e6
    return np.asarray(days.fill_null(np.nan).to_numpy(), np.float64)


def parts(days: Array, names: Sequence[str]) -> Array:
    """The parts of moments, not standardized.

    Months, weekdays (Monday first) and times of day are angles: a year, a week and a day are a
    full turn each.

    Args:
        days: `(rows,)`, without NaN.
        names: some of `PARTS`.

    Returns:
        `(rows, names)` float64.
    """
    whole = np.floor(days).astype(np.int64)
    months = whole.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    numbers = {"days": days, "year": 1970.0 + np.floor_divide(months, 12)}
    turns = {
        "month": np.mod(months, 12) / 12,
        "weekday": np.mod(whole + 3, 7) / 7,  # 1970-01-01 was a Thursday
        "time": days - whole,
    }
    found = np.empty((len(days), len(names)))
    for index, name in enumerate(names):
        cycle, _, function = name.partition(" ")
        if function:
            found[:, index] = getattr(np, function)(2 * np.pi * turns[cycle])
        else:
            found[:, index] = numbers[name]
    return found


def written(day: float) -> str:
    """A moment as people read it."""
    return str(np.datetime64(round(day * 86_400), "s")).replace("T00:00:00", "").replace("T", " ")
