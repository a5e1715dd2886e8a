"""The optimizers' updates over a part of the flat vectors: `fastnet.definition.optimizers`.

`p` the parameters, `g` their gradient, `rate` the step's learning rate, `decay` its weight decay;
`t` counts the updates from 1. Each is one loop over a part of the vectors, which the compiler turns
into vector instructions; what does not depend on the entry is computed in float64 before. What
fades away becomes 0 (`cleared`), and squares are of gradients that are not too small (`squared`).
To add an optimizer, declare its code, write its part and name both in `UPDATES`.
"""

import math

import numpy as np
from numba.core import types

from fastnet.definition.optimizers import negligible
from fastnet_numba.ops.declared import code
from fastnet_numba.simd.compiled import inlined, part
from fastnet_numba.simd.parts import by_address

SGD = code("optimizer", "sgd")
MOMENTUM = code("optimizer", "momentum")
NESTEROV = code("optimizer", "nesterov")
ADAM = code("optimizer", "adam")
RMSPROP = code("optimizer", "rmsprop")
ADAGRAD = code("optimizer", "adagrad")
RPROP = code("optimizer", "rprop")
LION = code("optimizer", "lion")

SINGLE, DOUBLE = negligible(np.float32), negligible(np.float64)


@inlined
def cleared(x, least, zero):
    """0 where the magnitude is less than `least`; NaN stays."""
    return zero if abs(x) < least else x


@inlined
def squared(g, root):
    """g^2, with |g| at least `root`."""
    size = abs(g)
    size = root if size < root else size
    return size * size


@inlined
def sign(x, one, zero):
    """1, -1, 0 or NaN."""
    return one if x > zero else (-one if x < zero else x)


@by_address(types.none)
def update(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """Update the parameters `low` to `high`, whose gradient begins at `g[g_at]`, and the
    optimizer's memory of them.
    """


@inlined
def bounds(p):
    """Magnitudes below which a number counts as 0 in parameters, and in memory, and as this one
    where it is squared: see `fastnet.definition.optimizers.negligible`.
    """
    number = p.dtype.type
    least_p = number(SINGLE[0] if p.itemsize == 4 else DOUBLE[0])
    least = number(SINGLE[1] if p.itemsize == 4 else DOUBLE[1])
    root = number(SINGLE[2] if p.itemsize == 4 else DOUBLE[2])
    return least_p, least, root


@inlined
def decayed(p, rate, decay):
    """p less its weight decay."""
    stay = p.dtype.type(1 - rate * decay)
    if decay != 0:
        for i in range(len(p)):
            p[i] *= stay


@part
def sgd(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """p less the gradient."""
    p, g = p[low:high], g[g_at : g_at + high - low]
    number = p.dtype.type
    lr, zero = number(rate), number(0)
    least_p, _, _ = bounds(p)
    decayed(p, rate, decay)
    for i in range(len(p)):
        p[i] = cleared(p[i] - lr * g[i], least_p, zero)


@part
def momentum(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """See `with_momentum`."""
    with_momentum(None, constants, p, g, memory, low, high, g_at, rate, decay)


@part
def nesterov(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """See `with_momentum`."""
    with_momentum(True, constants, p, g, memory, low, high, g_at, rate, decay)


@inlined
def with_momentum(nesterov, constants, p, g, memory, low, high, g_at, rate, decay):
    """p less the sum of gradients, of which the earlier count less.

    `nesterov` is None, or True for the sum as it would be one step later: Numba leaves out what is
    not for None.
    """
    p, g, v = p[low:high], g[g_at : g_at + high - low], memory[0, low:high]
    number = p.dtype.type
    lr, zero, keep = number(rate), number(0), number(constants[0])
    least_p, least, _ = bounds(p)
    decayed(p, rate, decay)
    for i in range(len(p)):
        v[i] = cleared(keep * v[i] + g[i], least, zero)
        step = v[i]
        if nesterov is not None:
            step = g[i] + keep * v[i]
        p[i] = cleared(p[i] - lr * step, least_p, zero)


@part
def adam(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """p less the mean gradient over the root of the mean square, decayed in the same expression."""
    p, g, m, v = p[low:high], g[g_at : g_at + high - low], memory[0, low:high], memory[1, low:high]
    number = p.dtype.type
    zero, stay = number(0), number(1 - rate * decay)
    least_p, least, root = bounds(p)
    beta1, beta2 = constants[0], constants[1]
    keep1, new1 = number(beta1), number(1 - beta1)
    keep2, new2 = number(beta2), number(1 - beta2)
    length = number(rate / (1 - beta1**t))
    widen = number(1 / math.sqrt(1 - beta2**t))
    epsilon = number(constants[2] / math.sqrt(1 - constants[3] * beta2**t))
    for i in range(len(p)):
        m[i] = cleared(keep1 * m[i] + new1 * g[i], least, zero)
        v[i] = keep2 * v[i] + new2 * squared(g[i], root)
        p[i] = cleared(
            stay * p[i] - length * (m[i] / (math.sqrt(v[i]) * widen + epsilon)), least_p, zero
        )


@part
def rmsprop(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """p less the gradient over the root of the mean square, with or without momentum."""
    p, g, v, m = p[low:high], g[g_at : g_at + high - low], memory[0, low:high], memory[1, low:high]
    number = p.dtype.type
    lr, zero = number(rate), number(0)
    least_p, least, root = bounds(p)
    keep, new, epsilon = number(constants[0]), number(1 - constants[0]), number(constants[1])
    keep_step = number(constants[2])
    decayed(p, rate, decay)
    if keep_step == zero:
        for i in range(len(p)):
            v[i] = keep * v[i] + new * squared(g[i], root)
            p[i] = cleared(p[i] - lr * (g[i] / (math.sqrt(v[i]) + epsilon)), least_p, zero)
    else:
        for i in range(len(p)):
            v[i] = keep * v[i] + new * squared(g[i], root)
            step = g[i] / (math.sqrt(v[i]) + epsilon)
            m[i] = cleared(keep_step * m[i] + step, least, zero)
            p[i] = cleared(p[i] - lr * m[i], least_p, zero)


@part
def adagrad(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """p less the gradient over the root of the sum of squares."""
    p, g, s = p[low:high], g[g_at : g_at + high - low], memory[0, low:high]
    number = p.dtype.type
    lr, zero, epsilon = number(rate), number(0), number(constants[0])
    least_p, _, root = bounds(p)
    decayed(p, rate, decay)
    for i in range(len(p)):
        s[i] += squared(g[i], root)
        p[i] = cleared(p[i] - lr * (g[i] / (math.sqrt(s[i]) + epsilon)), least_p, zero)


@part
def rprop(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """p less a length of its own, by the sign of the gradient."""
    p, g = p[low:high], g[g_at : g_at + high - low]
    last, length = memory[0, low:high], memory[1, low:high]
    number = p.dtype.type
    one, zero = number(1), number(0)
    least_p, least, _ = bounds(p)
    grow, shrink = number(constants[0]), number(constants[1])
    smallest, largest = number(constants[2]), number(constants[3])
    decayed(p, rate, decay)
    for i in range(len(p)):
        now = cleared(g[i], least, zero)
        same = sign(last[i], one, zero) * sign(now, one, zero)
        factor = grow if same > zero else (shrink if same < zero else one)
        grown = length[i] * factor
        length[i] = smallest if grown < smallest else (largest if grown > largest else grown)
        last[i] = zero if same < zero else now
        p[i] = cleared(p[i] - sign(last[i], one, zero) * length[i], least_p, zero)


@part
def lion(constants, p, g, memory, low, high, g_at, rate, decay, t):
    """p less the sign of a mean gradient, decayed in the same expression."""
    p, g, m = p[low:high], g[g_at : g_at + high - low], memory[0, low:high]
    number = p.dtype.type
    lr, one, zero, stay = number(rate), number(1), number(0), number(1 - rate * decay)
    least_p, least, _ = bounds(p)
    keep1, new1 = number(constants[0]), number(1 - constants[0])
    keep2, new2 = number(constants[1]), number(1 - constants[1])
    for i in range(len(p)):
        step = cleared(keep1 * m[i] + new1 * g[i], least, zero)
        p[i] = cleared(stay * p[i] - lr * sign(step, one, zero), least_p, zero)
        m[i] = cleared(keep2 * m[i] + new2 * g[i], least, zero)


#: The part that `update` calls, by the optimizer's code.
UPDATES = {
    SGD: sgd,
    MOMENTUM: momentum,
    NESTEROV: nesterov,
    ADAM: adam,
    RMSPROP: rmsprop,
    ADAGRAD: adagrad,
    RPROP: rprop,
    LION: lion,
}


@by_address(types.none)
def update_segments(
    optimizer, constants, p, g, memory, low, high, rate, decay, t, segments, count
):  # fmt: skip
    """The same, segment by segment; `optimizer` is the address for `update`."""


@part
def segments_updated(
    optimizer, constants, p, g, memory, low, high, rate, decay, t, segments, count
):  # fmt: skip
    """Each segment has its end and factors of `rate` and `decay`."""
    here = low
    for segment in range(count):
        there = min(high, np.int64(segments[3 * segment]))
        if here < there:
            r, d = rate * segments[3 * segment + 1], decay * segments[3 * segment + 2]
            update(optimizer, constants, p, g, memory, here, there, here, r, d, t)
            here = there
