"""Predictions for the rows of a table, as a table.

    import fastnet as fn
    from fastnet import tables

    model = fn.load("digits.safetensors")  # written by `fastnet train`
    tables.predict(model, "new.csv")  # a Polars frame
    blocks = tables.stream(model, "large.parquet")  # an iterator of frames, block by block
    tables.evaluate(model, "known.csv").metrics  # where the target is known

All three read the table as the training did.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.advice import setting
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError
from fastnet.extras import polars
from fastnet.many.ensemble import Ensemble
from fastnet.tables import columns, reading
from fastnet.tables.encoding import Categories, Number
from fastnet.tables.evaluating import Evaluation, Judge, known_rows, of_encoded
from fastnet.tables.roles import PURPOSES
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    import polars as pl

    from fastnet.model import Model


#: The most numbers that predictions are judged by, unless all are: files may be larger than memory.
_MOST_JUDGED = 2**24

#: The columns of an interval.
_ENDS = ("lower", "upper")


def predict(
    model: "Model | Ensemble",
    source: Any,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    allow_unknown: bool = False,
    ids: Iterable[str] | None = None,
    interval: float | None = None,
) -> "pl.DataFrame":
    """Predict the target of every row of a table.

    Args:
        model: trained by `train` or `fastnet train`: a model, or an ensemble.
        source: a path, "-" for standard input, a frame of Polars, pandas or another library that
            Narwhals knows, or a mapping of columns; with the columns that the model was trained
            with, in any order. The target, row labels, and columns that the training left out,
            may be present; they are ignored.
        separator: what stands between the columns of a CSV file; None: found in its first lines.
        decimal: the mark before the fraction of numbers in text; None: as in the training table.
        thousands: the mark between their groups of digits; None: as in the training table.
        allow_unknown: predict also where all rows of a column, two or more, hold categories that
            the training rows did not have.
        ids: columns of the table to repeat in front of the predictions; None: those that name the
            rows according to the training, as far as the table has them.
        interval: the probability with which `lower` and `upper` should enclose the target; of an
            ensemble of numbers that was calibrated, as those with validation rows are. None: none.

    Returns:
        A frame with a row for each row of the table, in its order: the columns of `ids`;
        `prediction`; for classes also `probability`, that of the predicted class, and
        `probability_<class>` for each class; for an interval `lower` and `upper`.

    Raises:
        DataError: if the columns do not match, or hold values that they must not.
        DefinitionError: for an invalid separator or notation, or if there are no intervals.
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
        ids=ids,
        interval=interval,
    )
    return polars().concat(list(parts))  # type: ignore[no-any-return]


def stream(
    model: "Model | Ensemble",
    source: Any,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    allow_unknown: bool = False,
    ids: Iterable[str] | None = None,
    interval: float | None = None,
    judge: bool = False,
) -> "Stream":
    """Like `predict`, block by block, so that a file may be larger than memory.

    The blocks, concatenated, are what `predict` returns, bit for bit. Whether a column is unknown
    in every row is decided by the first block. With `judge`, and where the table has the target,
    `Stream.evaluation` says how good the predictions so far are.
    """
    return Stream(
        model,
        source,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        allow_unknown=allow_unknown,
        ids=ids,
        interval=interval,
        judge=judge,
    )


def evaluate(
    model: "Model | Ensemble",
    source: Any,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    allow_unknown: bool = False,
) -> Evaluation:
    """Compare predictions with what is true, on a table that has the target.

    Rows without a target do not count. If the model was trained with weights and the table has
    that column, all metrics are weighted. Of the table, its targets and predictions are kept in
    memory, and a block of its rows at a time. Arguments: as of `predict`.

    Raises:
        DataError: if the columns do not match, or hold values that they must not, or no row has a
            target.
        DefinitionError: for an invalid separator or notation.
        FileAccessError: if the file cannot be read.
        ModelFileError: if the table schema in the model is damaged.
    """
    found = Stream(
        model,
        source,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        allow_unknown=allow_unknown,
        judge=None,
    )
    return found.judged()


def _check_interval(model: "Model | Ensemble", table: Table, interval: float) -> None:
    """Refuse intervals that the model cannot have, before anything is read."""
    if table.classes:
        raise DefinitionError(
            "intervals are of numbers, and this model predicts classes, whose probabilities say "
            "how sure it is; leave the interval out."
        )
    if not isinstance(model, Ensemble) or model.scores is None:
        raise DefinitionError(
            "intervals are of an ensemble that was calibrated on validation rows; train several "
            f"members ({setting('members', 8)}) with validation rows, and without a refit."
        )
    model.check_coverage(checks.number(interval, "interval", above=0, below=1))


class Stream:
    """An iterator of frames of predictions; it counts unusual values. Arguments: as of `stream`.

    A `judge` of None is one that insists on a target that can be read, and looks at every row.

    Attributes:
        rows: the number of rows predicted so far.
        missing: the number of missing values by column.
        unseen: the number of unknown categories by column.
        name, table: the table, as errors name it, and the schema.
        unjudged: why predictions are not judged, or not all of them; empty if they are.
    """

    def __init__(
        self,
        model: "Model | Ensemble",
        source: Any,
        *,
        separator: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        allow_unknown: bool = False,
        ids: Iterable[str] | None = None,
        interval: float | None = None,
        judge: bool | None = False,
    ) -> None:
        self.rows = 0
        self.unjudged = ""
        self.missing: Counter[str] = Counter()
        self.unseen: Counter[str] = Counter()
        table = Table.of(model)
        if decimal is not None:
            table = replace(table, decimal=decimal)
        if thousands is not None:
            table = replace(table, thousands=thousands)
        _ = table.notation  # checked before anything is read
        self._model, self.table, self._allow_unknown = model, table, allow_unknown
        self._interval = interval
        if interval is not None:
            _check_interval(model, table, interval)
        self._blocks = reading.Reader(source, separator)
        self.name = self._blocks.name
        if isinstance(ids, str):
            raise DefinitionError(f"ids is {ids!r}; put the columns' names in a list: [{ids!r}].")
        if not isinstance(ids, Iterable | None):
            raise DefinitionError(f"ids is {ids!r}; it must be a list of column names.")
        self._ids = None if ids is None else tuple(ids)
        self._insists = judge is None
        self._judge = Judge(model, table) if judge is not False else None

    @property
    def evaluation(self) -> Evaluation | None:
        """How good the predictions so far are, where the target is known; else None."""
        return None if self._judge is None else self._judge.evaluation()

    def __iter__(self) -> "Iterator[pl.DataFrame]":
        return self

    def __next__(self) -> "pl.DataFrame":
        frame = next(self._blocks)
        if not self.rows:
            self._begin(frame.columns)
        values = self.table.column_values(frame, self.name, self.rows)
        gaps = [columns.missing(data) for data in values]
        # Numbers are never unknown; to ask each column of a wide table takes its time.
        unseen = [
            column.unseen(data) if isinstance(column, Categories) else None
            for column, data in zip(self.table.columns, values, strict=True)
        ]
        if not self.rows and not self._allow_unknown:
            self._refuse_unknown(values, gaps, unseen)
        x = self.table.encode(values, self._model.dtype)
        outputs = self._model.predict(x, encoded=True)
        if not np.isfinite(outputs).all():
            raise self._overflow(frame, x, int(np.argwhere(~np.isfinite(outputs))[0][0]))
        self._compare(frame, x, outputs)
        self.rows += frame.height
        for counts, found in ((self.missing, gaps), (self.unseen, unseen)):
            for column, rows in zip(self.table.columns, found, strict=True):
                if rows is not None and rows.any():
                    counts[column.name] += int(rows.sum())
        predicted = self.table.to_frame(outputs)
        if self._interval is not None:
            predicted = predicted.with_columns(self._ends(x))
        return frame.select(self._ids).hstack(predicted) if self._ids else predicted

    def _ends(self, x: Array) -> "list[pl.Series]":
        """The interval of each row, in the target's unit."""
        assert isinstance(self._model, Ensemble)
        assert self._interval is not None
        ends = self._model.predict_interval(x, self._interval, encoded=True)
        return [
            polars().Series(name, self.table.decode_outputs(end))
            for name, end in zip(_ENDS, ends, strict=True)
        ]

    def judged(self) -> Evaluation:
        """Predict all rows, and say how good the predictions are.

        Raises:
            DataError: as `evaluate`.
        """
        for _ in self:
            pass
        evaluation = self.evaluation
        if evaluation is None:
            raise DataError(
                f"{self.name}: no row has a target {self.table.target!r}"
                f"{' and a weight above 0' if self.table.weights else ''}; fill it in."
            )
        return evaluation

    def _begin(self, names: list[str]) -> None:
        """Compare the columns of the table with those of the model, and with the ones to repeat."""
        usual = tuple(one for one in self.table.ids if one in names)
        ids = tuple(dict.fromkeys(usual if self._ids is None else self._ids))
        taken = {*self.table.prediction_names, *(_ENDS if self._interval is not None else ())}
        known = (*self._blocks.labels, *ids)
        self.table.check_columns(names, self.name, known, self._blocks.separated)
        for one in ids:
            if one not in names:
                raise DataError(
                    f"{self.name} has no column {one!r} {PURPOSES['id']}. Its columns: "
                    f"{columns.listed(names)}."
                )
            if one in taken:
                raise DataError(
                    f"{self.name}: column {one!r} has the name of a prediction, so it cannot be "
                    "repeated beside them; rename it."
                )
        self._ids = ids
        if self._judge is not None and not self._insists and self.table.target not in names:
            self._judge = None

    def _compare(self, frame: "pl.DataFrame", x: Array, outputs: Array) -> None:
        """Judge the predictions of a block."""
        if self._judge is None or self.unjudged:
            return
        try:
            known, true, weight = known_rows(self.table, frame, self.name, self.rows)
        except DataError as error:
            if self._insists:
                raise
            self._judge, self.unjudged = None, str(error)
            return
        if len(true):
            rows = of_encoded(self.table, x[known], true, weight)
            self._judge.add(rows, outputs[known])
        if not self._insists and self._judge.values > _MOST_JUDGED:
            self.unjudged = f"judged are the first {self.rows + frame.height:,} rows"

    def _refuse_unknown(
        self, values: list[Any], gaps: list[Array], unseen: list[Array | None]
    ) -> None:
        """Refuse a column, of two rows or more, without any category that the model knows."""
        for column, data, gap, unknown in zip(
            self.table.columns, values, gaps, unseen, strict=True
        ):
            if unknown is None:
                continue
            count = int(unknown.sum())
            if count > 1 and count == len(gap) - int(gap.sum()):
                first = data[int(np.argmax(unknown))]
                raise DataError(
                    f"{self.name}: column {column.name!r} holds no category that the model "
                    f"knows in its {count:,} rows: {columns.shorten(first)}, say, where training "
                    f"rows held {columns.listed(getattr(column, 'values', ()), 4)}; correct it, or "
                    f"predict all the same with {setting('allow_unknown', True)}."
                )

    def _overflow(self, frame: "pl.DataFrame", x: Array, row: int) -> DataError:
        widths = [len(column.inputs) for column in self.table.columns]
        worst = int(np.argmax(np.abs(x[row])))
        column = self.table.columns[int(np.searchsorted(np.cumsum(widths), worst, "right"))]
        usual = f"; the mean is {column.mean:g}" if isinstance(column, Number) else ""
        return DataError(
            f"{self.name}: data row {self.rows + row + 1} is too far from the training "
            f"rows for a prediction (column {column.name!r} holds {frame[column.name][row]}"
            f"{usual})."
        )
