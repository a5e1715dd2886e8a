"""Gradients are exact: finite differences in float64, float32 against float64."""

import numpy as np
import pytest
from compare import assert_near
from differences import assert_model_gradient
from graphs import lacks
from roster import BACKENDS
from samples import (
    EVERYWHERE,
    FUSED,
    PAIRS,
    biased,
    float64_model,
    label,
    rows_for,
    units_for,
    weights_for,
)
from tolerances import GRADIENT_FLOAT32

import fastnet as fn

ARCHITECTURES = {
    "one_layer": [],
    "one_hidden": [fn.Dense(5, "tanh")],
    "deep": [fn.Dense(7, "sigmoid"), fn.Dense(4, "softplus"), fn.Dense(6, "gelu")],
    "no_bias": [fn.Dense(6, "elu", bias=False), fn.Dense(3, "silu")],
    "one_unit": [fn.Dense(1, "tanh"), fn.Dense(5, "tanh")],
    "dropout": [fn.Dropout(0.2), fn.Dense(8, "tanh"), fn.Dropout(0.5), fn.Dense(5, "silu")],
}


#: Each loss once.
FLOAT32_PAIRS = [pair for pair in PAIRS if pair[0] == fn.Identity() or pair in FUSED]


@pytest.mark.parametrize("pair", PAIRS, ids=label)
def test_every_output_with_every_loss_has_the_exact_gradient(backend, pair):
    output, loss = pair
    network = fn.Network(3, [fn.Dense(5, "tanh"), fn.Dense(units_for(loss), output)], loss)
    if lacks(backend, network):
        pytest.skip(f"{backend} refuses this network by name")
    x, y = rows_for(network, 7, seed=1)
    model = float64_model(network, backend)
    assert_model_gradient(model, x, y)
    assert_model_gradient(model, x, y, weights_for(7), l1=0.03, l2=0.2)


@pytest.mark.parametrize("activation", EVERYWHERE, ids=label)
def test_every_hidden_activation_has_the_exact_gradient(backend, activation):
    layers = [fn.Dense(6, activation), fn.Dense(4, activation), fn.Dense(3)]
    network = fn.Network(4, layers)
    if lacks(backend, network):
        pytest.skip(f"{backend} refuses this network by name")
    x, y = rows_for(network, 9, seed=2)
    assert_model_gradient(float64_model(network, backend), x, y)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("output", "loss"), [("identity", "mse"), ("softmax", "crossentropy")])
def test_architectures_have_the_exact_gradient_with_penalties_weights_and_dropout(
    backend, name, output, loss
):
    network = fn.Network(4, [*ARCHITECTURES[name], fn.Dense(3, output)], loss)
    x, y = rows_for(network, 8)
    model = float64_model(network, backend)
    assert_model_gradient(model, x, y)
    assert_model_gradient(model, x, y, weights_for(8), l1=0.01, l2=0.1, dropout_step=5)


def test_penalties_add_what_their_formula_says_and_spare_the_biases(backend):
    network = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(2)])
    x, y = rows_for(network, 6)
    model = float64_model(network, backend)
    loss, gradient = model.loss_and_gradient(x, y)
    penalized, with_penalty = model.loss_and_gradient(x, y, l1=0.3, l2=0.7)
    weights = [w for name, w in model.parameters.items() if name.endswith("weight")]
    extra = sum(0.3 * np.abs(w).sum() + 0.35 * (w**2).sum() for w in weights)
    assert penalized == pytest.approx(loss + extra, rel=1e-14)
    wanted = [
        (0.3 * np.sign(p) + 0.7 * p if name.endswith("weight") else 0 * p).ravel()
        for name, p in model.parameters.items()
    ]
    assert_near(with_penalty - gradient, np.concatenate(wanted), 1e-13)


@pytest.mark.parametrize("pair", FLOAT32_PAIRS, ids=label)
def test_a_float32_gradient_is_near_the_float64_one(backend, pair):
    output, loss = pair
    layers = [fn.Dense(32, "tanh"), fn.Dense(32, "gelu"), fn.Dense(units_for(loss), output)]
    network = fn.Network(10, layers, loss)
    x, y = rows_for(network, 32)
    x = x.astype(np.float32)
    y = y if loss.targets == "class" else y.astype(np.float32)
    single = biased(fn.Model(network, backend=backend, seed=4))
    double = fn.Model(network, backend=backend, seed=4, dtype="float64")
    double.parameters.flat[...] = single.parameters.flat
    loss_single, found = single.loss_and_gradient(x, y)
    loss_double, wanted = double.loss_and_gradient(x, y)
    assert_near(found, wanted, GRADIENT_FLOAT32, dtype=np.float32)
    assert loss_single == pytest.approx(loss_double, rel=GRADIENT_FLOAT32)


def line_gradient(flat, x, y):
    """Loss and gradient of a line's mean squared error, by its weight and bias, in float64."""
    w, b = flat.astype(np.float64)
    x, y = x.astype(np.float64)[:, 0], y.astype(np.float64)[:, 0]
    r = w * x + b - y
    return np.mean(r * r), 2 * np.array([np.mean(r * x), np.mean(r)])


def test_a_sum_over_a_million_rows_is_as_exact_as_over_few(backend):
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 1, (1_000_000, 1)).astype(np.float32)
    rows = [(x, 0.3 * x + np.float32(0.2))]
    if backend in {entry.name for entry in BACKENDS if entry.fast}:
        # Every term is the same, and every addition is rounded the same way.
        rows.append((np.full_like(x, 0.7), np.full_like(x, 0.1)))
    model = fn.Model(fn.Network(1, [fn.Dense(1)]), backend=backend, seed=1)
    for x, y in rows:
        loss, found = model.loss_and_gradient(x, y)
        loss_wanted, wanted = line_gradient(model.parameters.flat, x, y)
        assert_near(found, wanted, GRADIENT_FLOAT32, dtype=np.float32)
        assert loss == pytest.approx(loss_wanted, rel=1e-6)


def test_a_step_over_many_rows_has_the_gradient_of_every_row(backend):
    # More rows than are summed up at once, in a number that no block divides.
    network = fn.Network(3, [fn.Dense(5, "tanh"), fn.Dense(2)])
    x, y = (array.astype(np.float32) for array in rows_for(network, 20_011))
    model = fn.Model(network, backend=backend, seed=1)
    before = model.parameters.flat.copy()
    gradients = []
    for _ in range(2):  # the second step begins its sums anew
        gradients.append(model.loss_and_gradient(x, y)[1])
        model.fit(x, y, optimizer=fn.SGD(0.5), epochs=1, batch_size=None)
    assert_near(model.parameters.flat, before - 0.5 * sum(gradients), 1e-5)
    double = fn.Model(network, backend=backend, seed=1, dtype="float64")
    assert_near(gradients[0], double.loss_and_gradient(x, y)[1], GRADIENT_FLOAT32, dtype=np.float32)
