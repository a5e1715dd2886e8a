"""The columns of a table as the inputs of an ONNX graph, and its answers as the outputs.

The encoding is that of `fastnet.tables.encoding`, in float64, in the same order of operations.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.advice import setting
from fastnet.errors import DefinitionError
from fastnet.interchange.onnx_file import BOOL, DOUBLE, INT64, STRING
from fastnet.tables.encoding import Categories, Dates, Number
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    from fastnet.interchange.onnx_writer import Writer

#: The operators for text, and their version in onnx 1.12, of 2022.
ML, ML_OPSET = "ai.onnx.ml", 3

#: Name, element type and shape of an input or an output.
Port = tuple[str, int, list[Any]]


class TableColumns:
    """The part of a graph before and after the network.

    Args:
        writer: adds the nodes.
        table: the schema.

    Attributes:
        names: of the inputs and outputs, which nothing else in the graph may have.

    Raises:
        DefinitionError: if a column has no name.
    """

    def __init__(self, writer: "Writer", table: Table) -> None:
        if "" in table.names:
            raise DefinitionError(
                "a column of the model's table has no name, which an input of an ONNX graph needs; "
                f"export it with {setting('encoded', True)}, or name the column and train again."
            )
        self._writer, self._table = writer, table
        self._prediction, self._probabilities = (
            _free(name, table.names) for name in ("prediction", "probabilities")
        )
        self.names = {*table.names, self._prediction, self._probabilities}

    def inputs(self) -> list[Port]:
        """One for each column."""
        return [
            (column.name, STRING if isinstance(column, Categories) else DOUBLE, ["rows"])
            for column in self._table.columns
        ]

    def encoded(self) -> str:
        """The network's inputs `(rows, inputs)`, standardized, float64."""
        parts: list[str] = []
        for column in self._table.columns:
            if isinstance(column, Number):
                parts += self._number(column)
            elif isinstance(column, Dates):
                parts += self._dates(column)
            else:
                parts.append(self._categories(column))
        return self._writer.node("Concat", *parts, axis=1)

    def outputs(self, value: str, kind: int) -> list[Port]:
        """The prediction of each row, and the probabilities of classes.

        Args:
            value: the network's outputs `(rows, outputs)`.
            kind: their element type.
        """
        writer, classes = self._writer, self._table.classes
        if not classes:
            axis = writer.constant("axis", np.array([1]))
            writer.output(self._prediction, writer.node("Squeeze", value, axis))
            return [(self._prediction, kind, ["rows"])]
        best = writer.node("ArgMax", value, axis=1, keepdims=0)
        # Text must be an array of objects to become ONNX's strings.
        labels = np.array(classes, object if isinstance(classes[0], str) else None)
        names = writer.constant("classes", labels)
        writer.output(self._prediction, writer.node("Gather", names, best))
        writer.output(self._probabilities, value)
        label = {str: STRING, bool: BOOL, int: INT64}[type(classes[0])]
        return [
            (self._prediction, label, ["rows"]),
            (self._probabilities, kind, ["rows", len(classes)]),
        ]

    # --- columns ----------------------------------------------------------------------------

    def _number(self, column: Number) -> list[str]:
        known, gaps = self._filled(column.name, column.fill, column.indicator)
        standard = self._column(self._standardized(known, column.mean, column.scale))
        return [standard, *self._bins(known, column), *map(self._column, gaps)]

    def _bins(self, known: str, column: Number) -> list[str]:
        """How far numbers `(rows,)` have come in each bin, `(rows, bins)`; nothing without bins."""
        if not column.edges:
            return []
        edges = np.array(column.edges)
        low = self._writer.constant(f"{column.name}: edges", edges[:-1])
        width = self._writer.constant(f"{column.name}: widths", np.diff(edges))
        shifted = self._writer.node("Sub", self._column(known), low)
        share = self._writer.node("Div", shifted, width)
        return [self._writer.node("Clip", share, self.number(0.0), self.number(1.0))]

    def _categories(self, column: Categories) -> str:
        """One input for each category: whether its place is the text's."""
        writer, values = self._writer, list(column.values)
        count = len(column.inputs)
        places = list(range(len(values)))
        if column.missing == "category":
            values, places = [*values, ""], [*places, count - 1]
        index = writer.node(
            "LabelEncoder",
            column.name,
            domain=ML,
            keys_strings=values,
            values_int64s=places,
            default_int64=len(column.values) if column.other else -1,
        )
        every = writer.constant(f"{column.name}: places", np.arange(count))
        return writer.cast(writer.node("Equal", self._column(index), every), np.dtype(np.float64))

    def _dates(self, column: Dates) -> list[str]:
        known, gaps = self._filled(column.name, column.fill, column.indicator)
        moment = _Moment(self, known)
        found = [
            self._standardized(moment.part(part), mean, scale)
            for part, mean, scale in zip(
                column.parts, column.part_means, column.part_scales, strict=True
            )
        ]
        return [self._column(value) for value in (*found, *gaps)]

    def _filled(self, name: str, fill: float | None, indicator: bool) -> tuple[str, list[str]]:
        """Numbers without gaps, and where the gaps are, if that is an input."""
        if fill is None:
            return name, []
        writer = self._writer
        gaps = writer.node("IsNaN", name)
        known = writer.node("Where", gaps, self.number(fill), name)
        return known, [writer.cast(gaps, np.dtype(np.float64))] if indicator else []

    def _standardized(self, value: str, mean: float, scale: float) -> str:
        shifted = self.apply("Sub", value, mean)
        return self.apply("Div", shifted, scale)

    def _column(self, value: str) -> str:
        """Values `(rows,)` as `(rows, 1)`."""
        return self._writer.node("Unsqueeze", value, self._writer.constant("axis", np.array([1])))

    # --- arithmetic -------------------------------------------------------------------------

    def apply(self, kind: str, value: str, *more: "str | float") -> str:
        """An operator on values `(rows,)` and numbers."""
        given = [one if isinstance(one, str) else self.number(one) for one in more]
        return self._writer.node(kind, value, *given)

    def number(self, value: float) -> str:
        """A number as a constant, float64."""
        return self._writer.constant("number", np.array(value, np.float64))


class _Moment:
    """The parts of dates, `fastnet.tables.dates.parts` in ONNX's operators.

    Year and month of a day are computed as in Howard Hinnant, "chrono-Compatible Low-Level Date
    Algorithms", civil_from_days: in years that begin in March, of eras of 400.
    """

    def __init__(self, columns: TableColumns, days: str) -> None:
        self._apply = columns.apply
        self._days = days
        self._whole = self._apply("Floor", days)

    def part(self, name: str) -> str:
        """One of `dates.PARTS`."""
        if name == "days":
            return self._days
        cycle, _, function = name.partition(" ")
        if cycle in ("month", "year"):
            year, month = self._civil
            if cycle == "year":
                return year
            turn = self._apply("Div", month, 12.0)
        elif cycle == "weekday":
            turn = self._apply("Div", self._rest(self._apply("Add", self._whole, 3.0), 7.0), 7.0)
        else:
            turn = self._apply("Sub", self._days, self._whole)
        angle = self._apply("Mul", turn, 2 * np.pi)
        if function == "cos":  # onnxruntime has no cosine in float64
            angle = self._apply("Add", angle, np.pi / 2)
        return self._apply("Sin", angle)

    @cached_property
    def _civil(self) -> tuple[str, str]:
        """The year, and the month from 0."""
        apply, over = self._apply, self._over
        day = apply("Add", self._whole, 719_468.0)  # since March 1 of the year 0
        era, day = over(day, 146_097.0), self._rest(day, 146_097.0)
        leaps = apply("Sub", apply("Add", over(day, 1460.0), over(day, 146_096.0)),
                      over(day, 36_524.0))  # fmt: skip
        year = over(apply("Sub", day, leaps), 365.0)
        passed = apply("Sub", apply("Add", apply("Mul", year, 365.0), over(year, 4.0)),
                       over(year, 100.0))  # fmt: skip
        of_year = apply("Sub", day, passed)
        march = over(apply("Add", apply("Mul", of_year, 5.0), 2.0), 153.0)  # 0: March
        month = self._rest(apply("Add", march, 2.0), 12.0)
        later = over(march, 10.0)  # January and February are of the next year
        year = apply("Add", apply("Add", year, apply("Mul", era, 400.0)), later)
        return year, month

    def _over(self, value: str, divisor: float) -> str:
        """The quotient, rounded down: exact, as both are small integers."""
        return self._apply("Floor", self._apply("Div", value, divisor))

    def _rest(self, value: str, divisor: float) -> str:
        return self._apply("Sub", value, self._apply("Mul", self._over(value, divisor), divisor))


def _free(name: str, taken: "tuple[str, ...]") -> str:
    while name in taken:
        name += "_"
    return name
