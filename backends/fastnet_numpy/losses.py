"""Losses and their derivatives.

A loss reads the network's output `p` and the targets `y`, both `(rows, outputs)`, and writes
each entry's loss into `t` and its derivative by `p` into `d`. Where the loss is computed
from logits, `p` is those. `Mean` makes the mean of the terms and scales the derivatives.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.plan import LossFunction


def mse(p: Array, y: Array, t: Array, d: Array) -> None:
    """r^2, with slope 2 r, r = p - y."""
    np.subtract(p, y, d)
    np.multiply(d, d, t)
    np.add(d, d, d)


def mae(p: Array, y: Array, t: Array, d: Array) -> None:
    """|r|, with slope sign(r), r = p - y."""
    np.subtract(p, y, d)
    np.abs(d, t)
    np.sign(d, d)


def huber(p: Array, y: Array, t: Array, d: Array, delta: float) -> None:
    """c (r - c / 2) with slope c, c = r cut to [-delta, delta], r = p - y."""
    np.subtract(p, y, t)
    np.clip(t, -delta, delta, d)
    np.subtract(t, d / 2, t)
    np.multiply(d, t, t)


def quantile(p: Array, y: Array, t: Array, d: Array, q: float | Array) -> None:
    """max(q r, (q - 1) r) with slope -q, 0 or 1 - q, r = y - p."""
    np.subtract(y, p, t)
    np.sign(t, d)
    np.multiply(d, np.where(t > 0, -q, q - 1).astype(d.dtype), d)
    np.multiply(t, d, t)
    np.negative(t, t)


def quantiles(p: Array, y: Array, t: Array, d: Array, *q: float) -> None:
    """The same with a q for each output."""
    quantile(p, y, t, d, np.array(q))


def gaussian_nll(p: Array, y: Array, t: Array, d: Array, least: float) -> None:
    """(c + r^2 exp(-c)) / 2, c = max(s, least), r = m - y: `p` holds all m, then all s.

    The slopes are r exp(-c) by m and (1 - r^2 exp(-c)) exp(s - c) / 2 by s. Each loss stands in the
    column of its m, zeros in the others.
    """
    k = p.shape[1] // 2
    m, s, r = p[:, :k], p[:, k:], t[:, :k]
    c = np.maximum(s, least)
    np.subtract(m, y[:, :k], r)
    np.multiply(r, np.exp(-c), d[:, :k])
    square = r * d[:, :k]
    np.multiply((1 - square) / 2, np.exp(s - c), d[:, k:])
    np.divide(c + square, 2, t[:, :k])
    t[:, k:] = 0


def poisson(p: Array, y: Array, t: Array, d: Array) -> None:
    """exp(p) - y p, with slope exp(p) - y."""
    np.exp(p, d)
    np.subtract(d, y * p, t)
    np.subtract(d, y, d)


def poisson_rate(p: Array, y: Array, t: Array, d: Array, epsilon: float) -> None:
    """p - y log(p + epsilon), with slope 1 - y / (p + epsilon)."""
    np.subtract(p, y * np.log(p + epsilon), t)
    np.subtract(1, y / (p + epsilon), d)


def binary_crossentropy(z: Array, y: Array, t: Array, d: Array) -> None:
    """max(z, 0) - z y + log1p(exp(-|z|)), with slope sigmoid(z) - y, z the logit.

    In this order: where the answer is sure and right, the first two cancel exactly, and what is
    left is small.
    """
    np.abs(z, t)
    np.negative(t, t)
    np.exp(t, t)
    np.log1p(t, t)
    np.maximum(z, 0, out=d)
    np.subtract(d, z * y, d)
    np.add(t, d, t)
    np.negative(z, d)
    np.exp(d, d)
    np.add(d, 1, d)
    np.reciprocal(d, d)
    np.subtract(d, y, d)


def smoothed_binary_crossentropy(z: Array, y: Array, t: Array, d: Array, e: float) -> None:
    """The same of (1 - e) y + e / 2."""
    binary_crossentropy(z, y + e * (0.5 - y), t, d)


def crossentropy(z: Array, y: Array, t: Array, d: Array) -> None:
    """log(sum_k exp(z_k)) - z_y with slopes softmax(z) - y, z the logits.

    `y` holds class indices `(rows,)`, or one-hot rows or probabilities `(rows, outputs)`.
    The row's loss stands in the first column of `t`, zeros in the others.
    """
    np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), t)
    np.exp(t, d)
    total = np.add.reduce(d, axis=1, keepdims=True)
    np.divide(d, total, d)
    if y.ndim == 1:
        rows = np.arange(len(y))
        loss = np.log(total[:, 0]) - t[rows, y]
        d[rows, y] -= 1
    else:
        # Probabilities sum to 1 up to their rounding, by which both are taken as they are.
        weight = np.add.reduce(y, axis=1)
        picked = np.add.reduce(np.where(y > 0, y * t, 0), axis=1)
        loss = weight * np.log(total[:, 0]) - picked
        np.multiply(d, weight[:, None], d)
        np.subtract(d, y, d)
    t[:, 0] = loss
    t[:, 1:] = 0


def smoothed_crossentropy(z: Array, y: Array, t: Array, d: Array, e: float) -> None:
    """The same of (1 - e) y + e times the mean of the row y."""
    if y.ndim == 1:
        y = np.eye(z.shape[1], dtype=z.dtype)[y]
    crossentropy(z, (1 - e) * y + e * y.mean(axis=1, keepdims=True), t, d)


#: The losses that this backend has, by their kinds. What a kind has as constants comes last.
LOSSES: dict[str, Callable[..., None]] = {
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "poisson": poisson,
    "poisson_rate": poisson_rate,
    "quantile": quantile,
    "quantiles": quantiles,
    "gaussian_nll": gaussian_nll,
    "binary_crossentropy": binary_crossentropy,
    "smoothed_binary_crossentropy": smoothed_binary_crossentropy,
    "crossentropy": crossentropy,
    "smoothed_crossentropy": smoothed_crossentropy,
}


class Mean:
    """The mean over rows and outputs of a loss's terms (cross-entropy over classes: over rows).

    Terms are summed up in float64: a line search compares losses that differ by little.

    Args:
        loss: the plan's loss.
        rows: rows of a batch.
        outputs: outputs of the network.
        dtype: of everything.
    """

    def __init__(self, loss: LossFunction, rows: int, outputs: int, dtype: np.dtype[Any]) -> None:
        self.terms = LOSSES[loss.kind]
        if loss.constants:
            terms, constants = self.terms, loss.constants
            self.terms = lambda p, y, t, d: terms(p, y, t, d, *constants)
        self.each = loss.each
        self.t = np.empty((rows, outputs), dtype)
        self.scale = 1 / (rows * self.each)
        self.scale_array = np.full((), self.scale, dtype)

    def __call__(self, p: Array, y: Array, weight: Array | None, d: Array) -> float:
        """Return the mean and write its derivatives by `p` into `d`."""
        t = self.t
        self.terms(p, y, t, d)
        if weight is None:
            np.multiply(d, self.scale_array, d)
            return float(np.add.reduce(t, None, np.float64)) * self.scale
        total = float(np.add.reduce(weight, None, np.float64)) * self.each
        if total == 0:  # a batch whose weights are all zero has loss and gradient 0
            d.fill(0)
            return 0.0
        # Rows of weight 0 do not count, even where their loss is not finite.
        np.multiply(t, weight[:, None], t, where=weight[:, None] > 0)
        np.multiply(d, (weight / total)[:, None], d)
        if not weight.all():
            t[weight == 0] = 0
            d[weight == 0] = 0
        return float(np.add.reduce(t, None, np.float64)) / total
