"""Arrays that begin at a cache line.

NumPy's begin at a multiple of 16 bytes. Where that is no multiple of a vector's, every other vector
lies across two lines, and to update all numbers of such an array can take much longer.
"""

from typing import Any

import numpy as np

from fastnet.arrays.checks import Array

#: Bytes of a cache line, and of the longest vector.
LINE = 64


def zeros(entries: int, dtype: np.dtype[Any]) -> Array:
    """Zeros, `(entries,)`, the first of which begins a cache line."""
    raw = np.zeros(entries + LINE // np.dtype(dtype).itemsize if entries else 0, dtype)
    skip = -raw.ctypes.data % LINE // raw.itemsize if entries else 0  # it takes a microsecond
    return raw[skip : skip + entries]


def copy(array: Array) -> Array:
    """A copy in one piece, which begins at a cache line."""
    made = zeros(array.size, array.dtype).reshape(array.shape)
    made[...] = array
    return made
