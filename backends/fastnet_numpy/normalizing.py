"""Operations that normalize, scale, add and learn activations, forward and backward.

Letters are those of `layers.py`; `m` is a mean, `s` a standard deviation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import plan
from fastnet_numpy.activations import FUNCTIONS
from fastnet_numpy.embedding import (
    embedded,
    embedded_back,
    periodic,
    periodic_back,
    piecewise_linear,
    piecewise_linear_back,
)
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


class BatchNormalize:
    """a = (x - m) / s, m and s those of the units over the rows of a batch in training, else of the
    statistics;  dx = (d - mean(d) - a mean(d a)) / s, or d / s.
    """

    def __init__(
        self, op: plan.BatchNormalize, rows: int, parameters: Array, gradient: Array
    ) -> None:
        self.op, self.rows = op, rows
        self.statistics = [piece.of(parameters) for piece in (op.mean, op.variance)]
        self.found = [piece.of(gradient) for piece in (op.mean, op.variance)]
        self.of_batch = False
        self.a = self.s = np.empty((0, 0), parameters.dtype)

    def forward(self, x: Array, draw: Any) -> Array:
        self.of_batch = draw is not None and self.rows > 1
        (mean, variance), divisor = self.statistics, 1.0
        if self.of_batch:
            mean = x.mean(axis=0, dtype=np.float64).astype(x.dtype)
            variance = np.square(x - mean).mean(axis=0, dtype=np.float64).astype(x.dtype)
            divisor = 1 - 1 / self.rows
        self.found[0][...], self.found[1][...] = mean, variance / divisor
        self.s = np.sqrt(variance + np.asarray(self.op.epsilon, x.dtype))
        self.a = (x - mean) / self.s
        return self.a

    def backward(self, d: Array) -> Array:
        return normalized_back(d, self.a, self.s, axis=0) if self.of_batch else d / self.s


def deviations(op: plan.BatchNormalize, parameters: Array) -> Array:
    """s of the statistics."""
    variance = op.variance.of(parameters)
    s: Array = np.sqrt(variance + np.asarray(op.epsilon, variance.dtype))
    return s


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


class Parametric:
    """a = (1 - w) z + w f(z);  dw = sum of d (f(z) - z) over the rows,  dz = d (1 - w + w f'(z)).

    w is alpha, or 1 - alpha.
    """

    def __init__(self, op: plan.Parametric, rows: int, parameters: Array, gradient: Array) -> None:
        self.op, self.parameters, self.dalpha = op, parameters, op.alpha.of(gradient)
        self.ones = np.ones(rows, parameters.dtype)
        self.z = self.f = np.empty((0, 0), parameters.dtype)

    def forward(self, x: Array, draw: Any) -> Array:
        self.z = x
        self.f, w = function_and_weight(self.op, self.parameters, x)
        a: Array = (1 - w) * x + w * self.f
        return a

    def backward(self, d: Array) -> Array:
        over_rows(self.ones, d * (self.f - self.z), self.dalpha)
        if self.op.complement:
            np.negative(self.dalpha, self.dalpha)
        return parametric_back(self.op, self.parameters, d, self.z)


def function_and_weight(op: plan.Parametric, parameters: Array, z: Array) -> tuple[Array, Array]:
    """f(z) and w of `Parametric`."""
    f, alpha = np.empty_like(z), op.alpha.of(parameters)
    FUNCTIONS[op.kind](op.constants, z.dtype).forward(z.copy(), f)
    w: Array = 1 - alpha if op.complement else alpha
    return f, w


def parametric(op: plan.Parametric, parameters: Array, z: Array) -> Array:
    """(1 - w) z + w f(z)."""
    f, w = function_and_weight(op, parameters, z)
    a: Array = (1 - w) * z + w * f
    return a


def parametric_back(op: plan.Parametric, parameters: Array, d: Array, z: Array) -> Array:
    """The derivative by z."""
    f, w = function_and_weight(op, parameters, z)
    slope = np.ones_like(z)
    FUNCTIONS[op.kind](op.constants, z.dtype).backward(slope, z, f, np.empty_like(z))
    dz: Array = d * (1 - w + w * slope)
    return dz


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


#: The operations above, and embeddings.
RULES: dict[type[plan.Operation], Rule] = {
    plan.Normalize: Rule(
        lambda op, parameters, x: normalized(x, op.epsilon)[0],
        lambda op, parameters, d, x: normalized_back(d, *normalized(x, op.epsilon), axis=1),
    ),
    plan.BatchNormalize: Rule(
        lambda op, parameters, x: (x - op.mean.of(parameters)) / deviations(op, parameters),
        lambda op, parameters, d, x: d / deviations(op, parameters),
    ),
    plan.Scale: Rule(scaled, lambda op, parameters, d, x: d * op.scale.of(parameters)),
    plan.Parametric: Rule(parametric, parametric_back),
    plan.Add: Rule(
        lambda op, parameters, x, f: x + f,
        lambda op, parameters, d, x, f: (d.copy(), d),
    ),
    plan.Embed: Rule(embedded, embedded_back),
    plan.Periodic: Rule(periodic, periodic_back),
    plan.PiecewiseLinear: Rule(piecewise_linear, piecewise_linear_back),
}
