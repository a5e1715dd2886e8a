"""Checks of targets: whether they suit a loss, and the form in which it takes them."""

import math
from typing import Any

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import DataError

#: The least and the largest target of a loss, by its kind of targets; of a class they are those of
#: its probabilities, one-hot or not.
BOUNDS = {
    "real": (-math.inf, math.inf),
    "count": (0.0, math.inf),
    "probability": (0.0, 1.0),
    "class": (0.0, 1.0),
}


def target_shape(shape: tuple[int, ...], rows: int, outputs: int, kind: str) -> tuple[int, ...]:
    """Make sure that y may have this shape; the other arguments are those of `loss_targets`.

    Returns:
        The shape that `loss_targets` gives it.

    Raises:
        DataError: if it may not.
    """
    if not shape or shape[0] != rows:
        length = f"{shape[0]} rows" if shape else "no rows"
        raise DataError(f"x has {rows} rows and y has {length} (shape {shape}).")
    if kind == "class" and shape in ((rows,), (rows, 1)):
        return (rows,)
    if shape == (rows, outputs) or (shape == (rows,) and outputs == 1):
        return rows, outputs
    wanted = f"({rows}, {outputs})"
    if outputs == 1:
        wanted += f" or ({rows},)"
    if kind == "class":
        wanted = f"({rows},), class indices, or {wanted}, one-hot"
    raise DataError(f"y has shape {shape}; it must be {wanted}.")


def loss_targets(
    y: Any, rows: int, outputs: int, kind: str, to: np.dtype[Any], first_row: int = 0
) -> Array:
    """Convert targets for a loss.

    Args:
        y: `(rows,)` or `(rows, 1)` for one output, `(rows, outputs)` for more; for classes
            `(rows,)` indices or `(rows, outputs)` one-hot rows or probabilities.
        rows: the number of rows of x.
        outputs: the number of units of the last layer.
        kind: the targets of the loss: "real", "count" (0 or more), "probability" or "class".
        to: float32 or float64.
        first_row: the number of the first of these rows, in errors.

    Returns:
        `(rows, outputs)` of dtype `to`, C-contiguous; for class indices `(rows,)` of intp.

    Raises:
        DataError: if the shape or a value is invalid; names row and column.
    """
    given = checks.numbers(y, "y", None)
    shape = target_shape(given.shape, rows, outputs, kind)
    given = given.reshape(shape)
    if kind == "class" and len(shape) == 1:
        return _classes(given, outputs, first_row)
    array = checks.cast(given, to)
    checks.finite(array, "y", given, first_row=first_row)
    if kind != "real":
        low, high = BOUNDS[kind]
        rule = "in [0, 1] for a cross-entropy"
        if kind == "count":
            rule = "0 or more for the Poisson loss"
        _refuse((array < low) | (array > high), array, f"must be {rule}", first_row)
    if kind == "class":
        total = array.sum(axis=1, dtype=np.float64)
        off = np.abs(total - 1) > 1e-3
        if off.any():
            row = int(np.argmax(off))
            raise DataError(
                f"y sums to {total[row]:g} in row {first_row + row}; one-hot rows and "
                "probabilities must sum to 1 (for several labels per row use sigmoid and "
                "'binary_crossentropy')."
            )
    return array


def few_fit(y: Any, kind: str | None, outputs: int) -> bool:
    """Whether `loss_targets` would surely take these as they are, if they are few and finite.

    Args:
        y: the targets.
        kind: as for `loss_targets`; None: unknown, so not surely.
        outputs: the number of units of the last layer.

    Returns:
        True only if that is seen at once; False also where it takes a longer look.
    """
    if kind == "real":
        return True
    if kind is None or type(y) is not np.ndarray or not 0 < y.size <= checks.FEW_ENTRIES:
        return False
    if kind == "class":
        # Without a sign, what is negative is larger than all others: one look for both ends.
        indices = y.dtype == np.intp
        return indices and bool(np.maximum.reduce(y.view(np.uintp), None) < outputs)
    low, high = BOUNDS[kind]
    if y.dtype.kind != "f" or not np.minimum.reduce(y, None) >= low:
        return False
    return high == math.inf or bool(np.maximum.reduce(y, None) <= high)


def _classes(given: Array, outputs: int, first_row: int) -> Array:
    if given.dtype.kind == "f":
        checks.finite(given, "y", first_row=first_row)
        broken = given != np.rint(given)
        if broken.any():
            row = int(np.argmax(broken))
            raise DataError(
                f"y is {given[row]} in row {first_row + row}; class indices must be whole numbers."
            )
    outside = (given < 0) | (given >= outputs)
    if np.count_nonzero(outside):
        row = int(np.argmax(outside))
        raise DataError(
            f"y is class {given[row]:g} in row {first_row + row}; the network has {outputs} "
            f"outputs, for classes 0 to {outputs - 1}: number classes from 0 with "
            "classes, y = np.unique(y, return_inverse=True)."
        )
    return np.ascontiguousarray(given, np.intp)


def _refuse(wrong: Array, array: Array, rule: str, first_row: int) -> None:
    if np.count_nonzero(wrong):  # of few, much sooner than `any`
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        value, row = array[row, column], first_row + row
        raise DataError(f"y is {value} in row {row}, column {column}; it {rule}.")
