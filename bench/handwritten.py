"""The loop that a person writes by hand in NumPy for the same network: what to beat.

Plain, as in a good tutorial: dense layers, one activation, mean squared error, gradient
descent. It checks nothing, reports nothing, and does only the work of the training.
"""

from collections.abc import Iterable

import numpy as np

from fastnet.checks import Array


def train_sigmoid(
    weights: list[Array], biases: list[Array], x: Array, y: Array, steps: int, lr: float
) -> None:
    """Full batches, sigmoid in every layer: XOR as the tutorial has it, with exact gradients."""
    (w1, w2), (b1, b2) = weights, biases
    for _ in range(steps):
        h = 1 / (1 + np.exp(-(x @ w1 + b1)))
        p = 1 / (1 + np.exp(-(h @ w2 + b2)))
        d2 = (p - y) * (2 / p.size) * p * (1 - p)
        d1 = (d2 @ w2.T) * h * (1 - h)
        w2 -= lr * (h.T @ d2)
        b2 -= lr * d2.sum(axis=0)
        w1 -= lr * (x.T @ d1)
        b1 -= lr * d1.sum(axis=0)


def train_relu(
    weights: list[Array],
    biases: list[Array],
    x: Array,
    y: Array,
    batch: int,
    lr: float,
    orders: Iterable[Array],
) -> None:
    """Mini-batches, ReLU in every hidden layer; `orders` has the order of rows of each epoch."""
    last = len(weights) - 1
    for order in orders:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            a = [x[rows]]
            for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
                z = a[-1] @ w + b
                a.append(np.maximum(z, 0) if layer < last else z)
            d = (a[-1] - y[rows]) * (2 / a[-1].size)
            for layer in range(last, -1, -1):
                dw, db = a[layer].T @ d, d.sum(axis=0)
                if layer:
                    d = (d @ weights[layer].T) * (a[layer] > 0)
                weights[layer] -= lr * dw
                biases[layer] -= lr * db
