"""Narrow networks: a chunk of rows with the rows in the lanes of vectors, forward and backward.

Where a layer has fewer units than a vector has lanes, most lanes would hold nothing. Here every
layer's output is kept transposed, `(units, rows)`, each unit's rows in one piece, `stride` apart.
The products are those of `layers.py` with their operands exchanged; letters are the same. Rows are
filled up to a whole vector with rows of zeros, whose derivatives are 0.
"""

from fastnet.arrays.cache_lines import LINE
from fastnet_numba.ops.activations import activate, softmax, softmax_back, times, where_positive
from fastnet_numba.ops.rows import copy_row
from fastnet_numba.ops.table import (
    AFFINE,
    BIAS,
    CODE,
    CONSTANTS,
    D_NEXT,
    ELEMENTWISE,
    FUSED,
    INPUT_WIDTH,
    INPUTS,
    KIND,
    NEEDS_INPUT_GRADIENT,
    OTHER,
    OUTPUT_WIDTH,
    RECTIFY,
    ROW_WEIGHTS,
    SLOPE,
    SOFTMAX,
    SOURCE,
    TARGET,
    TILES,
    UNITS,
    WEIGHT,
    D,
    X,
    Y,
)
from fastnet_numba.simd.compiled import inlined, kernel, part
from fastnet_numba.simd.elementwise import exp, larger
from fastnet_numba.simd.tiles import ADD, COLUMN_BIAS, KEEP, MASK, RELU, TIMES, ZERO
from fastnet_numba.simd.transposing import FEW
from fastnet_numba.simd.vectors import (
    dots,
    every,
    lanes,
    load,
    product,
    spread,
    spread_few,
    spread_in_order,
    store,
)


@inlined
def stride(m, rows):
    """How far apart units are: an odd number of cache lines, which spreads them over the caches."""
    line = LINE // m.itemsize
    return (-(-rows // line) | 1) * line


@inlined
def whole(m, rows):
    """The rows filled up to whole vectors."""
    return -(-rows // lanes(m)) * lanes(m)


@kernel
def transpose_rows(m, at, length, x, order, first, rows, width):
    """Transpose rows of x, number `first` of the order and those behind it, to `m[at]`.

    Without an order they are x's own. x has `width` numbers in a row; at `m[at]` they are `length`
    apart, and there are zeros behind the rows.
    """
    step = lanes(m)
    if width == 1:
        if len(order) == 0:
            copy_row(m, at, x, first, rows)
        else:
            store(m, at + whole(m, rows) - step, every(m, 0.0))
            for r in range(rows):
                m[at + r] = x[order[first + r]]
        return
    few = min(FEW, step)
    for r in range(0, rows, step):
        j = 0
        if rows - r >= step and width == few and len(order) == 0:
            spread_in_order(m, at + r, length, x, (first + r) * width)
            j = width
        elif rows - r >= step:
            spread(m, at + r, length, x, order, first + r, width)
            j = width - width % few
        while j < width:
            spread_few(
                m, at + j * length + r, length, x, order, first + r, rows - r, width, j, width - j
            )
            j += few


@kernel
def narrow_gather(places, m, x, y, labels, weights, order, first, rows):
    """Transpose rows of the order, or without one of the data, to the arena, from row `first` on.

    Class indices become numbers.
    """
    length = stride(m, rows)
    transpose_rows(m, places[X], length, x, order, first, rows, places[INPUT_WIDTH])
    if len(y):
        transpose_rows(m, places[Y], length, y, order, first, rows, places[OUTPUT_WIDTH])
    if len(labels) or len(weights):
        for r in range(rows):
            row = order[first + r] if len(order) else first + r
            if len(labels):
                m[places[Y] + r] = labels[row]
            if len(weights):
                m[places[ROW_WEIGHTS] + r] = weights[row]


@part
def narrow_forward(ops, p, m, rows, factor, first, seed, step):
    """From X to the output, without dropout: `factor` and what is behind it are not used."""
    length, columns = stride(m, rows), whole(m, rows)
    for o in range(1, len(ops)):
        kind, units, source = ops[o, KIND], ops[o, UNITS], ops[o, SOURCE]
        if kind == AFFINE:
            # z' = w' x'
            bias = ops[o, BIAS]
            product(
                ops[0, TILES], m, ops[o, TARGET], length, p, ops[o, WEIGHT], 1, units,
                m, source, length, units, columns, ops[o, INPUTS],
                ZERO if bias < 0 else COLUMN_BIAS, RELU if ops[o, FUSED] else KEEP,
                p, max(bias, 0), 0,
            )  # fmt: skip
        elif kind == ELEMENTWISE:
            activate(ops[o, CODE], m, source, ops[o, SLOPE], units * length, ops[o, CONSTANTS])
        elif kind == SOFTMAX:
            softmax(ops[o, CODE], m, source, ops[o, SLOPE], columns, length, units, True)


@kernel
def narrow_backward(ops, p, g, g_at, m, rows, more):
    """From the derivatives in D to the gradient, at `g[g_at]`; `more` adds to what is there."""
    length, columns = stride(m, rows), whole(m, rows)
    d, d_next, tiles = ops[0, D], ops[0, D_NEXT], ops[0, TILES]
    begin = ADD if more else ZERO
    fused = False
    for o in range(len(ops) - 1, 0, -1):
        kind, units, source = ops[o, KIND], ops[o, UNITS], ops[o, SOURCE]
        if kind == AFFINE:
            inputs, weight, bias = ops[o, INPUTS], ops[o, WEIGHT], ops[o, BIAS]
            # dw = x' d, and the sum of d
            dots(
                tiles, g, g_at + weight, units, m, source, length, m, d, length,
                inputs, units, columns, begin, g_at + bias if bias >= 0 else -1,
            )  # fmt: skip
            if ops[o, NEEDS_INPUT_GRADIENT] == 0:
                return  # nothing before it has parameters
            # dx' = w d', times the slope of what x came out of
            end, slope = KEEP, d
            if ops[o - 1, KIND] == RECTIFY:
                end, slope = MASK, ops[o - 1, SLOPE]
            elif ops[o - 1, KIND] == ELEMENTWISE:
                end, slope = TIMES, ops[o - 1, SLOPE]
            fused = end != KEEP
            product(
                tiles, m, d_next, length, p, weight, units, 1, m, d, length,
                inputs, columns, units, ZERO, end, m, slope, length,
            )  # fmt: skip
            d, d_next = d_next, d
            continue
        if not fused:
            if kind == ELEMENTWISE:
                times(m, d, ops[o, SLOPE], units * length)
            elif kind == RECTIFY:
                where_positive(m, d, source, units * length)
            elif kind == SOFTMAX:
                softmax_back(ops[o, OTHER], m, d, ops[o, SLOPE], columns, length, units)
        fused = False


@inlined
def highest_of_units(m, at, length, units):
    """The largest entry of each row of a vector, NaN if there is one."""
    top = load(m, at)
    for j in range(1, units):
        top = larger(top, load(m, at + j * length))
    return top


@part
def softmax_of_units(m, at, copy_at, rows, row, units, in_turn):
    """Softmax over the units, whose rows are `row` apart; the sums are always in turn."""
    for r in range(0, rows, lanes(m)):
        top = highest_of_units(m, at + r, row, units)
        summed = every(m, 0.0)
        for i in range(at + r, at + r + units * row, row):
            e = exp(load(m, i) - top)
            summed = summed + e
            store(m, i, e)
        for j in range(r, r + units * row, row):
            a = load(m, at + j) / summed
            store(m, at + j, a)
            store(m, copy_at + j, a)


@part
def softmax_of_units_back(m, d_at, a_at, rows, row, units):
    """dz_j = a_j (d_j - sum_k a_k d_k)."""
    for r in range(0, rows, lanes(m)):
        shared = every(m, 0.0)
        for j in range(r, r + units * row, row):
            shared = shared + load(m, a_at + j) * load(m, d_at + j)
        for j in range(r, r + units * row, row):
            store(m, d_at + j, load(m, a_at + j) * (load(m, d_at + j) - shared))
