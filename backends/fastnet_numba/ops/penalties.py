"""Penalties (L1, L2) and clipping, on the parameters `low` to `high`: a thread's part of them."""

import math

import numpy as np
from numba.core import types

from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE, barrier, bound, gathered
from fastnet_numba.ops.table import AFFINE, INPUTS, KIND, UNITS, WEIGHT
from fastnet_numba.simd.compiled import inlined, kernel, part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.vectors import every, fma, lanes, load, store, total

#: Vectors summed up in the dtype before their total is added in float64: few enough that
#: float32's rounding stays near that of one addition.
BLOCK = 64


@kernel
def pull(p, g, first, last, by):
    """g += by p from `first` to `last`; return sum p^2.

    Vectors of sums, whose total is added up in float64 before they have grown long.
    """
    size = lanes(p)
    square = 0.0
    for start in range(first, last, BLOCK * size):
        stop = min(start + BLOCK * size, last)
        even = stop - (stop - start) % (2 * size)
        s0, s1 = every(p, 0.0), every(p, 0.0)
        for i in range(start, even, 2 * size):
            a, b = load(p, i), load(p, i + size)
            store(g, i, load(g, i) + a * by)
            store(g, i + size, load(g, i + size) + b * by)
            s0, s1 = fma(a, a, s0), fma(b, b, s1)
        square += np.float64(total(s0 + s1))
        for i in range(even, stop):
            g[i] += by * p[i]
            square += np.float64(p[i]) * np.float64(p[i])
    return square


@by_address(types.float64)
def penalize(ops, p, g, low, high, l1, l2):
    """Add the penalties' gradient, and return the penalties: see `penalties`."""


@part
def penalties(ops, p, g, low, high, l1, l2):
    """Return l1 sum |w| + l2 / 2 sum w^2 over the weights; dw += l1 sign(w) + l2 w."""
    number = p.dtype.type
    absolute_, square = 0.0, 0.0
    for o in range(1, len(ops)):
        if ops[o, KIND] == AFFINE:
            first = max(ops[o, WEIGHT], low)
            last = min(ops[o, WEIGHT] + ops[o, INPUTS] * ops[o, UNITS], high)
            if first < last:
                if l1 > 0:
                    w, dw = p[first:last], g[first:last]
                    for i in range(len(w)):
                        absolute_ += abs(w[i])
                        dw[i] += number(l1) * np.sign(w[i])
                if l2 > 0:
                    square += pull(p, g, first, last, number(l2))
    value = 0.0
    if l1 > 0:
        value += l1 * absolute_
    if l2 > 0:
        value += l2 / 2 * square
    return value


@by_address(types.none)
def clip_entries(g, low, high, most):
    """Clip entries: see `entries_clipped`."""


@part
def entries_clipped(g, low, high, most):
    """Each entry is cut to [-most, most]; NaN stays."""
    cut = g[low:high]
    limit = g.dtype.type(most)
    for i in range(len(cut)):
        if cut[i] > limit:
            cut[i] = limit
        elif cut[i] < -limit:
            cut[i] = -limit


@inlined
def squares(g, low, high, unit):
    """The sum of (g / unit)^2, in float64."""
    cut = g[low:high]
    square = 0.0
    for i in range(len(cut)):
        value = np.float64(cut[i]) / unit
        square += value * value
    return square


@inlined
def largest(g, low, high):
    """The largest |g|."""
    cut = g[low:high]
    most = 0.0
    for i in range(len(cut)):
        most = max(most, abs(np.float64(cut[i])))
    return most


@inlined
def scale(g, low, high, factor):
    """g *= factor."""
    cut = g[low:high]
    by = g.dtype.type(factor)
    for i in range(len(cut)):
        cut[i] *= by


@by_address(types.int64)
def clip_norm(g, shared, signals, size, parts, worker, workers, generation, most):
    """Clip the gradient's norm: see `norm_clipped`."""


@part
def norm_clipped(g, shared, signals, size, parts, worker, workers, generation, most):
    """The gradient's norm is cut to `most`.

    Args:
        g: the gradient, `size` entries.
        shared: room for what the parts find.
        signals: see `barrier`.
        size: of the gradient.
        parts: of the gradient.
        worker, workers: which this is, and of how many.
        generation: how often workers have waited for each other.
        most: the bound.

    Returns:
        how often they have now; 0 if they gave up.
    """
    first, last = parts * worker // workers, parts * (worker + 1) // workers
    # Where the squares overflow, the norm need not: once more, in units of the largest.
    unit, norm = 1.0, 0.0
    for attempt in range(2, 6, 2):
        for one in range(first, last):
            low, high = bound(size, one, parts), bound(size, one + 1, parts)
            shared[one * CACHE_LINE_STRIDE + attempt] = squares(g, low, high, unit)
            shared[one * CACHE_LINE_STRIDE + attempt + 1] = largest(g, low, high)
        generation += 1
        if workers > 1 and not barrier(signals, worker, workers, generation):
            return np.int64(0)
        square, peak = gathered(shared, parts, attempt), 0.0
        for one in range(parts):
            peak = max(peak, shared[one * CACHE_LINE_STRIDE + attempt + 1])
        norm = unit * math.sqrt(square)
        if not (math.isinf(square) and math.isfinite(peak)):
            break
        unit = peak
    if norm > most:
        scale(g, bound(size, first, parts), bound(size, last, parts), most / norm)
    return generation
