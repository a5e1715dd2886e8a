"""Arrays that begin at a cache line.

NumPy's begin at a multiple of 16 bytes. Where that is no multiple of a vector's, every other vector
lies across two lines, and to update all numbers of such an array can take much longer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays import pool
from fastnet.arrays.checks import Array

#: Bytes of a cache line, and of the longest vector.
LINE = 64

#: Bytes of two lines, which processors fetch in pairs: what one writes lies so far from what others
#: use.
PAIR = 2 * LINE

#: Bytes of an array whose place would take longer to find than all lines that it saves (a choice).
FEW_BYTES = 1024


def zeros(entries: int, dtype: np.dtype[Any]) -> Array:
    """Zeros, `(entries,)`, the first of which begins a cache line."""
    if not _is_large(entries, dtype):
        return _begun(np.zeros, entries, dtype)
    made = empty(entries, dtype)
    made[...] = 0
    return made


def empty(entries: int, dtype: np.dtype[Any]) -> Array:
    """The same with any values."""
    return _begun(_large if _is_large(entries, dtype) else np.empty, entries, dtype)


def _is_large(entries: int, dtype: np.dtype[Any]) -> bool:
    return entries * dtype.itemsize >= pool.LEAST_BYTES


def _large(entries: int, dtype: np.dtype[Any]) -> Array:
    return pool.array(entries * dtype.itemsize)[: entries * dtype.itemsize].view(dtype)


def _begun(make: Callable[..., Array], entries: int, dtype: np.dtype[Any]) -> Array:
    raw = make(entries + LINE // dtype.itemsize if entries else 0, dtype)
    skip = -raw.ctypes.data % LINE // raw.itemsize if entries else 0  # it takes a microsecond
    return raw[skip : skip + entries]


def copy(array: Array) -> Array:
    """A copy in one piece; one of more than a few numbers begins at a cache line."""
    if array.nbytes <= FEW_BYTES:
        return array.copy()
    made = empty(array.size, array.dtype).reshape(array.shape)
    made[...] = array
    return made
