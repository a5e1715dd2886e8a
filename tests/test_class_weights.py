"""Weights of classes in `Model.fit`."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

import fastnet as fn

X = fn.random.normal(5, fn.random.DATA, 0, 180).reshape(60, 3)
CLASSES = np.repeat([0, 1, 2], [40, 15, 5])
WEIGHTS = np.linspace(0.5, 2, 60)


def fit(network, y, **options):
    model = fn.Model(network, dtype="float64", seed=1, backend="numpy")
    history = model.fit(X, y, epochs=3, **options)
    return model.parameters.flat, history


@pytest.mark.parametrize("given", ["balanced", {0: 0.5, 2: 9}])
@pytest.mark.parametrize("form", ["indices", "one-hot", "one output"])
def test_they_are_weights_of_rows(given, form):
    y, known, outputs = CLASSES, CLASSES, 3
    last, loss = "softmax", "crossentropy"
    if form == "one-hot":
        y = np.eye(3)[CLASSES]
    elif form == "one output":
        known = np.minimum(CLASSES, 1)
        y, outputs, last, loss = known[:, None], 1, "sigmoid", "binary_crossentropy"
        given = given if given == "balanced" else {1: 4}
    network = fn.Network(3, [fn.Dense(outputs, last)], loss=loss)
    by_row = compute_sample_weight(given, known) * WEIGHTS
    held_out = (X[::2], y[::2], WEIGHTS[::2])
    found, history = fit(
        network,
        y,
        class_weight=given,
        sample_weight=WEIGHTS,
        validation=held_out,
        metrics=["accuracy"],
    )
    expected, weighed = fit(
        network, y, sample_weight=by_row, validation=(X[::2], y[::2], by_row[::2])
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(history.validation_loss, weighed.validation_loss, rtol=1e-12)
    plain = fn.Model(network, dtype="float64", backend="numpy")
    plain.parameters.flat[:] = found
    guess = plain.predict(X[::2])
    right = ((guess[:, 0] > 0.5) if outputs == 1 else guess.argmax(axis=1)) == known[::2]
    # The metrics weigh rows as they are given.
    assert history.metrics["accuracy"][-1] == pytest.approx(np.average(right, weights=WEIGHTS[::2]))


def test_smoothed_targets_are_weighed_by_their_shares():
    network = fn.Network(3, [fn.Dense(3, "softmax")], loss="crossentropy")
    y = 0.9 * np.eye(3)[CLASSES] + 0.1 / 3
    found, _ = fit(network, y, class_weight={1: 3})
    expected, _ = fit(network, y, sample_weight=y @ [1, 3, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "y", "message"),
    [
        ("even", CLASSES, "unknown class_weight 'even'"),
        ([1, 2, 3], CLASSES, r"class_weight is \[1, 2, 3\]; it must be 'balanced', or a weight"),
        ({3: 1}, CLASSES, "names the class 3; classes are numbered from 0 to 2"),
        ({"a": 1}, CLASSES, "names the class 'a'"),
        ({True: 1}, CLASSES, "names the class True"),
        ({0: -1}, CLASSES, "class_weight of 0"),
        ({0: 0, 1: 0, 2: 0}, CLASSES, "leaves no row of weight above 0"),
        ("balanced", X, "is for targets that are classes"),
    ],
)
def test_weights_that_are_refused(given, y, message):
    last = ("softmax", "crossentropy") if y is CLASSES else ("identity", "mse")
    network = fn.Network(3, [fn.Dense(3, last[0])], loss=last[1])
    with pytest.raises((fn.DefinitionError, fn.DataError), match=message):
        fit(network, y, class_weight=given)
