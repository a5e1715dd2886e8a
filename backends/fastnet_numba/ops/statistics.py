"""Normalizing units by the statistics of a batch, or by those among the parameters.

Letters are those of `layers.py`; `row` is how far rows are apart. Vectors run along the units; in
rows of one unit only the first lane counts.
"""

from numba.core import types

from fastnet_numba.ops.table import (
    BATCH_NORMALIZE,
    BIAS,
    CONSTANTS,
    EPSILON,
    KEPT,
    KIND,
    OTHER,
    RATE,
    SOURCE,
    SOURCE_ROW,
    TARGET,
    UNITS,
    WEIGHT,
)
from fastnet_numba.simd.compiled import inlined, part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.vectors import (
    every,
    fma,
    from_bits,
    keep_first,
    lanes,
    load,
    load_first,
    square_root,
    store,
    total,
)

#: Rows that are summed up before their sum is added to the others' with compensation (Kahan 1965):
#: rounding in a long sum goes the same way again and again.
BLOCK = 256


@inlined
def add_block(summed, lost, block):
    """Add the sum of a block to those before it: the sum, and what rounding has added to it."""
    block = block - lost
    more = summed + block
    return more, (more - summed) - block


@inlined
def over_rows(m, at, other, row, rows):
    """The sum over the rows of `m[at]`, times `m[other]` unless that is -1, lane by lane."""
    summed, lost = every(m, 0.0), every(m, 0.0)
    for first in range(0, rows * row, BLOCK * row):
        block = every(m, 0.0)
        for i in range(first, min(first + BLOCK * row, rows * row), row):
            x = load(m, at + i)
            block = block + x if other < 0 else fma(x, load(m, other + i), block)
        summed, lost = add_block(summed, lost, block)
    return summed


@inlined
def squares_over_rows(m, at, mean, row, rows):
    """The sum over the rows of (m[at] - mean)^2, likewise."""
    summed, lost = every(m, 0.0), every(m, 0.0)
    for first in range(0, rows * row, BLOCK * row):
        block = every(m, 0.0)
        for i in range(first, min(first + BLOCK * row, rows * row), row):
            x = load(m, at + i) - mean
            block = fma(x, x, block)
        summed, lost = add_block(summed, lost, block)
    return summed


@inlined
def put(m, at, value, units):
    """Write a vector, or its first lane to a row of one unit."""
    if units == 1:
        m[at] = total(keep_first(value, 1))
    else:
        store(m, at, value)


@part
def units_normalized(ops, o, p, m, rows):
    """a = (x - mean) / sqrt(variance + epsilon): of the batch, or where there is one row or
    BY_STATISTICS, of the parameters.
    """
    number, step = m.dtype.type, lanes(m)
    units, source, row, target = ops[o, UNITS], ops[o, SOURCE], ops[o, SOURCE_ROW], ops[o, TARGET]
    mean_at, variance_at, inverse_at = ops[o, KEPT], ops[o, OTHER], ops[o, CONSTANTS]
    epsilon = number(from_bits(ops[o, EPSILON]))
    of_batch = ops[o, KIND] == BATCH_NORMALIZE and rows > 1
    share, unbiased = number(1 / rows), number(rows / (rows - 1)) if of_batch else number(1)
    for j in range(0, units, step):
        if of_batch:
            mean = over_rows(m, source + j, -1, row, rows) * share
            variance = squares_over_rows(m, source + j, mean, row, rows) * share
        else:
            mean = load_first(p, ops[o, WEIGHT] + j, units - j)
            variance = load_first(p, ops[o, BIAS] + j, units - j)
        store(m, mean_at + j, mean)
        store(m, variance_at + j, variance * unbiased)
        inverse = 1.0 / square_root(variance + epsilon)
        store(m, inverse_at + j, keep_first(inverse, units - j))
    for r in range(0, rows * row, row):
        for j in range(0, units, step):
            centered = load(m, source + r + j) - load(m, mean_at + j)
            put(m, target + r + j, centered * load(m, inverse_at + j), units)


@part
def units_normalized_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """dx = (d - mean(d) - a mean(d a)) / s over the rows of the batch, else d / s."""
    number, step = m.dtype.type, lanes(m)
    units, row, a, inverse_at = ops[o, UNITS], ops[o, SOURCE_ROW], ops[o, TARGET], ops[o, CONSTANTS]
    of_batch = ops[o, KIND] == BATCH_NORMALIZE and rows > 1
    share = number(1 / rows)
    for j in range(0, units, step):
        inverse = load(m, inverse_at + j)
        mean, slope = every(m, 0.0), every(m, 0.0)
        if of_batch:
            mean = over_rows(m, d + j, -1, row, rows) * share
            slope = over_rows(m, d + j, a + j, row, rows) * -share
        for i in range(j, j + rows * row, row):
            e = load(m, d + i)
            if of_batch:
                e = fma(slope, load(m, a + i), e - mean)
            put(m, d + i, e * inverse, units)
    return False


@by_address(types.none)
def note_statistics(ops, m, g, g_at):
    """Put the batch's statistics into its gradient, where they stand in the parameters."""


@part
def statistics_noted(ops, m, g, g_at):
    """What `note_statistics` calls."""
    for o in range(1, len(ops)):
        if ops[o, KIND] == BATCH_NORMALIZE:
            for j in range(ops[o, UNITS]):
                g[g_at + ops[o, WEIGHT] + j] = m[ops[o, KEPT] + j]
                g[g_at + ops[o, BIAS] + j] = m[ops[o, OTHER] + j]


@by_address(types.none)
def move_statistics(ops, p, g):
    """Move the statistics toward the batch's, which stand in its gradient."""


@part
def statistics_moved(ops, p, g):
    """What `move_statistics` calls."""
    for o in range(1, len(ops)):
        if ops[o, KIND] == BATCH_NORMALIZE:
            share = p.dtype.type(from_bits(ops[o, RATE]))
            for j in range(ops[o, UNITS]):
                for at in (ops[o, WEIGHT] + j, ops[o, BIAS] + j):
                    p[at] += (g[at] - p[at]) * share
