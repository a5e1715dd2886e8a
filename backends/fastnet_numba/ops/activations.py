"""Activations and their slopes, and softmax, on a layer's output in the arena.

`z` what goes in, `a` what comes out and takes its place; `slope` = da / dz, kept for the way
back. To add an activation, declare its code, write its function and name both in `FUNCTIONS`.
"""

import math
from functools import cache
from typing import Any

from numba.core import types

from fastnet_numba.ops.declared import code
from fastnet_numba.simd.compiled import inlined, kernel, part, part_named
from fastnet_numba.simd.elementwise import (
    exp,
    expm1,
    larger,
    normal_cdf,
    normal_pdf,
    sigmoid,
    softplus,
    tanh,
)
from fastnet_numba.simd.lanes import ROWS
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.traced import by_code, traced
from fastnet_numba.simd.vectors import (
    choose,
    every,
    fma,
    highest,
    keep_first,
    lanes,
    load,
    load_block,
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


def identity(z, c0, c1):
    """a = z."""
    return z, every(z, 1.0)


def relu(z, c0, c1):
    """a = max(z, 0)."""
    return choose(z < 0.0, 0.0, z), choose(z > 0.0, every(z, 1.0), 0.0)


def logistic(z, c0, c1):
    """a = sigmoid(z)."""
    a = sigmoid(z)
    return a, a * (1.0 - a)


def hyperbolic(z, c0, c1):
    """a = tanh(z)."""
    a = tanh(z)
    return a, 1.0 - a * a


def leaky_relu(z, c0, c1):
    """a = z, or c0 z below 0."""
    slope = choose(z <= 0.0, c0, 1.0)
    return z * slope, slope


def elu(z, curve, scale):
    """a = scale z, or curve (exp(z) - 1) below 0."""
    a = choose(z > 0.0, scale * z, curve * expm1(z))
    return a, choose(z > 0.0, scale, curve * exp(z))


def soft(z, c0, c1):
    """a = log(1 + exp(z))."""
    return softplus(z), sigmoid(z)


def silu(z, c0, c1):
    """a = z sigmoid(z)."""
    s = sigmoid(z)
    a = z * s
    return a, fma(a, 1.0 - s, s)


def gelu(z, c0, c1):
    """a = z Phi(z)."""
    cdf = normal_cdf(z)
    return z * cdf, fma(z, normal_pdf(z), cdf)


def mish(z, c0, c1):
    """a = z tanh(softplus(z)), by e = exp(z); from 20 on its tanh is 1 to the last digit."""
    e = exp(choose(z > 20.0, 20.0, z))
    n = e * (e + 2.0)
    h = n / (n + 2.0)
    return z * h, fma(z, 4.0 * e * (1.0 + e) / ((n + 2.0) * (n + 2.0)), h)


def between_0_and_6(z):
    """min(max(z, 0), 6); NaN stays."""
    return choose(z < 0.0, 0.0, choose(z > 6.0, 6.0, z))


def hardswish(z, c0, c1):
    """a = z min(max(z + 3, 0), 6) / 6."""
    slope = choose(z <= -3.0, 0.0, choose(z >= 3.0, every(z, 1.0), z / 3.0 + 0.5))
    return z * (between_0_and_6(z + 3.0) / 6.0), slope


def relu6(z, c0, c1):
    """a = min(max(z, 0), 6)."""
    return between_0_and_6(z), choose(z > 0.0, choose(z < 6.0, every(z, 1.0), 0.0), 0.0)


def hardsigmoid(z, c0, c1):
    """a = min(max(z + 3, 0), 6) / 6."""
    slope = choose(z > -3.0, choose(z < 3.0, every(z, 1.0 / 6.0), 0.0), 0.0)
    return between_0_and_6(z + 3.0) / 6.0, slope


def tanh_gelu(z, slope, cubic):
    """a = z / 2 (1 + h), h = tanh(slope (z + cubic z^3)).

    Beyond 30 h is 1 to the last digit; z^2 could overflow there, and infinity times 0.
    """
    u = choose(z > 30.0, 30.0, choose(z < -30.0, -30.0, z))
    h = tanh(slope * fma(cubic * u * u, u, u))
    curve = slope * fma(3.0 * cubic * u, u, 1.0)
    return 0.5 * z * (1.0 + h), fma(0.5 * u * (1.0 - h * h), curve, 0.5 * (1.0 + h))


#: By code, a = f(z) and da / dz; of the activation's constants there are two vectors like z.
FUNCTIONS = {
    IDENTITY: identity,
    RELU: relu,
    SIGMOID: logistic,
    TANH: hyperbolic,
    LEAKY_RELU: leaky_relu,
    ELU: elu,
    SOFTPLUS: soft,
    SILU: silu,
    GELU: gelu,
    MISH: mish,
    HARDSWISH: hardswish,
    RELU6: relu6,
    HARDSIGMOID: hardsigmoid,
    TANH_GELU: tanh_gelu,
}

#: For a code, one of these.
apply = by_code(FUNCTIONS)

#: Those that are computed of blocks: the commonest of those that take long.
OF_BLOCKS = (SIGMOID, TANH)


@by_address(types.none)
def activate(m, at, slope_at, count, place):
    """a = f(z), and its slope, for `count` entries, rounded up to whole vectors.

    The activation's constants are at `m[place]`.
    """


@cache
def activation(code: int) -> Any:
    """The part for `activate` that computes the activation of this code."""
    function = traced(FUNCTIONS[code])

    def of_vectors(m, at, slope_at, count, place):
        c0, c1 = every(m, m[place]), every(m, m[place + 1])
        for i in range(0, count, lanes(m)):
            a, slope = function(load(m, at + i), c0, c1)
            store(m, at + i, a)
            store(m, slope_at + i, slope)

    def of_blocks(m, at, slope_at, count, place):
        step = ROWS * lanes(m)
        whole = count // step * step
        for i in range(0, whole, step):
            z = load_block(m, at + i)
            a, slope = function(z, z, z)
            store(m, at + i, a)
            store(m, slope_at + i, slope)
        for i in range(whole, count, lanes(m)):
            z = load(m, at + i)
            a, slope = function(z, z, z)
            store(m, at + i, a)
            store(m, slope_at + i, slope)

    return part_named(FUNCTIONS[code].__name__, of_blocks if code in OF_BLOCKS else of_vectors)


@by_address(types.none)
def softmax(m, at, copy_at, rows, row, units, in_turn):
    """Softmax of rows, `row` apart; a copy is kept for the way back.

    `in_turn`: sums are those of one entry after another.
    """


@by_address(types.none)
def softmax_back(m, d_at, a_at, rows, row, units):
    """From the derivatives by what came out of softmax, its copy, to those by what went in."""


@part
def softmax_of_rows(m, at, copy_at, rows, row, units, in_turn):
    """a_j = exp(z_j - max z) / sum_k exp(z_k - max z)."""
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
        top = larger(top, z)
    return every(m, highest(top))


@part
def softmax_of_rows_back(m, d_at, a_at, rows, row, units):
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
