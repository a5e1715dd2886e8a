"""The optimizers' updates, as `fastnet.optimizers` defines them, over a part of the flat vectors.

`p` the parameters, `g` their gradient, `rate` the step's learning rate; `t` counts the updates
from 1. Each is one loop over a part of the vectors, which the compiler turns into vector
instructions; what does not depend on the entry is computed in float64 before.
"""

import math

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition import optimizers
from fastnet_numba.simd.compiled import inlined, kernel

#: The optimizers' codes.
SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP, ADAGRAD, RPROP, LION = range(8)


def constants(optimizer: optimizers.Optimizer) -> tuple[int, Array]:
    """The code of an optimizer, and its constants in the order in which `update` reads them."""
    match optimizer:
        case optimizers.SGD():
            code = SGD if not optimizer.momentum else MOMENTUM
            return (NESTEROV if optimizer.nesterov else code), np.array([optimizer.momentum])
        case optimizers.Adam():
            decay = optimizer.weight_decay if isinstance(optimizer, optimizers.AdamW) else 0.0
            values = [optimizer.beta1, optimizer.beta2, optimizer.epsilon, decay]
            return ADAM, np.array(values)
        case optimizers.RMSprop():
            return RMSPROP, np.array([optimizer.decay, optimizer.epsilon, optimizer.momentum])
        case optimizers.Adagrad():
            return ADAGRAD, np.array([optimizer.epsilon])
        case optimizers.Rprop():
            rule = optimizer
            return RPROP, np.array([rule.grow, rule.shrink, rule.smallest, rule.largest])
        case optimizers.Lion():
            return LION, np.array([optimizer.beta1, optimizer.beta2, optimizer.weight_decay])
    raise AssertionError(f"optimizer {optimizer.name!r} has no update")


@inlined
def sign(x, one, zero):
    """1, -1 or 0."""
    return one if x > zero else (-one if x < zero else zero)


@kernel
def update(code, constants, p_, g_, memory, low, high, rate, t):
    """Move the parameters `low` to `high`, and the optimizer's memory of them."""
    number = p_.dtype.type
    p, g = p_[low:high], g_[low:high]
    lr, one, zero = number(rate), number(1), number(0)
    if code == SGD:
        for i in range(len(p)):
            p[i] -= lr * g[i]
    elif code == MOMENTUM or code == NESTEROV:
        v = memory[0, low:high]
        momentum = number(constants[0])
        if code == MOMENTUM:
            for i in range(len(p)):
                v[i] = momentum * v[i] + g[i]
                p[i] -= lr * v[i]
        else:
            for i in range(len(p)):
                v[i] = momentum * v[i] + g[i]
                p[i] -= lr * (g[i] + momentum * v[i])
    elif code == ADAM:
        m, v = memory[0, low:high], memory[1, low:high]
        beta1, beta2, epsilon = constants[0], constants[1], number(constants[2])
        keep1, new1, keep2, new2 = (
            number(beta1),
            number(1 - beta1),
            number(beta2),
            number(1 - beta2),
        )
        length = number(rate / (1 - beta1**t))
        widen = number(1 / math.sqrt(1 - beta2**t))
        stay = number(1 - rate * constants[3])
        for i in range(len(p)):
            m[i] = keep1 * m[i] + new1 * g[i]
            v[i] = keep2 * v[i] + new2 * (g[i] * g[i])
            p[i] = stay * p[i] - length * (m[i] / (math.sqrt(v[i]) * widen + epsilon))
    elif code == RMSPROP:
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
    elif code == ADAGRAD:
        s, epsilon = memory[0, low:high], number(constants[0])
        for i in range(len(p)):
            s[i] += g[i] * g[i]
            p[i] -= lr * (g[i] / (math.sqrt(s[i]) + epsilon))
    elif code == RPROP:
        last, length = memory[0, low:high], memory[1, low:high]
        grow, shrink = number(constants[0]), number(constants[1])
        smallest, largest = number(constants[2]), number(constants[3])
        for i in range(len(p)):
            turned = sign(last[i], one, zero) * sign(g[i], one, zero)
            factor = grow if turned > zero else (shrink if turned < zero else one)
            grown = length[i] * factor
            length[i] = smallest if grown < smallest else (largest if grown > largest else grown)
            last[i] = zero if turned < zero else g[i]
            p[i] -= sign(last[i], one, zero) * length[i]
    else:  # Lion
        m = memory[0, low:high]
        keep1, new1 = number(constants[0]), number(1 - constants[0])
        keep2, new2 = number(constants[1]), number(1 - constants[1])
        stay = number(1 - rate * constants[2])
        for i in range(len(p)):
            p[i] = stay * p[i] - lr * sign(keep1 * m[i] + new1 * g[i], one, zero)
            m[i] = keep2 * m[i] + new2 * g[i]
