"""How the columns of a table become the inputs of a network.

A column of numbers is one input: minus the mean of the training rows, divided by their standard
deviation. A missing number is replaced by the median of the training rows; if any training row
lacks the number, another input is 1 where it is missing and 0 elsewhere, because its absence may
carry information. Where bins are asked for, there is an input for each: how far the number has come
in it, 0 below and 1 above (Gorishniy et al. 2022, section 3.2, "piecewise linear encoding"). Edges
of bins are quantiles of the training rows. From them jumps and bends are learned that a network
would need many more steps to make of the number itself.

A column of text is one-hot encoded: one input for each category, 1 in the rows of that category
and 0 in the others. The most frequent texts of the training rows are the categories. The others
share one more input, "other", which is also for texts that are in no training row; where there
are no others, all inputs of such a text are 0. Missing text is a category of its own if training
rows lack it, and otherwise treated like an unknown text.

A column of dates is a few inputs: the days since the first date of the training rows, with a
fraction for the time of day, and the year, both standardized; and sine and cosine of the month, the
day of the week and the time of day. Those that are the same in all training rows are left out. A
missing date is treated like a missing number.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastnet.advice import setting
from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.records import Record
from fastnet.tables import dates
from fastnet.tables.columns import (
    USUAL,
    Place,
    missing,
    numbers,
    refuse_missing,
    shorten,
    spelled,
    texts,
)
from fastnet.tables.notation import Notation

if TYPE_CHECKING:
    import polars as pl

#: The treatments of missing text.
_GAPS = ("category", "unseen", "error")

_SPELLINGS = ("one", "exact")


class Number(Record):
    """A column of numbers.

    Attributes:
        name: the column's.
        mean, scale: what is subtracted from each number, and what it is then divided by.
        fill: replaces a missing number; None: missing numbers are refused.
        indicator: whether the last input tells where a number is missing.
        edges: of its bins, ascending; empty: there are none.
    """

    name: str
    mean: float
    scale: float
    fill: float | None = None
    indicator: bool = False
    edges: tuple[float, ...] = ()

    kind: ClassVar[str] = "number"

    @classmethod
    def fit(cls, name: str, values: Array, impute: bool, bins: int = 0) -> "Number":
        """Learn the encoding from training rows `(rows,)`, NaN where missing.

        Args:
            name: the column's.
            values: of the training rows.
            impute: replace missing numbers.
            bins: at most; a column of two different numbers has none.

        Raises:
            DataError: if the numbers are too large to be squared.
        """
        gaps = np.isnan(values)
        fill, edges = None, _edges(values[~gaps], bins) if bins else ()
        if impute:
            with np.errstate(over="ignore"):
                fill = float(np.median(values[~gaps]))
            values = np.where(gaps, fill, values)
        mean, scale = moments(values, name)
        return cls(name, mean, scale, fill, bool(gaps.any()), edges)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        bins = (f"{self.name}: {a:.6g} to {b:.6g}" for a, b in pairwise(self.edges))
        return (self.name, *bins, *[f"{self.name}=missing"] * self.indicator)

    @property
    def means(self) -> tuple[float, ...]:
        """What is subtracted from each of its inputs."""
        return (self.mean, *(0.0 for _ in self.inputs[1:]))

    @property
    def scales(self) -> tuple[float, ...]:
        """What each of its inputs is then divided by."""
        return (self.scale, *(1.0 for _ in self.inputs[1:]))

    def convert(self, column: "pl.Series", place: Place, notation: Notation = USUAL) -> Array:
        """Convert a column of another table to `(rows,)` float64, NaN where missing.

        Raises:
            DataError: if it holds anything but numbers, or missing values that are refused.
        """
        values = numbers(column, place, notation)
        if self.fill is None:
            refuse_missing(values, place, _refused())
        return values

    def encode(self, values: Array, out: Array) -> None:
        """Write its inputs, standardized, into `out` `(rows, inputs)`."""
        gaps = np.isnan(values)
        if self.fill is not None and gaps.any():
            values = np.where(gaps, self.fill, values)
        out[:, 0] = (values - self.mean) / self.scale
        for place, (low, high) in enumerate(pairwise(self.edges), 1):
            out[:, place] = np.clip((values - low) / (high - low), 0, 1)
        if self.indicator:
            out[:, -1] = gaps

    def unseen(self, values: Array) -> Array:
        """Which rows hold an unknown value, `(rows,)` bool: none, all numbers are known."""
        return np.zeros(len(values), bool)

    def valid(self) -> bool:
        """Whether its attributes, which may come from any file, are valid."""
        fill = self.fill is None or finite(self.fill)
        moments = finite(self.mean) and finite(self.scale) and self.scale > 0
        indicator = isinstance(self.indicator, bool) and not (self.indicator and self.fill is None)
        edges = isinstance(self.edges, tuple) and all(map(finite, self.edges))
        widths = (0 < high - low < math.inf for low, high in pairwise(self.edges if edges else ()))
        return text(self.name) and fill and moments and indicator and edges and all(widths)


class Categories(Record):
    """A column of text.

    Attributes:
        name: the column's.
        values: its categories, the most frequent first.
        other: whether all other texts share one more category.
        missing: missing text is a "category" of its own, is treated like "unseen" text, or is an
            "error".
        spelling: "one": a category is spelled in one way in every source, as
            `fastnet.tables.columns.spelled` does; "exact": as it is written there.
    """

    name: str
    values: tuple[str, ...]
    other: bool = False
    missing: str = "unseen"
    spelling: str = "one"

    kind: ClassVar[str] = "categories"

    @classmethod
    def fit(
        cls,
        name: str,
        values: "pl.Series",
        max_categories: int,
        impute: bool,
        spelling: str = "one",
    ) -> "Categories":
        """Learn the categories from the text of training rows, which is in that spelling."""
        gaps = values.null_count() > 0
        counts = values.drop_nulls().alias("value").value_counts(name="rows")
        ordered = counts.sort(["rows", "value"], descending=[True, False])["value"].to_list()
        treatment = ("category" if gaps else "unseen") if impute else "error"
        first = tuple(ordered[:max_categories])
        return cls(name, first, len(ordered) > max_categories, treatment, spelling)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        rest = ["other"] * self.other + ["missing"] * (self.missing == "category")
        return unique(f"{self.name}={value}" for value in [*self.values, *rest])

    @property
    def means(self) -> tuple[float, ...]:
        """Zeros: its inputs are 0 and 1."""
        return (0.0,) * len(self.inputs)

    @property
    def scales(self) -> tuple[float, ...]:
        """Ones: its inputs are 0 and 1."""
        return (1.0,) * len(self.inputs)

    def convert(self, column: "pl.Series", place: Place, notation: Notation = USUAL) -> "pl.Series":
        """Convert a column of another table to text, null where missing.

        Raises:
            DataError: if it cannot be text, or holds missing values that are refused.
        """
        one = self.spelling == "one"
        values = spelled(column, place, notation) if one else texts(column, place)
        if self.missing == "error":
            refuse_missing(values, place, _refused())
        return values

    def encode(self, values: "pl.Series", out: Array) -> None:
        """Write its inputs into `out` `(rows, inputs)`."""
        indices = self._indices(values)
        if self.other:
            indices = np.where(indices < 0, len(self.values), indices)
        if self.missing == "category":
            indices = np.where(missing(values), len(self.inputs) - 1, indices)
        out[:] = 0
        rows = np.flatnonzero(indices >= 0)
        out[rows, indices[rows]] = 1

    def unseen(self, values: "pl.Series") -> Array:
        """Which rows hold text that is none of the categories, `(rows,)` bool."""
        return (self._indices(values) < 0) & ~missing(values)

    def _indices(self, values: "pl.Series") -> Array:
        """The index of each row's category, or -1."""
        pl = polars()
        known = values.cast(pl.Enum(self.values), strict=False).to_physical()
        return np.asarray(known.cast(pl.Int64).fill_null(-1).to_numpy())

    def valid(self) -> bool:
        """Whether its attributes, which may come from any file, are valid."""
        values = self.values
        return (
            text(self.name)
            and isinstance(values, tuple)
            and all(map(text, values))
            and 0 < len(values) == len(set(values))
            and isinstance(self.other, bool)
            and self.missing in _GAPS
            and self.spelling in _SPELLINGS
        )


class Dates(Record):
    """A column of dates and times.

    Attributes:
        name: the column's.
        parts: those of `fastnet.tables.dates.PARTS` that are inputs.
        part_means, part_scales: what is subtracted from each part, and what it is divided by.
        first: the first date, in days since 1970-01-01.
        fill: replaces a missing date, likewise; None: missing dates are refused.
        indicator: whether one more input tells where a date is missing.
        form: how dates in text are written, in the terms of strftime; empty if they were not text.
    """

    name: str
    parts: tuple[str, ...]
    part_means: tuple[float, ...]
    part_scales: tuple[float, ...]
    first: float
    fill: float | None = None
    indicator: bool = False
    form: str = ""

    kind: ClassVar[str] = "dates"

    @classmethod
    def fit(cls, name: str, values: Array, impute: bool, form: str) -> "Dates":
        """Learn the encoding from the days `(rows,)` of training rows, NaN where missing."""
        gaps = np.isnan(values)
        first = float(np.min(values[~gaps]))
        fill = float(np.median(values[~gaps])) if impute else None
        known = values if fill is None else np.where(gaps, fill, values)
        found = dates.parts(known, dates.PARTS)
        learned = {
            part: moments(given, name) if part in dates.NUMBERS else (0.0, 1.0)
            for part, given in zip(dates.PARTS, found.T, strict=True)
            if given.min() != given.max()
        }
        means, scales = zip(*learned.values(), strict=True) if learned else ((), ())
        return cls(name, tuple(learned), means, scales, first, fill, bool(gaps.any()), form)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        days = f"days since {dates.written(self.first)}"
        names = [f"{self.name}: {days if part == 'days' else part}" for part in self.parts]
        return (*names, f"{self.name}=missing") if self.indicator else tuple(names)

    @property
    def means(self) -> tuple[float, ...]:
        """What is subtracted from each of its inputs; of days, since `first`."""
        shifted = [
            mean - self.first if part == "days" else mean
            for part, mean in zip(self.parts, self.part_means, strict=True)
        ]
        return (*shifted, 0.0) if self.indicator else tuple(shifted)

    @property
    def scales(self) -> tuple[float, ...]:
        """What each of its inputs is then divided by."""
        return (*self.part_scales, 1.0) if self.indicator else self.part_scales

    def convert(self, column: "pl.Series", place: Place, notation: Notation = USUAL) -> Array:
        """Convert a column of another table to days since 1970-01-01 `(rows,)`, NaN where missing.

        Raises:
            DataError: if it holds anything but dates, or missing dates that are refused.
        """
        values, _ = dates.parse(column, place, self.form)
        if self.fill is None:
            refuse_missing(values, place, _refused())
        return values

    def encode(self, values: Array, out: Array) -> None:
        """Write its inputs, standardized, into `out` `(rows, inputs)`."""
        gaps = np.isnan(values)
        if self.fill is not None and gaps.any():
            values = np.where(gaps, self.fill, values)
        found = dates.parts(values, self.parts)
        count = len(self.parts)
        out[:, :count] = (found - self.part_means) / self.part_scales
        if self.indicator:
            out[:, count] = gaps

    def unseen(self, values: Array) -> Array:
        """Which rows hold an unknown value, `(rows,)` bool: none, all dates are known."""
        return np.zeros(len(values), bool)

    def valid(self) -> bool:
        """Whether its attributes, which may come from any file, are valid."""
        shapes = all(
            isinstance(given, tuple) and len(given) == len(self.parts)
            for given in (self.parts, self.part_means, self.part_scales)
        )
        return (
            text(self.name)
            and shapes
            and all(part in dates.PARTS for part in self.parts)
            and len(set(self.parts)) == len(self.parts)
            and all(map(finite, (*self.part_means, *self.part_scales, self.first)))
            and all(scale > 0 for scale in self.part_scales)
            and abs(self.first) < dates.MOST_DAYS
            and (self.fill is None or (finite(self.fill) and abs(self.fill) < dates.MOST_DAYS))
            and isinstance(self.indicator, bool)
            and not (self.indicator and self.fill is None)
            and text(self.form)
        )


Column = Number | Categories | Dates

_KINDS: dict[str, type[Number] | type[Categories] | type[Dates]] = {
    kind.kind: kind for kind in (Number, Categories, Dates)
}

#: The facts that a model file must have of each; looking them up is slow in a wide table.
_KEYS = {kind: frozenset(one.name for one in fields(kind)) for kind in _KINDS.values()}


def _refused() -> str:
    return (
        "the model was trained without missing values there: fill it in, or train with "
        f"{setting('missing', 'impute')}"
    )


def to_plain(column: Column) -> dict[str, Any]:
    """As plain data, which model files hold."""
    facts = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(column).items()}
    return {"kind": column.kind, **facts}


def from_plain(plain: Any) -> Column:
    """Read a column from plain data; every fact is checked.

    Raises:
        ValueError: if one is invalid.
    """
    if not isinstance(plain, dict) or str(plain.get("kind")) not in _KINDS:
        raise ValueError(f"a column is {shorten(plain)}, which is invalid")
    kind: Any = _KINDS[plain["kind"]]
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items() if k != "kind"}
    if kind is Categories:
        facts.setdefault("spelling", "exact")  # of files written before there was a choice
    if kind is Number:
        facts.setdefault("edges", ())  # of files written before there were bins
    if facts.keys() != _KEYS[kind]:
        raise ValueError(f"a column has the keys {shorten(sorted(map(str, facts)))}")
    column: Column = kind(**facts)
    if not column.valid():
        raise ValueError(f"a column is {shorten(plain)}, which is invalid")
    return column


def _edges(values: Array, bins: int) -> tuple[float, ...]:
    """Those of at most so many bins: all values if they are few, else quantiles."""
    edges = np.unique(values)
    if len(edges) > bins + 1:
        fractions = np.linspace(0, 1, bins + 1)
        edges = np.unique(np.quantile(values, fractions, method="inverted_cdf"))
    return tuple(edges.tolist()) if len(edges) > 2 else ()


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Names, none twice: a name that is taken gets a number, as in "a=other (2)"."""
    found: dict[str, None] = {}
    times: dict[str, int] = {}
    for name in names:
        candidate = name
        while candidate in found:
            times[name] = times.get(name, 1) + 1
            candidate = f"{name} ({times[name]})"
        found[candidate] = None
    return tuple(found)


def moments(values: Array, name: str) -> tuple[float, float]:
    """Mean and standard deviation of numbers; 1 instead of a deviation of 0.

    Raises:
        DataError: if they are too large to be squared.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
    if values.min() == values.max():
        mean, scale = float(values[0]), 1.0
    if scale < np.finfo(np.float64).tiny:  # a division by less could overflow
        scale = 1.0
    if not math.isfinite(mean + scale):
        raise DataError(
            f"column {name!r} reaches {np.abs(values).max():g}, too large for a standard "
            "deviation; use another unit, or its logarithm."
        )
    return mean, scale


def text(value: object) -> bool:
    """Whether a value is text that can be written; JSON may hold half a surrogate pair."""
    if not isinstance(value, str):
        return False
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def finite(value: object) -> bool:
    """Whether a value is a finite float.

    JSON may hold integers that are too large for a float; model files hold floats.
    """
    return isinstance(value, float) and math.isfinite(value)
