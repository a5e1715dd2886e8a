"""The same trajectory: the tutorial's figures, a thousand steps, every optimizer, clipping."""

import naive
import numpy as np
import pytest
from compare import assert_near
from roster import BACKENDS
from samples import label, rows_for
from tolerances import OPTIMIZER, TRAJECTORY, TUTORIAL

import fastnet as fn
from fastnet import datasets

#: The mean squared error after so many steps, as extended precision confirms it.
TUTORIAL_FIGURES = {
    0: 0.268576074181773,
    1: 0.2558948628059844,
    100: 0.22221116652924525,
    1_000: 0.16281817069474008,
    10_000: 0.00010782107079601298,
}


def test_the_tutorial_learns_as_exact_gradients_say(backend):
    x, y = datasets.xor()
    network = datasets.xor_network(tutorial_start=True)
    model = fn.Model(network, backend=backend, dtype="float64", seed=1)
    assert np.abs(y - model.predict(x)).mean() == pytest.approx(0.5013730688788007, rel=TUTORIAL)
    done = 0
    fast = {entry.name for entry in BACKENDS if entry.fast}
    for steps, wanted in TUTORIAL_FIGURES.items():
        if steps > 1_000 and backend not in fast:
            break  # what every backend owes is a thousand steps
        if steps:
            model.fit(
                x, y, optimizer=fn.SGD(2.0), batch_size=None, initial_epoch=done, epochs=steps
            )
            done = steps
        assert model.evaluate(x, y) == pytest.approx(wanted, rel=TUTORIAL), f"at step {steps}"


def test_the_losses_of_the_tutorial_are_those_before_each_step(backend):
    x, y = datasets.xor()
    network = datasets.xor_network(tutorial_start=True)
    model = fn.Model(network, backend=backend, dtype="float64")
    history = model.fit(x, y, optimizer=fn.SGD(2.0), batch_size=None, epochs=1_001)
    for steps in (0, 1, 100, 1_000):
        assert history.loss[steps] == pytest.approx(TUTORIAL_FIGURES[steps], rel=TUTORIAL)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_thousand_steps_end_where_the_naive_loop_ends(backend, activation):
    widths = (10, 32, 32, 1)
    layers = [fn.Dense(32, activation), fn.Dense(32, activation), fn.Dense(1)]
    network = fn.Network(10, layers)
    model = fn.Model(network, backend=backend, dtype="float64", seed=11)
    start = model.parameters.flat.copy()
    x, y = rows_for(network, 313)  # nine batches of 32 and a tail of 25
    history = model.fit(x, y, optimizer=fn.SGD(0.1), epochs=100, batch_size=32)
    steps = list(naive.batches(11, 100, 313, 32))
    assert len(steps) == 1_000
    wanted, losses = naive.train(start, widths, activation, x, y, steps, naive.sgd(0.1))
    assert_near(model.parameters.flat, wanted, TRAJECTORY)
    sizes = np.array([len(rows) for rows in steps[:10]])
    epochs = (np.array(losses).reshape(100, 10) * sizes).sum(axis=1) / 313
    assert_near(np.array(history.loss), epochs, TRAJECTORY)


OPTIMIZERS = [
    (fn.SGD(0.05), lambda: naive.sgd(0.05)),
    (fn.SGD(0.05, momentum=0.9), lambda: naive.sgd(0.05, 0.9)),
    (fn.SGD(0.05, momentum=0.8, nesterov=True), lambda: naive.sgd(0.05, 0.8, True)),
    (fn.Adam(0.01), lambda: naive.adam(0.01)),
    (
        fn.Adam(0.02, beta1=0.8, beta2=0.95, epsilon=1e-3),
        lambda: naive.adam(0.02, 0.8, 0.95, 1e-3),
    ),
    (fn.AdamW(0.01, weight_decay=0.1), lambda: naive.adam(0.01, weight_decay=0.1)),
    (fn.RMSprop(0.01), lambda: naive.rmsprop(0.01)),
    (fn.RMSprop(0.01, momentum=0.5, alpha=0.9), lambda: naive.rmsprop(0.01, 0.9, momentum=0.5)),
    (fn.Adagrad(0.05), lambda: naive.adagrad(0.05)),
    (fn.Rprop(0.01), lambda: naive.rprop(0.01)),
    (
        fn.Rprop(0.5, etas=(0.3, 1.5), step_sizes=(0.01, 0.6)),
        lambda: naive.rprop(0.5, 1.5, 0.3, 0.01, 0.6),
    ),
    (fn.Lion(0.002), lambda: naive.lion(0.002)),
    (
        fn.Lion(0.002, beta1=0.8, beta2=0.9, weight_decay=0.3),
        lambda: naive.lion(0.002, 0.8, 0.9, 0.3),
    ),
]

WIDTHS = (5, 8, 3)
NETWORK = fn.Network(5, [fn.Dense(8, "tanh"), fn.Dense(3)])


def both(backend, optimizer, update, batch_size=16, change_gradient=None, **options):
    """Where fastnet and the naive loop end after fifty steps, seven a shuffled epoch."""
    model = fn.Model(NETWORK, backend=backend, dtype="float64", seed=5)
    start = model.parameters.flat.copy()
    x, y = rows_for(NETWORK, 100)
    epochs = 8 if batch_size else 50
    model.fit(x, y, optimizer=optimizer, epochs=epochs, batch_size=batch_size, **options)
    steps = naive.batches(5, epochs, 100, batch_size or 100)
    wanted, _ = naive.train(start, WIDTHS, "tanh", x, y, steps, update, change_gradient)
    return model.parameters.flat, wanted


@pytest.mark.parametrize("batch_size", [16, None], ids=["batches_with_a_tail", "full_batch"])
@pytest.mark.parametrize(
    ("optimizer", "update"), OPTIMIZERS, ids=lambda v: "naive" if callable(v) else label(v)
)
def test_an_optimizer_goes_where_the_naive_one_goes(backend, optimizer, update, batch_size):
    found, wanted = both(backend, optimizer, update(), batch_size)
    assert_near(found, wanted, OPTIMIZER)


def clip_norm(limit):
    def change(p, g):
        norm = np.sqrt((g**2).sum())
        return g * limit / norm if norm > limit else g

    return change


def clip_value(limit):
    return lambda p, g: np.minimum(np.maximum(g, -limit), limit)


@pytest.mark.parametrize("limit", [0.05, 0.5, 1e6])
def test_clipping_by_norm_shortens_the_gradient_and_keeps_its_direction(backend, limit):
    found, wanted = both(
        backend, fn.SGD(0.1), naive.sgd(0.1), change_gradient=clip_norm(limit), clip_norm=limit
    )
    assert_near(found, wanted, OPTIMIZER)


@pytest.mark.parametrize("limit", [0.01, 0.1, 1e6])
def test_clipping_by_value_cuts_each_entry(backend, limit):
    found, wanted = both(
        backend, fn.SGD(0.1), naive.sgd(0.1), change_gradient=clip_value(limit), clip_value=limit
    )
    assert_near(found, wanted, OPTIMIZER)


def test_clipping_by_value_comes_before_clipping_by_norm_and_both_after_the_penalties(backend):
    is_weight = np.concatenate([np.full(5 * 8, 1.0), np.zeros(8), np.full(8 * 3, 1.0), np.zeros(3)])

    def change(p, g):
        g = g + is_weight * (0.01 * np.sign(p) + 0.1 * p)
        return clip_norm(0.3)(p, clip_value(0.1)(p, g))

    found, wanted = both(
        backend, fn.SGD(0.1), naive.sgd(0.1), change_gradient=change,
        clip_norm=0.3, clip_value=0.1, l1=0.01, l2=0.1,
    )  # fmt: skip
    assert_near(found, wanted, OPTIMIZER)


def test_clipping_by_norm_works_where_the_square_of_the_norm_overflows(backend):
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend=backend, seed=0)
    before = model.parameters.flat.copy()
    x, y = np.array([[3e8, 4e8]]), np.array([[1e14]])  # the gradient is about 1e23
    model.fit(x, y, optimizer=fn.SGD(1.0), epochs=1, clip_norm=1.0)
    moved = model.parameters.flat - before
    assert np.linalg.norm(moved.astype(np.float64)) == pytest.approx(1.0, rel=1e-5)
