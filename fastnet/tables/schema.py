"""The schema of a table: what a model must know of it, to encode rows and to name predictions.

    import fastnet as fn
    from fastnet import tables

    model = fn.load("digits.safetensors")  # written by `fastnet train`
    tables.Table.of(model).features        # the names of the network's inputs

Model files hold it. `fastnet.tables.encoding` says how columns become inputs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError, ModelFileError, message_of
from fastnet.extras import polars
from fastnet.many.ensemble import Ensemble
from fastnet.model import Model
from fastnet.records import Record
from fastnet.tables import columns, encoding, frames
from fastnet.tables.columns import Place, listed, shorten
from fastnet.tables.encoding import Column, Number, finite, text, unique
from fastnet.tables.notation import Notation

if TYPE_CHECKING:
    import polars as pl

TASKS = ("classification", "regression")

Class = int | str | bool

#: Standard deviations below the mean logarithm, where numbers are put that have none.
_FAR_BELOW = 5.0


class Table(Record):
    """What a model must know of the table it was trained on.

    Attributes:
        columns: how each column is encoded, in the order of the network's inputs.
        target: the column to predict.
        task: "classification" or "regression".
        classes: in the order of the network's outputs; all text, all integers or all booleans;
            empty for regression.
        target_mean, target_scale: predictions are `target_mean + target_scale * output`.
        log_target: whether that is the logarithm of the target, so that predictions are its
            exponential.
        left_out: columns of the training table that are not used.
        training: the result of the training, for people: `Trained.table` says what it holds.
        decimal, thousands: how numbers are written in text: `fastnet.tables.notation`.
        weights: the column that says how much each row counts, or None.
        ids: the columns that name rows, which predictions repeat.
    """

    columns: tuple[Column, ...]
    target: str
    task: str
    classes: tuple[Class, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0
    left_out: tuple[str, ...] = ()
    training: Mapping[str, Any] | None = None
    decimal: str = "."
    thousands: str = ""
    weights: str | None = None
    ids: tuple[str, ...] = ()
    log_target: bool = False

    @property
    def notation(self) -> Notation:
        """How numbers are written in text."""
        return Notation(self.decimal, self.thousands)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are used."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the network's inputs, as "age", "age=missing", "city=Rome", "city=other".

        None is there twice: a second "city=other" is "city=other (2)".
        """
        return unique(name for column in self.columns for name in column.inputs)

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted from each input before the network; 0 for inputs that are 0 or 1."""
        return tuple(value for column in self.columns for value in column.means)

    @property
    def scale(self) -> tuple[float, ...]:
        """What each input is then divided by; 1 for inputs that are 0 or 1."""
        return tuple(value for column in self.columns for value in column.scales)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, which `Model.table` and model files hold."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **plain,
            "columns": [encoding.to_plain(column) for column in self.columns],
            "classes": list(self.classes),
            "left_out": list(self.left_out),
            "ids": list(self.ids),
        }

    @classmethod
    def from_dict(cls, plain: Any) -> "Table":
        """Read the plain data; every fact is checked.

        Raises:
            ModelFileError: if something is missing or invalid.
        """
        where = "the table schema in the model"
        plain = _from_older_formats(plain)
        if not isinstance(plain, Mapping) or set(plain) != set(cls.__dataclass_fields__):
            raise ModelFileError(f"{where} is incomplete, or of a newer fastnet.")
        entries: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        if not isinstance(entries["columns"], tuple):
            raise ModelFileError(
                f"{where}: columns is {shorten(plain['columns'])}; it must be a list."
            )
        try:
            entries["columns"] = tuple(map(encoding.from_plain, entries["columns"]))
        except ValueError as error:
            raise ModelFileError(f"{where}: {message_of(error)}.") from error
        table = cls(**entries)
        names = [*table.names, table.target]
        valid = {
            "columns": len(names) == len(set(map(str, names))) > 1,
            "target": text(table.target),
            "task": table.task in TASKS,
            "classes": _distinct(table.classes)
            if table.task == "classification"
            else table.classes == (),
            "target_mean": finite(table.target_mean),
            "target_scale": finite(table.target_scale) and table.target_scale > 0,
            "left_out": isinstance(table.left_out, tuple)
            and all(map(text, table.left_out))
            and not set(table.left_out) & set(map(str, names)),
            "training": table.training is None or isinstance(table.training, Mapping),
            "decimal": _is_notation(table),
            "weights": table.weights is None or text(table.weights),
            "ids": isinstance(table.ids, tuple) and all(map(text, table.ids)),
            "log_target": table.log_target is False
            or (table.log_target is True and table.task == "regression"),
        }
        for name, holds in valid.items():
            if not holds:
                value = shorten(plain[name])
                raise ModelFileError(f"{where}: {name} is {value}, which is invalid.")
        return table

    @classmethod
    def of(cls, model: Model | Ensemble) -> "Table":
        """Read the schema that a model or an ensemble holds.

        Raises:
            DefinitionError: if it is no model.
            DataError: if the model was not trained on a table.
            ModelFileError: if the schema is damaged, or does not fit the network.
        """
        if not isinstance(model, Model | Ensemble):
            raise DefinitionError(
                f"model is a {type(model).__name__}; it must be a fastnet model, such as "
                "fn.load(path) or tables.train(...).model."
            )
        if model.table is None:
            raise DataError(
                "the model was not trained on a table (by `fastnet train` or "
                "fastnet.tables.train), so it has no columns; use model.predict(x) with an array."
            )
        table = cls.from_dict(model.table)
        network = model.network
        outputs = len(table.classes) if table.task == "classification" else 1
        sizes = (len(table.features), outputs)
        softmax = network.output.name == "softmax"
        if sizes != (network.inputs, network.outputs) or softmax != bool(table.classes):
            raise ModelFileError(
                f"the table schema in the model does not fit its network: it has {sizes[0]} inputs "
                f"and {sizes[1]} outputs, the network {network.inputs} and {network.outputs}."
            )
        return table

    def check_columns(
        self,
        names: Iterable[str],
        table_name: str,
        ignored: Iterable[str] = (),
        separated: bool = False,
    ) -> None:
        """Make sure that a table has the columns that the model needs, and no unknown ones.

        Args:
            names: the table's columns.
            table_name: the table, as errors name it.
            ignored: columns that may be there, such as row labels.
            separated: whether a mark separates them, as in a CSV file.

        Raises:
            DataError: naming the columns that are missing and those that are unknown.
        """
        given, known = set(names), {*self.names, *self.left_out, self.target, *ignored}
        absent = [name for name in self.names if name not in given]
        extra = [name for name in names if name not in known]
        if absent or extra:
            parts = [f"it lacks {listed(absent)}"] if absent else []
            if extra:
                them = "it" if len(extra) == 1 else "them"
                parts.append(f"the model does not know {listed(extra)}: leave {them} out")
            if separated and len(given) == 1 < len(self.names):
                parts.append(columns.one_column())
            raise DataError(
                f"{table_name} has columns that do not match those the model was trained with: "
                f"{'; '.join(parts)}."
            )

    def column_values(
        self, frame: "pl.DataFrame", table_name: str, rows_before: int = 0
    ) -> list[Any]:
        """Convert each column that is used; `rows_before` rows of the table came earlier.

        Returns:
            For numbers `(rows,)` float64 with NaN where missing, for categories a Polars series.

        Raises:
            DataError: if a column holds values that it must not.
        """
        notation = self.notation
        given = dict(zip(frame.columns, frame.iter_columns(), strict=True))
        names = [c.name for c in self.columns if isinstance(c, Number) and c.fill is not None]
        together = columns.numbers_together(frame.select(names), notation)
        return [
            together[column.name]
            if column.name in together
            else column.convert(
                given[column.name],
                Place(table_name, column.name, rows_before, "needed"),
                notation,
            )
            for column in self.columns
        ]

    def encode(self, values: list[Any], dtype: str = "float64") -> Array:
        """Encode what `column_values` returned.

        Returns:
            The network's inputs, standardized, `(rows, inputs)` of `dtype`.
        """
        shape = (len(values[0]), sum(len(column.inputs) for column in self.columns))
        try:
            out = np.empty(shape, dtype)
        except (MemoryError, ValueError) as error:  # a ValueError beyond what NumPy can address
            raise DataError(
                f"{shape[0]:,} rows of {shape[1]:,} inputs do not fit into memory; give fewer "
                "rows, or leave columns out."
            ) from error
        first = 0
        with np.errstate(over="ignore"):
            for column, data in zip(self.columns, values, strict=True):
                last = first + len(column.inputs)
                column.encode(data, out[:, first:last])
                first = last
        return out

    def inputs(self, source: Any, table_name: str = "the table") -> Array:
        """Encode a frame, or a mapping of columns.

        Returns:
            The network's inputs, standardized, `(rows, inputs)` float64.

        Raises:
            DataError: if columns are missing or unknown, or hold values that they must not.
        """
        frame = source if isinstance(source, polars().DataFrame) else frames.to_polars(source)
        self.check_columns(frame.columns, table_name)
        return self.encode(self.column_values(frame, table_name))

    def encode_target(self, values: Array) -> Array:
        """Standardize the numbers `(rows,)` of a regression; class indices stay.

        With `log_target`, numbers that have no logarithm count as far below all others: no training
        row has one, but others may.
        """
        if self.task == "classification":
            return values
        if self.log_target:
            least = np.exp(self.target_mean - _FAR_BELOW * self.target_scale)
            values = np.log(np.where(values > 0, values, least))
        return np.asarray((values - self.target_mean) / self.target_scale)

    def decode_outputs(self, outputs: Array) -> Array:
        """Convert a regression's outputs `(rows, 1)` to the target's unit, `(rows,)` float64."""
        found = self.target_mean + self.target_scale * outputs[:, 0].astype(np.float64)
        if self.log_target:
            with np.errstate(over="ignore"):
                found = np.exp(found)
        return np.asarray(found)

    @property
    def prediction_names(self) -> tuple[str, ...]:
        """The columns of `to_frame`."""
        if self.task == "regression":
            return ("prediction",)
        of_classes = (f"probability_{class_name(name)}" for name in self.classes)
        return ("prediction", "probability", *of_classes)

    def to_frame(self, outputs: Array) -> "pl.DataFrame":
        """Make a frame of predictions from the network's outputs `(rows, outputs)`.

        Returns:
            A column `prediction`; for classes also `probability`, that of the predicted class,
            and `probability_<class>` for each class.
        """
        pl, found = polars(), list[Any]()
        if self.task == "regression":
            found = [self.decode_outputs(outputs)]
        else:
            best = np.argmax(outputs, axis=1)
            chosen = outputs[np.arange(len(best)), best]
            found = [pl.Series(self.classes)[best], chosen, *outputs.T]
        named = dict(zip(self.prediction_names, found, strict=True))
        return pl.DataFrame(named)  # type: ignore[no-any-return]


def class_name(value: Class) -> str:
    """A class as part of a column name."""
    return str(value).lower() if isinstance(value, bool) else str(value)


#: What schemas of older formats do not have, together where it came together.
_ADDED: tuple[dict[str, Any], ...] = (
    {"decimal": ".", "thousands": ""},
    {"weights": None, "ids": []},
    {"log_target": False},
)


def _is_notation(table: Table) -> bool:
    try:
        return table.notation is not None
    except DefinitionError:
        return False


def _from_older_formats(plain: Any) -> Any:
    """Add what older schemas do not have, and convert those that were of numbers only."""
    if not isinstance(plain, Mapping):
        return plain
    for added in _ADDED:
        if not added.keys() & plain.keys():
            plain = {**plain, **added}
    if "mean" not in plain or "scale" not in plain:
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
    """Whether there are two classes or more, all different and of one type."""
    if not isinstance(classes, tuple) or len(classes) < 2:
        return False
    kinds = {type(value) for value in classes}
    if len(kinds) != 1 or not kinds <= {int, str, bool} or len(set(classes)) < len(classes):
        return False
    return all(map(text, classes)) if kinds == {str} else kinds != {int} or fits_int64(classes)


def fits_int64(classes: tuple[int, ...]) -> bool:
    """Whether integer classes fit into 64 bits, as a column of predictions needs."""
    return -(2**63) <= min(classes) <= max(classes) < 2**63
