"""Operations that make numbers of categories, and several numbers of one, forward and backward.

Letters are those of `layers.py`; `n` is the columns of numbers, `f` the frequencies or bins, `u`
the units that are made of a number. An array `(rows, n, u)` is `(rows, n u)` in its value.
"""

import math
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import plan
from fastnet_numpy.sums import over_rows


def codes_of(op: plan.Embed, x: Array) -> list[Array]:
    """The codes of each category, `(rows,)` intp."""
    return list(x[:, op.numbers :].astype(np.intp).T)


def embedded(op: plan.Embed, parameters: Array, x: Array) -> Array:
    """What comes out of `Embed`."""
    columns = [x[:, : op.numbers]]
    for code, size, table in zip(codes_of(op, x), op.sizes, op.tables, strict=True):
        if table is None:
            columns.append(np.eye(size, size - 1, -1, x.dtype)[code])
        else:
            columns.append(table.of(parameters)[code])
    return np.hstack(columns)


def embedded_back(op: plan.Embed, parameters: Array, d: Array, x: Array) -> Array:
    """The derivative by x: codes have none."""
    dx = np.zeros_like(x)
    dx[:, : op.numbers] = d[:, : op.numbers]
    return dx


class Embed:
    """a = numbers, and the tables' rows;  dtable[code] = sum of d over the rows that have it."""

    def __init__(self, op: plan.Embed, rows: int, parameters: Array, gradient: Array) -> None:
        self.op, self.parameters, self.gradient = op, parameters, gradient
        self.codes: list[Array] = []

    def forward(self, x: Array, draw: Any) -> Array:
        self.codes = codes_of(self.op, x)
        return embedded(self.op, self.parameters, x)

    def backward(self, d: Array) -> Array:
        first = self.op.numbers
        for code, size, table in zip(self.codes, self.op.sizes, self.op.tables, strict=True):
            units = size - 1 if table is None else table.shape[1]
            if table is not None:
                # Row by row, in float64.
                places = code[:, None] * units + np.arange(units)
                values = d[:, first : first + units].ravel()
                sums = np.bincount(places.ravel(), values, size * units)
                table.of(self.gradient)[...] = sums.reshape(size, units)
            first += units
        return d  # nothing before it has parameters


def split(op: Any, x: Array, each: int) -> tuple[Array, Array]:
    """The numbers `(rows, n, each)`, and the other columns."""
    width = op.numbers * each
    return x[:, :width].reshape(len(x), op.numbers, each), x[:, width:]


def joined(numbers: Array, rest: Array) -> Array:
    """The value of numbers `(rows, n, u)` and other columns."""
    return np.hstack((numbers.reshape(len(rest), -1), rest))


def by_feature(values: Array, weight: Array) -> Array:
    """values `(rows, n, f)` times weight `(n, f, u)`, feature by feature: `(rows, n, u)`."""
    made: Array = np.matmul(values.swapaxes(0, 1), weight).swapaxes(0, 1)
    return made


class Periodic:
    """a = [c w + b, x], c = cos(t), t = 2 pi x frequency + phase;  dw = c' d, dt = -sin(t) d w'."""

    def __init__(self, op: plan.Periodic, rows: int, parameters: Array, gradient: Array) -> None:
        self.op, self.parameters, self.gradient = op, parameters, gradient
        self.ones = np.ones(rows, parameters.dtype)
        self.x = np.empty((0, 0), parameters.dtype)

    def forward(self, x: Array, draw: Any) -> Array:
        self.x = x
        return periodic(self.op, self.parameters, x)

    def backward(self, d: Array) -> Array:
        op, x = self.op, split(self.op, self.x, 1)[0]
        of_numbers, rest = split(op, d, op.each)
        du, t = np.ascontiguousarray(of_numbers[:, :, :-1]), angles(op, self.parameters, x)
        for feature, dw in enumerate(op.weight.of(self.gradient)):
            over_rows(np.cos(t[:, feature]), du[:, feature], dw)
        dt = -np.sin(t) * by_feature(du, op.weight.of(self.parameters).swapaxes(1, 2))
        for piece, values in ((op.bias, du), (op.phase, dt), (op.frequency, dt * turns(x))):
            over_rows(self.ones, values.reshape(len(x), -1), piece.of(self.gradient).reshape(-1))
        return joined(np.zeros_like(x), rest)  # numbers are inputs


def turns(x: Array) -> Array:
    """2 pi x."""
    found: Array = x * np.asarray(2 * math.pi, x.dtype)
    return found


def angles(op: plan.Periodic, parameters: Array, x: Array) -> Array:
    """t `(rows, n, f)` of `Periodic`, for x `(rows, n, 1)`."""
    t: Array = turns(x) * op.frequency.of(parameters) + op.phase.of(parameters)
    return t


def periodic(op: plan.Periodic, parameters: Array, x: Array) -> Array:
    """What comes out of `Periodic`."""
    numbers, rest = split(op, x, 1)
    c = np.cos(angles(op, parameters, numbers))
    made = by_feature(c, op.weight.of(parameters)) + op.bias.of(parameters)
    return joined(np.concatenate((made, numbers), axis=2), rest)


def periodic_back(op: plan.Periodic, parameters: Array, d: Array, x: Array) -> Array:
    """The derivative by x."""
    numbers, _ = split(op, x, 1)
    of_numbers, rest = split(op, d, op.each)
    dt = by_feature(of_numbers[:, :, :-1], op.weight.of(parameters).swapaxes(1, 2))
    dt *= -np.sin(angles(op, parameters, numbers))
    along = (dt * turns(op.frequency.of(parameters))).sum(axis=2) + of_numbers[:, :, -1]
    return joined(along, rest)


class PiecewiseLinear:
    """a = x slope + bias + e w;  dw = e' d."""

    def __init__(
        self, op: plan.PiecewiseLinear, rows: int, parameters: Array, gradient: Array
    ) -> None:
        self.op, self.parameters, self.gradient = op, parameters, gradient
        self.ones = np.ones(rows, parameters.dtype)
        self.x = np.empty((0, 0), parameters.dtype)

    def forward(self, x: Array, draw: Any) -> Array:
        self.x = x
        return piecewise_linear(self.op, self.parameters, x)

    def backward(self, d: Array) -> Array:
        op, x = self.op, split(self.op, self.x, 1)[0]
        of_numbers, rest = split(op, d, op.each)
        e, _ = ways(op, self.parameters, x)
        for feature, dw in enumerate(op.weight.of(self.gradient)):
            over_rows(e[:, feature], of_numbers[:, feature], dw)
        for piece, values in ((op.bias, of_numbers), (op.slope, of_numbers * x)):
            over_rows(self.ones, values.reshape(len(x), -1), piece.of(self.gradient).reshape(-1))
        return joined(np.zeros_like(x), rest)  # numbers are inputs


def ways(op: plan.PiecewiseLinear, parameters: Array, x: Array) -> tuple[Array, Array]:
    """e of `PiecewiseLinear` for x `(rows, n, 1)`, and its derivative by x, both `(rows, n, f)`."""
    edges = op.edges.of(parameters)
    left, right = edges[:, :-1], edges[:, 1:]
    exists = left < right
    steepness = np.where(exists, 1, 0) / np.where(exists, right - left, 1).astype(x.dtype)
    e = (x - left) * steepness
    below = (e < 0) & (left > edges[:, :1])
    above = (e > 1) & (right < edges[:, -1:])
    e = np.where(below, 0, np.where(above, 1, e)).astype(x.dtype)
    return e, np.where(below | above, 0, steepness).astype(x.dtype)


def piecewise_linear(op: plan.PiecewiseLinear, parameters: Array, x: Array) -> Array:
    """What comes out of `PiecewiseLinear`."""
    numbers, rest = split(op, x, 1)
    e, _ = ways(op, parameters, numbers)
    made = numbers * op.slope.of(parameters) + op.bias.of(parameters)
    return joined(made + by_feature(e, op.weight.of(parameters)), rest)


def piecewise_linear_back(op: plan.PiecewiseLinear, parameters: Array, d: Array, x: Array) -> Array:
    """The derivative by x."""
    numbers, _ = split(op, x, 1)
    of_numbers, rest = split(op, d, op.each)
    _, steepness = ways(op, parameters, numbers)
    de = by_feature(of_numbers, op.weight.of(parameters).swapaxes(1, 2))
    along = (de * steepness).sum(axis=2) + (of_numbers * op.slope.of(parameters)).sum(axis=2)
    return joined(along, rest)
