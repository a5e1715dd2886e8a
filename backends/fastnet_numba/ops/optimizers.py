"""The optimizers' updates over a part of the flat vectors: `fastnet.definition.optimizers`.

`p` the parameters, `g` their gradient, `rate` the step's learning rate, `decay` its weight decay;
`t` counts the updates from 1. Each is one loop over a part of the vectors, which the compiler turns
into vector instructions; what does not depend on the entry is computed in float64 before. To add an
optimizer, declare its code and add its branch to `update`.
"""

import math

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


@inlined
def sign(x, one, zero):
    """1, -1 or 0."""
    return one if x > zero else (-one if x < zero else zero)


@kernel
def update(kind, constants, p_, g_, memory, low, high, rate, decay, t):
    """Update the parameters `low` to `high`, and the optimizer's memory of them."""
    number = p_.dtype.type
    p, g = p_[low:high], g_[low:high]
    lr, one, zero = number(rate), number(1), number(0)
    stay = number(1 - rate * decay)
    if decay != 0 and kind != ADAM and kind != LION:  # these two multiply where they read p
        for i in range(len(p)):
            p[i] *= stay
    if kind == SGD:
        for i in range(len(p)):
            p[i] -= lr * g[i]
    elif kind == MOMENTUM or kind == NESTEROV:
        v = memory[0, low:high]
        momentum = number(constants[0])
        if kind == MOMENTUM:
            for i in range(len(p)):
                v[i] = momentum * v[i] + g[i]
                p[i] -= lr * v[i]
        else:
            for i in range(len(p)):
                v[i] = momentum * v[i] + g[i]
                p[i] -= lr * (g[i] + momentum * v[i])
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
            m[i] = keep1 * m[i] + new1 * g[i]
            v[i] = keep2 * v[i] + new2 * (g[i] * g[i])
            p[i] = stay * p[i] - length * (m[i] / (math.sqrt(v[i]) * widen + epsilon))
    elif kind == RMSPROP:
        v, m = memory[0, low:high], memory[1, low:high]
        keep, new, epsilon = number(constants[0]), number(1 - constants[0]), number(constants[1])
        momentum = number(constants[2])
        if momentum == zero:
            for i in range(len(p)):
                v[i] = keep * v[i] + new * (g[i] * g[i])
                p[i] -= lr * (g[i] / (math.sqrt(v[i]) + epsilon))
        else:
            for i in range(len(p)):
                v[i] = keep * v[i] + new * (g[i] * g[i])
                m[i] = momentum * m[i] + g[i] / (math.sqrt(v[i]) + epsilon)
                p[i] -= lr * m[i]
    elif kind == ADAGRAD:
        s, epsilon = memory[0, low:high], number(constants[0])
        for i in range(len(p)):
            s[i] += g[i] * g[i]
            p[i] -= lr * (g[i] / (math.sqrt(s[i]) + epsilon))
    elif kind == RPROP:
        last, length = memory[0, low:high], memory[1, low:high]
        grow, shrink = number(constants[0]), number(constants[1])
        smallest, largest = number(constants[2]), number(constants[3])
        for i in range(len(p)):
            same = sign(last[i], one, zero) * sign(g[i], one, zero)
            factor = grow if same > zero else (shrink if same < zero else one)
            grown = length[i] * factor
            length[i] = smallest if grown < smallest else (largest if grown > largest else grown)
            last[i] = zero if same < zero else g[i]
            p[i] -= sign(last[i], one, zero) * length[i]
    else:  # LION
        m = memory[0, low:high]
        keep1, new1 = number(constants[0]), number(1 - constants[0])
        keep2, new2 = number(constants[1]), number(1 - constants[1])
        for i in range(len(p)):
            p[i] = stay * p[i] - lr * sign(keep1 * m[i] + new1 * g[i], one, zero)
            m[i] = keep2 * m[i] + new2 * g[i]
