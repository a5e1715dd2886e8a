"""What a model knows of the table it was trained on, and its predictions as a table.

    from fastnet import tables

    model = fn.load("digits.safetensors")       # written by `fastnet train`
    tables.predict(model, "new.csv")            # a Polars frame
    for frame in tables.stream(model, "large.parquet"):     # the same, block by block
        ...

Needs Polars (the extra `tables`). `fastnet.encoding` says how columns become inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError, ModelFileError
from fastnet.extras import polars
from fastnet.tables import encoding
from fastnet.tables.columns import Place, listed, shorten
from fastnet.tables.encoding import Column, finite, text

if TYPE_CHECKING:
    import polars as pl

    from fastnet.model import Model

TASKS = ("classification", "regression")

Class = int | str | bool


@dataclass(frozen=True)
class Table:
    """What a model must know about the table it was trained on.

    Attributes:
        columns: how each input column becomes inputs, in the network's order.
        target: the column that is predicted.
        task: "classification" or "regression".
        classes: in the order of the network's outputs; all text, all integers or all truth
            values; empty for regression.
        target_mean, target_scale: predictions are `target_mean + target_scale * output`.
        left_out: columns of the training that are not looked at.
        training: how it went, for people: `fastnet.recipe.Trained` says what is in it.
    """

    columns: tuple[Column, ...]
    target: str
    task: str
    classes: tuple[Class, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0
    left_out: tuple[str, ...] = ()
    training: Mapping[str, Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The input columns."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the network's inputs, as "age", "age=missing", "city=Rome", "city=other"."""
        return tuple(name for column in self.columns for name in column.inputs)

    @property
    def mean(self) -> tuple[float, ...]:
        """What is taken from each input before the network sees it; 0 for one that is 0 or 1."""
        return tuple(value for column in self.columns for value in column.means)

    @property
    def scale(self) -> tuple[float, ...]:
        """What each input is then divided by; 1 for one that is 0 or 1."""
        return tuple(value for column in self.columns for value in column.scales)

    def to_dict(self) -> dict[str, Any]:
        """The plain form that `Model.table` and model files hold."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **plain,
            "columns": [encoding.to_plain(column) for column in self.columns],
            "classes": list(self.classes),
            "left_out": list(self.left_out),
        }

    @classmethod
    def from_dict(cls, plain: Any) -> "Table":
        """Read the plain form; nothing in it is taken on trust.

        Raises:
            ModelFileError: if something is missing or makes no sense.
        """
        where = "the model's facts about its table"
        plain = _of_numbers(plain)
        if not isinstance(plain, Mapping) or set(plain) != set(cls.__dataclass_fields__):
            raise ModelFileError(f"{where} are incomplete, or of a newer fastnet.")
        entries: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        if not isinstance(entries["columns"], tuple):
            raise ModelFileError(f"{where}: columns is {shorten(plain['columns'])}.")
        try:
            entries["columns"] = tuple(map(encoding.from_plain, entries["columns"]))
        except ValueError as error:
            raise ModelFileError(f"{where}: {error}.") from error
        found = cls(**entries)
        names = [*found.names, found.target]
        spare = found.left_out
        rules = {
            "columns": len(names) == len(set(map(str, names))) > 1,
            "target": text(found.target),
            "task": found.task in TASKS,
            "classes": _distinct(found.classes)
            if found.task == "classification"
            else found.classes == (),
            "target_mean": finite(found.target_mean),
            "target_scale": finite(found.target_scale) and found.target_scale > 0,
            "left_out": isinstance(spare, tuple)
            and all(map(text, spare))
            and not set(spare) & set(names),
            "training": found.training is None or isinstance(found.training, Mapping),
        }
        for name, right in rules.items():
            if not right:
                raise ModelFileError(f"{where}: {name} is {shorten(plain[name])}.")
        return found

    @classmethod
    def of(cls, model: "Model") -> "Table":
        """What a model knows about its table.

        Raises:
            DataError: if it was not trained from a table.
            ModelFileError: if its facts are damaged, or fit another network.
        """
        if model.table is None:
            raise DataError(
                "the model knows no columns, because it was not trained from a table (by "
                "`fastnet train`); use fn.load(...).predict(x) with an array in Python."
            )
        found = cls.from_dict(model.table)
        network = model.network
        outputs = len(found.classes) if found.task == "classification" else 1
        sizes = (len(found.features), outputs)
        softmax = network.output.name == "softmax"
        if sizes != (network.inputs, network.outputs) or softmax != bool(found.classes):
            raise ModelFileError(
                f"the model's facts about its table fit another network: they name {sizes[0]} "
                f"inputs and {sizes[1]} outputs, it has {network.inputs} and {network.outputs}."
            )
        return found

    def check_columns(self, names: list[str], what: str) -> None:
        """Make sure that a table has the columns of the training.

        Raises:
            DataError: naming those that are missing and those that are not known.
        """
        absent = [name for name in self.names if name not in names]
        known = {*self.names, *self.left_out, self.target}
        extra = [name for name in names if name not in known]
        if absent or extra:
            parts = [f"it lacks {listed(absent)}"] if absent else []
            parts += [f"the model does not know {listed(extra)}: leave out"] if extra else []
            raise DataError(
                f"{what} has columns that do not match those the model was trained with: "
                f"{'; '.join(parts)}."
            )

    def read(self, frame: "pl.DataFrame", what: str, before: int = 0) -> list[Any]:
        """The values of each column in another table, of which `before` rows came earlier.

        Returns:
            For numbers `(rows,)` float64 with NaN where missing, for categories a Polars series.

        Raises:
            DataError: if a column holds what it cannot hold.
        """
        return [
            column.read(frame[column.name], Place(what, column.name, before, "needed"))
            for column in self.columns
        ]

    def encode(self, values: list[Any], dtype: str = "float64") -> Array:
        """What `read` found as the network's inputs, standardized, `(rows, inputs)`."""
        shape = (len(values[0]), len(self.features))
        try:
            out = np.empty(shape, dtype)
        except (MemoryError, ValueError) as error:  # NumPy's, for what no machine could hold
            raise DataError(
                f"{shape[0]:,} rows of {shape[1]:,} inputs do not fit into memory; give fewer "
                "rows, or leave columns out."
            ) from error
        place = 0
        with np.errstate(over="ignore"):
            for column, read in zip(self.columns, values, strict=True):
                width = len(column.inputs)
                column.encode(read, out[:, place : place + width])
                place += width
        return out

    def inputs(self, frame: "pl.DataFrame", what: str = "the table") -> Array:
        """A table as the network's inputs, standardized, `(rows, inputs)` float64.

        Raises:
            DataError: if columns are missing or not known, or hold what they cannot.
        """
        self.check_columns(frame.columns, what)
        return self.encode(self.read(frame, what))

    def targets(self, values: Array) -> Array:
        """Target numbers `(rows,)` as the network learns them; class indices stay."""
        if self.task == "classification":
            return values
        return np.asarray((values - self.target_mean) / self.target_scale)

    def quantities(self, outputs: Array) -> Array:
        """The network's outputs `(rows, 1)` in the target's own unit, `(rows,)` float64."""
        return np.asarray(self.target_mean + self.target_scale * outputs[:, 0].astype(np.float64))

    def answers(self, outputs: Array) -> "pl.DataFrame":
        """The network's outputs `(rows, outputs)` as a table.

        Returns:
            `prediction`; for classes also `probability`, that of the prediction, and
            `probability_<class>` for each.
        """
        pl = polars()
        if self.task == "regression":
            return pl.DataFrame({"prediction": self.quantities(outputs)})  # type: ignore[no-any-return]
        best = np.argmax(outputs, axis=1)
        found = {
            "prediction": pl.Series(self.classes)[best],
            "probability": outputs[np.arange(len(best)), best],
        }
        for index, name in enumerate(self.classes):
            found[f"probability_{class_name(name)}"] = outputs[:, index]
        return pl.DataFrame(found)  # type: ignore[no-any-return]


def class_name(value: Class) -> str:
    """A class as a column name shows it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_numbers(plain: Any) -> Any:
    """The facts of files from before columns could hold anything but numbers, in today's form."""
    if not isinstance(plain, Mapping) or "mean" not in plain or "scale" not in plain:
        return plain
    facts = dict(plain)
    mean, scale = facts.pop("mean"), facts.pop("scale")
    given: tuple[Any, ...] = (facts.get("columns"), mean, scale)
    if not all(isinstance(g, list) for g in given) or len({len(g) for g in given}) != 1:
        return plain
    names = ("name", "mean", "scale", "fill", "indicator")
    facts["columns"] = [
        {"kind": "number", **dict(zip(names, (*each, None, False), strict=True))}
        for each in zip(*given, strict=True)
    ]
    return {**facts, "left_out": [], "training": None}


def _distinct(classes: Any) -> bool:
    """Two classes or more, all different, all of one type."""
    if not isinstance(classes, tuple) or len(classes) < 2:
        return False
    kinds = {type(value) for value in classes}
    if len(kinds) != 1 or not kinds <= {int, str, bool} or len(set(classes)) < len(classes):
        return False
    return all(map(text, classes)) if kinds == {str} else kinds != {int} or in_64_bits(classes)


def in_64_bits(classes: tuple[int, ...]) -> bool:
    """Whether whole numbers fit into 64 bits, as a column of predictions holds them."""
    return -(2**63) <= min(classes) <= max(classes) < 2**63
