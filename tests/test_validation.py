"""Validation of a fit: rows held out, early stopping, metrics."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for, weights_for

import fastnet as fn

NETWORK = fn.Network(4, [fn.Dense(12, "tanh"), fn.Dense(1)])
X, Y = rows_for(NETWORK, 40)


def make(backend="numpy", **options):
    return fn.Model(NETWORK, backend=backend, seed=6, **options)


def test_a_fraction_validates_on_rows_that_are_not_trained_on(backend):
    model = make(backend)
    history = model.fit(X, Y, epochs=3, validation=0.25, optimizer=fn.SGD(0.1), batch_size=None)
    order = fn.random.permutation(6, fn.random.SPLIT, 0, 40)
    held, kept = np.sort(order[:10]), np.sort(order[10:])
    other = make(backend)
    wanted = other.fit(
        X[kept], Y[kept], epochs=3, validation=(X[held], Y[held]), optimizer=fn.SGD(0.1),
        batch_size=None,
    )  # fmt: skip
    assert_same_bits(model.parameters.flat, other.parameters.flat)
    assert history.loss == wanted.loss
    assert history.validation_loss == wanted.validation_loss
    assert history.validation_loss[-1] == model.evaluate(X[held], Y[held])


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_rows_may_have_weights(weighted):
    model = make()
    weight = weights_for(40) if weighted else None
    parts = (X, Y, weight) if weighted else (X, Y)
    history = model.fit(X[:9], Y[:9], epochs=2, validation=parts)
    assert history.validation_loss[-1] == model.evaluate(X, Y, weight)
    listed = make().fit(X[:9], Y[:9], epochs=2, validation=list(parts))
    assert listed.validation_loss == history.validation_loss


def test_the_weights_are_split_with_their_rows():
    weight = np.arange(40) + 1.0
    model, other = make(), make()
    model.fit(X, Y, epochs=2, validation=0.25, sample_weight=weight, batch_size=None)
    order = fn.random.permutation(6, fn.random.SPLIT, 0, 40)
    kept = np.sort(order[10:])
    other.fit(X[kept], Y[kept], epochs=2, sample_weight=weight[kept], batch_size=None)
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def overfit(model, **options):
    """Fit rows whose validation loss soon rises."""
    return model.fit(
        X[:8], Y[:8], validation=(X[8:], -Y[8:]), optimizer=fn.SGD(0.05), batch_size=None,
        epochs=60, **options,
    )  # fmt: skip


def test_early_stopping_ends_the_fit_and_restores_the_best():
    model = make()
    history = overfit(model, early_stopping=3)
    best = int(np.argmin(history.validation_loss))
    assert len(history) == best + 1 + 3
    assert model.evaluate(X[8:], -Y[8:]) == history.validation_loss[best]


def test_early_stopping_may_keep_the_last():
    model = make()
    history = overfit(model, early_stopping=fn.EarlyStopping(3, restore_best=False))
    assert len(history) < 60
    assert model.evaluate(X[8:], -Y[8:]) == history.validation_loss[-1]


def test_early_stopping_restores_the_best_at_the_end_of_a_whole_fit_too():
    model = make()
    history = overfit(model, early_stopping=1_000)
    assert len(history) == 60
    best = min(history.validation_loss)
    assert best < history.validation_loss[-1]
    assert model.evaluate(X[8:], -Y[8:]) == best


def test_min_delta_decides_what_counts_as_better():
    history = overfit(make(), early_stopping=fn.EarlyStopping(2, min_delta=1e6))
    assert len(history) == 1 + 2


CLASSES = fn.Network(4, [fn.Dense(3, "softmax")], "crossentropy")
LABELS = fn.Network(4, [fn.Dense(3, "sigmoid")], "binary_crossentropy")
NUMBERS = fn.Network(4, [fn.Dense(3)])
MEANS = fn.Network(4, [fn.Dense(6)], "gaussian_nll")  # and variances


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("network", "name"),
    [(CLASSES, "accuracy"), (LABELS, "accuracy"), (NUMBERS, "r2"), (NUMBERS, "rmse"),
     (NUMBERS, "mae"), (MEANS, "rmse")],
)  # fmt: skip
def test_metrics_of_the_validation_rows(backend, network, name, weighted):
    from sklearn import metrics as theirs

    x, y = rows_for(network, 40)
    weight = weights_for(40) if weighted else None
    model = fn.Model(network, backend=backend, seed=1, dtype="float64")
    rows = (x, y, weight) if weighted else (x, y)
    history = model.fit(x, y, epochs=3, validation=rows, metrics=[name])
    p, weights = model.predict(x)[:, : network.targets], {"sample_weight": weight}
    wanted = {
        "r2": lambda: theirs.r2_score(y, p, **weights),
        "rmse": lambda: theirs.mean_squared_error(y, p, **weights) ** 0.5,
        "mae": lambda: theirs.mean_absolute_error(y, p, **weights),
        "accuracy": lambda: (
            theirs.accuracy_score(y, p.argmax(axis=1), **weights)
            if network is CLASSES
            else np.average(((p > 0.5) == (y > 0.5)).mean(axis=1), weights=weight)
        ),
    }[name]()
    assert len(history.metrics[name]) == 3
    assert history.metrics[name][-1] == pytest.approx(wanted, rel=1e-12)
    assert history.to_dict()[f"validation_{name}"] == history.metrics[name]


def test_metrics_may_be_functions_and_go_on_from_a_checkpoint(tmp_path):
    def worst(y, predicted):
        assert y.shape == predicted.shape == (8, 1)
        return np.abs(y - predicted).max()

    options = {"validation": (X[:8], Y[:8]), "checkpoint": tmp_path / "c", "resume": True}
    make().fit(X, Y, epochs=2, metrics=["mae"], **options)
    model = make()
    history = model.fit(X, Y, epochs=3, metrics=["mae", worst], **options)
    assert len(history.metrics["mae"]) == 3
    assert np.isnan(history.metrics["worst"]).tolist() == [True, True, False]
    wanted = np.abs(Y[:8] - model.predict(X[:8])).max()
    assert history.metrics["worst"][-1] == pytest.approx(wanted, rel=1e-6)
    assert model.fit(X, Y, epochs=3, **options).metrics.keys() == {"mae", "worst"}


def test_a_metric_may_change_what_it_is_given_and_may_fail():
    given = X[:8].astype("f4"), Y[:8].astype("f4")
    kept = [part.copy() for part in given]

    def meddling(y, predicted):
        y[...] = predicted[...] = 9
        return 1.0

    def failing(y, predicted):
        if len(model.history) == 2:
            raise ZeroDivisionError
        return float(np.mean((y - predicted) ** 2))

    model = fn.Model(NETWORK, backend="numpy", seed=1)
    with pytest.raises(ZeroDivisionError):
        model.fit(*given, epochs=3, validation=given, metrics=[meddling, failing])
    for part, before in zip(given, kept, strict=True):
        assert_same_bits(part, before)
    assert {len(column) for column in model.history.to_dict().values()} == {2}
    assert model.history.metrics["failing"][0] == pytest.approx(model.history.validation_loss[0])
    assert np.isnan(model.history.metrics["failing"][1])


def test_metrics_that_do_not_suit_the_rows_are_named():
    x, y = rows_for(CLASSES, 40)
    for name in ("r2", "rmse", "mae"):
        with pytest.raises(fn.DefinitionError, match=f"{name}' is of numbers; y holds classes"):
            fn.Model(CLASSES).fit(x, y, epochs=1, validation=0.2, metrics=[name])

    ends = fn.Network(4, [fn.Dense(2)], fn.Quantile((0.1, 0.9)))
    with pytest.raises(fn.DefinitionError, match="'mae' needs one prediction for each target, and"):
        fn.Model(ends).fit(x, x[:, 0], epochs=1, validation=0.2, metrics=["mae"])

    def errors(y, predicted):
        return y - predicted

    with pytest.raises(fn.DefinitionError, match="'errors' returned a ndarray; it must return a"):
        make().fit(X, Y, epochs=1, validation=0.2, metrics=[errors])


def test_without_validation_the_history_has_no_validation_loss():
    history = make().fit(X, Y, epochs=2)
    assert "validation_loss" not in history.to_dict()
    assert history.validation_loss == []
