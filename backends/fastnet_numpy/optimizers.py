"""The optimizers' updates, as `fastnet.optimizers` defines them, over the flat vectors.

An update changes the parameters `p` and its memory in place, given the gradient `g`, which
it may use up. `lr` is the step's learning rate, `t` counts the updates from 1.
"""

import math
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array


class Update:
    """One optimizer, with its memory `(slots, size)` and scratch of the parameters' size."""

    def __init__(self, optimizer: Any, memory: Array, size: int, dtype: np.dtype[Any]) -> None:
        self.constants = optimizer
        self.memory = memory
        self.s = np.empty(size, dtype)
        self.lr = np.empty((), dtype)

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        """Move `p`."""
        raise NotImplementedError


class SGD(Update):
    """v = momentum v + g;  p -= lr v."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        c, s = self.constants, self.s
        self.lr[...] = lr
        if c.momentum:
            v = self.memory[0]
            np.multiply(v, c.momentum, v)
            np.add(v, g, v)
            if c.nesterov:
                np.multiply(v, c.momentum, s)
                np.add(g, s, g)
            else:
                g = v
            np.multiply(g, self.lr, s)
            np.subtract(p, s, p)
        else:
            np.multiply(g, self.lr, g)
            np.subtract(p, g, p)


class Adam(Update):
    """m, v: running means of g, g^2;  p -= lr m' / (sqrt(v') + epsilon)."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        c, s, (m, v) = self.constants, self.s, self.memory
        np.multiply(m, c.beta1, m)
        np.multiply(g, 1 - c.beta1, s)
        np.add(m, s, m)
        np.multiply(v, c.beta2, v)
        np.multiply(g, g, g)
        np.multiply(g, 1 - c.beta2, g)
        np.add(v, g, v)
        np.sqrt(v, s)
        np.multiply(s, 1 / math.sqrt(1 - c.beta2**t), s)
        np.add(s, c.epsilon, s)
        np.divide(m, s, s)
        np.multiply(s, lr / (1 - c.beta1**t), s)
        np.subtract(p, s, p)


class AdamW(Adam):
    """p -= lr weight_decay p, then Adam."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        np.multiply(p, 1 - lr * self.constants.weight_decay, p)
        super().__call__(p, g, lr, t)


class RMSprop(Update):
    """v = decay v + (1 - decay) g^2;  step = g / (sqrt(v) + epsilon), with momentum."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        c, s, (v, m) = self.constants, self.s, self.memory
        np.multiply(v, c.decay, v)
        np.multiply(g, g, s)
        np.multiply(s, 1 - c.decay, s)
        np.add(v, s, v)
        np.sqrt(v, s)
        np.add(s, c.epsilon, s)
        np.divide(g, s, s)
        if c.momentum:
            np.multiply(m, c.momentum, m)
            np.add(m, s, m)
            np.multiply(m, lr, s)
        else:
            np.multiply(s, lr, s)
        np.subtract(p, s, p)


class Adagrad(Update):
    """s += g^2;  p -= lr g / (sqrt(s) + epsilon)."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        c, s, total = self.constants, self.s, self.memory[0]
        np.multiply(g, g, s)
        np.add(total, s, total)
        np.sqrt(total, s)
        np.add(s, c.epsilon, s)
        np.divide(g, s, s)
        np.multiply(s, lr, s)
        np.subtract(p, s, p)


class Rprop(Update):
    """Steps of their own, longer while g keeps its sign, shorter when it turns."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        c, s, (last, step) = self.constants, self.s, self.memory
        np.sign(last, s)
        np.multiply(s, np.sign(g), s)
        np.multiply(step, c.grow, step, where=s > 0)
        np.multiply(step, c.shrink, step, where=s < 0)
        np.clip(step, c.smallest, c.largest, step)
        np.copyto(g, 0, where=s < 0)
        np.sign(g, s)
        np.multiply(s, step, s)
        np.subtract(p, s, p)
        np.copyto(last, g)


class Lion(Update):
    """p -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay p);  m = beta2 m + (1 - beta2) g."""

    def __call__(self, p: Array, g: Array, lr: float, t: int) -> None:
        c, s, m = self.constants, self.s, self.memory[0]
        np.multiply(m, c.beta1, s)
        np.add(s, (1 - c.beta1) * g, s)
        np.sign(s, s)
        np.multiply(s, lr, s)
        np.multiply(p, 1 - lr * c.weight_decay, p)
        np.subtract(p, s, p)
        np.multiply(m, c.beta2, m)
        np.multiply(g, 1 - c.beta2, g)
        np.add(m, g, m)


UPDATES: dict[str, type[Update]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "rprop": Rprop,
    "lion": Lion,
}
