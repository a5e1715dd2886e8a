"""Predictions for the rows of a table, as a table."""

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
    """What a model that was trained from a table says about the rows of another.

    Args:
        model: trained by `fastnet train`.
        source: a path, a Polars frame or a mapping of columns: those of the training, in any
            order. The target, and columns that the training left out, may be among them; they
            are not looked at.

    Returns:
        A frame with `prediction`, and for classes with probabilities.

    Raises:
        DataError: if the columns do not match, or hold what they cannot.
        ModelFileError: if what the model knows of its table is damaged.
    """
    return polars().concat(list(stream(model, source)))  # type: ignore[no-any-return]


def stream(model: "Model", source: Any) -> "Stream":
    """Like `predict`, block by block, so that a file may be larger than memory.

    The blocks, one below the other, are what `predict` returns, bit for bit.
    """
    return Stream(model, source)


class Stream:
    """Predictions as an iterator of frames, and what was noticed so far.

    Attributes:
        rows: how many were predicted.
        missing: how many values were missing, by column.
        unseen: how many texts were none of a column's categories, by column.
    """

    def __init__(self, model: "Model", source: Any) -> None:
        self.rows = 0
        self.missing: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        self._model, self._table = model, Table.of(model)
        self._what = reading.name_of(source)
        self._blocks = reading.blocks(source)

    def __iter__(self) -> "Iterator[pl.DataFrame]":
        return self

    def __next__(self) -> "pl.DataFrame":
        frame = next(self._blocks)
        if not self.rows:
            self._table.check_columns(frame.columns, self._what)
        values = self._table.read(frame, self._what, self.rows)
        x = self._table.encode(values, self._model.dtype)
        outputs = self._model.predict(x)
        if not np.isfinite(outputs).all():
            raise self._too_far(frame, x, int(np.argwhere(~np.isfinite(outputs))[0][0]))
        self.rows += frame.height
        for column, read in zip(self._table.columns, values, strict=True):
            for found, rows in (
                (self.missing, columns.missing(read)),
                (self.unseen, column.unseen(read)),
            ):
                if rows.any():
                    found[column.name] += int(rows.sum())
        return self._table.answers(outputs)

    def _too_far(self, frame: "pl.DataFrame", x: Array, row: int) -> DataError:
        widths = [len(column.inputs) for column in self._table.columns]
        worst = int(np.argmax(np.abs(x[row])))
        column = self._table.columns[int(np.searchsorted(np.cumsum(widths), worst, "right"))]
        usual = f"; around {column.mean:g} is usual" if isinstance(column, Number) else ""
        return DataError(
            f"{self._what}: data row {self.rows + row + 1} is too far from the training rows for "
            f"a prediction (column {column.name!r} holds {frame[column.name][row]}{usual})."
        )
