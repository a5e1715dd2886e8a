"""Losses against plain formulas, and at logits where exponentials overflow."""

import math

import numpy as np
import pytest
from compare import assert_near
from samples import FREE_LOSSES, FUSED, RATE, biased, label, rows_for, weights_for
from tolerances import FORWARD

import fastnet as fn


def mean_loss(loss, p, y, weight):
    """The weighted mean over rows of the mean over outputs, one entry at a time."""
    total = 0.0
    for row in range(len(p)):
        if loss.name == "crossentropy":
            target = np.eye(p.shape[1])[y[row]] if y.ndim == 1 else y[row]
            entries = [-sum(target[j] * math.log(p[row, j]) for j in range(p.shape[1]))]
        else:
            entries = [entry(loss, float(p[row, j]), float(y[row, j])) for j in range(p.shape[1])]
        total += weight[row] * sum(entries) / len(entries)
    return total / sum(weight)


def entry(loss, p, y):
    match loss.name:
        case "mse":
            return (p - y) ** 2
        case "mae":
            return abs(p - y)
        case "huber":
            r = abs(p - y)
            return r**2 / 2 if r <= loss.delta else loss.delta * (r - loss.delta / 2)
        case "poisson":
            return math.exp(p) - y * p if loss.log_input else p - y * math.log(p + 1e-8)
        case "quantile":
            return loss.q * (y - p) if y > p else (1 - loss.q) * (p - y)
        case "binary_crossentropy":
            return -y * math.log(p) - (1 - y) * math.log(1 - p)
    raise AssertionError(f"no formula for {loss.name}")


CASES = [*((fn.Identity(), loss) for loss in FREE_LOSSES), RATE, *FUSED]

#: Only classes come in more than one form.
FORMS = [*((pair, "index") for pair in CASES), (FUSED[1], "onehot"), (FUSED[1], "soft")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("pair", "form"), FORMS, ids=lambda value: value if isinstance(value, str) else label(value)
)
def test_a_loss_has_the_value_of_its_formula(backend, pair, form, dtype):
    output, loss = pair
    network = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(3, output)], loss)
    x, y = rows_for(network, 11, form=form)
    single = biased(fn.Model(network, backend=backend, dtype=dtype, seed=1))
    double = fn.Model(network, backend=backend, dtype="float64", seed=1)
    double.parameters.flat[...] = single.parameters.flat
    p = double.predict(x)
    near = pytest.approx
    for weight in (None, weights_for(11)):
        wanted = mean_loss(loss, p, y, np.ones(11) if weight is None else weight)
        assert single.evaluate(x, y, weight) == near(wanted, rel=10 * FORWARD[dtype])
        assert single.loss_and_gradient(x, y, weight)[0] == near(wanted, rel=10 * FORWARD[dtype])


def logits_model(backend, output, loss, units, dtype):
    """A network whose logits are its inputs."""
    layer = fn.Dense(units, output, init=np.eye(units))
    return fn.Model(fn.Network(units, [layer], loss), backend=backend, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logit", [1e4, 88.8, 710.0, 37.0, 0.0])
def test_binary_crossentropy_is_right_at_extreme_logits(backend, dtype, logit):
    model = logits_model(backend, "sigmoid", "binary_crossentropy", 4, dtype)
    x = np.array([[logit, -logit, logit, -logit]])
    y = np.array([[1.0, 0.0, 0.0, 1.0]])
    loss, gradient = model.loss_and_gradient(x, y)
    rest = math.log1p(math.exp(-logit))  # what a right answer costs; a wrong one: logit more
    wanted = (4 * rest + 2 * float(np.dtype(dtype).type(logit))) / 4
    assert loss == pytest.approx(wanted, rel=FORWARD[dtype])
    p = np.array([1 / (1 + math.exp(-logit)), math.exp(-logit) / (1 + math.exp(-logit))])
    slopes = np.array([p[0] - 1, p[1], p[0], p[1] - 1]) / 4
    slopes[0] = -p[1] / 4  # p - 1 without cancellation
    slopes[3] = -p[0] / 4
    wanted_gradient = np.concatenate((np.outer(x[0], slopes).ravel(), slopes))
    assert_near(gradient, wanted_gradient, FORWARD[dtype], dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logit", [1e4, 100.0, 800.0, 0.0])
@pytest.mark.parametrize("form", ["index", "onehot", "soft"])
def test_crossentropy_is_right_at_extreme_logits(backend, dtype, logit, form):
    model = logits_model(backend, "softmax", "crossentropy", 3, dtype)
    x = np.array([[logit, -logit, -logit], [logit, -logit, logit]])
    targets = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    if form == "soft":
        targets = 0.75 * targets + 0.25 * np.array([0.0, 0.0, 1.0])
    y = targets.argmax(axis=1) if form == "index" else targets
    loss, gradient = model.loss_and_gradient(x, y)
    z = x.astype(dtype).astype(np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wanted = (
        -sum(targets[i, j] * logarithms[i, j] for i in range(2) for j in range(3) if targets[i, j])
        / 2
    )
    assert loss == pytest.approx(wanted, rel=FORWARD[dtype])
    slopes = (np.exp(logarithms) - targets) / 2
    wanted_gradient = np.concatenate(((z.T @ slopes).ravel(), slopes.sum(axis=0)))
    assert_near(gradient, wanted_gradient, FORWARD[dtype], dtype=dtype)


def test_probabilities_of_zero_cost_nothing_even_where_the_logit_is_minus_a_lot(backend):
    model = logits_model(backend, "softmax", "crossentropy", 2, "float32")
    x = np.array([[3e38, -3e38]])
    loss, gradient = model.loss_and_gradient(x, np.array([[1.0, 0.0]]))
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("pair", CASES, ids=label)
def test_rows_of_weight_zero_do_not_count_even_where_their_loss_overflows(backend, pair):
    output, loss = pair
    network = fn.Network(2, [fn.Dense(3, output)], loss)
    model = fn.Model(network, backend=backend, seed=2)
    x, y = rows_for(network, 6)
    x[4] = 1e25  # its square overflows float32
    weight = np.array([1.0, 0.5, 2.0, 1.0, 0.0, 1.5])
    loss_all, gradient = model.loss_and_gradient(x, y, weight)
    kept = weight > 0
    loss_kept, wanted = model.loss_and_gradient(x[kept], y[kept], weight[kept])
    assert loss_all == pytest.approx(loss_kept, rel=FORWARD["float32"])
    assert_near(gradient, wanted, FORWARD["float32"])
    assert model.evaluate(x, y, weight) == pytest.approx(loss_kept, rel=FORWARD["float32"])


def test_one_hot_rows_and_class_indices_are_the_same_targets(backend):
    network = fn.Network(3, [fn.Dense(5, "relu"), fn.Dense(4, "softmax")], "crossentropy")
    model = fn.Model(network, backend=backend, dtype="float64", seed=0)
    x, y = rows_for(network, 9)
    loss, gradient = model.loss_and_gradient(x, y)
    for same in (np.eye(4)[y], y.astype(np.float32), y.reshape(-1, 1), y.tolist()):
        other, other_gradient = model.loss_and_gradient(x, same)
        assert other == pytest.approx(loss, rel=FORWARD["float64"])
        assert_near(other_gradient, gradient, FORWARD["float64"])
