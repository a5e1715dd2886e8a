"""Operations that normalize, scale and add, forward and backward.

Letters are those of `layers.py`; `m` is a mean, `s` a standard deviation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import plan
from fastnet_numpy.sums import over_rows


class Normalize:
    """a = (x - m) / s over the units of each row;  dx = (d - mean(d) - a mean(d a)) / s."""

    def __init__(self, op: plan.Normalize, rows: int, parameters: Array, gradient: Array) -> None:
        self.epsilon = op.epsilon
        self.a = self.s = np.empty((0, 0), parameters.dtype)

    def forward(self, x: Array, draw: Any) -> Array:
        self.a, self.s = normalized(x, self.epsilon)
        return self.a

    def backward(self, d: Array) -> Array:
        return normalized_back(d, self.a, self.s, axis=1)


def normalized(x: Array, epsilon: float) -> tuple[Array, Array]:
    """`a` and `s` `(rows, 1)` of `Normalize`."""
    centered = x - x.mean(axis=1, keepdims=True)
    variance = np.square(centered).mean(axis=1, keepdims=True)
    s = np.sqrt(variance + np.asarray(epsilon, x.dtype))
    return centered / s, s


def normalized_back(d: Array, a: Array, s: Array, axis: int) -> Array:
    """The derivative by `x`, where `m` and `s` are over this axis."""
    along: Array = (d * a).mean(axis=axis, keepdims=True)
    dx: Array = (d - d.mean(axis=axis, keepdims=True) - a * along) / s
    return dx


class Scale:
    """a = x scale + shift;  dscale = sum of d x over the rows, dshift that of d,  dx = d scale."""

    def __init__(self, op: plan.Scale, rows: int, parameters: Array, gradient: Array) -> None:
        self.op, self.parameters = op, parameters
        self.dscale = op.scale.of(gradient)
        self.dshift = None if op.shift is None else op.shift.of(gradient)
        self.ones = np.ones(rows, parameters.dtype)
        self.x = np.empty((0, 0), parameters.dtype)

    def forward(self, x: Array, draw: Any) -> Array:
        self.x = x
        return scaled(self.op, self.parameters, x)

    def backward(self, d: Array) -> Array:
        over_rows(self.ones, d * self.x, self.dscale)
        if self.dshift is not None:
            over_rows(self.ones, d, self.dshift)
        return d * self.op.scale.of(self.parameters)


def scaled(op: plan.Scale, parameters: Array, x: Array) -> Array:
    """x scale + shift."""
    a = x * op.scale.of(parameters)
    return a if op.shift is None else a + op.shift.of(parameters)


class Add:
    """a = x + f;  dx = df = d."""

    def __init__(self, op: plan.Add, rows: int, parameters: Array, gradient: Array) -> None:
        pass

    def forward(self, x: Array, f: Array, draw: Any) -> Array:
        return x + f

    def backward(self, d: Array) -> tuple[Array, Array]:
        return d.copy(), d  # what becomes of one changes it in place


class Rule(NamedTuple):
    """An operation as it predicts, without buffers, and its derivative.

    Attributes:
        value: what comes out, a new array: `value(op, parameters, x)`, with an `x` for each source.
        derivative: `derivative(op, parameters, d, x)`, by each source.
    """

    value: Callable[..., Array]
    derivative: Callable[..., Any]


#: The operations above.
RULES: dict[type[plan.Operation], Rule] = {
    plan.Normalize: Rule(
        lambda op, parameters, x: normalized(x, op.epsilon)[0],
        lambda op, parameters, d, x: normalized_back(d, *normalized(x, op.epsilon), axis=1),
    ),
    plan.Scale: Rule(scaled, lambda op, parameters, d, x: d * op.scale.of(parameters)),
    plan.Add: Rule(
        lambda op, parameters, x, f: x + f,
        lambda op, parameters, d, x, f: (d.copy(), d),
    ),
}
