"""The border: everything a user hands over is checked here, once, with a text that says what to do.

Behind it, code assumes. Every function returns the value in the form the rest works with.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnet.arrays import dlpack
from fastnet.errors import DataError, DefinitionError

Array = NDArray[Any]

#: Rows looked at together when a large array is searched for NaN, so that no mask as large
#: as the data itself is made.
_BLOCK_ROWS = 65_536

#: Names of the dtypes of fewer bits that the package ml_dtypes gives NumPy, and JAX's arrays have.
_SHORT = ("bfloat16", "float8")

#: Sample weights between these are taken as they are: sums of them stay within float32.
_FEATHER, _ROCK = 1e-20, 1e20


def integer(value: Any, what: str, least: int = 1) -> int:
    """An integer of at least `least`; `True` and 3.5 are none.

    Raises:
        DefinitionError: if it is not.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise DefinitionError(f"{what} is {value!r}; it must be a whole number, {least} or more.")
    if value < least:
        raise DefinitionError(f"{what} is {value}; it must be {least} or more.")
    return int(value)


def number(
    value: Any,
    what: str,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> float:
    """A finite number with `least` <= it <= `most` and `above` < it < `below`.

    Raises:
        DefinitionError: if it is not.
    """
    bounds = [
        text
        for limit, text in (
            (least, f"at least {least:g}"),
            (above, f"greater than {above:g}"),
            (below, f"less than {below:g}"),
            (most, f"at most {most:g}"),
        )
        if math.isfinite(limit)
    ]
    rule = " and ".join(bounds) or "finite"
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise DefinitionError(f"{what} is {value!r}; it must be a number, {rule}.")
    try:
        result = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        result = math.inf
    if not (math.isfinite(result) and least <= result <= most and above < result < below):
        raise DefinitionError(f"{what} is {value!r}; it must be {rule}.")
    return result


def seed(value: Any) -> int:
    """A seed: a whole number from 0, less than 2**64.

    Raises:
        DefinitionError: if it is none.
    """
    found = integer(value, "seed", least=0)
    if found >= 2**64:
        raise DefinitionError(f"seed is {found}; it must be less than 2**64.")
    return found


def functions(value: Any, what: str) -> list[Any]:
    """Some functions, in a list or the like; None: none.

    Raises:
        DefinitionError: if one of them cannot be called.
    """
    if value is None:
        return []
    try:
        found = list(value)
    except TypeError:
        raise DefinitionError(f"{what} is {value!r}; put it in a list.") from None
    for index, one in enumerate(found):
        if not callable(one):
            raise DefinitionError(
                f"{what.removesuffix('s')} {index} is {one!r}; it must be a function."
            )
    return found


def path(value: Any, what: str = "path") -> Path:
    """The name of a file.

    Raises:
        DefinitionError: if it is neither text nor a path.
    """
    if not isinstance(value, str | os.PathLike):
        raise DefinitionError(f"{what} is {value!r}; it must be a file's name.")
    return Path(value)


def dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64.

    Raises:
        DefinitionError: for any other.
    """
    try:
        found = None if value is None else np.dtype(value)  # None would be NumPy's float64
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise DefinitionError(f"dtype is {value!r}; it must be 'float32' or 'float64'.")
    return np.dtype("float32" if found == np.float32 else "float64")


def numbers(value: Any, what: str, to: np.dtype[Any] | None) -> Array:
    """An array of real numbers, cast to `to` (None: kept as it is), C-contiguous.

    Raises:
        DataError: for text, objects, complex numbers, ragged rows, masked or sparse arrays.
    """
    value = dlpack.on_host(value, what)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{what} has masked entries; fill them first, as with {what}.filled(0).")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and _nullable(value):
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise DataError(f"{what} is not an array of numbers: {error}.") from error
    if array.dtype.name.startswith(_SHORT):
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        remedy = f"convert it first, as with {what}.astype('float32')"
        if hasattr(value, "toarray"):
            remedy = f"it is a sparse matrix: use {what}.toarray()"
        elif what == "y" and array.dtype.kind in "OUST":
            remedy = "for classes, classes, y = np.unique(y, return_inverse=True) numbers them"
        raise DataError(f"{what} has dtype {array.dtype}; it must hold real numbers: {remedy}.")
    if to is not None:
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, dtype=to)
    return array


def _nullable(value: Any) -> bool:
    """Whether it is a frame or series of pandas whose columns are numbers, some perhaps missing."""
    if not hasattr(value, "to_numpy"):
        return False
    dtypes = getattr(value, "dtypes", None)
    columns = [dtypes] if hasattr(dtypes, "kind") else dtypes
    return columns is not None and all(getattr(dtype, "kind", "O") in "biuf" for dtype in columns)


def finite(array: Array, what: str, source: Any = None, remedy: str = "") -> None:
    """Make sure that every entry is finite.

    Args:
        array: what is looked at.
        what: what the user calls it.
        source: what the user gave, before a cast.
        remedy: what to do; "": fill in or leave out.

    Raises:
        DataError: naming the first entry that is not, by row and column.
    """
    for start in range(0, len(array), _BLOCK_ROWS):
        block = array[start : start + _BLOCK_ROWS]
        if np.isfinite(block).all():
            continue
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0])
        value = block[place]
        where = f"row {start + place[0]}" + "".join(f", column {i}" for i in place[1:])
        if source is not None:
            given = np.asarray(source)[(start + place[0], *place[1:])]
            if np.isfinite(given):
                raise DataError(
                    f"{what} holds {given!r} in {where}, which overflows {array.dtype}; "
                    f"scale the column, or use dtype='float64'."
                )
        remedy = remedy or "fill in what is missing, or leave the row out of x, y and weights"
        raise DataError(f"{what} holds {value} in {where}; {remedy}.")


def features(x: Any, inputs: int, to: np.dtype[Any], allow_nan: bool = False) -> Array:
    """The rows of a batch: `(rows, inputs)`, C-contiguous, of dtype `to`.

    Args:
        x: anything NumPy takes for a two-dimensional array of real numbers.
        inputs: the columns the network reads.
        to: float32 or float64.
        allow_nan: let NaN and infinity through (prediction: they stay in their rows).

    Raises:
        DataError: if there are no rows, other columns, or entries that are not finite.
    """
    given = numbers(x, "x", None)
    if given.ndim != 2:
        hint = (
            "for one row use x.reshape(1, -1), for one column x.reshape(-1, 1)"
            if given.ndim == 1
            else "use x.reshape(len(x), -1)"
        )
        raise DataError(f"x has shape {given.shape}; it must be (rows, {inputs}): {hint}.")
    if given.shape[1] != inputs:
        raise DataError(
            f"x has {given.shape[1]} columns (shape {given.shape}); the network reads {inputs}."
        )
    if len(given) == 0:
        raise DataError(f"x has no rows (shape {given.shape}); at least one is needed.")
    array = numbers(given, "x", to)
    if not allow_nan:
        finite(array, "x", given)
    return array


def weights(sample_weight: Any, rows: int, to: np.dtype[Any]) -> Array | None:
    """One weight a row, `(rows,)`, none negative and not all of them zero; None stays None.

    Raises:
        DataError: if they are not so.
    """
    if sample_weight is None:
        return None
    given = numbers(sample_weight, "sample_weight", None)
    if given.shape not in ((rows,), (rows, 1)):
        raise DataError(
            f"sample_weight has shape {given.shape}; it must be ({rows},), one a row of x."
        )
    array = numbers(given.reshape(rows), "sample_weight", np.dtype(np.float64))
    finite(array, "sample_weight")
    if (array < 0).any():
        row = int(np.argmax(array < 0))
        raise DataError(
            f"sample_weight is {array[row]} in row {row}; weights must be 0 or more: "
            "leave a row out with weight 0."
        )
    if not array.any():
        raise DataError("sample_weight is zero in every row; at least one must be greater.")
    # Only their ratios count: very large or small ones are brought into the dtype's range.
    largest = float(array.max())
    if not _FEATHER < largest < _ROCK:
        array = array / largest
    return np.ascontiguousarray(array, dtype=to)


def targets(y: Any, rows: int, outputs: int, kind: str, to: np.dtype[Any]) -> Array:
    """What the network should say.

    Args:
        y: `(rows,)` or `(rows, 1)` for one output, `(rows, outputs)` for more; for classes
            `(rows,)` indices or `(rows, outputs)` one-hot rows or probabilities.
        rows: the rows of x.
        outputs: the units of the last layer.
        kind: what the loss wants: "real", "count" (0 or more), "probability" or "class".
        to: float32 or float64.

    Returns:
        `(rows, outputs)` of dtype `to`, C-contiguous; for class indices `(rows,)` of intp.

    Raises:
        DataError: if the shape, a value or its range is wrong, with row and column.
    """
    given = numbers(y, "y", None)
    if given.ndim == 0 or len(given) != rows:
        length = f"{len(given)} rows" if given.ndim else "no rows"
        raise DataError(f"x has {rows} rows and y has {length} (shape {given.shape}).")
    if kind == "class" and given.shape in ((rows,), (rows, 1)):
        return _classes(given.reshape(rows), outputs)
    if given.shape == (rows,) and outputs == 1:
        given = given.reshape(rows, 1)
    if given.shape != (rows, outputs):
        wanted = f"({rows}, {outputs})"
        if outputs == 1:
            wanted += f" or ({rows},)"
        if kind == "class":
            wanted = f"({rows},), class indices, or {wanted}, one-hot"
        raise DataError(f"y has shape {given.shape}; it must be {wanted}.")
    array = numbers(given, "y", to)
    finite(array, "y", given)
    if kind == "count":
        _refuse(array < 0, array, "must be 0 or more for the Poisson loss")
    if kind in ("probability", "class"):
        _refuse((array < 0) | (array > 1), array, "must lie in [0, 1] for a cross-entropy")
    if kind == "class":
        total = array.sum(axis=1, dtype=np.float64)
        off = np.abs(total - 1) > 1e-3
        if off.any():
            row = int(np.argmax(off))
            raise DataError(
                f"y sums to {total[row]:g} in row {row}; one-hot rows and probabilities sum "
                "to 1 (for several labels a row use sigmoid with 'binary_crossentropy')."
            )
    return array


def _classes(given: Array, outputs: int) -> Array:
    finite(given, "y")
    with np.errstate(invalid="ignore"):  # beyond any integer: found out in the next line
        index = given.astype(np.intp)
    if (index != given).any():
        row = int(np.argmax(index != given))
        raise DataError(f"y is {given[row]} in row {row}; class indices are whole numbers.")
    outside = (index < 0) | (index >= outputs)
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(
            f"y is class {index[row]} in row {row}; the network has {outputs} outputs, "
            f"so classes run from 0 to {outputs - 1}."
        )
    return np.ascontiguousarray(index)


def _refuse(wrong: Array, array: Array, rule: str) -> None:
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise DataError(f"y is {array[row, column]} in row {row}, column {column}; it {rule}.")
