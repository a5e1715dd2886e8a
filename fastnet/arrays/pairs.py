"""Inputs of two kinds, put together: numbers, and behind them the codes of categories.

Codes become whole numbers of the rows' dtype, which has them exactly.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import DataError


def features(
    x: Any,
    sizes: tuple[int, ...],
    inputs: int,
    to: np.dtype[Any],
    allow_nan: bool = False,
    first_row: int = 0,
) -> Array:
    """Convert rows of numbers and categories to `(rows, inputs)`, C-contiguous, of dtype `to`.

    Args:
        x: a pair `(numbers, categories)`, a tuple or a list: `(rows, n)` of real numbers, or None
            where there are none, and `(rows, len(sizes))` of whole numbers; or one array of both,
            in this order.
        sizes: how many codes each category has.
        inputs: columns of both.
        to: float32 or float64.
        allow_nan: accept NaN and infinity among the numbers.
        first_row: the number of the first of these rows, in errors.

    Raises:
        DataError: for no rows, other columns, entries that are not finite, or a code that a
            category does not have; names row and column.
    """
    count = inputs - len(sizes)
    if not is_several(x):
        given = checks.numbers(x, "x", None)
        array = checks.features(given, inputs, to, allow_nan=True)
        if not allow_nan:
            checks.finite(array[:, :count], "x", given, first_row=first_row)
        _check_codes(given[:, count:], sizes, first_row)  # before they were rounded
        return array
    if len(x) != 2:
        raise DataError(
            f"x is {len(x)} arrays; it must be a pair (numbers, categories), of "
            f"{count} and {len(sizes)} columns."
        )
    given, codes = x[0], checks.numbers(x[1], "categories", None)
    if codes.ndim != 2 or codes.shape[1] != len(sizes):
        raise DataError(
            f"categories have shape {codes.shape}; they must be (rows, {len(sizes)}), a column "
            "for each category."
        )
    if given is None and not count:
        given = np.empty((len(codes), 0), to)
    if given is None:
        raise DataError(
            f"numbers is None; x must be a pair (numbers, categories), of {count} and "
            f"{len(sizes)} columns."
        )
    given = checks.numbers(given, "numbers", None)
    if given.ndim != 2 or given.shape[1] != count or len(given) != len(codes):
        raise DataError(
            f"numbers have shape {given.shape}, and categories {codes.shape}; they must be "
            f"({len(codes)}, {count})."
        )
    checks.feature_shape((len(codes), inputs), inputs)
    array = np.empty((len(codes), inputs), to)
    with np.errstate(over="ignore"):
        array[:, :count] = given
    if not allow_nan:
        checks.finite(array[:, :count], "numbers", given, first_row=first_row)
    _check_codes(codes, sizes, first_row)
    array[:, count:] = codes
    return array


def is_several(x: Any) -> bool:
    """Whether it is several arrays, not rows of one: a tuple, or a list of arrays with rows."""
    if isinstance(x, tuple):
        return True
    return isinstance(x, list) and bool(x) and all(getattr(part, "ndim", 0) == 2 for part in x)


def _check_codes(codes: Array, sizes: tuple[int, ...], first_row: int) -> None:
    if codes.dtype.kind in "iub":
        wrong = (codes < 0) | (codes >= np.array(sizes))
    else:  # NaN is no code either
        wrong = ~((codes >= 0) & (codes < np.array(sizes)) & (codes == np.rint(codes)))
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        value = codes[row, column].item()
        raise DataError(
            f"category {value} in row {first_row + row}, column {column} of the categories: it "
            f"must be a whole number from 0 to {sizes[column] - 1}, 0 for unknown or missing."
        )


#: The most rows of a pair that are joined for `predict_at_once`, which checks them itself.
_FEW = 16


def accepted_by(
    predict: Callable[[Array, Any], Any], numbers: int, dtype: str
) -> Callable[[Array, Any], Any]:
    """`Program.predict_at_once`, made to take few rows of a pair too.

    Args:
        predict: that of the program.
        numbers: columns of numbers.
        dtype: the program's.
    """
    to = np.dtype(dtype)

    def at_once(parameters: Array, x: Any) -> Any:
        if type(x) is tuple:
            if len(x) != 2 or type(x[0]) is not np.ndarray or type(x[1]) is not np.ndarray:
                return None
            given, codes = x
            if given.dtype != to or codes.dtype.kind != "i" or given.shape[1:] != (numbers,):
                return None
            if codes.ndim != 2 or not len(given) == len(codes) <= _FEW:
                return None
            x = np.concatenate(x, axis=1, dtype=to, casting="unsafe")
        return predict(parameters, x)

    return at_once
