"""A second, plain implementation of training to hold the library against.

Written from the formulas alone, layer by layer and step by step, in float64 NumPy: no flat
vector, no buffers, nothing shared with fastnet but the order of the rows.
"""

import itertools
import math

import numpy as np

from fastnet import random


def forward(layers, activation, x):
    """All activations, the input first. `layers` are (weight, bias); the last is linear."""
    outputs = [x]
    for number, (w, b) in enumerate(layers, 1):
        z = outputs[-1] @ w + b
        if number < len(layers):
            z = np.tanh(z) if activation == "tanh" else np.where(z > 0, z, 0.0)
        outputs.append(z)
    return outputs


def gradient(layers, activation, x, y):
    """The mean squared error and its derivatives, [(dw, db), ...]."""
    outputs = forward(layers, activation, x)
    difference = outputs[-1] - y
    d = 2 * difference / difference.size
    derivatives = []
    for number in range(len(layers) - 1, -1, -1):
        a = outputs[number]
        derivatives.insert(0, (a.T @ d, d.sum(axis=0)))
        if number:
            d = d @ layers[number][0].T
            d = d * (1 - a**2) if activation == "tanh" else d * (a > 0)
    return float((difference**2).mean()), derivatives


def batches(seed, epochs, rows, batch_size, shuffle=True):
    """The rows of every step, in fastnet's order, the tail of each epoch included."""
    for epoch in range(epochs):
        order = np.arange(rows)
        if shuffle and batch_size < rows:
            order = random.permutation(seed, random.SHUFFLE, epoch, rows)
        for start in range(0, rows, batch_size):
            yield order[start : start + batch_size]


def train(flat, widths, activation, x, y, steps, update, change_gradient=None):
    """Train from the flat vector; return where it ends, flat again, and each step's loss.

    Args:
        flat: weights and biases, layer by layer, weights (inputs, units) row by row.
        widths: inputs, units, units, ...
        activation: "tanh" or "relu", of the hidden layers.
        x: all rows.
        y: their targets.
        steps: the rows of each step.
        update: `update(p, g, t)` returns the new p; t counts from 1.
        change_gradient: `change_gradient(p, g)` returns what update gets instead of g.
    """
    losses = []
    for t, rows in enumerate(steps, 1):
        loss, derivatives = gradient(_unpack(flat, widths), activation, x[rows], y[rows])
        losses.append(loss)
        g = np.concatenate([np.concatenate((dw.ravel(), db)) for dw, db in derivatives])
        if change_gradient is not None:
            g = change_gradient(flat, g)
        flat = update(flat, g, t)
    return flat, losses


def _unpack(flat, widths):
    layers, place = [], 0
    for inputs, units in itertools.pairwise(widths):
        w = flat[place : place + inputs * units].reshape(inputs, units)
        place += inputs * units
        layers.append((w, flat[place : place + units]))
        place += units
    assert place == len(flat)
    return layers


# Optimizers: each returns update(p, g, t). Formulas as in the papers that optimizers.py cites.


def sgd(lr, momentum=0.0, nesterov=False):
    v = 0.0

    def update(p, g, t):
        nonlocal v
        v = momentum * v + g
        return p - lr * (g + momentum * v if nesterov else v)

    return update


def adam(lr, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
    m = v = 0.0

    def update(p, g, t):
        nonlocal m, v
        p = p - lr * weight_decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)

    return update


def rmsprop(lr, decay=0.99, epsilon=1e-8, momentum=0.0):
    v = m = 0.0

    def update(p, g, t):
        nonlocal v, m
        v = decay * v + (1 - decay) * g**2
        m = momentum * m + g / (np.sqrt(v) + epsilon)
        return p - lr * m

    return update


def adagrad(lr, epsilon=1e-10):
    s = 0.0

    def update(p, g, t):
        nonlocal s
        s = s + g**2
        return p - lr * g / (np.sqrt(s) + epsilon)

    return update


def rprop(lr, grow=1.2, shrink=0.5, smallest=1e-6, largest=50.0):
    last = steps = None

    def update(p, g, t):
        nonlocal last, steps
        if last is None:
            last, steps = np.zeros_like(p), np.full_like(p, lr)
        moved, g = p.copy(), g.copy()
        for i in range(len(p)):
            if last[i] * g[i] > 0:
                steps[i] = min(steps[i] * grow, largest)
            elif last[i] * g[i] < 0:
                steps[i] = max(steps[i] * shrink, smallest)
                g[i] = 0.0
            moved[i] -= math.copysign(steps[i], g[i]) if g[i] else 0.0
        last = g
        return moved

    return update


def lion(lr, beta1=0.9, beta2=0.99, weight_decay=0.0):
    m = 0.0

    def update(p, g, t):
        nonlocal m
        p = p - lr * (np.sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
        m = beta2 * m + (1 - beta2) * g
        return p

    return update
