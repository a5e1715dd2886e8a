"""What is added to the gradient and what cuts it: L1, L2, clipping.

All work on the parameters `low` to `high`, a thread's part of the flat vector.
"""

import numpy as np

from fastnet_numba.compiled import kernel
from fastnet_numba.layout import AFFINE, INPUTS, KIND, UNITS, WEIGHT


@kernel
def add_slice(g, other, low, high):
    """g += another thread's gradient, which begins at `g[other]`."""
    ours, theirs = g[low:high], g[other + low : other + high]
    for i in range(len(ours)):
        ours[i] += theirs[i]


@kernel
def penalise(ops, p, g, low, high, l1, l2):
    """Return l1 sum |w| + l2 / 2 sum w^2 over the weights; dw += l1 sign(w) + l2 w."""
    number = p.dtype.type
    absolute_, square = 0.0, 0.0
    for o in range(1, len(ops)):
        if ops[o, KIND] == AFFINE:
            first = max(ops[o, WEIGHT], low)
            last = min(ops[o, WEIGHT] + ops[o, INPUTS] * ops[o, UNITS], high)
            if first < last:
                w, dw = p[first:last], g[first:last]
                for i in range(len(w)):
                    absolute_ += abs(w[i])
                    square += np.float64(w[i]) * np.float64(w[i])
                    dw[i] += number(l1) * np.sign(w[i]) + number(l2) * w[i]
    value = 0.0
    if l1 > 0:
        value += l1 * absolute_
    if l2 > 0:
        value += l2 / 2 * square
    return value


@kernel
def clip_entries(g, low, high, most):
    """Each entry is cut to [-most, most]; NaN stays."""
    cut = g[low:high]
    limit = g.dtype.type(most)
    for i in range(len(cut)):
        if cut[i] > limit:
            cut[i] = limit
        elif cut[i] < -limit:
            cut[i] = -limit


@kernel
def squares(g, low, high, unit):
    """The sum of (g / unit)^2, in float64."""
    cut = g[low:high]
    whole = 0.0
    for i in range(len(cut)):
        value = np.float64(cut[i]) / unit
        whole += value * value
    return whole


@kernel
def largest(g, low, high):
    """The largest |g|."""
    cut = g[low:high]
    most = 0.0
    for i in range(len(cut)):
        most = max(most, abs(np.float64(cut[i])))
    return most


@kernel
def scale(g, low, high, factor):
    """g *= factor."""
    cut = g[low:high]
    by = g.dtype.type(factor)
    for i in range(len(cut)):
        cut[i] *= by
