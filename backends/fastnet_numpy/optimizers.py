"""The optimizers' updates, as `fastnet.definition.optimizers` defines them, over the flat vectors.

An update changes the parameters `p` and its memory in place, given the gradient `g`, which
it may use up. `lr` is the step's learning rate: a number, or one for each parameter where pieces
of the parameters have factors of their own. `t` counts the updates from 1. Decoupled weight decay
is taken from the parameters before. What fades away becomes 0 (`clear`), and squares are of
gradients that are not too small (`square`), as the definition says.
"""

import math
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.optimizers import negligible

Rate = float | Array


class Update:
    """One optimizer, with its memory `(slots, size)` and scratch of the parameters' size.

    Args:
        constants: those of the optimizer's kind, in order.
        memory: changed in place.
        size: the number of trained parameters; the shape, where those of several are stacked.
        dtype: of everything.
        each: whether every parameter has a learning rate of its own.
    """

    def __init__(
        self,
        constants: tuple[float, ...],
        memory: Array,
        size: int | tuple[int, ...],
        dtype: np.dtype[Any],
        each: bool = False,
    ) -> None:
        self.constants = constants
        self.memory = memory
        self.s: Array = np.empty(size, dtype)
        # To make an array of a Python number takes NumPy longer than to write it into one.
        self.lr = np.empty(size if each else (), dtype)
        self.size, self.kept = np.empty(size, dtype), np.empty(size, bool)
        bounds = (np.full((), bound, dtype) for bound in negligible(dtype))
        self.least_parameter, self.least, self.least_root = bounds

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        """Move `p`."""
        raise NotImplementedError

    def clear(self, v: Array, least: Any) -> None:
        """v = 0 where its magnitude is less than `least`; NaN stays."""
        np.abs(v, self.size)
        np.greater_equal(self.size, least, self.kept)
        # Not v[...] = 0, which takes the longer the more has faded.
        np.multiply(v, self.kept, v)

    def square(self, g: Array) -> Array:
        """g^2, with |g| at least the root of what is negligible; in the scratch."""
        np.abs(g, self.s)
        np.maximum(self.s, self.least_root, out=self.s)
        return np.multiply(self.s, self.s, self.s)


class SGD(Update):
    """p -= lr g."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        self.lr[...] = lr
        np.multiply(g, self.lr, g)
        np.subtract(p, g, p)
        self.clear(p, self.least_parameter)


class Momentum(Update):
    """v = momentum v + g;  p -= lr v."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, v, (momentum,) = self.s, self.memory[0], self.constants
        np.multiply(v, momentum, v)
        np.add(v, g, v)
        self.clear(v, self.least)
        self.lr[...] = lr
        np.multiply(v, self.lr, s)
        np.subtract(p, s, p)
        self.clear(p, self.least_parameter)


class Nesterov(Update):
    """v = momentum v + g;  p -= lr (g + momentum v)."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, v, (momentum,) = self.s, self.memory[0], self.constants
        np.multiply(v, momentum, v)
        np.add(v, g, v)
        self.clear(v, self.least)
        np.multiply(v, momentum, s)
        np.add(g, s, g)
        self.lr[...] = lr
        np.multiply(g, self.lr, s)
        np.subtract(p, s, p)
        self.clear(p, self.least_parameter)


class Adam(Update):
    """m, v: running means of g, g^2;  p -= lr m' / (sqrt(v') + epsilon).

    With `before`, epsilon is added to sqrt(v): v' divides both.
    """

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, (m, v), (beta1, beta2, epsilon, before) = self.s, self.memory, self.constants
        np.multiply(m, beta1, m)
        np.multiply(g, 1 - beta1, s)
        np.add(m, s, m)
        self.clear(m, self.least)
        np.multiply(v, beta2, v)
        np.multiply(self.square(g), 1 - beta2, s)
        np.add(v, s, v)
        np.sqrt(v, s)
        np.multiply(s, 1 / math.sqrt(1 - beta2**t), s)
        np.add(s, epsilon / math.sqrt(1 - before * beta2**t), s)
        np.divide(m, s, s)
        self.lr[...] = lr / (1 - beta1**t)
        np.multiply(s, self.lr, s)
        np.subtract(p, s, p)
        self.clear(p, self.least_parameter)


class RMSprop(Update):
    """v = alpha v + (1 - alpha) g^2;  step = g / (sqrt(v) + epsilon), with momentum."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, (v, m), (alpha, epsilon, momentum) = self.s, self.memory, self.constants
        np.multiply(v, alpha, v)
        np.multiply(self.square(g), 1 - alpha, s)
        np.add(v, s, v)
        np.sqrt(v, s)
        np.add(s, epsilon, s)
        np.divide(g, s, s)
        self.lr[...] = lr
        if momentum:
            np.multiply(m, momentum, m)
            np.add(m, s, m)
            self.clear(m, self.least)
            np.multiply(m, self.lr, s)
        else:
            np.multiply(s, self.lr, s)
        np.subtract(p, s, p)
        self.clear(p, self.least_parameter)


class Adagrad(Update):
    """s += g^2;  p -= lr g / (sqrt(s) + epsilon)."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, total, (epsilon,) = self.s, self.memory[0], self.constants
        np.add(total, self.square(g), total)
        np.sqrt(total, s)
        np.add(s, epsilon, s)
        np.divide(g, s, s)
        self.lr[...] = lr
        np.multiply(s, self.lr, s)
        np.subtract(p, s, p)
        self.clear(p, self.least_parameter)


class Rprop(Update):
    """Steps of their own, longer while g keeps its sign, shorter when it turns."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, (last, step) = self.s, self.memory
        grow, shrink, smallest, largest = self.constants
        self.clear(g, self.least)
        np.sign(last, s)
        np.multiply(s, np.sign(g), s)
        np.multiply(step, grow, step, where=s > 0)
        np.multiply(step, shrink, step, where=s < 0)
        np.clip(step, smallest, largest, step)
        np.copyto(g, 0, where=s < 0)
        np.sign(g, s)
        np.multiply(s, step, s)
        np.subtract(p, s, p)
        np.copyto(last, g)
        self.clear(p, self.least_parameter)


class Lion(Update):
    """p -= lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g."""

    def __call__(self, p: Array, g: Array, lr: Rate, t: int) -> None:
        s, m, (beta1, beta2) = self.s, self.memory[0], self.constants
        np.multiply(m, beta1, s)
        np.add(s, (1 - beta1) * g, s)
        self.clear(s, self.least)
        np.sign(s, s)
        self.lr[...] = lr
        np.multiply(s, self.lr, s)
        np.subtract(p, s, p)
        np.multiply(m, beta2, m)
        np.multiply(g, 1 - beta2, g)
        np.add(m, g, m)
        self.clear(m, self.least)
        self.clear(p, self.least_parameter)


#: The updates that this backend has, by the kinds of optimizers.
UPDATES: dict[str, type[Update]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "rprop": Rprop,
    "lion": Lion,
}
