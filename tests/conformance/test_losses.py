"""Losses against plain formulas, and at logits where exponentials overflow."""

import math

import numpy as np
import pytest
from compare import assert_near
from samples import (
    FREE_LOSSES,
    FUSED,
    PAIRED,
    RATE,
    biased,
    label,
    rows_for,
    units_for,
    weights_for,
)
from tolerances import FORWARD

import fastnet as fn


def mean_loss(loss, p, y, weight):
    """The weighted mean over rows of the mean over outputs, one entry at a time."""
    total = 0.0
    for row in range(len(p)):
        columns = range(p.shape[1])
        if loss.name == "crossentropy":
            target = np.eye(p.shape[1])[y[row]] if y.ndim == 1 else y[row]
            e = loss.label_smoothing
            target = (1 - e) * target + e / p.shape[1]
            entries = [-sum(target[j] * math.log(p[row, j]) for j in columns)]
        elif loss.name == "gaussian_nll":
            k = y.shape[1]
            variances = [max(math.exp(s), 1e-6) for s in p[row, k:]]
            entries = [
                (math.log(v) + (p[row, j] - y[row, j]) ** 2 / v) / 2
                for j, v in enumerate(variances)
            ]
        elif loss.name == "quantile" and isinstance(loss.q, tuple):
            k = y.shape[1]
            entries = [
                entry(fn.Quantile(loss.q[j // k]), float(p[row, j]), float(y[row, j % k]))
                for j in columns
            ]
        else:
            entries = [entry(loss, float(p[row, j]), float(y[row, j])) for j in columns]
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
            y += loss.label_smoothing * (0.5 - y)
            return -y * math.log(p) - (1 - y) * math.log(1 - p)
    raise AssertionError(f"no formula for {loss.name}")


CASES = [*((fn.Identity(), loss) for loss in FREE_LOSSES), RATE, *FUSED, PAIRED]

#: Only classes come in more than one form.
CLASSES = [pair for pair in FUSED if pair[1].targets == "class"]
FORMS = [
    *((pair, "index") for pair in CASES),
    *((pair, form) for pair in CLASSES for form in ("onehot", "soft")),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("pair", "form"), FORMS, ids=lambda value: value if isinstance(value, str) else label(value)
)
def test_a_loss_has_the_value_of_its_formula(backend, pair, form, dtype):
    output, loss = pair
    network = fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(units_for(loss), output)], loss)
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
    network = fn.Network(2, [fn.Dense(units_for(loss), output)], loss)
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


#: Widths at which a row's means and variances lie in one vector, in several, and across two.
@pytest.mark.parametrize("targets", [1, 5, 20])
@pytest.mark.parametrize("rows", [3, 70])
@pytest.mark.parametrize("loss", [fn.GaussianNLL(), fn.Quantile((0.2, 0.9))], ids=label)
def test_blocks_of_outputs_are_of_the_same_targets_whatever_their_width(
    backend, loss, targets, rows
):
    network = fn.Network(4, [fn.Dense(2 * targets)], loss)
    x, y = rows_for(network, rows)
    model = biased(fn.Model(network, backend=backend, dtype="float64", seed=1))
    for weight in (None, weights_for(rows)):
        p = model.predict(x)
        w = np.ones(rows) if weight is None else weight
        found, gradient = model.loss_and_gradient(x, y, weight)
        assert found == pytest.approx(mean_loss(loss, p, y, w), rel=FORWARD["float64"])
        a, b = p[:, :targets], p[:, targets:]
        if loss.name == "gaussian_nll":
            d = np.hstack(((a - y) * np.exp(-b), (1 - (a - y) ** 2 * np.exp(-b)) / 2)) / targets
        else:
            d = np.hstack(((a > y) - 0.2, (b > y) - 0.9)) / (2 * targets)
        d *= w[:, None] / w.sum()
        assert_near(gradient, np.concatenate(((x.T @ d).ravel(), d.sum(axis=0))), 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gaussian_is_right_at_variances_that_are_out_of_range(backend, dtype):
    model = logits_model(backend, "identity", fn.GaussianNLL(epsilon=1e-4), 2, dtype)
    least = math.log(1e-4)
    for s, by_s in ((1000.0, 0.5), (-2000.0, 0.0), (least - 1, (1 - 0.25e4) * math.exp(-1) / 2)):
        loss, gradient = model.loss_and_gradient(np.array([[0.5, s]]), np.array([[1.0]]))
        c = max(s, least)
        wanted = (c + 0.25 * math.exp(-c)) / 2
        assert loss == pytest.approx(wanted, rel=FORWARD[dtype])
        assert gradient[-2:] == pytest.approx([-0.5 * math.exp(-c), by_s], rel=10 * FORWARD[dtype])
