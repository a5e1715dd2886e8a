"""The operations of a plan, forward and backward, on buffers allocated once.

Letters: `x` what goes in `(rows, inputs)`, `w` weights `(inputs, units)`, `b` bias `(units,)`,
`z` = x w + b `(rows, units)`, `a` what comes out. `d` is the loss's derivative by what comes
out, and after `backward` the loss's derivative by what went in; `dw`, `db` likewise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract import plan
from fastnet_numpy.activations import FUNCTIONS, Function, Softmax
from fastnet_numpy.embedding import Embed, Periodic, PiecewiseLinear
from fastnet_numpy.normalizing import Add, BatchNormalize, Normalize, Parametric, Scale
from fastnet_numpy.sums import over_rows


class Draw(NamedTuple):
    """Which masks dropout applies: those of a seed and a step, at `factor` times each rate."""

    seed: int
    step: int
    factor: float


class Stage(Protocol):
    """An operation with its buffers, for batches of a fixed number of rows.

    `forward(x, draw)`, with an `x` for each source, gives what comes out, `(rows, units)`.
    `backward(d)` gives the derivative by what went in, one for each source, from that by what came
    out, and fills the gradient.
    """

    @property
    def forward(self) -> Callable[..., Array]: ...

    @property
    def backward(self) -> Callable[[Array], Any]: ...


class Affine:
    """z = x w + b;  dw = x' d,  db = 1' d,  dx = d w'."""

    def __init__(self, op: plan.Affine, rows: int, parameters: Array, gradient: Array) -> None:
        dtype = parameters.dtype
        self.w, self.dw = op.weight.of(parameters), op.weight.of(gradient)
        self.b = None if op.bias is None else op.bias.of(parameters)
        self.db = None if op.bias is None else op.bias.of(gradient)
        self.ones = np.ones(rows, dtype)
        self.z = np.empty((rows, op.units), dtype)
        self.dx = np.empty((rows, op.inputs), dtype) if op.needs_input_gradient else None
        self.x = np.empty((0, 0), dtype)

    def forward(self, x: Array, draw: Draw | None) -> Array:
        self.x = x
        x.dot(self.w, self.z)
        if self.b is not None:
            np.add(self.z, self.b, self.z)
        return self.z

    def backward(self, d: Array) -> Array:
        over_rows(self.x, d, self.dw)
        if self.db is not None:
            over_rows(self.ones, d, self.db)
        if self.dx is None:
            return d
        d.dot(self.w.T, self.dx)
        return self.dx


class Activation:
    """a = f(z);  dz = d f'(z). In place where the derivative can be told from `a`."""

    def __init__(self, f: Function, rows: int, units: int, dtype: np.dtype[Any]) -> None:
        self.f = f
        self.t = np.empty((rows, units), dtype)
        self.own: Array | None = None
        if f.needs_z:
            self.spare_the_source()
        self.z = self.a = self.t

    def spare_the_source(self) -> None:
        """Write to a buffer of its own."""
        self.own = np.empty_like(self.t)

    def forward(self, x: Array, draw: Draw | None) -> Array:
        self.z = x
        self.a = x if self.own is None else self.own
        self.f.forward(self.z, self.a)
        return self.a

    def backward(self, d: Array) -> Array:
        self.f.backward(d, self.z, self.a, self.t)
        return d


class Dropout:
    """a = x m, m = 0 or 1 / (1 - rate);  dx = d m. The identity where nothing is drawn."""

    def __init__(self, op: plan.Dropout, rows: int, dtype: np.dtype[Any]) -> None:
        self.op = op
        self.m = np.empty((rows, op.units), dtype)
        self.a = np.empty((rows, op.units), dtype)
        self.drawn = False

    def forward(self, x: Array, draw: Draw | None) -> Array:
        self.drawn = draw is not None and draw.factor > 0
        if draw is None or draw.factor == 0:
            return x
        rate = self.op.rate * draw.factor
        words = random.words(draw.seed, random.DROPOUT, draw.step, self.m.size, self.op.layer)
        threshold = np.uint32(random.keep_threshold(rate))
        np.greater_equal(words.reshape(self.m.shape), threshold, self.m, casting="unsafe")
        np.multiply(self.m, 1 / (1 - rate), self.m)
        np.multiply(x, self.m, self.a)
        return self.a

    def backward(self, d: Array) -> Array:
        if self.drawn:
            np.multiply(d, self.m, d)
        return d


def _elementwise(op: Any, rows: int, parameters: Array, gradient: Array) -> Stage:
    dtype = parameters.dtype
    return Activation(FUNCTIONS[op.kind](op.constants, dtype), rows, op.units, dtype)


def _softmax(op: Any, rows: int, parameters: Array, gradient: Array) -> Stage:
    return Activation(Softmax((), parameters.dtype), rows, op.units, parameters.dtype)


def _dropout(op: Any, rows: int, parameters: Array, gradient: Array) -> Stage:
    return Dropout(op, rows, parameters.dtype)


#: How a stage is made of an operation, for batches of so many rows, over the flat vectors of
#: parameters and gradient: what this backend has, one line each.
STAGES: dict[type[plan.Operation], Callable[[Any, int, Array, Array], Stage]] = {
    plan.Affine: Affine,
    plan.Elementwise: _elementwise,
    plan.Softmax: _softmax,
    plan.Dropout: _dropout,
    plan.Normalize: Normalize,
    plan.BatchNormalize: BatchNormalize,
    plan.Scale: Scale,
    plan.Add: Add,
    plan.Parametric: Parametric,
    plan.Embed: Embed,
    plan.Periodic: Periodic,
    plan.PiecewiseLinear: PiecewiseLinear,
}
