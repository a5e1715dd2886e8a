"""Weights of classes, as weights of rows: `Model.fit(class_weight=...)`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.errors import DataError, DefinitionError, unknown
from fastnet.training.stored_rows import StoredRows

BALANCED = "balanced"

#: Rows in memory or in files.
Rows = Data | StoredRows


def weigh_classes(
    class_weight: Any, outputs: int, data: Rows, validation: Rows | None
) -> tuple[Rows, Rows | None]:
    """Multiply the weight of each row by that of its class, also of the validation rows.

    Their loss chooses the best epoch, so it must be of the same objective.

    Args:
        class_weight: "balanced", or a weight for each class index; None: all rows stay as they are.
        outputs: of the network; one is of two classes.
        data: the training rows, on the host, which "balanced" counts.
        validation: the validation rows, or None.

    Raises:
        DefinitionError: for an invalid weight, or one of an unknown class.
        DataError: if the targets are no classes, or all weights of one part are zero.
    """
    if class_weight is None:
        return data, validation
    classes = max(outputs, 2)
    if isinstance(class_weight, str):
        if class_weight != BALANCED:
            raise DefinitionError(unknown("class_weight", class_weight, [BALANCED]))
        by_class = balanced(class_counts(data.y, outputs))
    else:
        by_class = _given(class_weight, classes)
    return _weighed(data, by_class), None if validation is None else _weighed(validation, by_class)


def class_counts(y: Array, outputs: int) -> Array:
    """How many rows each class has, and last how many there are: `(classes + 1,)` float64."""
    shares = _shares(y)
    rows = np.bincount(y, minlength=max(outputs, 2)) if y.ndim == 1 else shares.sum(axis=0)
    return np.append(rows, len(y)).astype(np.float64)


def balanced(counts: Array) -> Array:
    """As in scikit-learn: rows / (classes * rows of the class), over the classes that have rows.

    Args:
        counts: as of `class_counts`, or their sum over parts of the rows.
    """
    rows, total = counts[:-1], counts[-1]
    return np.asarray(total / (np.count_nonzero(rows) * np.where(rows > 0, rows, total)))


def _given(class_weight: Any, classes: int) -> Array:
    """The weights by class index, 1 where none is given."""
    if not isinstance(class_weight, Mapping):
        raise DefinitionError(
            f"class_weight is {class_weight!r}; it must be {BALANCED!r}, or a weight for each "
            "class, as in {0: 1, 1: 10}."
        )
    found = np.ones(classes)
    for index, weight in class_weight.items():
        whole = isinstance(index, int | np.integer) and not isinstance(index, bool)
        if not whole or not 0 <= index < classes:
            raise DefinitionError(
                f"class_weight names the class {index!r}; classes are numbered from 0 to "
                f"{classes - 1}."
            )
        found[index] = checks.number(weight, f"class_weight of {index}", least=0)
    return found


def _weighed(data: Rows, by_class: Array) -> Rows:
    shares = _shares(data.y)
    weight = by_class[shares] if shares.ndim == 1 else shares @ by_class
    before = data.weight
    if before is not None:
        weight = weight * before
    if not weight.any():
        raise DataError(
            "class_weight leaves no row of weight above 0 to train on, or to validate on."
        )
    if isinstance(data, StoredRows):
        return data.weighed(weight)
    return replace(data, weight=checks.weights(weight, len(data), data.x.numbers.dtype))


def _shares(y: Array) -> Array:
    """Class indices `(rows,)`; or what share of each row is of each class, `(rows, classes)`.

    Args:
        y: class indices `(rows,)`, one-hot or smoothed rows, or `(rows, 1)`, where 1 is the second
            class.
    """
    if y.ndim == 1:
        return y
    shares = np.asarray(y, np.float64)
    if shares.shape[1] == 1:
        shares = np.concatenate((1 - shares, shares), axis=1)
    if shares.min() < 0 or not np.allclose(shares.sum(axis=1), 1, atol=1e-3):
        raise DataError(
            "class_weight is for targets that are classes: indices, one-hot rows, or one output "
            "of 0 and 1."
        )
    return shares
