"""The operations of a plan, forward and backward, on buffers allocated once.

Letters: `x` what goes in `(rows, inputs)`, `w` weights `(inputs, units)`, `b` bias `(units,)`,
`z` = x w + b `(rows, units)`, `a` what comes out. `d` is the loss's derivative by what comes
out, and after `backward` the loss's derivative by what went in; `dw`, `db` likewise.
"""

from typing import Any, Protocol

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Activate, Affine, Drop, Plan
from fastnet_numpy.activations import function

#: The seed and the step whose masks dropout applies.
Draw = tuple[int, int] | None


class Stage(Protocol):
    """An operation with its buffers, for batches of a fixed number of rows."""

    def forward(self, x: Array, draw: Draw) -> Array:
        """What comes out, `(rows, units)`, for what goes in."""
        ...

    def backward(self, d: Array) -> Array:
        """The derivative by what went in, from that by what came out; fills the gradient."""
        ...


class Dense:
    """z = x w + b;  dw = x' d,  db = 1' d,  dx = d w'."""

    def __init__(
        self, op: Affine, rows: int, parameters: Array, gradient: Array, first: bool
    ) -> None:
        dtype = parameters.dtype
        self.w, self.dw = op.weight.of(parameters), op.weight.of(gradient)
        self.b = None if op.bias is None else op.bias.of(parameters)
        self.db = None if op.bias is None else op.bias.of(gradient)
        self.ones = np.ones(rows, dtype)
        self.z = np.empty((rows, op.units), dtype)
        # Nobody asks for the derivative by the data itself.
        self.dx = None if first else np.empty((rows, op.inputs), dtype)
        self.x = np.empty((0, 0), dtype)

    def forward(self, x: Array, draw: Draw) -> Array:
        self.x = x
        x.dot(self.w, self.z)
        if self.b is not None:
            np.add(self.z, self.b, self.z)
        return self.z

    def backward(self, d: Array) -> Array:
        self.x.T.dot(d, self.dw)
        if self.db is not None:
            self.ones.dot(d, self.db)
        if self.dx is None:
            return d
        d.dot(self.w.T, self.dx)
        return self.dx


class Activation:
    """a = f(z);  dz = d f'(z). In place where the derivative can be told from `a`."""

    def __init__(self, op: Activate, rows: int, dtype: np.dtype[Any]) -> None:
        self.f = function(op.activation, dtype)
        shape = (rows, op.units)
        self.t = np.empty(shape, dtype)
        self.own = np.empty(shape, dtype) if self.f.needs_z else None
        self.z = self.a = self.t

    def forward(self, x: Array, draw: Draw) -> Array:
        self.z = x
        self.a = x if self.own is None else self.own
        self.f.forward(self.z, self.a)
        return self.a

    def backward(self, d: Array) -> Array:
        self.f.backward(d, self.z, self.a, self.t)
        return d


class Dropout:
    """a = x m, m = 0 or 1 / (1 - rate);  dx = d m. The identity where nothing is drawn."""

    def __init__(self, op: Drop, rows: int, dtype: np.dtype[Any]) -> None:
        self.op = op
        self.m = np.empty((rows, op.units), dtype)
        self.a = np.empty((rows, op.units), dtype)
        self.threshold = np.uint32(random.keep_threshold(op.rate))
        self.drawn = False

    def forward(self, x: Array, draw: Draw) -> Array:
        self.drawn = draw is not None
        if draw is None:
            return x
        seed, step = draw
        words = random.words(seed, random.DROPOUT, step, self.m.size, self.op.layer)
        np.greater_equal(words.reshape(self.m.shape), self.threshold, self.m, casting="unsafe")
        np.multiply(self.m, 1 / (1 - self.op.rate), self.m)
        np.multiply(x, self.m, self.a)
        return self.a

    def backward(self, d: Array) -> Array:
        if self.drawn:
            np.multiply(d, self.m, d)
        return d


def stages(plan: Plan, rows: int, parameters: Array, gradient: Array) -> list[Stage]:
    """The operations of `plan` for batches of `rows` rows, over these flat vectors."""
    made: list[Stage] = []
    for index, op in enumerate(plan.operations):
        match op:
            case Affine():
                made.append(Dense(op, rows, parameters, gradient, first=index == 0))
            case Activate():
                made.append(Activation(op, rows, parameters.dtype))
            case Drop():
                made.append(Dropout(op, rows, parameters.dtype))
    return made
