"""Checks of user input. Every value is checked once, here; an error names the value and the remedy.

Each function returns the value in the form that the rest of the code assumes.
"""

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays import dlpack
from fastnet.errors import DataError, DefinitionError, message_of

if TYPE_CHECKING:
    from pathlib import Path

#: As `numpy.typing.NDArray[Any]`, which is slow to import.
Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]

#: Rows that are searched for NaN at a time, so that the mask stays small.
_BLOCK_ROWS = 65_536

#: Entries up to which the search begins with a sum: of more, the matrix library might share it out.
FEW_ENTRIES = 8_192

#: Names of the small dtypes that the package ml_dtypes adds to NumPy, as for JAX's arrays.
_SMALL_DTYPES = ("bfloat16", "float8")

#: The largest sample weight is used as it is between these; sums stay within float32.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-20, 1e20


def integer(value: Any, what: str, least: int = 1) -> int:
    """Check an integer of at least `least`; `True` and 3.5 are refused.

    Raises:
        DefinitionError: if it is not one.
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
    """Check a finite number, with `least` <= it <= `most` and `above` < it < `below`.

    Raises:
        DefinitionError: if it is not one.
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, (bool, np.bool_)):
        is_number = False
    try:
        result = float(value) if is_number else math.nan
    except OverflowError:  # an integer of more than 308 digits
        result = math.inf
    if math.isfinite(result) and least <= result <= most and above < result < below:
        return result
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
    if not bounds or (is_number and not math.isfinite(result)):
        bounds.insert(0, "finite")
    kind = "" if is_number else "a number, "
    raise DefinitionError(f"{what} is {value!r}; it must be {kind}{' and '.join(bounds)}.")


def flag(value: Any, what: str) -> bool:
    """Check a setting that is either True or False; NumPy's are taken too, 0 and 1 are not.

    Raises:
        DefinitionError: if it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise DefinitionError(f"{what} is {value!r}; it must be True or False.")
    return bool(value)


def entries(value: Any) -> tuple[Any, ...] | None:
    """The entries of a list, a tuple or an array of one dimension; None for anything else."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist()) if value.ndim == 1 else None
    return tuple(value) if isinstance(value, list | tuple) else None


def seed(value: Any) -> int:
    """Check a seed, a whole number of at least 0 and less than 2**64.

    Raises:
        DefinitionError: if it is not one.
    """
    found = integer(value, "seed", least=0)
    if found >= 2**64:
        raise DefinitionError(f"seed is {found}; it must be less than 2**64.")
    return found


def functions(value: Any, what: str) -> list[Any]:
    """Check a list of functions; None is the empty list.

    Raises:
        DefinitionError: if one of them is not callable.
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


def path(value: Any, what: str = "path") -> "Path":
    """Check the path of a file.

    Raises:
        DefinitionError: if it is neither a string nor a path, or is empty.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise DefinitionError(f"{what} is {value!r}; it must be the path of a file.")
    from pathlib import Path  # slow to import, and needed for files only

    return Path(value)


def dtype(value: Any) -> np.dtype[Any]:
    """Check a dtype, float32 or float64.

    Raises:
        DefinitionError: for any other.
    """
    try:
        found = None if value is None else np.dtype(value)  # None would be NumPy's float64
    except (TypeError, ValueError, SyntaxError):  # of texts, NumPy parses some like Python
        found = None
    if found not in (np.float32, np.float64):
        raise DefinitionError(f"dtype is {value!r}; it must be 'float32' or 'float64'.")
    return np.dtype("float32" if found == np.float32 else "float64")


def numbers(value: Any, what: str, to: np.dtype[Any] | None) -> Array:
    """Convert to a C-contiguous array of real numbers of dtype `to` (None: as given).

    Raises:
        DataError: for text, objects, complex numbers, ragged rows, masked or sparse arrays.
    """
    if type(value) is np.ndarray and value.dtype.isbuiltin and value.dtype.kind in "biuf":
        return cast(value, to)
    value = dlpack.on_host(value, what)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(f"{what} has masked entries; fill them first, as with {what}.filled(0).")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and _nullable(value):
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise DataError(f"{what} is not an array of numbers: {message_of(error)}.") from error
    if array.dtype.name.startswith(_SMALL_DTYPES):
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        if hasattr(value, "toarray"):
            remedy = f"it is a sparse matrix: use {what}.toarray()"
        elif hasattr(value, "collect"):
            remedy = f"it is a lazy table: use {what}.collect()"
        elif what == "y" and array.dtype.kind in "OUST":
            remedy = "number classes with classes, y = np.unique(y, return_inverse=True)"
        else:
            remedy = _not_numbers(value, array, what)
        raise DataError(f"{what} has dtype {array.dtype}; it must hold real numbers: {remedy}.")
    return cast(array, to)


def cast(array: Array, to: np.dtype[Any] | None) -> Array:
    """Real numbers as a C-contiguous array of dtype `to`; None: as they are."""
    if to is None or (array.dtype == to and array.flags.c_contiguous):
        return array
    return _converted(array, to)


@np.errstate(over="ignore")  # as a decorator it takes less time than in a `with` statement
def _converted(array: Array, to: np.dtype[Any]) -> Array:
    return np.ascontiguousarray(array, dtype=to)


def _not_numbers(value: Any, array: Array, what: str) -> str:
    """Where the first entry is that is no number, and what to do about it."""
    if array.dtype.kind == "c":
        return f"take {what}.real, or the real and the imaginary part as columns of their own"
    for place, entry in np.ndenumerate(array):  # noqa: B007  # used behind the loop
        try:
            float(entry)
        except (TypeError, ValueError):
            break
    else:
        return f"convert it first, as with np.asarray({what}, 'float32')"
    where = f"row {place[0]}" if place else "it"
    names = getattr(value, "columns", None)
    if len(place) == 2:
        column = place[1] if names is None else repr(list(names)[place[1]])
        where = f"column {column} holds {entry!r} in {where}"
        return (
            f"{where}; leave that column out or turn it into numbers "
            "(fastnet.tables.train does so with the text of a table)"
        )
    return f"{where} holds {entry!r}"


def _nullable(value: Any) -> bool:
    """Whether it is a pandas frame or series of numbers, of which some may be missing."""
    if not hasattr(value, "to_numpy"):
        return False
    dtypes = getattr(value, "dtypes", None)
    columns = [dtypes] if hasattr(dtypes, "kind") else dtypes
    return columns is not None and all(getattr(dtype, "kind", "O") in "biuf" for dtype in columns)


def all_finite(array: Array) -> bool:
    """Whether every entry is finite."""
    # One call, for the few entries of a small network a short one: no sum with an infinity or a NaN
    # is finite. One that overflowed, which `vdot` does without a warning, is looked at again.
    if array.size <= FEW_ENTRIES:
        if math.isfinite(np.vdot(array, array)):
            return True
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(np.add.reduce(array, axis=None)):
                return True
    return bool(np.isfinite(array).all())


def finite(
    array: Array, what: str, source: Any = None, remedy: str = "", first_row: int = 0
) -> None:
    """Make sure that every entry is finite.

    Args:
        array: the array.
        what: its name in errors.
        source: the array before it was cast, to report an overflow.
        remedy: what the error advises; "": to fill in or leave out.
        first_row: the number of the array's first row, in errors.

    Raises:
        DataError: naming the row and column of the first entry that is not.
    """
    if len(array) <= _BLOCK_ROWS and all_finite(array):
        return
    for start in range(0, len(array), _BLOCK_ROWS):
        block = array[start : start + _BLOCK_ROWS]
        if all_finite(block):
            continue
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0])
        value = block[place]
        where = f"row {first_row + start + place[0]}" + "".join(f", column {i}" for i in place[1:])
        if source is not None:
            given = np.asarray(source)[(start + place[0], *place[1:])]
            if np.isfinite(given):
                raise DataError(
                    f"{what} holds {given!r} in {where}, which overflows {array.dtype}; "
                    f"scale the column, or use dtype='float64'."
                )
        remedy = remedy or "fill in missing values, or leave the row out of x, y and sample_weight"
        raise DataError(f"{what} holds {value} in {where}; {remedy}.")


def feature_shape(shape: tuple[int, ...], inputs: int) -> None:
    """Make sure that the shape of x is `(rows, inputs)`, with a row at least.

    Raises:
        DataError: if it is not.
    """
    if len(shape) != 2:
        hint = (
            "for one row use x.reshape(1, -1), for one column x.reshape(-1, 1)"
            if len(shape) == 1
            else "use x.reshape(len(x), -1)"
        )
        raise DataError(f"x has shape {shape}; it must be (rows, {inputs}): {hint}.")
    if shape[1] != inputs:
        raise DataError(
            f"x has {shape[1]} columns (shape {shape}); the network has {inputs} inputs."
        )
    if shape[0] == 0:
        raise DataError(f"x has no rows (shape {shape}); at least one is needed.")


def features(
    x: Any, inputs: int, to: np.dtype[Any], allow_nan: bool = False, first_row: int = 0
) -> Array:
    """Convert rows to `(rows, inputs)`, C-contiguous, of dtype `to`.

    Args:
        x: anything that NumPy converts to a two-dimensional array of real numbers.
        inputs: the number of columns of the network.
        to: float32 or float64.
        allow_nan: accept NaN and infinity, as prediction does, where they affect their row only.
        first_row: the number of the first of these rows, in errors.

    Raises:
        DataError: for no rows, another number of columns, or entries that are not finite.
    """
    given = numbers(x, "x", None)
    feature_shape(given.shape, inputs)
    array = cast(given, to)
    if not allow_nan:
        finite(array, "x", given, first_row=first_row)
    return array


def weights(sample_weight: Any, rows: int, to: np.dtype[Any]) -> Array | None:
    """Convert sample weights to `(rows,)`, one per row; None stays None.

    Raises:
        DataError: if one is negative or not finite, or all are zero, or the shape is another.
    """
    if sample_weight is None:
        return None
    given = numbers(sample_weight, "sample_weight", None)
    if given.shape not in ((rows,), (rows, 1)):
        raise DataError(
            f"sample_weight has shape {given.shape}; it must be ({rows},), one per row of x."
        )
    array = cast(given.reshape(rows), np.dtype(np.float64))
    finite(array, "sample_weight")
    if (array < 0).any():
        row = int(np.argmax(array < 0))
        raise DataError(
            f"sample_weight is {array[row]} in row {row}; weights must be 0 or more: "
            "weight 0 leaves a row out."
        )
    if not array.any():
        raise DataError("sample_weight is zero in every row; at least one must be positive.")
    # Only ratios of weights matter: scale very large or small ones into the dtype's range.
    largest = float(array.max())
    if not _LEAST_WEIGHT < largest < _MOST_WEIGHT:
        array = array / largest
    return np.ascontiguousarray(array, dtype=to)
