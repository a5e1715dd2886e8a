"""A chunk of rows through the network, forward and backward.

Letters: `p` parameters, `g` their gradient, `m` the arena; `x` what goes into a layer
`(rows, inputs)`, `w` weights `(inputs, units)`, `z` = x w + b, `d` the loss's derivative by what
came out.
"""

import numpy as np
from numba.core import types

from fastnet_numba.ops.activations import activate, softmax, softmax_back, times, where_positive
from fastnet_numba.ops.dropout import draw
from fastnet_numba.ops.products import (
    Matrix,
    Room,
    Rows,
    Shape,
    column,
    multiply,
    multiply_large,
    multiply_rows,
    outer,
    sum_of,
)
from fastnet_numba.ops.rows import copy_row
from fastnet_numba.ops.sweep import sweep
from fastnet_numba.ops.table import (
    AFFINE,
    AS_THEY_LIE,
    BIAS,
    BLOCK_DEPTH,
    BLOCK_ENTRIES,
    CODE,
    COMPUTE,
    COMPUTE_BACK,
    CONSTANTS,
    D_NEXT,
    DROPOUT,
    ELEMENTWISE,
    FUSED,
    INPUTS,
    KIND,
    LARGE,
    LAYER,
    NEEDS_INPUT_GRADIENT,
    ONES,
    OTHER,
    OUTPUT_ROW,
    PACKED,
    PANELS,
    PERIODIC,
    PIECEWISE_LINEAR,
    PLAIN,
    RATE,
    RECTIFY,
    ROWS_IN_LANES,
    SLOPE,
    SOFTMAX,
    SOURCE,
    SOURCE_ROW,
    STRIP_DEPTH,
    STRIP_ROWS,
    SWEEP,
    SWEPT,
    TARGET,
    TARGET_ROW,
    TILES,
    TRANSPOSED,
    UNITS,
    WEIGHT,
    D,
)
from fastnet_numba.simd.compiled import inlined, kernel, part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.tiles import ADD, KEEP, MASK, RELU, TIMES, ZERO
from fastnet_numba.simd.tiles import BIAS as BEGIN_BIAS
from fastnet_numba.simd.vectors import from_bits, lanes, transpose


@inlined
def room_of(ops, m, panels, ready):
    """Where products pack their second operand; see `Room`."""
    return Room(
        m, ops[0, PACKED], ops[0, BLOCK_DEPTH], ops[0, BLOCK_ENTRIES], ops[0, STRIP_DEPTH],
        ops[0, STRIP_ROWS], ops[0, PLAIN], ops[0, LARGE], panels, ready,
    )  # fmt: skip


@by_address(types.none)
def forward(ops, p, m, rows, factor, first, seed, step):
    """Row `first` of the batch and those behind it, from X to the output."""


@by_address(types.none)
def compute(ops, o, p, m, rows):
    """Compute what comes out of row `o` of the table from what goes in."""


@by_address(types.boolean)
def compute_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """Turn the derivatives at `m[d]` into those by what goes into row `o`, and find its gradient.

    Those by what goes into an embedding are put at `m[d_next]` instead, where they are needed.
    `more` is as for `backward`.

    Returns:
        True where the way back ends here, because nothing before that row has parameters; parts
        that seldom come first always say False.
    """


@part
def units_forward(ops, p, m, rows, factor, first, seed, step):
    """What `forward` calls where units are in the lanes.

    `factor` multiplies the dropout rates; nothing is dropped where it is 0. Weights that have
    PANELS are packed there with row 0, and found there with others. Where other chunks have their
    rows in the lanes, sums are in the same order as there, so that a row has the same bits.
    """
    zero, one = np.int64(0), np.int64(1)  # a plain 0 would have kernels compiled for it alone
    for o in range(1, len(ops)):
        kind, units = ops[o, KIND], ops[o, UNITS]
        source, row = ops[o, SOURCE], ops[o, SOURCE_ROW]
        if kind == AFFINE:
            bias = ops[o, BIAS]
            end = RELU if ops[o, FUSED] else KEEP
            if units == 1 and ops[0, ROWS_IN_LANES] == 0:
                column(
                    p, ops[o, WEIGHT], bias, m, source, row, ops[o, INPUTS], ops[o, TARGET],
                    rows, end,
                )  # fmt: skip
            else:
                multiply(
                    ops[0, TILES],
                    Rows(m, ops[o, TARGET], ops[o, TARGET_ROW]),
                    Matrix(m, source, row, one),
                    Rows(p, ops[o, WEIGHT], units),
                    Shape(rows, units, ops[o, INPUTS]),
                    ZERO if bias < 0 else BEGIN_BIAS, end, Rows(p, max(bias, 0), zero),
                    room_of(ops, m, ops[o, PANELS], np.int64(first > 0)),
                )  # fmt: skip
        elif kind == ELEMENTWISE:
            activate(ops[o, CODE], m, source, ops[o, SLOPE], rows * row, ops[o, CONSTANTS])
        elif kind == SOFTMAX:
            in_turn = ops[0, ROWS_IN_LANES] > 0
            softmax(ops[o, CODE], m, source, ops[o, SLOPE], rows, row, units, in_turn)
        elif kind == DROPOUT and factor > 0:
            rate = from_bits(ops[o, RATE]) * factor
            draw(
                ops[o, CODE], m, ops[o, SLOPE], ops[0, D_NEXT], row, units, rows, first,
                rate, ops[o, LAYER], seed, step,
            )  # fmt: skip
            times(m, source, ops[o, SLOPE], rows * row)
        elif ops[o, COMPUTE] >= 0:
            compute(ops[o, COMPUTE], ops, o, p, m, rows)


@kernel
def transpose_weights(ops, p, m):
    """Transpose the weights of which the backward pass needs the transpose."""
    block = lanes(m)
    if ops[0, ROWS_IN_LANES]:
        return  # their tiles read the weights either way
    for o in range(1, len(ops)):
        if ops[o, KIND] == AFFINE and ops[o, TRANSPOSED] >= 0:
            inputs, units, row = ops[o, INPUTS], ops[o, UNITS], ops[o, SOURCE_ROW]
            for i in range(0, inputs, block):
                for j in range(0, units, block):
                    transpose(
                        m, ops[o, TRANSPOSED] + j * row + i, row,
                        p, ops[o, WEIGHT] + i * units + j, units,
                        min(inputs - i, block), min(units - j, block),
                    )  # fmt: skip


@inlined
def backward(
    ops, p, g, g_at, m, rows, more, dropping,
    sweeping, optimizer, constants, memory, rate, decay, t,
):  # fmt: skip
    """From the derivatives in D to the gradient, at `g[g_at]`; `more` adds to what is there.

    Where `sweeping`, layers that are SWEPT are updated instead; what follows is for that.
    """
    d, d_next, d_row = ops[0, D], ops[0, D_NEXT], ops[0, OUTPUT_ROW]
    zero, one, keep = np.int64(0), np.int64(1), np.int64(KEEP)
    tiles, room = ops[0, TILES], room_of(ops, m, np.int64(-1), zero)
    none = Rows(m, zero, zero)
    begin = ADD if more else ZERO
    fused = False
    for o in range(len(ops) - 1, 0, -1):
        kind, units, source, row = ops[o, KIND], ops[o, UNITS], ops[o, SOURCE], ops[o, SOURCE_ROW]
        if kind == AFFINE:
            inputs, weight, bias = ops[o, INPUTS], ops[o, WEIGHT], ops[o, BIAS]
            into = Rows(m, d, d_row)
            swept = sweeping and ops[o, SWEPT] == 1
            if swept:
                sweep(
                    ops[0, SWEEP], ops, o, optimizer, constants, p, g, memory, m,
                    d, d_row, d_next, rows, rate, decay, t,
                )  # fmt: skip
            elif units == 1:
                # dw' = d' x: one row
                multiply(
                    tiles, Rows(g, g_at + weight, inputs), Matrix(m, d, one, one),
                    Rows(m, source, row), Shape(one, inputs, rows), begin, keep, none, room,
                )  # fmt: skip
            elif rows == 1 and not more and units % lanes(m) == 0:
                outer(g, g_at + weight, m, source, inputs, d, units)
            else:
                # dw = x' d
                multiply(
                    tiles, Rows(g, g_at + weight, units), Matrix(m, source, one, row), into,
                    Shape(inputs, units, rows), begin, keep, none, room,
                )  # fmt: skip
            if bias < 0:
                pass
            elif units == 1:
                summed = sum_of(m, d, rows)
                g[g_at + bias] = g[g_at + bias] + summed if more else summed
            elif rows == 1 and not more and units % lanes(m) == 0:
                copy_row(g, g_at + bias, m, d, units)
            else:
                multiply(
                    tiles, Rows(g, g_at + bias, units),
                    Matrix(m, ops[0, ONES], zero, zero), into, Shape(one, units, rows),
                    begin, keep, none, room,
                )  # fmt: skip
            if ops[o, NEEDS_INPUT_GRADIENT] == 0:
                return  # nothing before it has parameters
            # dx = d w', times the slope of what x came out of, where that is one factor
            end, slope = keep, zero
            if ops[o - 1, KIND] == RECTIFY:
                end, slope = MASK, ops[o - 1, SLOPE]
            elif ops[o - 1, KIND] == ELEMENTWISE or (ops[o - 1, KIND] == DROPOUT and dropping):
                end, slope = TIMES, ops[o - 1, SLOPE]
            fused = end != KEEP
            a, c, e = Matrix(m, d, d_row, one), Rows(m, d_next, row), Rows(m, slope, row)
            if swept:
                fused = False
            elif ops[o, TRANSPOSED] >= 0:
                # Up to whole vectors of columns: what stands behind the inputs is room.
                whole = -(-inputs // lanes(m)) * lanes(m)
                multiply(
                    tiles, c, a, Rows(m, ops[o, TRANSPOSED], row),
                    Shape(rows, whole, units), zero, end, e, room,
                )  # fmt: skip
            elif ops[o, TRANSPOSED] == AS_THEY_LIE:
                multiply_rows(tiles, c, into, Rows(p, weight, units), Shape(rows, inputs, units))
                fused = False
            elif inputs > 1 and units > 1:
                multiply_large(
                    room.large, tiles, c, a, Rows(p, weight, units), one,
                    Shape(rows, inputs, units), zero, end, e, room,
                )  # fmt: skip
            else:
                # w is a single row or column, and that is w' as well
                multiply(
                    tiles, c, a, Rows(p, weight, inputs), Shape(rows, inputs, units),
                    zero, end, e, room,
                )  # fmt: skip
            d, d_next, d_row = d_next, d, row
            continue
        if ops[o, COMPUTE] >= 0:
            if compute_back(ops[o, COMPUTE_BACK], ops, o, p, g, g_at, m, d, d_next, rows, more):
                return
            if kind == PERIODIC or kind == PIECEWISE_LINEAR:
                d, d_next, d_row = d_next, d, row
        elif not fused:
            if kind == ELEMENTWISE or (kind == DROPOUT and dropping):
                times(m, d, ops[o, SLOPE], rows * row)
            elif kind == RECTIFY:
                where_positive(m, d, source, rows * row)
            elif kind == SOFTMAX:
                softmax_back(ops[o, OTHER], m, d, ops[o, SLOPE], rows, row, units)
        fused = False
