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
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.extras import polars
from fastnet.tables import columns, reading
from fastnet.tables.encoding import Number
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    import polars as pl

    from fastnet.model import Model


def predict(model: "Model", source: Any) -> "pl.DataFrame":
    """Predict the target of every row of a table.

    Args:
        model: trained by `train` or `fastnet train`.
        source: a path, a Polars frame or a mapping of columns, with the columns that the model
            was trained with, in any order. The target, and columns that the training left out,
            may be present; they are ignored.

    Returns:
        A frame with a row for each row of the table, in its order: `prediction`; for classes
        also `probability`, that of the predicted class, and `probability_<class>` for each class.

    Raises:
        DataError: if the columns do not match, or hold values that they must not.
        FileAccessError: if the file cannot be read.
        ModelFileError: if the table schema in the model is damaged.
    """
    return polars().concat(list(stream(model, source)))  # type: ignore[no-any-return]


def stream(model: "Model", source: Any) -> "Stream":
    """Like `predict`, block by block, so that a file may be larger than memory.

    The blocks, concatenated, are what `predict` returns, bit for bit.
    """
    return Stream(model, source)


class Stream:
    """An iterator of frames of predictions; it counts unusual values.

    Attributes:
        rows: the number of rows predicted so far.
        missing: the number of missing values by column.
        unseen: the number of unknown categories by column.
    """

    def __init__(self, model: "Model", source: Any) -> None:
        self.rows = 0
        self.missing: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        self._model, self._table = model, Table.of(model)
        self._table_name = reading.source_name(source)
        self._blocks = reading.blocks(source)

    def __iter__(self) -> "Iterator[pl.DataFrame]":
        return self

    def __next__(self) -> "pl.DataFrame":
        frame = next(self._blocks)
        if not self.rows:
            self._table.check_columns(frame.columns, self._table_name)
        values = self._table.column_values(frame, self._table_name, self.rows)
        x = self._table.encode(values, self._model.dtype)
        outputs = self._model.predict(x, encoded=True)
        if not np.isfinite(outputs).all():
            raise self._overflow(frame, x, int(np.argwhere(~np.isfinite(outputs))[0][0]))
        self.rows += frame.height
        for column, data in zip(self._table.columns, values, strict=True):
            for counts, rows in (
                (self.missing, columns.missing(data)),
                (self.unseen, column.unseen(data)),
            ):
                if rows.any():
                    counts[column.name] += int(rows.sum())
        return self._table.to_frame(outputs)

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
