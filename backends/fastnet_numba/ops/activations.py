"""Activations and their slopes, and softmax, on a layer's output in the arena.

`z` what goes in, `a` what comes out and takes its place; `slope` = da / dz, kept for the way
back. To add an activation, declare its code and add its branch to `apply`.
"""

import math

from fastnet_numba.ops.declared import code
from fastnet_numba.simd.compiled import inlined, kernel
from fastnet_numba.simd.elementwise import (
    exp,
    expm1,
    normal_cdf,
    normal_pdf,
    sigmoid,
    softplus,
    tanh,
)
from fastnet_numba.simd.vectors import (
    choose,
    every,
    fma,
    highest,
    keep_first,
    lanes,
    load,
    store,
    total,
)

IDENTITY = code("activation", "identity")
RELU = code("activation", "relu")
SIGMOID = code("activation", "sigmoid")
TANH = code("activation", "tanh")
LEAKY_RELU = code("activation", "leaky_relu")
ELU = code("activation", "elu")
SOFTPLUS = code("activation", "softplus")
SILU = code("activation", "silu")
GELU = code("activation", "gelu")
TANH_GELU = code("activation", "tanh_gelu")
MISH = code("activation", "mish")
HARDSWISH = code("activation", "hardswish")
RELU6 = code("activation", "relu6")
HARDSIGMOID = code("activation", "hardsigmoid")

#: The most constants that an activation has.
MOST_CONSTANTS = 2


@inlined
def between_0_and_6(z):
    """min(max(z, 0), 6); NaN stays."""
    return choose(z < 0.0, 0.0, choose(z > 6.0, 6.0, z))


@inlined
def apply(kind, z, c0, c1):
    """a = f(z) and da / dz; `c0` and `c1` are the kind's constants, vectors like z."""
    if kind == IDENTITY:
        return z, every(z, 1.0)
    if kind == RELU:
        return choose(z < 0.0, 0.0, z), choose(z > 0.0, every(z, 1.0), 0.0)
    if kind == SIGMOID:
        a = sigmoid(z)
        return a, a * (1.0 - a)
    if kind == TANH:
        a = tanh(z)
        return a, 1.0 - a * a
    if kind == LEAKY_RELU:
        slope = choose(z <= 0.0, c0, 1.0)
        return z * slope, slope
    if kind == ELU:
        curve, scale = c0, c1
        a = choose(z > 0.0, scale * z, curve * expm1(z))
        return a, choose(z > 0.0, scale, curve * exp(z))
    if kind == SOFTPLUS:
        return softplus(z), sigmoid(z)
    if kind == SILU:
        s = sigmoid(z)
        a = z * s
        return a, fma(a, 1.0 - s, s)
    if kind == GELU:
        cdf = normal_cdf(z)
        return z * cdf, fma(z, normal_pdf(z), cdf)
    if kind == MISH:
        # z tanh(softplus(z)), by e = exp(z); from 20 on its tanh is 1 to the last digit.
        e = exp(choose(z > 20.0, 20.0, z))
        n = e * (e + 2.0)
        h = n / (n + 2.0)
        return z * h, fma(z, 4.0 * e * (1.0 + e) / ((n + 2.0) * (n + 2.0)), h)
    if kind == HARDSWISH:
        slope = choose(z <= -3.0, 0.0, choose(z >= 3.0, every(z, 1.0), z / 3.0 + 0.5))
        return z * (between_0_and_6(z + 3.0) / 6.0), slope
    if kind == RELU6:
        return between_0_and_6(z), choose(z > 0.0, choose(z < 6.0, every(z, 1.0), 0.0), 0.0)
    if kind == HARDSIGMOID:
        slope = choose(z > -3.0, choose(z < 3.0, every(z, 1.0 / 6.0), 0.0), 0.0)
        return between_0_and_6(z + 3.0) / 6.0, slope
    # TANH_GELU. Beyond 30 h is 1 to the last digit; z^2 could overflow there, and infinity times 0.
    slope, cubic = c0, c1
    u = choose(z > 30.0, 30.0, choose(z < -30.0, -30.0, z))
    h = tanh(slope * fma(cubic * u * u, u, u))
    curve = slope * fma(3.0 * cubic * u, u, 1.0)
    return 0.5 * z * (1.0 + h), fma(0.5 * u * (1.0 - h * h), curve, 0.5 * (1.0 + h))


@kernel
def activate(kind, m, at, slope_at, count, constants):
    """a = f(z), and its slope, for `count` entries, rounded up to whole vectors."""
    c0, c1 = every(m, m[constants]), every(m, m[constants + 1])
    for i in range(0, count, lanes(m)):
        a, slope = apply(kind, load(m, at + i), c0, c1)
        store(m, at + i, a)
        store(m, slope_at + i, slope)


@kernel
def softmax(m, at, copy_at, rows, row, units, in_turn):
    """a_j = exp(z_j - max z) / sum_k exp(z_k - max z); a copy of a is kept for the way back.

    `in_turn`: the sum is that of one entry after another.
    """
    step = lanes(m)
    for r in range(rows):
        here = at + r * row
        top = peak(m, here, units)
        summed = every(m, 0.0)
        for j in range(0, units, step):
            e = keep_first(exp(load(m, here + j) - top), units - j)
            summed = summed + e
            store(m, here + j, e)
        whole = total(summed)
        if in_turn:
            whole = m.dtype.type(0)
            for j in range(units):
                whole += m[here + j]
        share = every(m, whole)
        for j in range(0, units, step):
            a = load(m, here + j) / share
            store(m, here + j, a)
            store(m, copy_at + r * row + j, a)


@kernel
def peak(m, at, units):
    """The largest of `units` entries, NaN if there is one, in every lane."""
    step = lanes(m)
    top = every(m, -math.inf)
    for j in range(0, units, step):
        z = load(m, at + j)
        # What stands behind the units is replaced by one of them.
        z = choose(keep_first(every(m, 1.0), units - j) > 0.0, z, every(m, m[at]))
        top = choose(z > top, z, choose(top >= z, top, z + top))
    return every(m, highest(top))


@kernel
def softmax_back(m, d_at, a_at, rows, row, units):
    """dz_j = a_j (d_j - sum_k a_k d_k)."""
    step = lanes(m)
    for r in range(rows):
        shared = every(m, 0.0)
        for j in range(r * row, r * row + units, step):
            rest = units - (j - r * row)
            shared = shared + keep_first(load(m, a_at + j) * load(m, d_at + j), rest)
        common = every(m, total(shared))
        for j in range(r * row, r * row + units, step):
            store(m, d_at + j, load(m, a_at + j) * (load(m, d_at + j) - common))


@inlined
def times(m, d_at, slope_at, count):
    """d = d slope."""
    for i in range(0, count, lanes(m)):
        store(m, d_at + i, load(m, d_at + i) * load(m, slope_at + i))


@inlined
def where_positive(m, d_at, a_at, count):
    """d where a > 0, else 0."""
    for i in range(0, count, lanes(m)):
        store(m, d_at + i, choose(load(m, a_at + i) > 0.0, load(m, d_at + i), 0.0))
