"""How the columns of a table become inputs and targets, and predictions a table again.

    from fastnet import tables

    model = fn.load("digits.safetensors")       # written by `fastnet train`
    tables.predict(model, "new.csv")            # a Polars frame

Needs Polars (`pip install "fastnet[tables]"`). Numbers are standardised: less the mean,
divided by the standard deviation, both of the training rows.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import columns as _columns
from fastnet.checks import Array
from fastnet.columns import listed, numbers, polars, present, read, shorten
from fastnet.errors import DataError, DefinitionError, ModelFileError, unknown

if TYPE_CHECKING:
    import polars as pl

    from fastnet.model import Model

TASKS = ("classification", "regression")

Class = int | str | bool


@dataclass(frozen=True)
class Table:
    """What a model must know about the table it was trained on.

    Attributes:
        columns: the inputs, in the network's order.
        mean, scale: what is taken from each input, and what it is then divided by.
        target: the column that is predicted.
        task: "classification" or "regression".
        classes: in the order of the network's outputs; all text, all integers or all truth
            values; empty for regression.
        target_mean, target_scale: predictions are `target_mean + target_scale * output`.
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    target: str
    task: str
    classes: tuple[Class, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """The plain form that `Model.table` and model files hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Any) -> "Table":
        """Read the plain form; nothing in it is taken on trust.

        Raises:
            ModelFileError: if something is missing or makes no sense.
        """
        if not isinstance(plain, Mapping) or set(plain) != set(cls.__dataclass_fields__):
            raise ModelFileError("the model's facts about its table are incomplete.")
        entries: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        found = cls(**entries)
        count = len(found.columns) if isinstance(found.columns, tuple) else 0
        text = isinstance(found.target, str) and _all(found.columns, str)
        rules = {
            "columns": count > 0 and text and len({*found.columns, found.target}) == count + 1,
            "mean": _finite(found.mean, count),
            "scale": _finite(found.scale, count) and min(found.scale) > 0,
            "task": found.task in TASKS,
            "classes": _distinct(found.classes)
            if found.task == "classification"
            else found.classes == (),
            "target_mean": _finite((found.target_mean,), 1),
            "target_scale": _finite((found.target_scale,), 1) and found.target_scale > 0,
        }
        for name, right in rules.items():
            if not right:
                value = shorten(plain[name])
                raise ModelFileError(f"the model's facts about its table: {name} is {value}.")
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
        sizes = (len(found.columns), outputs)
        softmax = network.output.name == "softmax"
        if sizes != (network.inputs, network.outputs) or softmax != bool(found.classes):
            raise ModelFileError(
                f"the model's facts about its table fit another network: they name {sizes[0]} "
                f"inputs and {sizes[1]} outputs, it has {network.inputs} and {network.outputs}."
            )
        return found

    def inputs(self, frame: "pl.DataFrame", what: str = "the table") -> Array:
        """The columns of a table, standardised, `(rows, columns)` float64.

        Raises:
            DataError: if columns are missing or not known, or hold what is no number.
        """
        missing = [name for name in self.columns if name not in frame.columns]
        extra = [name for name in frame.columns if name not in (*self.columns, self.target)]
        if missing or extra:
            parts = [f"it lacks {listed(missing)}"] if missing else []
            parts += [f"the model does not know {listed(extra)}: leave out"] if extra else []
            raise DataError(
                f"{what} has columns that do not match those the model was trained with: "
                f"{'; '.join(parts)}."
            )
        x = np.stack([numbers(frame, name, what, spare=False) for name in self.columns], axis=1)
        with np.errstate(over="ignore"):
            return np.asarray((x - np.array(self.mean)) / np.array(self.scale))

    def targets(self, values: Array) -> Array:
        """Target numbers `(rows,)` as the network learns them; class indices stay."""
        if self.task == "classification":
            return values
        return np.asarray((values - self.target_mean) / self.target_scale)

    def answers(self, outputs: Array) -> "pl.DataFrame":
        """The network's outputs `(rows, outputs)` as a table.

        Returns:
            `prediction`; for classes also `probability`, that of the prediction, and
            `probability_<class>` for each.
        """
        pl = polars()
        if self.task == "regression":
            values = self.target_mean + self.target_scale * outputs[:, 0].astype(np.float64)
            return pl.DataFrame({"prediction": values})  # type: ignore[no-any-return]
        best = np.argmax(outputs, axis=1)
        found = {
            "prediction": pl.Series(self.classes)[best],
            "probability": outputs[np.arange(len(best)), best],
        }
        for index, name in enumerate(self.classes):
            found[f"probability_{class_name(name)}"] = outputs[:, index]
        return pl.DataFrame(found)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Examined:
    """A table that can be learned from.

    Attributes:
        table: its facts, not yet standardised.
        x: `(rows, columns)` float64.
        y: `(rows,)`, class indices or numbers.
    """

    table: Table
    x: Array
    y: Array

    def standardised(self, rows: Array) -> Table:
        """The facts, with mean and scale of the given rows.

        Raises:
            DataError: if a column's numbers are too large to be squared.
        """
        mean, scale = _moments(self.x[rows], self.table.columns)
        found = replace(self.table, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))
        if found.task == "classification":
            return found
        mean, scale = _moments(self.y[rows, None], (found.target,))
        return replace(found, target_mean=float(mean[0]), target_scale=float(scale[0]))


def examine(source: Any, target: str, task: str | None = None) -> Examined:
    """Read a table and make sure that it can be learned from.

    Args:
        source: a path, a Polars frame or a mapping of columns.
        target: the column to predict.
        task: "classification" or "regression"; None: as the target is. Text, truth values
            and whole numbers are classes, other numbers are quantities.

    Raises:
        DataError: if it cannot, with the column and the row.
        DefinitionError: for another task.
    """
    if task is not None and task not in TASKS:
        raise DefinitionError(unknown("task", task, TASKS))
    pl = polars()
    frame, what = read(source)
    if target not in frame.columns:
        near = difflib.get_close_matches(target, frame.columns, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else "."
        raise DataError(
            f"{what} has no column {target!r} to be the target{guess} "
            f"Its columns: {listed(frame.columns)}."
        )
    inputs = tuple(name for name in frame.columns if name != target)
    if not inputs:
        raise DataError(f"{what} has no column but the target {target!r}; nothing to learn from.")
    present(frame, target, what)
    x = np.stack([numbers(frame, name, what) for name in inputs], axis=1)
    task = task or _task(frame[target])
    classes: tuple[Class, ...] = ()
    if task == "classification":
        classes, y = _classes(frame, target, what)
    else:
        if frame[target].dtype in (pl.String, pl.Categorical, pl.Enum):
            raise DataError(
                f"{what}: the target {target!r} holds text ({shorten(frame[target][0])} in data "
                "row 1), so it is no quantity; use task 'classification', or correct it."
            )
        y = numbers(frame, target, what)
        if y.min() == y.max():
            raise DataError(
                f"{what}: the target {target!r} is {y[0]:g} in every row; nothing to learn."
            )
    return Examined(Table(inputs, (), (), target, task, classes), x, y)


def predict(model: "Model", source: Any) -> "pl.DataFrame":
    """What a model that was trained from a table says about the rows of another.

    Args:
        model: trained by `fastnet train`.
        source: a path, a Polars frame or a mapping of columns: those of the training, in any
            order. The target may be among them; it is not looked at.

    Returns:
        A frame with `prediction`, and for classes with probabilities.

    Raises:
        DataError: if the columns do not match, or hold what is no number.
        ModelFileError: if what the model knows of its table is damaged.
    """
    facts = Table.of(model)
    frame, what = _columns.read(source)
    with np.errstate(over="ignore"):
        x = facts.inputs(frame, what).astype(model.dtype)
    outputs = model.predict(x)
    if not np.isfinite(outputs).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(outputs))[0])
        column = int(np.argmax(np.abs(x[row])))
        name = facts.columns[column]
        raise DataError(
            f"{what}: data row {row + 1} is too far from the training rows for a prediction "
            f"(column {name!r} holds {frame[name][row]}; around {facts.mean[column]:g} is usual)."
        )
    return facts.answers(outputs)


def class_name(value: Class) -> str:
    """A class as a column name shows it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _task(column: "pl.Series") -> str:
    if column.dtype.is_float() or column.dtype.is_decimal():
        return "regression"
    return "classification"


def _classes(frame: "pl.DataFrame", name: str, what: str) -> tuple[tuple[Class, ...], Array]:
    """The classes in order, and the index of each row's."""
    pl = polars()
    column = frame[name]
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_float() or column.dtype.is_decimal():
        values = numbers(frame, name, what)
        uneven = (np.rint(values) != values) | (np.abs(values) >= 2**53)
        if uneven.any():
            row = int(np.argmax(uneven))
            raise DataError(
                f"{what}: the target {name!r} is {values[row]:g} in data row {row + 1}; classes "
                "are whole numbers or text. For a quantity use task 'regression'."
            )
        column = pl.Series(name, values).cast(pl.Int64)
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Boolean)):
        raise DataError(
            f"{what}: the target {name!r} holds {column.dtype}; it must hold numbers or text."
        )
    classes = tuple(column.unique().sort().to_list())
    if len(classes) < 2:
        raise DataError(
            f"{what}: the target {name!r} is {shorten(classes[0])} in every row; a "
            "classification needs two classes or more."
        )
    if column.dtype.is_integer() and not _fit(classes):
        raise DataError(f"{what}: the target {name!r} holds whole numbers beyond 64 bits.")
    places = {value: index for index, value in enumerate(classes)}
    return classes, np.array([places[value] for value in column.to_list()], np.intp)


def _moments(values: Array, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Mean and standard deviation of each column; a constant one has the scale 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = values.mean(axis=0), values.std(axis=0)
    constant = values.min(axis=0) == values.max(axis=0)
    mean = np.where(constant, values[0], mean)
    # Below the smallest normal number a quotient could overflow.
    scale = np.where(constant | (scale < np.finfo(np.float64).tiny), 1.0, scale)
    wrong = ~np.isfinite(mean + scale)
    if wrong.any():
        name = names[int(np.argmax(wrong))]
        largest = np.abs(values[:, int(np.argmax(wrong))]).max()
        raise DataError(
            f"column {name!r} reaches {largest:g}, too large for a standard deviation; "
            "use another unit, or its logarithm."
        )
    return mean, scale


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, kind) for value in values)


def _finite(values: Any, count: int) -> bool:
    if not isinstance(values, tuple) or len(values) != count:
        return False
    # JSON's whole numbers may be too long for a float; ours are never written as such.
    return all(isinstance(v, float) and math.isfinite(v) for v in values)


def _distinct(classes: Any) -> bool:
    """Two classes or more, all different, all of one type."""
    if not isinstance(classes, tuple) or len(classes) < 2:
        return False
    kinds = {type(value) for value in classes}
    if len(kinds) != 1 or not kinds <= {int, str, bool} or len(set(classes)) < len(classes):
        return False
    return kinds != {int} or _fit(classes)


def _fit(classes: tuple[int, ...]) -> bool:
    """Whether whole numbers fit into 64 bits, as a column of predictions holds them."""
    return -(2**63) <= min(classes) <= max(classes) < 2**63
