"""Prediction: rows through the network, chunk by chunk."""

import math

import numpy as np
from numba.core import types

from fastnet_numba.ops.layers import forward
from fastnet_numba.ops.narrow import stride, transpose_rows
from fastnet_numba.ops.rows import copy_numbers, take
from fastnet_numba.ops.table import (
    CHUNK,
    EMBED,
    FORWARD,
    INPUT_WIDTH,
    INPUTS,
    KIND,
    OUTPUT,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    SOURCE,
    STAY,
    X_ROW,
    X,
)
from fastnet_numba.simd.compiled import entry, inlined, part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.vectors import flat


@by_address(types.none)
def predict_rows(ops, p, m, x, out, low, high):
    """Write the predictions for rows `low` to `high` of `x`, flat, into `out`, flat."""


@part
def columns_predicted(ops, p, m, x, out, low, high):
    """See `predict_rows`; the rows are in the lanes."""
    outputs, no_order = ops[0, OUTPUT_WIDTH], flat(ops)[:0]
    none, no_dropout = np.int64(0), 0.0
    for at in range(low, high, ops[0, CHUNK]):
        rows = min(ops[0, CHUNK], high - at)
        length = stride(m, rows)
        transpose_rows(m, ops[0, X], length, x, no_order, at, rows, ops[0, INPUT_WIDTH])
        forward(ops[0, FORWARD], ops, p, m, rows, no_dropout, none, none, none)
        if outputs == 1:
            copy_numbers(out, at, m, ops[0, OUTPUT], rows)
        else:
            for j in range(outputs):
                here = ops[0, OUTPUT] + j * length
                for r in range(rows):
                    out[(at + r) * outputs + j] = m[here + r]


@part
def rows_predicted(ops, p, m, x, out, low, high):
    """See `predict_rows`."""
    row_by_row(ops, p, m, x, out, low, high)


@inlined
def row_by_row(ops, p, m, x, out, low, high):
    """See `predict_rows`."""
    outputs = ops[0, OUTPUT_WIDTH]
    none = np.int64(0)
    no_dropout = 0.0
    for at in range(low, high, ops[0, CHUNK]):
        rows = min(ops[0, CHUNK], high - at)
        for r in range(rows):
            take(m, ops[0, X] + r * ops[0, X_ROW], ops[0, X_ROW], x, at + r, ops[0, INPUT_WIDTH])
        forward(ops[0, FORWARD], ops, p, m, rows, no_dropout, at - low, none, none)
        if ops[0, OUTPUT_ROW] == outputs:
            copy_numbers(out, at * outputs, m, ops[0, OUTPUT], rows * outputs)
        else:
            for r in range(rows):
                here = ops[0, OUTPUT] + r * ops[0, OUTPUT_ROW]
                copy_numbers(out, (at + r) * outputs, m, here, outputs)


@inlined
def codes_fit(ops, x):
    """Whether all codes of categories have a row in their tables; these come first."""
    for o in range(1, len(ops)):
        if ops[o, KIND] == EMBED:
            column = ops[o, SOURCE] - ops[0, X]
            for r in range(len(x)):
                code = x[r, column]
                if not (0 <= code < ops[o, INPUTS] and code == math.floor(code)):
                    return False
        elif ops[o, KIND] != STAY:
            return True
    return True


@entry(nogil=False)
def predict_at_once(ops, p, m, x, out):
    """Write the predictions for the rows of `x` `(rows, inputs)` into `out` `(rows, outputs)`.

    The GIL is held: for a few rows that takes less time than to release it, and one arena serves
    all threads.

    Returns:
        False, and nothing is written, if `x` has another number of columns than the network, no
        rows, or more than a chunk, or a code that a category does not have.
    """
    if x.shape[1] != ops[0, INPUT_WIDTH] or not 0 < len(x) <= ops[0, CHUNK]:
        return False
    if not codes_fit(ops, x):
        return False
    row_by_row(ops, p, m, flat(x), flat(out), np.int64(0), len(x))
    return True
