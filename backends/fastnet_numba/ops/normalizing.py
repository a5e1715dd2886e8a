"""Normalizing rows, factors of units, and sums of values, on rows in the arena.

Letters are those of `layers.py`; `row` is how far rows are apart. Rows of one unit have no room for
a vector each, so theirs are plain loops.
"""

import math

import numpy as np

from fastnet_numba.ops.activations import activate, times
from fastnet_numba.ops.table import (
    ADD,
    BIAS,
    CODE,
    CONSTANTS,
    EPSILON,
    FUSED,
    KEPT,
    KIND,
    NEEDS_INPUT_GRADIENT,
    OTHER,
    SLOPE,
    SOURCE,
    SOURCE_ROW,
    TARGET,
    UNITS,
    WEIGHT,
)
from fastnet_numba.simd.compiled import inlined, part
from fastnet_numba.simd.vectors import (
    choose,
    every,
    fma,
    from_bits,
    keep_first,
    lanes,
    load,
    load_first,
    store,
    total,
)

#: Rows whose values stay in the first cache from their sums until these are used (a choice).
ROWS_AT_ONCE = 16


@inlined
def scaled(x, p, scale, shift, count):
    """x times the factors at `p[scale]`, and the shifts at `p[shift]` added; -1 is none of them."""
    if scale < 0:
        return x
    factor = load(p, scale) if count >= lanes(p) else load_first(p, scale, count)
    if shift < 0:
        return x * factor
    return fma(x, factor, load(p, shift) if count >= lanes(p) else load_first(p, shift, count))


@part
def rows_normalized(ops, o, p, m, rows):
    """a = x scale + shift, x = (z - mean) / sqrt(variance + epsilon) over the units of each row.

    For the way back, x goes to KEPT, which may be where z was, and each row's
    1 / sqrt(variance + epsilon) to CONSTANTS. Where it is FUSED with ReLU, a is 0 instead of less.
    """
    number, step = m.dtype.type, lanes(m)
    scale, shift, units, row = ops[o, WEIGHT], ops[o, BIAS], ops[o, UNITS], ops[o, SOURCE_ROW]
    source, target, kept, inverses = (
        ops[o, SOURCE], ops[o, TARGET], ops[o, KEPT], ops[o, CONSTANTS],
    )  # fmt: skip
    epsilon, rectify = from_bits(ops[o, EPSILON]), ops[o, FUSED]
    if units == 1:
        for r in range(rows):
            m[inverses + r] = number(1 / math.sqrt(epsilon))
            m[kept + r] = m[source + r] - m[source + r]  # 0, or NaN
            a = m[kept + r]
            if scale >= 0:
                a = a * p[scale] + (p[shift] if shift >= 0 else number(0))
            m[target + r] = number(0) if rectify != 0 and a < 0 else a
        return
    whole = units - units % step
    pairs = units - units % (2 * step)
    plain = whole if scale >= 0 and shift >= 0 else 0  # columns of whole vectors, with both
    least = every(m, 0.0) if rectify != 0 else every(m, -math.inf)
    for r in range(rows):
        here, there, to = source + r * row, kept + r * row, target + r * row
        s0, s1 = every(m, 0.0), every(m, 0.0)
        for j in range(here, here + pairs, 2 * step):
            s0, s1 = s0 + load(m, j), s1 + load(m, j + step)
        for j in range(pairs, units, step):
            s0 = s0 + keep_first(load(m, here + j), units - j)
        mean = every(m, total(s0 + s1) / number(units))
        s0, s1 = every(m, 0.0), every(m, 0.0)
        for j in range(here, here + pairs, 2 * step):
            x, y = load(m, j) - mean, load(m, j + step) - mean
            s0, s1 = fma(x, x, s0), fma(y, y, s1)
        for j in range(pairs, units, step):
            x = keep_first(load(m, here + j) - mean, units - j)
            s0 = fma(x, x, s0)
        variance = np.float64(total(s0 + s1)) / units
        m[inverses + r] = number(1 / math.sqrt(variance + epsilon))
        inverse = every(m, m[inverses + r])
        for j in range(0, plain, step):
            x = (load(m, here + j) - mean) * inverse
            a = fma(x, load(p, scale + j), load(p, shift + j))
            store(m, there + j, x)
            store(m, to + j, choose(a < least, least, a))
        for j in range(plain, units, step):
            x = keep_first((load(m, here + j) - mean) * inverse, units - j)
            a = scaled(x, p, scale + j if scale >= 0 else scale, shift + j if shift >= 0 else shift,
                       units - j)  # fmt: skip
            store(m, there + j, x)
            store(m, to + j, choose(a < least, least, a))


@inlined
def add_over_rows(g, scale, shift, m, d, x, row, rows, units):
    """g[scale] += sum of d x over the rows, unit by unit; g[shift] += that of d, if not -1."""
    step = lanes(m)
    whole = units - units % step
    for j in range(0, whole, step):
        products = load(g, scale + j)
        for i in range(j, j + rows * row, row):
            products = fma(load(m, d + i), load(m, x + i), products)
        store(g, scale + j, products)
        if shift >= 0:
            plain = load(g, shift + j)
            for i in range(j, j + rows * row, row):
                plain = plain + load(m, d + i)
            store(g, shift + j, plain)
    for j in range(whole, units):
        for i in range(j, j + rows * row, row):
            g[scale + j] += m[d + i] * m[x + i]
            if shift >= 0:
                g[shift + j] += m[d + i]


@inlined
def clear(g, scale, shift, units):
    """The sums of `add_over_rows` begin anew."""
    g[scale : scale + units] = 0
    if shift >= 0:
        g[shift : shift + units] = 0


@part
def rows_normalized_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """dx = (e - mean(e) - x mean(e x)) / s of each row, e = d scale; the gradient of both, too."""
    number, step = m.dtype.type, lanes(m)
    scale, shift, units, row = ops[o, WEIGHT], ops[o, BIAS], ops[o, UNITS], ops[o, SOURCE_ROW]
    kept, inverses = ops[o, KEPT], ops[o, CONSTANTS]
    if scale >= 0 and not more:
        clear(g, g_at + scale, g_at + shift if shift >= 0 else shift, units)
    share = number(1 / units)
    whole = units - units % step if scale >= 0 else 0
    for first in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - first)
        at = first * row
        if scale >= 0:
            add_over_rows(
                g, g_at + scale, g_at + shift if shift >= 0 else shift, m, d + at, kept + at, row,
                count, units,
            )  # fmt: skip
        for r in range(first, first + count):
            here, there = d + r * row, kept + r * row
            if units == 1:
                m[here] = (m[here] - m[here]) * m[inverses + r]  # 0, or NaN
                continue
            plain, along = every(m, 0.0), every(m, 0.0)
            for j in range(0, whole, step):
                e = load(m, here + j) * load(p, scale + j)
                plain, along = plain + e, fma(e, load(m, there + j), along)
                store(m, here + j, e)
            for j in range(whole, units, step):
                e = scaled(load(m, here + j), p, scale + j if scale >= 0 else scale, -1, units - j)
                e = keep_first(e, units - j)
                plain, along = plain + e, fma(e, load(m, there + j), along)
                store(m, here + j, e)
            inverse = every(m, m[inverses + r])
            mean, slope = every(m, total(plain) * share), every(m, -total(along) * share)
            for j in range(0, units, step):
                e = fma(slope, load(m, there + j), load(m, here + j) - mean)
                store(m, here + j, e * inverse)
    return ops[o, NEEDS_INPUT_GRADIENT] == 0


@part
def units_scaled(ops, o, p, m, rows):
    """a = x scale + shift."""
    scale, shift, units, row = ops[o, WEIGHT], ops[o, BIAS], ops[o, UNITS], ops[o, SOURCE_ROW]
    source, target = ops[o, SOURCE], ops[o, TARGET]
    if units == 1:
        for r in range(rows):
            a = m[source + r] * p[scale]
            m[target + r] = a + p[shift] if shift >= 0 else a
        return
    for r in range(0, rows * row, row):
        for j in range(0, units, lanes(m)):
            a = scaled(load(m, source + r + j), p, scale + j, shift + j if shift >= 0 else shift,
                       units - j)  # fmt: skip
            store(m, target + r + j, a)


@part
def units_scaled_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """dx = d scale; the gradient of both, too."""
    scale, shift, units, row = ops[o, WEIGHT], ops[o, BIAS], ops[o, UNITS], ops[o, SOURCE_ROW]
    if not more:
        clear(g, g_at + scale, g_at + shift if shift >= 0 else shift, units)
    add_over_rows(
        g, g_at + scale, g_at + shift if shift >= 0 else shift, m, d, ops[o, SOURCE], row, rows,
        units,
    )  # fmt: skip
    if units == 1:
        for r in range(rows):
            m[d + r] *= p[scale]
    else:
        for r in range(d, d + rows * row, row):
            for j in range(0, units, lanes(m)):
                store(m, r + j, scaled(load(m, r + j), p, scale + j, -1, units - j))
    return ops[o, NEEDS_INPUT_GRADIENT] == 0


@part
def values_joined(ops, o, p, m, rows):
    """a = (1 - w) z + w f; its slope, from that of f; and f - z for alpha's gradient."""
    number, step = m.dtype.type, lanes(m)
    one = number(1)
    alpha, complement, units, row = (
        ops[o, WEIGHT], ops[o, OTHER], ops[o, UNITS], ops[o, SOURCE_ROW],
    )  # fmt: skip
    source, target, slope_at, kept = ops[o, SOURCE], ops[o, TARGET], ops[o, SLOPE], ops[o, KEPT]
    copy_values(m, kept, source, rows * row)
    activate(ops[o, CODE], m, kept, slope_at, rows * row, ops[o, CONSTANTS])
    for r in range(0, rows * row, row):
        if units == 1:
            w = one - p[alpha] if complement != 0 else p[alpha]
            z, f = m[source + r], m[kept + r]
            m[target + r] = (one - w) * z + w * f
            m[slope_at + r] = one - w + w * m[slope_at + r]
            m[kept + r] = z - f if complement != 0 else f - z
            continue
        for j in range(0, units, step):
            at = r + j
            w = load_first(p, alpha + j, units - j)
            w = 1.0 - w if complement != 0 else w
            z, f = load(m, source + at), load(m, kept + at)
            store(m, target + at, fma(w, f, (1.0 - w) * z))
            store(m, slope_at + at, fma(w, load(m, slope_at + at), 1.0 - w))
            store(m, kept + at, z - f if complement != 0 else f - z)


@part
def values_joined_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """dz = d slope; alpha's gradient, too."""
    at, units, row = g_at + ops[o, WEIGHT], ops[o, UNITS], ops[o, SOURCE_ROW]
    if not more:
        clear(g, at, -1, units)
    add_over_rows(g, at, -1, m, d, ops[o, KEPT], row, rows, units)
    times(m, d, ops[o, SLOPE], rows * row)
    return ops[o, NEEDS_INPUT_GRADIENT] == 0


@inlined
def add_values(m, target, x, f, count):
    """a = x + f, entry by entry, rounded up to whole vectors."""
    for i in range(0, count, lanes(m)):
        store(m, target + i, load(m, x + i) + load(m, f + i))


@inlined
def copy_values(m, target, source, count):
    """a = x, likewise."""
    for i in range(0, count, lanes(m)):
        store(m, target + i, load(m, source + i))


@part
def values_added(ops, o, p, m, rows):
    """An ADD's sum, or a FORK's copy."""
    source, target, count = ops[o, SOURCE], ops[o, TARGET], rows * ops[o, SOURCE_ROW]
    if ops[o, KIND] == ADD:
        add_values(m, target, ops[o, OTHER], source, count)
    elif target != source:
        copy_values(m, target, source, count)


@part
def values_added_back(ops, o, p, g, g_at, m, d, d_next, rows, more):
    """An ADD leaves its derivatives at KEPT, where its FORK finds them."""
    kept, count = ops[o, KEPT], rows * ops[o, SOURCE_ROW]
    if ops[o, KIND] == ADD:
        copy_values(m, kept, d, count)
    elif kept >= 0:
        add_values(m, d, d, kept, count)
    return False
