"""A layer's way back and the update of its weights in one sweep over them.

Where few rows meet many weights, a step takes as long as its weights and their gradient take from
memory and back. So a few rows of weights at a time give the derivatives by the inputs, and are
updated at once, while they and their gradient are in the nearest caches; the whole gradient is
never in memory. That can be done where one part has all rows of the batch, in one chunk, and
nothing but the optimizer needs the gradient. The bits are those of one after the other.
"""

import numpy as np
from numba.core import types

from fastnet_numba.ops.optimizers import update
from fastnet_numba.ops.products import (
    Matrix,
    Rows,
    Shape,
    multiply_rows,
    multiply_small,
    outer,
)
from fastnet_numba.ops.table import (
    AFFINE,
    INPUTS,
    KIND,
    NEEDS_INPUT_GRADIENT,
    SOURCE,
    SOURCE_ROW,
    SWEPT,
    TILES,
    UNITS,
    WEIGHT,
)
from fastnet_numba.simd.compiled import part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.tiles import KEEP, ZERO

#: Entries of the weights that are updated at once: some 32 KB in float32, but whole tiles: those
#: of a product are six rows high, those of rows with rows (`dots`) four.
AT_ONCE, ROWS_OF_TILES = 8_192, 12


@by_address(types.none)
def sweep(ops, o, optimizer, constants, p, g, memory, m, d, d_row, d_next, rows, rate, decay, t):
    """Put the derivatives by the inputs of layer `o` at `m[d_next]`, and update its weights.

    Its gradient is written over the first of its places in g, piece by piece.
    """


@part
def layer_swept(
    ops, o, optimizer, constants, p, g, memory, m, d, d_row, d_next, rows, rate, decay, t
):  # fmt: skip
    """What `sweep` calls."""
    tiles, source, row = ops[0, TILES], ops[o, SOURCE], ops[o, SOURCE_ROW]
    inputs, units, weight = ops[o, INPUTS], ops[o, UNITS], ops[o, WEIGHT]
    one, begin, end = np.int64(1), np.int64(ZERO), np.int64(KEEP)
    none = Rows(m, begin, begin)
    block = max(AT_ONCE // (units * ROWS_OF_TILES), 1) * ROWS_OF_TILES
    for first in range(0, inputs, block):
        count = min(block, inputs - first)
        at = weight + first * units
        if ops[o, NEEDS_INPUT_GRADIENT] != 0:
            multiply_rows(
                tiles, Rows(m, d_next + first, row), Rows(m, d, d_row), Rows(p, at, units),
                Shape(rows, count, units),
            )  # fmt: skip
        if rows == 1:
            outer(g, weight, m, source + first, count, d, units)
        else:
            multiply_small(
                tiles, Rows(g, weight, units), Matrix(m, source + first, one, row),
                Rows(m, d, d_row), Shape(count, units, rows), begin, end, none,
            )  # fmt: skip
        update(optimizer, constants, p, g, memory, at, at + count * units, weight, rate, decay, t)


@by_address(types.none)
def update_others(ops, optimizer, constants, p, g, memory, size, rate, decay, t):
    """Update what `sweep` leaves, of `size` parameters."""


@part
def others_updated(ops, optimizer, constants, p, g, memory, size, rate, decay, t):
    """What `update_others` calls."""
    low = 0
    for o in range(1, len(ops)):
        if ops[o, KIND] == AFFINE and ops[o, SWEPT] == 1:
            high = ops[o, WEIGHT]
            if low < high:
                update(optimizer, constants, p, g, memory, low, high, low, rate, decay, t)
            low = high + ops[o, INPUTS] * ops[o, UNITS]
    if low < size:
        update(optimizer, constants, p, g, memory, low, size, low, rate, decay, t)
