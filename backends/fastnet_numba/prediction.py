"""Prediction: rows through the network, chunk by chunk."""

import math

import numpy as np
from numba.core import types

from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE
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
from fastnet_numba.simd.vectors import claim, flat


@by_address(types.none)
def predict_chunk(ops, p, m, x, out, at, rows, ready):
    """Write the predictions for `rows` rows of `x`, flat, from row `at` on, into `out`, flat.

    These are a chunk at most. `ready` is 0 for the first one that a call computes in this arena:
    weights that stay packed are packed then.
    """


@part
def columns_predicted(ops, p, m, x, out, at, rows, ready):
    """See `predict_chunk`; the rows are in the lanes."""
    outputs, no_order = ops[0, OUTPUT_WIDTH], flat(ops)[:0]
    none, no_dropout = np.int64(0), 0.0
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
def rows_predicted(ops, p, m, x, out, at, rows, ready):
    """See `predict_chunk`."""
    row_by_row(ops, p, m, x, out, at, rows, ready)


@inlined
def row_by_row(ops, p, m, x, out, at, rows, ready):
    """See `predict_chunk`."""
    outputs = ops[0, OUTPUT_WIDTH]
    none = np.int64(0)
    no_dropout = 0.0
    for r in range(rows):
        take(m, ops[0, X] + r * ops[0, X_ROW], ops[0, X_ROW], x, at + r, ops[0, INPUT_WIDTH])
    forward(ops[0, FORWARD], ops, p, m, rows, no_dropout, ready, none, none)
    if ops[0, OUTPUT_ROW] == outputs:
        copy_numbers(out, at * outputs, m, ops[0, OUTPUT], rows * outputs)
    else:
        for r in range(rows):
            here = ops[0, OUTPUT] + r * ops[0, OUTPUT_ROW]
            copy_numbers(out, (at + r) * outputs, m, here, outputs)


@inlined
def predict_parts(predicted, ops, p, m, x, out, rows, parts, first, signals, taken):
    """Write the predictions for all chunks that no other worker takes.

    Each worker begins with a part of the rows of its own, and then helps with those of others. So
    one that lacks a processor is waited for only until it has finished the chunk that it has begun.
    The chunks, and so the bits, are the same whoever takes them.

    Args:
        predicted: the address for `predict_chunk`.
        ops, p, m, x, out: see there.
        rows: how many `x` has.
        parts: how many parts these are divided into.
        first: the part that this worker begins with.
        signals: how many chunks of each part are taken, CACHE_LINE_STRIDE apart.
        taken: where these numbers begin there.
    """
    ready, chunk = np.int64(0), ops[0, CHUNK]
    for n in range(parts):
        part = (first + n) % parts
        place = taken + part * CACHE_LINE_STRIDE
        begin, end = rows * part // parts, rows * (part + 1) // parts
        at = begin + claim(signals, place) * chunk
        while at < end:
            predict_chunk(predicted, ops, p, m, x, out, at, min(chunk, end - at), ready)
            ready = np.int64(1)
            at = begin + claim(signals, place) * chunk


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
    none = np.int64(0)
    row_by_row(ops, p, m, flat(x), flat(out), none, len(x), none)
    return True
