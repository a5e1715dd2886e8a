"""Fitting: validation, early stopping, callbacks, history, and its errors."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from tolerances import FORWARD

import fastnet as fn

NETWORK = fn.Network(4, [fn.Dense(12, "tanh"), fn.Dense(1)])
X, Y = rows_for(NETWORK, 40)


def make(backend="numpy", **options):
    return fn.Model(NETWORK, backend=backend, seed=6, **options)


def test_training_lowers_the_loss(backend):
    model = make(backend)
    before = model.evaluate(X, Y)
    history = model.fit(X, Y, epochs=200, optimizer=fn.Adam(0.02))
    assert model.evaluate(X, Y) < 0.2 * before
    assert history is model.history
    assert history.loss[-1] < 0.3 * history.loss[0]


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


@pytest.mark.parametrize("stop", [True, np.True_])
def test_a_callback_that_returns_true_ends_the_fit(backend, stop):
    seen = []

    def callback(model, history):
        seen.append((model, history, len(history)))
        return stop if len(history) == 3 else None

    model, other = make(backend), make(backend)
    history = model.fit(X, Y, epochs=50, callbacks=[callback])
    assert [entry[2] for entry in seen] == [1, 2, 3]
    assert all(entry[0] is model and entry[1] is history for entry in seen)
    other.fit(X, Y, epochs=3)
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def test_a_callback_that_returns_something_else_ends_nothing():
    for value in (1, "stop", False, 0.0, [1]):
        history = make().fit(X, Y, epochs=2, callbacks=[lambda m, h, v=value: v])
        assert len(history) == 2


def test_a_callback_may_change_the_parameters(backend):
    def halve(model, history):
        model.parameters.flat[...] *= 0.5

    model, other = make(backend), make(backend)
    options = {"optimizer": fn.SGD(0.1, momentum=0.9), "batch_size": 16}
    model.fit(X, Y, epochs=4, callbacks=[halve], **options)
    for epoch in range(4):
        other.fit(X, Y, initial_epoch=epoch, epochs=epoch + 1, **options)
        other.parameters.flat[...] *= 0.5
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def test_the_history_is_lists_of_plain_numbers_one_entry_an_epoch():
    model = make()
    history = model.fit(X, Y, epochs=3, validation=0.2)
    facts = history.to_dict()
    assert list(facts) == ["epoch", "loss", "validation_loss", "learning_rate", "seconds"]
    assert all(len(values) == 3 for values in facts.values())
    assert json.loads(json.dumps(facts)) == facts
    assert facts["epoch"] == [1, 2, 3]
    assert all(type(v) is float for name in facts if name != "epoch" for v in facts[name])
    assert all(seconds >= 0 for seconds in facts["seconds"])
    assert len(history) == 3
    assert history
    facts["loss"].append(1.0)
    assert len(history.loss) == 3


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


def test_an_epochs_loss_is_the_mean_over_its_rows_tail_included(backend):
    model = make(backend, dtype="float64")
    history = model.fit(X, Y, epochs=1, batch_size=32, shuffle=False, optimizer=fn.SGD(1e-12))
    wanted = make(backend, dtype="float64").evaluate(X, Y)
    assert history.loss[0] == pytest.approx(wanted, rel=1e-8)


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epochs_loss_is_weighted_by_its_rows_weights(backend, shuffle):
    weight = np.where(np.arange(40) < 20, 0.0, np.arange(40) + 1.0)
    model = make(backend, dtype="float64")
    options = {"batch_size": 8, "optimizer": fn.SGD(1e-12), "shuffle": shuffle}
    history = model.fit(X, Y, epochs=2, sample_weight=weight, **options)
    wanted = make(backend, dtype="float64").evaluate(X, Y, weight)
    assert history.loss == pytest.approx([wanted] * 2, rel=1e-8)


@pytest.mark.parametrize("optimizer", [fn.SGD(1e-12), "lbfgs"])
def test_an_epochs_loss_leaves_penalties_out_as_the_validation_loss_does(backend, optimizer):
    model = make(backend, dtype="float64")
    penalties = {"l2": 3.0} if optimizer == "lbfgs" else {"l1": 2.0, "l2": 3.0}
    rows = {"validation": (X, Y), "batch_size": None}
    history = model.fit(X, Y, epochs=2, optimizer=optimizer, **penalties, **rows)
    # L-BFGS's loss is that after its iteration, the others' that before their step.
    wanted = history.validation_loss if optimizer == "lbfgs" else [make().evaluate(X, Y)] * 2
    assert history.loss == pytest.approx(wanted, rel=1e-6)


def test_a_batch_larger_than_the_rows_is_all_rows():
    model, other = make(), make()
    model.fit(X, Y, epochs=5, batch_size=1_000)
    other.fit(X, Y, epochs=5, batch_size=None)
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def test_the_batch_size_is_32_by_default():
    model, other = make(), make()
    model.fit(X, Y, epochs=3)
    other.fit(X, Y, epochs=3, batch_size=32, optimizer=fn.Adam(0.001))
    assert_same_bits(model.parameters.flat, other.parameters.flat)


def test_shuffling_takes_other_orders_and_can_be_left_out(backend):
    models = [make(backend) for _ in range(3)]
    models[0].fit(X, Y, epochs=2, batch_size=8)
    models[1].fit(X, Y, epochs=2, batch_size=8, shuffle=False)
    by_hand = make(backend)
    for _ in range(2):
        for start in range(0, 40, 8):
            rows = slice(start, start + 8)
            by_hand.fit(X[rows], Y[rows], epochs=1, batch_size=None, optimizer=fn.SGD(0.1))
    models[2].fit(X, Y, epochs=2, batch_size=8, shuffle=False, optimizer=fn.SGD(0.1))
    assert (models[0].parameters.flat != models[1].parameters.flat).any()
    assert_near(models[2].parameters.flat, by_hand.parameters.flat, FORWARD["float32"])


def test_a_second_fit_has_other_shuffles_and_masks_than_the_first(backend):
    network = fn.Network(4, [fn.Dense(12, "tanh"), fn.Dropout(0.5), fn.Dense(1)])
    models = [fn.Model(network, backend=backend, seed=6) for _ in range(3)]
    for model in models:
        model.fit(X, Y, epochs=1, batch_size=8)
    start = models[0].parameters.flat.copy()
    models[0].fit(X, Y, epochs=1, batch_size=8)
    again = pickle.loads(pickle.dumps(models[1]))
    again.fit(X, Y, epochs=1, batch_size=8)
    assert_same_bits(again.parameters.flat, models[0].parameters.flat)
    first = fn.Model(network, backend=backend, seed=6)
    first.parameters.flat[...] = start
    first.fit(X, Y, epochs=1, batch_size=8)
    assert (first.parameters.flat != models[0].parameters.flat).any()


def test_a_second_fit_checks_anew_what_is_not_the_same_object():
    model = fn.Model(fn.Network(4, [fn.Dense(1)]), backend="numpy", seed=6)
    table = {"name": "sgd", "learning_rate": 0.125}
    model.fit(X, Y, epochs=1, optimizer=table)
    table["learning_rate"] = 0.25
    assert model.fit(X, Y, epochs=1, optimizer=table).learning_rate == [0.25]
    assert len(model.fit(X, Y, epochs=2, optimizer=table)) == 2
    model.fit(X, Y, epochs=1, shuffle=True, l2=0.0)
    for wrong in ({"shuffle": 1, "l2": 0.0}, {"shuffle": True, "l2": False}):
        with pytest.raises(fn.DefinitionError, match="it must be"):
            model.fit(X, Y, epochs=1, **wrong)


def test_a_second_fit_resumes_in_another_process_as_what_it_was(tmp_path):
    straight, model = make(), make()
    for one in (straight, model):
        one.fit(X, Y, epochs=2, batch_size=8)
    straight.fit(X, Y, epochs=4, batch_size=8)
    model.fit(X, Y, epochs=2, batch_size=8, checkpoint=tmp_path / "c")
    other = make()
    other.fit(X, Y, epochs=4, batch_size=8, checkpoint=tmp_path / "c", resume=True)
    assert_same_bits(other.parameters.flat, straight.parameters.flat)
    for one in (other, straight):  # what follows is the same, too
        one.fit(X, Y, epochs=1, batch_size=8)
    assert_same_bits(other.parameters.flat, straight.parameters.flat)


@pytest.mark.parametrize("validated", [False, True])
def test_a_plateau_goes_on_from_the_initial_epoch(validated):
    rule = fn.SGD(fn.ReduceOnPlateau(0.3, 0.5, patience=1, min_delta=0.05), momentum=0.5)
    options = {"optimizer": rule, "validation": (X, -Y) if validated else None}
    straight, model = make(), make()
    whole = straight.fit(X, Y, epochs=20, **options)
    assert whole.learning_rate[9] < whole.learning_rate[0]
    first = model.fit(X, Y, epochs=10, **options)
    copied = pickle.loads(pickle.dumps(model))
    for one in (model, copied):
        second = one.fit(X, Y, epochs=20, initial_epoch=10, **options)
        assert first.learning_rate + second.learning_rate == whole.learning_rate
    assert_same_bits(model.parameters.flat, straight.parameters.flat)
    options["optimizer"] = fn.SGD(fn.ReduceOnPlateau(0.2), momentum=0.5)
    assert model.fit(X, Y, epochs=21, initial_epoch=20, **options).learning_rate == [0.2]


def test_an_optimizer_may_be_named_or_a_table():
    models = [make() for _ in range(4)]
    forms = ["adam", fn.Adam, fn.Adam(), {"name": "adam", "learning_rate": 0.001}]
    for model, optimizer in zip(models, forms, strict=True):
        model.fit(X, Y, epochs=2, optimizer=optimizer)
        assert_same_bits(model.parameters.flat, models[0].parameters.flat)


def test_no_epochs_are_left_where_the_initial_one_is_the_last():
    model = make()
    start = model.parameters.flat.copy()
    history = model.fit(X, Y, epochs=5, initial_epoch=5)
    assert len(history) == 0
    assert_same_bits(model.parameters.flat, start)


def loss(y, predicted):
    return 0.0


REFUSED = [
    ({"optimizer": "adm"}, r"unknown optimizer 'adm'; did you mean 'adam'\?"),
    ({"optimizer": 0.1}, r"unknown optimizer 0\.1"),
    ({"optimizer": {"name": "sgd", "lr": 1}}, "no constant 'lr'; did you mean 'learning_rate'"),
    ({"optimizer": {"name": "sgd", "learning_rate": 0}}, "learning rate is 0"),
    ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
    ({"epochs": 2.5}, r"epochs is 2\.5"),
    ({"batch_size": 0}, "batch_size is 0; it must be 1 or more"),
    ({"batch_size": -1}, "batch_size is -1"),
    ({"batch_size": 1.5}, r"batch_size is 1\.5"),
    ({"batch_size": "all"}, "batch_size is 'all'"),
    ({"shuffle": 1}, "shuffle is 1; it must be True or False"),
    ({"l1": -1}, "l1 is -1"),
    ({"l2": math.nan}, "l2 is nan"),
    ({"clip_norm": 0}, "clip_norm is 0"),
    ({"clip_value": -1}, "clip_value is -1"),
    ({"initial_epoch": -1}, "initial_epoch is -1"),
    ({"epochs": 2**62}, "epochs is 4.*with 40 rows it must be at most 22"),
    ({"early_stopping": 3}, "early_stopping needs a validation loss"),
    ({"early_stopping": True, "validation": 0.2}, "early_stopping is True"),
    ({"early_stopping": -1, "validation": 0.2}, "early_stopping is -1"),
    ({"resume": True}, "resume=True needs checkpoint"),
    ({"resume": "no"}, "resume is 'no'; it must be True or False"),
    ({"metrics": ["acuracy"], "validation": 0.2}, "unknown metric 'acuracy'; did you mean 'acc"),
    ({"metrics": "mae", "validation": 0.2}, r"metrics is 'mae'; put it in a list"),
    ({"metrics": [loss], "validation": 0.2}, "a function of the name 'loss'.*give it another name"),
    ({"metrics": ["mae"]}, "metric 'mae' is of validation rows; give validation="),
    ({"metrics": ["mae", "mae"], "validation": 0.2}, "names 'mae' twice"),
    ({"metrics": ["accuracy"], "validation": 0.2}, "'accuracy' is of classes.*y holds -.*use 'r2'"),
]


@pytest.mark.parametrize(("options", "says"), REFUSED, ids=[says[:30] for _, says in REFUSED])
def test_an_invalid_setting_is_refused_and_nothing_is_trained(options, says):
    model = make()
    start = model.parameters.flat.copy()
    with pytest.raises(fn.DefinitionError, match=says):
        model.fit(X, Y, **options)
    assert_same_bits(model.parameters.flat, start)
    assert model.history is None
    model.fit(X, Y, epochs=1)


@pytest.mark.parametrize(
    ("make_it", "says"),
    [
        (lambda: fn.Model("net"), r"network is 'net'; it must be an fn\.Network"),
        (lambda: fn.Model.of(3, {}), r"network is 3; it must be an fn\.Network"),
        (lambda: fn.Population.of(3, [[0.0]]), r"network is 3; it must be an fn\.Network"),
        (lambda: fn.Population(NETWORK, members=2, seed=np.array(3)), r"seed is array\(3\)"),
        (lambda: fn.Model(NETWORK, dtype="float16"), "dtype is 'float16'; it must be 'float32' or"),
        (lambda: fn.Model(NETWORK, dtype="nonsense"), "dtype is 'nonsense'"),
        (lambda: fn.Model(NETWORK, dtype=None), "dtype is None"),
        (lambda: fn.Model(NETWORK, dtype={"a": 1}), "dtype is"),
        (lambda: fn.Model(NETWORK, dtype=[]), "dtype is"),
        (lambda: fn.Model(NETWORK, dtype="f,("), "dtype is"),
        (lambda: fn.Model(NETWORK, seed=-1), "seed is -1"),
        (lambda: fn.Model(NETWORK, seed=2**64), "seed is .*less than"),
        (lambda: fn.Model(NETWORK, seed=1.5), r"seed is 1\.5"),
        (lambda: fn.SGD(0.1, momentum=1.5), "momentum is 1.5.*at most 1"),
        (lambda: fn.SGD(0.1, nesterov=True), "nesterov needs momentum"),
        (lambda: fn.Adam(beta1=-0.1), r"adam beta1 is -0\.1"),
        (lambda: fn.AdamW(weight_decay=-1), "weight_decay is -1"),
        (lambda: fn.Rprop(fn.Cosine(0.1)), "rprop adapts its own step sizes"),
        (lambda: fn.Rprop(step_sizes=(2, 1)), r"step_sizes\[1\] is 1"),
        (lambda: fn.LBFGS(history_size=0), "lbfgs history_size is 0"),
        (lambda: fn.EarlyStopping(-1), "patience is -1"),
        (lambda: fn.EarlyStopping(restore_best=1), "restore_best is 1; it must be True or False"),
        (lambda: fn.Checkpoint(""), "checkpoint path is ''; it must be the path of a file"),
    ],
)
def test_an_invalid_argument_is_refused_when_an_object_is_made(make_it, says):
    with pytest.raises(fn.DefinitionError, match=says):
        make_it()


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("f4"), "f4"])
def test_a_dtype_may_be_given_as_numpy_has_it(dtype):
    assert fn.Model(NETWORK, dtype=dtype, backend="numpy").dtype == "float32"


def test_a_copied_history_has_lists_of_its_own():
    model = fn.Model(fn.Network(2, [fn.Dense(1)]), backend="numpy", seed=1)
    history = model.fit([[0.0, 1.0], [1.0, 0.0]], [0.0, 1.0], epochs=5)
    copied = copy.copy(history)
    assert (len(history), len(copied)) == (5, 5)
    assert copied == history == pickle.loads(pickle.dumps(history))
    unknown = fn.History([1], [0.5], learning_rate=[math.nan], seconds=[0.1])  # as of L-BFGS
    assert unknown == pickle.loads(pickle.dumps(unknown)) != history
    parameters = copy.deepcopy(model.parameters)
    assert parameters == model.parameters
    parameters.flat[-1] += 1
    assert parameters != model.parameters
    copied.loss.append(1.0)
    assert len(history.loss) == 5


def test_a_batch_of_tiny_weights_is_a_batch_like_any_other(backend):
    x, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 0.5, 2.0]
    model = fn.Model(fn.Network(1, [fn.Dense(1)]), backend=backend, seed=1)
    wanted = fn.Model(model.network, backend="numpy", dtype="float64", seed=1)
    for one in (model, wanted):
        one.fit(
            x, y, sample_weight=[1, 1, 1e-39, 1e-39], batch_size=2, shuffle=False, epochs=3,
            optimizer="sgd",
        )  # fmt: skip
    np.testing.assert_allclose(model.parameters.flat, wanted.parameters.flat, rtol=1e-5)


@pytest.mark.parametrize("momenta", [(0.0, 0.9), (0.9, 0.0)])
def test_a_fit_that_goes_on_with_or_without_momentum_begins_its_memory_anew(backend, momenta):
    x, y = fn.datasets.synthetic(20, 3)
    network = fn.Network(3, [fn.Dense(5, "tanh"), fn.Dense(1)])
    model = fn.Model(network, backend=backend, dtype="float64", seed=1)
    plain = fn.Model(network, backend="numpy", dtype="float64", seed=1)
    for one in (model, plain):
        one.fit(x, y, optimizer=fn.SGD(0.1, momentum=momenta[0]), epochs=1)
        one.fit(x, y, optimizer=fn.SGD(0.1, momentum=momenta[1]), epochs=3, initial_epoch=1)
    np.testing.assert_allclose(model.parameters.flat, plain.parameters.flat, rtol=1e-12)


@pytest.mark.parametrize("rule", [fn.SGD(), fn.SGD(momentum=0.9), fn.Adam(), fn.Rprop()])
def test_an_optimizers_memory_begins_at_a_cache_line_at_first_and_in_training(rule, monkeypatch):
    network = fn.Network(3, [fn.Dense(n, "tanh") for n in (40, 30)] + [fn.Dense(1)])
    model = fn.Model(network, backend="numpy", seed=0)
    seen, train = [], type(model.program).train

    def trained(program, state, data, run):
        seen.append((state.memory.ctypes.data % 64, state.memory.shape))
        return train(program, state, data, run)

    monkeypatch.setattr(type(model.program), "train", trained)
    model.fit(*fn.datasets.synthetic(8, 3, 1), optimizer=rule, epochs=2)
    size = model.parameters.flat.size
    assert model.parameters.flat.ctypes.data % 64 == 0
    first = [rule.memory(size, np.dtype("float32")) for _ in range(8)]
    seen += [(memory.ctypes.data % 64, memory.shape) for memory in first]
    if rule.slots:
        assert set(seen) == {(0, (rule.slots, size))}
