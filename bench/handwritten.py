"""A loop written by hand in NumPy for the same network, to compare the NumPy backend with.

Plain, as in a good tutorial: dense layers, one activation, mean squared error, SGD. It checks
nothing, records nothing, and does only the training.
"""

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

from bench.peers import flat, rate
from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.benchmark import SEED, Workload, prediction_inputs
from fastnet.definition.optimizers import SGD

IMPORT = "import numpy"

#: The program of a new process that trains one epoch, as short as in a tutorial.
FIRST_EPOCH = """
import numpy as np
random = np.random.default_rng(0)
x = random.standard_normal((rows, 32), np.float32)
y = random.standard_normal((rows, 1), np.float32)
sizes = [(32, 64), (64, 64), (64, 1)]
w1, w2, w3 = (random.standard_normal(s, np.float32) / np.float32(s[0] ** 0.5) for s in sizes)
b1, b2, b3 = (np.zeros(s[1], np.float32) for s in sizes)
order = random.permutation(rows)
for start in range(0, rows, 32):
    a0, t = x[order[start : start + 32]], y[order[start : start + 32]]
    a1 = np.maximum(a0 @ w1 + b1, 0)
    a2 = np.maximum(a1 @ w2 + b2, 0)
    d3 = (a2 @ w3 + b3 - t) * np.float32(2 / len(t))
    d2 = (d3 @ w3.T) * (a2 > 0)
    d1 = (d2 @ w2.T) * (a1 > 0)
    for w, b, a, d in ((w3, b3, a2, d3), (w2, b2, a1, d2), (w1, b1, a0, d1)):
        w -= np.float32(0.05) * (a.T @ d)
        b -= np.float32(0.05) * d.sum(axis=0)
"""


def train_sigmoid(
    weights: list[Array], biases: list[Array], x: Array, y: Array, steps: int, lr: float
) -> None:
    """Full batches, sigmoid in every layer: the tutorial's XOR, with exact gradients."""
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
    """Mini-batches, ReLU in every hidden layer; `orders` gives each epoch's order of rows."""
    for order in orders:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            for (w, b), (dw, db) in zip(
                zip(weights, biases, strict=True),
                gradient_relu(weights, biases, x[rows], y[rows]),
                strict=True,
            ):
                w -= lr * dw
                b -= lr * db


def gradient_relu(
    weights: list[Array], biases: list[Array], x: Array, y: Array
) -> list[tuple[Array, Array]]:
    """The gradients of each layer's weights and bias."""
    last = len(weights) - 1
    a = forward_relu(weights, biases, x)
    d = (a[-1] - y) * (2 / a[-1].size)
    found = []
    for layer in range(last, -1, -1):
        found.append((a[layer].T @ d, d.sum(axis=0)))
        if layer:
            d = (d @ weights[layer].T) * (a[layer] > 0)
    return found[::-1]


def forward_relu(weights: list[Array], biases: list[Array], x: Array) -> list[Array]:
    """The rows, and the outputs of each layer."""
    a = [x]
    last = len(weights) - 1
    for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = a[-1] @ w + b
        a.append(np.maximum(z, 0) if layer < last else z)
    return a


def unsupported(work: Workload) -> str | None:
    """Why a workload is not supported; None if it is."""
    if not isinstance(work.optimizer, SGD):
        return "the loop by hand has only plain SGD"
    return None


@cache
def _libraries() -> ThreadpoolController:
    """The matrix libraries of this process."""
    return ThreadpoolController()


class _Limited:
    """Limits the threads of the matrix library, which otherwise uses all."""

    threads: int
    run_limited: Callable[[], None]

    def reset(self) -> None:
        pass

    def run(self) -> None:
        with _libraries().limit(limits=self.threads, user_api="blas"):
            self.run_limited()


class Trainer(_Limited):
    """Steps of training; each epoch's shuffle is timed, as it is part of such a loop."""

    def __init__(self, work: Workload, epochs: int, threads: int) -> None:
        self.work, self.epochs, self.threads = work, epochs, threads
        self.units = epochs * work.steps
        self.x, self.y = work.data()
        self.reset()

    def reset(self) -> None:
        start = self.work.initial_layers()
        self.weights, self.biases = [w for w, _ in start], [b for _, b in start]

    def run_limited(self) -> None:
        work = self.work
        lr = rate(work.optimizer)
        data = (self.weights, self.biases, self.x, self.y)
        if work.batch == work.rows and work.activations[0] == "sigmoid":
            train_sigmoid(*data, self.epochs, lr)
            return
        orders: Iterable[Array] = (
            random.permutation(SEED, random.SHUFFLE, e, work.rows) for e in range(self.epochs)
        )
        if work.batch == work.rows:
            orders = [np.arange(work.rows)] * self.epochs
        train_relu(*data, work.batch, lr, orders)

    def result(self) -> Array:
        return flat(zip(self.weights, self.biases, strict=True))


class Gradient(_Limited):
    """The gradient for one batch."""

    def __init__(self, work: Workload, calls: int, threads: int) -> None:
        self.units, self.threads = calls, threads
        self.x, self.y = (array[: work.batch] for array in work.data())
        start = work.initial_layers()
        self.weights, self.biases = [w for w, _ in start], [b for _, b in start]

    def run_limited(self) -> None:
        for _ in range(self.units):
            self.gradient = gradient_relu(self.weights, self.biases, self.x, self.y)

    def result(self) -> Array:
        return flat(self.gradient)


class Predictor(_Limited):
    """Predictions."""

    def __init__(self, work: Workload, calls: int, rows: int, threads: int) -> None:
        self.units, self.threads, self.x = calls, threads, prediction_inputs(work, rows)
        start = work.initial_layers()
        self.weights, self.biases = [w for w, _ in start], [b for _, b in start]

    def run_limited(self) -> None:
        for _ in range(self.units):
            self.output = forward_relu(self.weights, self.biases, self.x)[-1]

    def result(self) -> Array:
        return self.output
