"""Losses and slopes in float32, of numbers so large or small that a plain formula fails."""

import numpy as np
import pytest

import fastnet as fn

PLAIN = [fn.Dense(1, "sigmoid", init=([[1.0]], [0.0]))]


@pytest.mark.parametrize("z", [1.0, 10.0, 16.0, 20.0, 50.0, 80.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_sure_and_right_binary_prediction_has_a_small_loss_and_not_zero(backend, z, label):
    network = fn.Network(1, PLAIN, "binary_crossentropy")
    model = fn.Model(network, backend=backend, dtype="float32")
    logit = z if label else -z
    expected = np.log1p(np.exp(-z))
    assert model.evaluate([[logit]], [label]) == pytest.approx(expected, rel=1e-6)


def test_large_and_tiny_sample_weights_count_by_their_ratios(backend):
    model = fn.Model(fn.Network(1, [fn.Dense(1)]), backend=backend, seed=1)
    x, y = [[1.0], [2.0]], [1.0, 2.0]
    plain = model.evaluate(x, y, [1.0, 3.0])
    for factor in (1e38, 1e200, 1e-60, 1e-300):
        assert model.evaluate(x, y, [factor, 3 * factor]) == pytest.approx(plain, rel=1e-6)


def test_the_slope_of_tanh_gelu_is_finite_however_far_out(backend):
    network = fn.Network(1, [fn.Dense(1, fn.GELU("tanh"), init=([[1.0]], [0.0])), fn.Dense(1)])
    model = fn.Model(network, backend=backend, dtype="float32", seed=1)
    for far in (1e10, 1e18, -1e20):
        _, gradient = model.loss_and_gradient([[far]], [0.0])
        assert np.isfinite(gradient).all()
