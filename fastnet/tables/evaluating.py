"""How good predictions are, on rows whose target is known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.many.ensemble import Ensemble
from fastnet.model import Model
from fastnet.records import Record
from fastnet.tables import metrics, roles, targets
from fastnet.tables.columns import Place
from fastnet.tables.reading import Reader
from fastnet.tables.schema import Class, Table

if TYPE_CHECKING:
    import polars as pl

#: A confusion matrix of more classes is too large to read.
MAX_CONFUSION_CLASSES = 10

#: The most rows of a sample, and the most numbers: enough to rank columns, few beside any table.
SAMPLE_ROWS = 2_000
_SAMPLE_NUMBERS = 2**22

#: Rows that are judged at a time, where they are not in memory.
_ROWS_FROM_DISK = 65_536


class Rows(Record):
    """Rows of a table as a network takes them, and what their target is.

    Attributes:
        x: `(rows, inputs)`.
        y: `(rows,)`, class indices or standardized numbers.
        targets: `(rows,)`, class indices or numbers in the target's unit.
        weight: `(rows,)`, how much each counts; None: all count alike.
    """

    x: Array
    y: Array
    targets: Array
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, part: slice) -> "Rows":
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[part]
        return Rows(self.x[part], self.y[part], self.targets[part], weight)


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts some rows, such as the test rows.

    Attributes:
        rows: their number.
        loss: the network's, without penalties.
        metrics: `accuracy`, `log_loss` and `roc_auc`, or `r2`, `rmse` and `mae` in the target's
            unit: `fastnet.tables.metrics` has the formulas. NaN where a metric is undefined
            because all rows are alike, and for the ROC AUC of very many classes. All are weighted,
            if the table has weights.
        confusion: `(class, prediction)`, the number of rows, or the sum of their weights, of each
            class by predicted class; None for regression and for more than
            `MAX_CONFUSION_CLASSES` classes.
        classes: for each class its `rows`, `precision`, `recall` and `f1`, NaN where undefined;
            empty for regression.
        targets: the true class indices or numbers, `(rows,)`.
        predicted: the probabilities `(rows, classes)`, or the numbers `(rows,)`.
        weight: `(rows,)`, or None.
        sample: some of the rows as the network takes them, for `importances`.
    """

    rows: int
    loss: float
    metrics: dict[str, float]
    confusion: Array | None = field(default=None, compare=False)
    classes: Mapping[Class, Mapping[str, float]] = field(default_factory=dict)
    targets: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    predicted: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    weight: Array | None = field(default=None, repr=False, compare=False)
    sample: Rows | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str:
        """The figures, for notebooks."""
        from fastnet.tables import reporting

        return reporting.html_report({"": self}, {})

    @property
    def score(self) -> float:
        """The accuracy, or R²."""
        return self.metrics["accuracy" if "accuracy" in self.metrics else "r2"]


def encoded(
    table: Table, values: list[Any], targets: Array, weight: Array | None, dtype: str
) -> Rows:
    """Encode rows.

    Args:
        table: the schema.
        values: what `Table.column_values` returns.
        targets: class indices or numbers, `(rows,)`.
        weight: `(rows,)`, or None.
        dtype: of the model.
    """
    return of_encoded(table, table.encode(values, dtype), targets, weight)


def of_encoded(table: Table, x: Array, targets: Array, weight: Array | None) -> Rows:
    """Rows whose inputs are encoded already."""
    y = table.encode_target(targets)
    return Rows(x, y if table.task == "classification" else y.astype(x.dtype), targets, weight)


def read(table: Table, source: Any, dtype: str, separator: str | None = None) -> tuple[Rows, int]:
    """Read the rows of another table than the one that the schema is of.

    Args:
        table: the schema.
        source: a path, "-" for standard input, a frame or a mapping of columns.
        dtype: of the model.
        separator: what stands between the columns of a CSV file; None: found in its first lines.

    Returns:
        The rows that have a target, and how many have none.

    Raises:
        DataError: if the columns do not match, or hold values that they must not, or no row has a
            target.
    """
    blocks = Reader(source, separator)
    frame = blocks.whole()
    table.check_columns(frame.columns, blocks.name, blocks.labels, blocks.separated)
    has_target, true, weight = known_rows(table, frame, blocks.name)
    if not len(true):
        raise DataError(
            f"{blocks.name}: the target {table.target!r} has no values at all; fill it in."
        )
    if table.weights is not None and weight is None:
        raise DataError(f"{blocks.name} has no column {table.weights!r}, the weights.")
    values = [
        one[has_target] if isinstance(one, np.ndarray) else one.filter(has_target)
        for one in table.column_values(frame, blocks.name)
    ]
    return encoded(table, values, true, weight, dtype), frame.height - len(true)


def known_rows(
    table: Table, frame: "pl.DataFrame", name: str, rows_before: int = 0
) -> tuple[Array, Array, Array | None]:
    """What is true of the rows of a frame, and how much each counts.

    Args:
        table: the schema.
        frame: has the target, and the weights or not.
        name: the frame's, for errors.
        rows_before: rows of the table before the first one of these.

    Returns:
        Which rows have a target, `(rows,)` bool; of these the class indices or numbers, and the
        weights, or None.

    Raises:
        DataError: if the target or the weights hold values that they must not.
    """
    if table.target not in frame.columns:
        raise DataError(f"{name} has no column {table.target!r}, the target.")
    place = Place(name, table.target, rows_before, "target")
    true, has_target = targets.known(frame[table.target], table.classes, place, table.notation)
    weight = None
    if table.weights in frame.columns:
        rows = np.flatnonzero(has_target)
        at = Place(name, str(table.weights), rows_before, row_numbers=rows)
        weight = roles.weights(frame[table.weights].gather(rows), at, table.notation)
    return has_target, true[has_target], weight


def judge(model: Model | Ensemble, table: Table, rows: Rows) -> Evaluation:
    """Predict rows, and compare the predictions with what is true."""
    evaluation = predicted(model, table, rows).evaluation()
    assert evaluation is not None
    return evaluation


def predicted(model: Model | Ensemble, table: Table, rows: Rows) -> "Judge":
    """Predict rows, block by block where they are not in memory."""
    found = Judge(model, table)
    step = len(rows) if isinstance(rows.x, np.ndarray) else _ROWS_FROM_DISK
    for start in range(0, len(rows), step or 1):
        part = rows.take(slice(start, start + step))
        found.add(part, model.predict(part.x, encoded=True))
    return found


@dataclass
class Predictions:
    """What a judge keeps of the rows so far, block by block.

    Attributes:
        targets, outputs, weights: of each block.
        loss: the sum of the rows' losses.
        mass: how many rows, or the sum of their weights.
        samples: some of the rows.
    """

    targets: list[Array] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    loss: float = 0.0
    mass: float = 0.0
    samples: list[Rows] = field(default_factory=list)


class Judge:
    """Compares predictions with what is true, block by block.

    Args:
        model: whose predictions they are.
        table: its schema.
    """

    def __init__(self, model: Model | Ensemble, table: Table) -> None:
        self._model, self._table = model, table
        self._found, self._sample = Predictions(), Sample()

    def add(self, rows: Rows, outputs: Array) -> None:
        """Add rows, and the network's outputs for them, `(rows, outputs)`."""
        weight, found = rows.weight, self._found
        mass = float(len(rows) if weight is None else weight.sum())
        found.targets.append(rows.targets)
        found.outputs.append(outputs)
        if weight is not None:
            found.weights.append(weight)
        if mass:
            loss = self._model.evaluate(rows.x, rows.y, weight, encoded=True)
            found.loss, found.mass = found.loss + mass * loss, found.mass + mass
        self._sample.add(rows)

    @property
    def found(self) -> Predictions:
        """What it has so far."""
        return replace(self._found, samples=self._sample.kept)

    def take(self, everyone: Iterable[Predictions]) -> None:
        """Have what several judges have, one behind the other, in place of what it has."""
        self._found, self._sample = Predictions(), Sample()
        for one in everyone:
            for name in ("targets", "outputs", "weights", "loss", "mass"):
                setattr(self._found, name, getattr(self._found, name) + getattr(one, name))
            for rows in one.samples:
                self._sample.add(rows)

    @property
    def values(self) -> int:
        """How many numbers it keeps."""
        return sum(outputs.size for outputs in self._found.outputs)

    def evaluation(self) -> Evaluation | None:
        """That of all rows so far; None if there are none, or their weights are all 0."""
        found = self._found
        if not found.mass:
            return None
        targets, outputs = np.concatenate(found.targets), np.concatenate(found.outputs)
        weight = np.concatenate(found.weights) if found.weights else None
        loss = found.loss / found.mass
        evaluation = measured(self._table, targets, outputs, weight, loss)
        return replace(evaluation, sample=self._sample.rows())


class Sample:
    """Some of the rows of a table, evenly spread, for what need not look at all of them."""

    def __init__(self) -> None:
        self.kept: list[Rows] = []
        self._step, self._seen = 1, 0

    def add(self, rows: Rows) -> None:
        """Add rows, of which it keeps every n-th."""
        self.kept.append(rows.take(slice(-self._seen % self._step, None, self._step)))
        self._seen += len(rows)
        most = max(min(SAMPLE_ROWS, _SAMPLE_NUMBERS // rows.x.shape[1]), 1)
        while sum(map(len, self.kept)) > most:
            self._step *= 2
            self.kept = [together(self.kept).take(slice(None, None, 2))]

    def rows(self) -> Rows:
        """What it has kept."""
        return together(self.kept)


def together(parts: Sequence[Rows]) -> Rows:
    """Rows one below the other."""
    x, y, targets = (
        np.concatenate([getattr(one, name) for one in parts]) for name in ("x", "y", "targets")
    )
    weights = [one.weight for one in parts if one.weight is not None]
    return Rows(x, y, targets, np.concatenate(weights) if weights else None)


def measured(
    table: Table, true: Array, outputs: Array, weight: Array | None, loss: float
) -> Evaluation:
    """The evaluation of a network's outputs `(rows, outputs)`, and its loss."""
    if table.task == "regression":
        numbers = table.decode_outputs(outputs)
        found = metrics.regression_metrics(true, numbers, weight)
        return Evaluation(len(true), loss, found, targets=true, predicted=numbers, weight=weight)
    count = len(table.classes)
    best = np.argmax(outputs, axis=1)
    rows = np.bincount(true, minlength=count)
    scores = metrics.class_scores(true, best, count, weight)
    by_class = {
        name: {"rows": int(rows[i]), **{key: float(column[i]) for key, column in scores.items()}}
        for i, name in enumerate(table.classes)
    }
    few = count <= MAX_CONFUSION_CLASSES
    return Evaluation(
        len(true),
        loss,
        metrics.classification_metrics(true, outputs, weight),
        metrics.confusion_matrix(true, best, count, weight) if few else None,
        by_class,
        true,
        outputs,
        weight,
    )
