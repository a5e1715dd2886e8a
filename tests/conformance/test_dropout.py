"""Dropout's masks are those of the plan's docstring, while training only."""

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for
from tolerances import FORWARD

import fastnet as fn
from fastnet import random

SEED = 2**40 + 9


def mask(step, rows, units, layer, rate):
    words = random.words(SEED, random.DROPOUT, step, rows * units, part=layer)
    kept = words.reshape(rows, units) >= random.keep_threshold(rate)
    return kept / (1 - rate)


def test_a_gradient_with_dropout_is_that_of_the_masked_network(backend):
    network = fn.Network(4, [fn.Dropout(0.3), fn.Dense(7, "tanh"), fn.Dropout(0.6), fn.Dense(2)])
    model = fn.Model(network, backend=backend, dtype="float64", seed=SEED)
    x, y = rows_for(network, 9)
    found, gradient = model.loss_and_gradient(x, y, dropout_step=12)
    w1, b1, w2, b2 = model.parameters.values()
    m0, m2 = mask(12, 9, 4, 0, 0.3), mask(12, 9, 7, 2, 0.6)
    a = np.tanh((x * m0) @ w1 + b1)
    difference = (a * m2) @ w2 + b2 - y
    assert found == pytest.approx((difference**2).mean(), rel=FORWARD["float64"])
    d = 2 * difference / difference.size
    hidden = (d @ w2.T) * m2 * (1 - a**2)
    pieces = [(x * m0).T @ hidden, hidden.sum(axis=0), (a * m2).T @ d, d.sum(axis=0)]
    assert_near(gradient, np.concatenate([p.ravel() for p in pieces]), FORWARD["float64"])


def test_a_training_step_drops_what_its_number_says(backend):
    network = fn.Network(3, [fn.Dense(16, "relu"), fn.Dropout(0.5), fn.Dense(1)])
    x, y = rows_for(network, 20)
    model = fn.Model(network, backend=backend, dtype="float64", seed=SEED)
    model.fit(x, y, optimizer=fn.SGD(0.1), epochs=3, batch_size=8, shuffle=False)
    by_hand = fn.Model(network, backend=backend, dtype="float64", seed=SEED)
    for step in range(9):
        rows = slice(step % 3 * 8, step % 3 * 8 + 8)
        _, gradient = by_hand.loss_and_gradient(x[rows], y[rows], dropout_step=step)
        by_hand.parameters.flat[...] -= 0.1 * gradient
    assert_near(model.parameters.flat, by_hand.parameters.flat, FORWARD["float64"])


def test_prediction_and_evaluation_drop_nothing(backend):
    dropped = fn.Network(3, [fn.Dropout(0.5), fn.Dense(8, "tanh"), fn.Dropout(0.9), fn.Dense(2)])
    plain = fn.Network(3, [fn.Dense(8, "tanh"), fn.Dense(2)])
    x, y = rows_for(plain, 11)
    one = fn.Model(dropped, backend=backend, seed=1)
    other = fn.Model(plain, backend=backend, seed=1)
    other.parameters.flat[...] = one.parameters.flat
    assert_same_bits(one.predict(x), other.predict(x))
    assert one.evaluate(x, y) == other.evaluate(x, y)
    assert one.loss_and_gradient(x, y)[0] == other.loss_and_gradient(x, y)[0]


def test_a_rate_of_zero_is_no_dropout(backend):
    x, y = rows_for(fn.Network(3, [fn.Dense(2)]), 11)
    runs = []
    for layers in ([fn.Dense(8, "tanh")], [fn.Dense(8, "tanh"), fn.Dropout(0.0)]):
        model = fn.Model(fn.Network(3, [*layers, fn.Dense(2)]), backend=backend, seed=1)
        runs.append(model)
    runs[1].parameters.flat[...] = runs[0].parameters.flat
    for model in runs:
        model.fit(x, y, epochs=3, batch_size=4)
    assert_same_bits(runs[1].parameters.flat, runs[0].parameters.flat)


def test_other_steps_and_layers_have_other_masks(backend):
    # One number in, many out: which of them are dropped shows in the gradient's entries.
    def dropped(layer, step):
        layers = [fn.Dense(1, init=[[1.0]])] * layer + [fn.Dropout(0.5)]
        network = fn.Network(1, [*layers, fn.Dense(1, init=[[1.0]])])
        model = fn.Model(network, backend=backend, dtype="float64", seed=SEED)
        rows = np.arange(1.0, 33.0)[:, None]
        loss, _ = model.loss_and_gradient(rows, np.zeros((32, 1)), dropout_step=step)
        return loss

    losses = [dropped(layer, step) for layer in (0, 1, 2) for step in (0, 1, 2)]
    assert len(set(losses)) == 9
    assert dropped(1, 2) == losses[5]
