"""Codes of categories become numbers, and one number becomes several, on rows in the arena.

Letters are those of `layers.py`. A numeric embedding is products: of each feature's functions of x,
its basis, with its weights. The basis of a row of n features is n times as long as one feature's.
"""

import math

import numpy as np

from fastnet_numba.ops.products import Matrix, Rows, Shape, multiply_small
from fastnet_numba.ops.table import (
    BASIS,
    BASIS_ROW,
    BIAS,
    CODE,
    CONSTANTS,
    INPUTS,
    KIND,
    LAYER,
    NEEDS_INPUT_GRADIENT,
    ONES,
    OTHER,
    PERIODIC,
    SLOPE,
    SOURCE,
    SOURCE_ROW,
    STAY,
    TARGET,
    TARGET_ROW,
    TILES,
    TRANSPOSED,
    UNITS,
    WEIGHT,
)
from fastnet_numba.simd.compiled import inlined, part
from fastnet_numba.simd.elementwise import on_circle
from fastnet_numba.simd.tiles import ADD, KEEP, TIMES, ZERO
from fastnet_numba.simd.tiles import BIAS as BEGIN_BIAS
from fastnet_numba.simd.vectors import choose, every, fma, lanes, load_first, store

_TWO_PI, _QUARTERS = 2 * math.pi, 2 / math.pi


@inlined
def copy_columns(m, target, target_row, source, row, rows, columns):
    """Columns that stay as they are."""
    for r in range(rows):
        for j in range(columns):
            m[target + r * target_row + j] = m[source + r * row + j]


@part
def codes_embedded(ops, o, p, m, rows):
    """The row of each code in its table, or, where there is no table, a 1 at code - 1.

    For STAY, columns that stay as they are.
    """
    source, row, target, length = (
        ops[o, SOURCE], ops[o, SOURCE_ROW], ops[o, TARGET], ops[o, TARGET_ROW],
    )  # fmt: skip
    units, table, number = ops[o, UNITS], ops[o, WEIGHT], m.dtype.type
    if ops[o, KIND] == STAY:
        copy_columns(m, target, length, source, row, rows, units)
        return
    for r in range(rows):
        code, to = np.int64(m[source + r * row]), target + r * length
        if table >= 0:
            for j in range(units):
                m[to + j] = p[table + code * units + j]
        else:
            for j in range(units):
                m[to + j] = number(j + 1 == code)


@part
def codes_embedded_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """The table's gradient: the sum of d over the rows of each code, row by row.

    For STAY, the derivative by what goes in, at `m[d_next]`, if that is needed.
    """
    source, row, length = ops[o, SOURCE], ops[o, SOURCE_ROW], ops[o, TARGET_ROW]
    units, table, here = ops[o, UNITS], g_at + ops[o, WEIGHT], d + ops[o, CODE]
    if ops[o, KIND] == STAY:
        if ops[o, NEEDS_INPUT_GRADIENT] != 0:
            # Beside a numeric embedding, whose row comes next: to behind its inputs.
            copy_columns(m, d_next + ops[o, OTHER], row, here, length, rows, units)
    elif ops[o, WEIGHT] >= 0:
        if not more:
            g[table : table + ops[o, INPUTS] * units] = 0
        for r in range(rows):
            at = table + np.int64(m[source + r * row]) * units
            for j in range(units):
                g[at + j] += m[here + r * length + j]
    return False


@inlined
def waves(m, p, x, at, slope_at, frequency, phase, count):
    """cos(t) and -sin(t), t = 2 pi x frequency + phase, in as many vectors as there are."""
    for k in range(0, count, lanes(m)):
        f, shift = load_first(p, frequency + k, count - k), load_first(p, phase + k, count - k)
        cos, sin = on_circle(fma(f, every(m, m.dtype.type(4) * x), shift * _QUARTERS))
        store(m, at + k, cos)
        store(m, slope_at + k, -1.0 * sin)


@inlined
def ways(m, p, x, at, edges, count):
    """How far x has come in each bin: see `fastnet.contract.plan.PiecewiseLinear`."""
    first, last = every(m, p[edges]), every(m, p[edges + count])
    for k in range(0, count, lanes(m)):
        left = load_first(p, edges + k, count - k)
        right = load_first(p, edges + k + 1, count - k)
        width = right - left
        e = (every(m, x) - left) / choose(width > 0.0, width, 1.0)
        e = choose(e < 0.0, choose(left > first, 0.0, e), e)
        e = choose(e > 1.0, choose(right < last, every(m, 1.0), e), e)
        store(m, at + k, choose(width > 0.0, e, 0.0))


@part
def numbers_embedded(ops, o, p, m, rows):
    """Each of the first columns becomes several: its basis, times its weights."""
    zero, one = np.int64(0), np.int64(1)
    count, each, functions = ops[o, INPUTS], ops[o, UNITS], ops[o, CODE]
    source, row, target, length = (
        ops[o, SOURCE], ops[o, SOURCE_ROW], ops[o, TARGET], ops[o, TARGET_ROW],
    )  # fmt: skip
    basis, basis_row, periodic = ops[o, BASIS], ops[o, BASIS_ROW], ops[o, KIND] == PERIODIC
    for r in range(rows):
        for i in range(count):
            x, at = m[source + r * row + i], r * basis_row + i * functions
            if periodic:
                here = i * functions
                waves(m, p, x, basis + at, ops[o, SLOPE] + at, ops[o, OTHER] + here,
                      ops[o, LAYER] + here, functions)  # fmt: skip
                m[target + r * length + (i + 1) * each - 1] = x
            else:
                ways(m, p, x, basis + at, ops[o, LAYER] + i * (functions + 1), functions)
    made = each - 1 if periodic else each
    for i in range(count):
        out = Rows(m, target + i * each, length)
        multiply_small(
            ops[0, TILES], out, Matrix(m, basis + i * functions, basis_row, one),
            Rows(p, ops[o, WEIGHT] + i * functions * made, made), Shape(rows, made, functions),
            np.int64(BEGIN_BIAS), np.int64(KEEP), Rows(p, ops[o, BIAS] + i * made, zero),
        )  # fmt: skip
        if not periodic:
            multiply_small(
                ops[0, TILES], out, Matrix(m, source + i, row, one),
                Rows(p, ops[o, OTHER] + i * made, made), Shape(rows, made, one),
                np.int64(ADD), np.int64(KEEP), Rows(m, zero, zero),
            )  # fmt: skip


@part
def numbers_embedded_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """The gradient; nothing needs the derivative by x, an input."""
    zero, one, keep = np.int64(0), np.int64(1), np.int64(KEEP)
    begin, tiles, none = ADD if more else ZERO, ops[0, TILES], Rows(m, zero, zero)
    count, each, functions = ops[o, INPUTS], ops[o, UNITS], ops[o, CODE]
    source, row, length = ops[o, SOURCE], ops[o, SOURCE_ROW], ops[o, TARGET_ROW]
    basis, basis_row, periodic = ops[o, BASIS], ops[o, BASIS_ROW], ops[o, KIND] == PERIODIC
    made = each - 1 if periodic else each
    ones, slopes, turned = Matrix(m, ops[0, ONES], zero, zero), ops[o, SLOPE], ops[o, TRANSPOSED]
    for i in range(count):
        weight, bias = ops[o, WEIGHT] + i * functions * made, ops[o, BIAS] + i * made
        into = Rows(m, d + i * each, length)
        multiply_small(
            tiles, Rows(g, g_at + weight, made), Matrix(m, basis + i * functions, one, basis_row),
            into, Shape(functions, made, rows), begin, keep, none,
        )  # fmt: skip
        multiply_small(
            tiles, Rows(g, g_at + bias, made), ones, into, Shape(one, made, rows), begin, keep,
            none,
        )  # fmt: skip
        if not periodic:
            multiply_small(
                tiles, Rows(g, g_at + ops[o, OTHER] + i * made, made),
                Matrix(m, source + i, one, row), into, Shape(one, made, rows), begin, keep, none,
            )  # fmt: skip
            edges = g_at + ops[o, LAYER] + i * (functions + 1)
            g[edges : edges + functions + 1] = 0
            continue
        # dt = -sin(t) d w', over the slopes
        for k in range(functions):
            for j in range(made):
                m[turned + j * functions + k] = p[weight + k * made + j]
        of_t = Rows(m, slopes + i * functions, basis_row)
        multiply_small(
            tiles, of_t, Matrix(m, d + i * each, length, one), Rows(m, turned, functions),
            Shape(rows, functions, made), np.int64(ZERO), np.int64(TIMES), of_t,
        )  # fmt: skip
        for r in range(rows):
            m[ops[o, CONSTANTS] + r] = m[source + r * row + i] * m.dtype.type(_TWO_PI)
        multiply_small(
            tiles, Rows(g, g_at + ops[o, OTHER] + i * functions, functions),
            Matrix(m, ops[o, CONSTANTS], one, one), of_t, Shape(one, functions, rows), begin, keep,
            none,
        )  # fmt: skip
        multiply_small(
            tiles, Rows(g, g_at + ops[o, LAYER] + i * functions, functions), ones, of_t,
            Shape(one, functions, rows), begin, keep, none,
        )  # fmt: skip
    return ops[o, NEEDS_INPUT_GRADIENT] == 0
