"""Fitting: losses, batches, shuffles, callbacks, history, and a fit that goes on from another."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for
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


def test_a_fit_in_several_runs_has_the_bits_of_one_run(backend):
    x, y = fn.datasets.synthetic(20, 3)
    network = fn.Network(3, [fn.Dense(5, "tanh"), fn.Dense(1)])
    whole, cut = (fn.Model(network, backend=backend, seed=1) for _ in range(2))
    whole.fit(x, y, epochs=5, optimizer="adam")
    cut.fit(x, y, epochs=5, optimizer="adam", validation=(x, y))  # a run for each epoch
    assert_same_bits(cut.parameters.flat, whole.parameters.flat)


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
