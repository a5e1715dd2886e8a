"""How the columns of a table become the inputs of a network.

A column of numbers is one input: less the mean of the training rows, divided by their standard
deviation. Where a number is missing the median of the training rows takes its place; if any of
the training rows lacks it, a second input is 1 where it is missing and 0 elsewhere, because
that it is missing may say something.

A column of text is one input for each of its categories, 1 in the rows of that category and 0
in others (one-hot). The most frequent texts of the training rows are its categories. The rest
share one more, "other", also for texts that no training row has; where there is no rest, such a
text is 0 in all inputs. Missing text is a category of its own, if training rows lack it, and
else like a text that was never seen.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables.columns import Place, missing, numbers, refuse_missing, shorten, texts

if TYPE_CHECKING:
    import polars as pl

#: What becomes of a text that is missing.
_GAPS = ("category", "unseen", "error")


@dataclass(frozen=True)
class Number:
    """A column of numbers.

    Attributes:
        name: the column's.
        mean, scale: what is taken from each number, and what it is then divided by.
        fill: takes the place of a missing number; None: that is refused.
        indicator: a second input says where it is missing.
    """

    name: str
    mean: float
    scale: float
    fill: float | None = None
    indicator: bool = False

    kind: ClassVar[str] = "number"

    @classmethod
    def of(cls, name: str, values: Array, fills: bool) -> "Number":
        """Learn from training rows `(rows,)`, NaN where missing; `fills`: take missing ones.

        Raises:
            DataError: if the numbers are too large to be squared.
        """
        gaps = np.isnan(values)
        fill = None
        if fills:
            with np.errstate(over="ignore"):
                fill = float(np.median(values[~gaps]))
            values = np.where(gaps, fill, values)
        mean, scale = moments(values, name)
        return cls(name, mean, scale, fill, bool(gaps.any()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        return (self.name, f"{self.name}=missing") if self.indicator else (self.name,)

    @property
    def means(self) -> tuple[float, ...]:
        """What is taken from each of its inputs."""
        return (self.mean, 0.0) if self.indicator else (self.mean,)

    @property
    def scales(self) -> tuple[float, ...]:
        """What each of its inputs is then divided by."""
        return (self.scale, 1.0) if self.indicator else (self.scale,)

    def read(self, column: "pl.Series", place: Place) -> Array:
        """Its values in another table, `(rows,)` float64, NaN where missing.

        Raises:
            DataError: if they are no numbers, or are missing where that is refused.
        """
        values = numbers(column, place)
        if self.fill is None:
            refuse_missing(values, place, _REFUSED)
        return values

    def encode(self, values: Array, out: Array) -> None:
        """Write its inputs, standardized, into `out` `(rows, inputs)`."""
        gaps = np.isnan(values)
        if self.fill is not None and gaps.any():
            values = np.where(gaps, self.fill, values)
        out[:, 0] = (values - self.mean) / self.scale
        if self.indicator:
            out[:, 1] = gaps

    def unseen(self, values: Array) -> Array:
        """Rows whose value the model knows nothing of: none."""
        return np.zeros(len(values), bool)

    def valid(self) -> bool:
        """Whether its facts, whoever wrote them, make sense."""
        known = self.fill is None or finite(self.fill)
        steady = finite(self.mean) and finite(self.scale) and self.scale > 0
        gaps = isinstance(self.indicator, bool) and not (self.indicator and self.fill is None)
        return text(self.name) and known and steady and gaps


@dataclass(frozen=True)
class Categories:
    """A column of text.

    Attributes:
        name: the column's.
        values: its categories, the most frequent first.
        other: whether all other texts share a category.
        missing: missing text is a "category", like an "unseen" one, or an "error".
    """

    name: str
    values: tuple[str, ...]
    other: bool = False
    missing: str = "unseen"

    kind: ClassVar[str] = "categories"

    @classmethod
    def of(cls, name: str, values: "pl.Series", most: int, fills: bool) -> "Categories":
        """Learn from the text of training rows; at most so many categories; `fills`: as above."""
        gaps = values.null_count() > 0
        counts = values.drop_nulls().alias("value").value_counts(name="rows")
        ordered = counts.sort(["rows", "value"], descending=[True, False])["value"].to_list()
        treated = ("category" if gaps else "unseen") if fills else "error"
        return cls(name, tuple(ordered[:most]), len(ordered) > most, treated)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its inputs."""
        rest = ["other"] * self.other + ["missing"] * (self.missing == "category")
        return tuple(f"{self.name}={value}" for value in [*self.values, *rest])

    @property
    def means(self) -> tuple[float, ...]:
        """Zeros: its inputs are 0 and 1."""
        return (0.0,) * len(self.inputs)

    @property
    def scales(self) -> tuple[float, ...]:
        """Ones: its inputs are 0 and 1."""
        return (1.0,) * len(self.inputs)

    def read(self, column: "pl.Series", place: Place) -> "pl.Series":
        """Its values in another table, text, null where missing.

        Raises:
            DataError: if they can be no text, or are missing where that is refused.
        """
        found = texts(column, place)
        if self.missing == "error":
            refuse_missing(found, place, _REFUSED)
        return found

    def encode(self, values: "pl.Series", out: Array) -> None:
        """Write its inputs into `out` `(rows, inputs)`."""
        places = self._places(values)
        if self.other:
            places = np.where(places < 0, len(self.values), places)
        if self.missing == "category":
            places = np.where(missing(values), len(self.inputs) - 1, places)
        out[:] = 0
        rows = np.flatnonzero(places >= 0)
        out[rows, places[rows]] = 1

    def unseen(self, values: "pl.Series") -> Array:
        """Rows whose text is there and is none of the categories."""
        return (self._places(values) < 0) & ~missing(values)

    def _places(self, values: "pl.Series") -> Array:
        """Each row's category, or -1."""
        pl = polars()
        known = values.cast(pl.Enum(self.values), strict=False).to_physical()
        return np.asarray(known.cast(pl.Int64).fill_null(-1).to_numpy())

    def valid(self) -> bool:
        """Whether its facts, whoever wrote them, make sense."""
        values = self.values
        return (
            text(self.name)
            and isinstance(values, tuple)
            and all(map(text, values))
            and 0 < len(values) == len(set(values))
            and isinstance(self.other, bool)
            and self.missing in _GAPS
        )


Column = Number | Categories

_KINDS: dict[str, type[Number] | type[Categories]] = {c.kind: c for c in (Number, Categories)}

_REFUSED = (
    "the model was trained without missing values there: fill it in, or train with --missing impute"
)


def to_plain(column: Column) -> dict[str, Any]:
    """The form that model files hold."""
    facts = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(column).items()}
    return {"kind": column.kind, **facts}


def from_plain(plain: Any) -> Column:
    """Read that form; nothing in it is taken on trust.

    Raises:
        ValueError: if it makes no sense.
    """
    if not isinstance(plain, dict) or str(plain.get("kind")) not in _KINDS:
        raise ValueError(f"a column is {shorten(plain)}")
    kind: Any = _KINDS[plain["kind"]]
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items() if k != "kind"}
    if set(facts) != {field.name for field in fields(kind)}:
        raise ValueError(f"a column has the facts {shorten(sorted(map(str, facts)))}")
    column: Column = kind(**facts)
    if not column.valid():
        raise ValueError(f"a column is {shorten(plain)}")
    return column


def moments(values: Array, name: str) -> tuple[float, float]:
    """Mean and standard deviation of numbers; constant ones have the deviation 1.

    Raises:
        DataError: if they are too large to be squared.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
    if values.min() == values.max():
        mean, scale = float(values[0]), 1.0
    if scale < np.finfo(np.float64).tiny:  # below it a quotient could overflow
        scale = 1.0
    if not math.isfinite(mean + scale):
        raise DataError(
            f"column {name!r} reaches {np.abs(values).max():g}, too large for a standard "
            "deviation; use another unit, or its logarithm."
        )
    return mean, scale


def text(value: object) -> bool:
    """Whether a value is text that can be written: JSON lets half a surrogate pair through."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def finite(value: object) -> bool:
    """Whether a value is a finite float.

    JSON's whole numbers may be too long for a float; ours are never written as such.
    """
    return isinstance(value, float) and math.isfinite(value)
