"""Predictions for the rows of a table, as a table.

import fastnet as fn
from fastnet import tables

model = fn.load("digits.safetensors")  # written by `fastnet train`
tables.predict(model, "new.csv")  # a Polars frame
for frame in tables.stream(model, "large.parquet"):  # the same, block by block
...
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables import columns, reading
from fastnet.tables.encoding import Categories, Number
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    import polars as pl

    from fastnet.model import Model


def predict(
    model: "Model",
    source: Any,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    allow_unknown: bool = False,
) -> "pl.DataFrame":
    """Predict the target of every row of a table.

    Args:
        model: trained by `train` or `fastnet train`.
        source: a path, "-" for standard input, a frame of Polars, pandas or another library that
            Narwhals knows, or a mapping of columns; with the columns that the model was trained
            with, in any order. The target, row labels, and columns that the training left out,
            may be present; they are ignored.
        separator: what stands between the columns of a CSV file; None: found in its first lines.
        decimal: the mark before the fraction of numbers in text; None: as in the training table.
        thousands: the mark between their groups of digits; None: as in the training table.
        allow_unknown: predict also where all rows of a column, two or more, hold categories that
            the training rows did not have.

    Returns:
        A frame with a row for each row of the table, in its order: `prediction`; for classes
        also `probability`, that of the predicted class, and `probability_<class>` for each class.

    Raises:
        DataError: if the columns do not match, or hold values that they must not.
        DefinitionError: for an invalid separator or notation.
        FileAccessError: if the file cannot be read.
        ModelFileError: if the table schema in the model is damaged.
    """
    parts = stream(
        model,
        source,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        allow_unknown=allow_unknown,
    )
    return polars().concat(list(parts))  # type: ignore[no-any-return]


def stream(
    model: "Model",
    source: Any,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    allow_unknown: bool = False,
) -> "Stream":
    """Like `predict`, block by block, so that a file may be larger than memory.

    The blocks, concatenated, are what `predict` returns, bit for bit. Whether a column is unknown
    in every row is decided by the first block.
    """
    return Stream(
        model,
        source,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        allow_unknown=allow_unknown,
    )


class Stream:
    """An iterator of frames of predictions; it counts unusual values. Arguments: as of `predict`.

    Attributes:
        rows: the number of rows predicted so far.
        missing: the number of missing values by column.
        unseen: the number of unknown categories by column.
    """

    def __init__(
        self,
        model: "Model",
        source: Any,
        *,
        separator: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        allow_unknown: bool = False,
    ) -> None:
        self.rows = 0
        self.missing: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        table = Table.of(model)
        if decimal is not None:
            table = replace(table, decimal=decimal)
        if thousands is not None:
            table = replace(table, thousands=thousands)
        _ = table.notation  # checked before anything is read
        self._model, self._table, self._allow_unknown = model, table, allow_unknown
        self._blocks = reading.Reader(source, separator)
        self._table_name = self._blocks.name

    def __iter__(self) -> "Iterator[pl.DataFrame]":
        return self

    def __next__(self) -> "pl.DataFrame":
        frame = next(self._blocks)
        if not self.rows:
            self._table.check_columns(frame.columns, self._table_name, self._blocks.labels)
        values = self._table.column_values(frame, self._table_name, self.rows)
        gaps = [columns.missing(data) for data in values]
        # Numbers are never unknown; to ask each column of a wide table takes its time.
        unseen = [
            column.unseen(data) if isinstance(column, Categories) else None
            for column, data in zip(self._table.columns, values, strict=True)
        ]
        if not self.rows and not self._allow_unknown:
            self._refuse_unknown(values, gaps, unseen)
        x = self._table.encode(values, self._model.dtype)
        outputs = self._model.predict(x, encoded=True)
        if not np.isfinite(outputs).all():
            raise self._overflow(frame, x, int(np.argwhere(~np.isfinite(outputs))[0][0]))
        self.rows += frame.height
        for counts, found in ((self.missing, gaps), (self.unseen, unseen)):
            for column, rows in zip(self._table.columns, found, strict=True):
                if rows is not None and rows.any():
                    counts[column.name] += int(rows.sum())
        return self._table.to_frame(outputs)

    def _refuse_unknown(
        self, values: list[Any], gaps: list[Array], unseen: list[Array | None]
    ) -> None:
        """Refuse a column, of two rows or more, without any category that the model knows."""
        for column, data, gap, unknown in zip(
            self._table.columns, values, gaps, unseen, strict=True
        ):
            if unknown is None:
                continue
            count = int(unknown.sum())
            if count > 1 and count == len(gap) - int(gap.sum()):
                first = data[int(np.argmax(unknown))]
                raise DataError(
                    f"{self._table_name}: column {column.name!r} holds no category that the model "
                    f"knows in its {count:,} rows: {columns.shorten(first)}, say, where training "
                    f"rows held {columns.listed(getattr(column, 'values', ()), 4)}; correct it, or "
                    "predict all the same with --allow-unknown."
                )

    def _overflow(self, frame: "pl.DataFrame", x: Array, row: int) -> DataError:
        widths = [len(column.inputs) for column in self._table.columns]
        worst = int(np.argmax(np.abs(x[row])))
        column = self._table.columns[int(np.searchsorted(np.cumsum(widths), worst, "right"))]
        usual = f"; the mean is {column.mean:g}" if isinstance(column, Number) else ""
        return DataError(
            f"{self._table_name}: data row {self.rows + row + 1} is too far from the training "
            f"rows for a prediction (column {column.name!r} holds {frame[column.name][row]}"
            f"{usual})."
        )
