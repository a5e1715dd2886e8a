"""The optimizers' updates over a part of the flat vectors: `fastnet.definition.optimizers`.

`p` the parameters, `g` their gradient, `rate` the step's learning rate, `decay` its weight decay;
`t` counts the updates from 1. Each is one loop over a part of the vectors, which the compiler turns
into vector instructions; what does not depend on the entry is computed in float64 before. What
fades away becomes 0 (`cleared`), and squares are of gradients that are not too small (`squared`).
To add an optimizer, declare its code and add its branch to `update`.
"""

import math

import numpy as np

from fastnet.definition.optimizers import negligible
from fastnet_numba.ops.declared import code
from fastnet_numba.simd.compiled import inlined, kernel

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


@kernel
def update(kind, constants, p_, g_, memory, low, high, rate, decay, t):
    """Update the parameters `low` to `high`, and the optimizer's memory of them."""
    number = p_.dtype.type
    p, g = p_[low:high], g_[low:high]
    lr, one, zero = number(rate), number(1), number(0)
    stay = number(1 - rate * decay)
    least_p = number(SINGLE[0] if p.itemsize == 4 else DOUBLE[0])
    least = number(SINGLE[1] if p.itemsize == 4 else DOUBLE[1])
    root = number(SINGLE[2] if p.itemsize == 4 else DOUBLE[2])
    if decay != 0 and kind != ADAM and kind != LION:  # these two multiply where they read p
        for i in range(len(p)):
            p[i] *= stay
    if kind == SGD:
        for i in range(len(p)):
            p[i] = cleared(p[i] - lr * g[i], least_p, zero)
    elif kind == MOMENTUM or kind == NESTEROV:
        v = memory[0, low:high]
        momentum = number(constants[0])
        if kind == MOMENTUM:
            for i in range(len(p)):
                v[i] = cleared(momentum * v[i] + g[i], least, zero)
                p[i] = cleared(p[i] - lr * v[i], least_p, zero)
        else:
            for i in range(len(p)):
                v[i] = cleared(momentum * v[i] + g[i], least, zero)
                p[i] = cleared(p[i] - lr * (g[i] + momentum * v[i]), least_p, zero)
    elif kind == ADAM:
        m, v = memory[0, low:high], memory[1, low:high]
        beta1, beta2 = constants[0], constants[1]
        keep1, new1, keep2, new2 = (
            number(beta1),
            number(1 - beta1),
            number(beta2),
            number(1 - beta2),
        )
        length = number(rate / (1 - beta1**t))
        widen = number(1 / math.sqrt(1 - beta2**t))
        epsilon = number(constants[2] / math.sqrt(1 - constants[3] * beta2**t))
        for i in range(len(p)):
            m[i] = cleared(keep1 * m[i] + new1 * g[i], least, zero)
            v[i] = keep2 * v[i] + new2 * squared(g[i], root)
            p[i] = cleared(
                stay * p[i] - length * (m[i] / (math.sqrt(v[i]) * widen + epsilon)), least_p, zero
            )
    elif kind == RMSPROP:
        v, m = memory[0, low:high], memory[1, low:high]
        keep, new, epsilon = number(constants[0]), number(1 - constants[0]), number(constants[1])
        momentum = number(constants[2])
        if momentum == zero:
            for i in range(len(p)):
                v[i] = keep * v[i] + new * squared(g[i], root)
                p[i] = cleared(p[i] - lr * (g[i] / (math.sqrt(v[i]) + epsilon)), least_p, zero)
        else:
            for i in range(len(p)):
                v[i] = keep * v[i] + new * squared(g[i], root)
                step = g[i] / (math.sqrt(v[i]) + epsilon)
                m[i] = cleared(momentum * m[i] + step, least, zero)
                p[i] = cleared(p[i] - lr * m[i], least_p, zero)
    elif kind == ADAGRAD:
        s, epsilon = memory[0, low:high], number(constants[0])
        for i in range(len(p)):
            s[i] += squared(g[i], root)
            p[i] = cleared(p[i] - lr * (g[i] / (math.sqrt(s[i]) + epsilon)), least_p, zero)
    elif kind == RPROP:
        last, length = memory[0, low:high], memory[1, low:high]
        grow, shrink = number(constants[0]), number(constants[1])
        smallest, largest = number(constants[2]), number(constants[3])
        for i in range(len(p)):
            now = cleared(g[i], least, zero)
            same = sign(last[i], one, zero) * sign(now, one, zero)
            factor = grow if same > zero else (shrink if same < zero else one)
            grown = length[i] * factor
            length[i] = smallest if grown < smallest else (largest if grown > largest else grown)
            last[i] = zero if same < zero else now
            p[i] = cleared(p[i] - sign(last[i], one, zero) * length[i], least_p, zero)
    else:  # LION
        m = memory[0, low:high]
        keep1, new1 = number(constants[0]), number(1 - constants[0])
        keep2, new2 = number(constants[1]), number(1 - constants[1])
        for i in range(len(p)):
            step = cleared(keep1 * m[i] + new1 * g[i], least, zero)
            p[i] = cleared(stay * p[i] - lr * sign(step, one, zero), least_p, zero)
            m[i] = cleared(keep2 * m[i] + new2 * g[i], least, zero)


@kernel
def update_segments(
    kind, constants, p, g, memory, low, high, rate, decay, t, segments, count
):  # fmt: skip
    """The same, segment by segment: each has its end and factors of `rate` and `decay`."""
    here = low
    for segment in range(count):
        there = min(high, np.int64(segments[3 * segment]))
        if here < there:
            r, d = rate * segments[3 * segment + 1], decay * segments[3 * segment + 2]
            update(kind, constants, p, g, memory, here, there, r, d, t)
            here = there
