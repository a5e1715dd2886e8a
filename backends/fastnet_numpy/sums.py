"""Sums over the rows of a batch."""

import numpy as np

from fastnet.arrays.checks import Array

#: Rows from which a float32 product over the rows is summed up block by block, in float64: rounding
#: in a long sum goes the same way again and again.
MANY_ROWS, BLOCK_ROWS = 8192, 4096


def over_rows(x: Array, d: Array, out: Array) -> None:
    """out = x' d, `(columns, units)`, or `(units,)` for an `x` of one dimension."""
    if len(d) < MANY_ROWS or d.dtype != np.float32:
        x.T.dot(d, out)
        return
    total = np.zeros(out.shape)
    for start in range(0, len(d), BLOCK_ROWS):
        total += x[start : start + BLOCK_ROWS].T.dot(d[start : start + BLOCK_ROWS])
    out[...] = total
