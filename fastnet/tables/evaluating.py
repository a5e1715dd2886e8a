"""How good predictions are, on rows whose target is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.model import Model
from fastnet.tables import metrics, targets
from fastnet.tables.columns import Place
from fastnet.tables.reading import Reader
from fastnet.tables.schema import Class, Table

#: A confusion matrix of more classes is too large to read.
MAX_CONFUSION_CLASSES = 10


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts some rows, such as the test rows.

    Attributes:
        rows: their number.
        loss: the network's, without penalties.
        metrics: `accuracy`, `log_loss` and `roc_auc`, or `r2`, `rmse` and `mae` in the target's
            unit: `fastnet.tables.metrics` has the formulas. NaN where a metric is undefined
            because all rows are alike, and for the ROC AUC of very many classes.
        confusion: the number of rows of each class by predicted class, `(class, prediction)`;
            None for regression and for more than `MAX_CONFUSION_CLASSES` classes.
        classes: for each class its `rows`, `precision`, `recall` and `f1`, NaN where undefined;
            empty for regression.
        targets: the true class indices or numbers, `(rows,)`.
        predicted: the probabilities `(rows, classes)`, or the numbers `(rows,)`.
    """

    rows: int
    loss: float
    metrics: dict[str, float]
    confusion: Array | None = field(default=None, compare=False)
    classes: Mapping[Class, Mapping[str, float]] = field(default_factory=dict)
    targets: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    predicted: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    @property
    def score(self) -> float:
        """The accuracy, or R²."""
        return self.metrics["accuracy" if "accuracy" in self.metrics else "r2"]


@dataclass(frozen=True)
class Rows:
    """Rows of a table as a network takes them, and what their target is.

    Attributes:
        x: `(rows, inputs)`.
        y: `(rows,)`, class indices or standardized numbers.
        targets: `(rows,)`, class indices or numbers in the target's unit.
    """

    x: Array
    y: Array
    targets: Array

    def __len__(self) -> int:
        return len(self.y)


def encoded(table: Table, values: list[Any], targets: Array, dtype: str) -> Rows:
    """Encode rows.

    Args:
        table: the schema.
        values: what `Table.column_values` returns.
        targets: class indices or numbers, `(rows,)`.
        dtype: of the model.
    """
    y = table.encode_target(targets)
    y = y if table.task == "classification" else y.astype(dtype)
    return Rows(table.encode(values, dtype), y, targets)


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
    if table.target not in frame.columns:
        raise DataError(f"{blocks.name} has no column {table.target!r}, the target.")
    table.check_columns(frame.columns, blocks.name, blocks.labels)
    place = Place(blocks.name, table.target, role="target")
    found, has_target = targets.known(frame[table.target], table.classes, place, table.notation)
    if not has_target.any():
        raise DataError(f"{place} has no values at all; fill it in.")
    values = [
        one[has_target] if isinstance(one, np.ndarray) else one.filter(has_target)
        for one in table.column_values(frame, blocks.name)
    ]
    rows = encoded(table, values, found[has_target], dtype)
    return rows, frame.height - len(rows)


def judge(model: Model, table: Table, rows: Rows) -> Evaluation:
    """Predict rows, and compare the predictions with what is true."""
    outputs = model.predict(rows.x, encoded=True)
    loss = model.evaluate(rows.x, rows.y, encoded=True)
    return measured(table, rows.targets, outputs, loss)


def measured(table: Table, true: Array, outputs: Array, loss: float) -> Evaluation:
    """The evaluation of a network's outputs `(rows, outputs)`, and its loss."""
    if table.task == "regression":
        numbers = table.decode_outputs(outputs)
        found = metrics.regression_metrics(true, numbers)
        return Evaluation(len(true), loss, found, targets=true, predicted=numbers)
    count = len(table.classes)
    best = np.argmax(outputs, axis=1)
    rows = np.bincount(true, minlength=count)
    scores = metrics.class_scores(true, best, count)
    by_class = {
        name: {"rows": int(rows[i]), **{key: float(column[i]) for key, column in scores.items()}}
        for i, name in enumerate(table.classes)
    }
    few = count <= MAX_CONFUSION_CLASSES
    return Evaluation(
        len(true),
        loss,
        metrics.classification_metrics(true, outputs),
        metrics.confusion_matrix(true, best, count) if few else None,
        by_class,
        true,
        outputs,
    )
