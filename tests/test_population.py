"""Populations: what members share, how they stop, what is kept of them."""

import pickle
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from compare import assert_same_bits

import fastnet as fn
from fastnet import memory

NETWORK = fn.Network(3, [fn.Dense(6, "tanh"), fn.Dense(1)], "mse")
X = np.random.default_rng(0).standard_normal((30, 3))
Y = np.sin(X[:, :1]) + X[:, 1:2]


#: Too wide to be trained side by side: Numba trains each of these in a thread of its own.
WIDE = fn.Network(3, [fn.Dense(17, "tanh"), fn.Dense(1)], "mse")

with_numba = pytest.param(
    WIDE,
    "numba",
    marks=pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed"),
)
every_way = pytest.mark.parametrize(("network", "backend"), [(NETWORK, "numpy"), with_numba])


@pytest.fixture(autouse=True)
def _threads_for_short_fits(monkeypatch):
    """Have Numba start threads for fits that are too short to be worth it."""
    if find_spec("numba") is not None:
        monkeypatch.setattr("fastnet_numba.many.WORTH_STARTING", 0)


def made(members=4, seed=7, network=NETWORK, backend="numpy", **options):
    return fn.Population(network, members=members, seed=seed, backend=backend, **options)


def test_a_member_starts_like_the_model_of_its_seed():
    assert made().seeds == [7, 8, 9, 10]
    for seed, flat in zip([5, 2], made(None, [5, 2]).parameters, strict=True):
        assert_same_bits(flat, fn.Model(NETWORK, seed=seed, backend="numpy").parameters.flat)


def test_a_member_is_a_model_that_shares_its_parameters():
    population = made()
    population[-1].parameters["1.bias"] = [5.0]
    assert population.parameters[3, -1] == 5
    assert [model.seed for model in population] == population.seeds
    with pytest.raises(IndexError, match="there are 4 members"):
        population[4]


def test_targets_of_their_own():
    y = np.stack([Y, 2 * Y, -Y, Y**2])
    both = made(), made()
    both[0].fit(X, y, epochs=3)
    both[1].fit(X, y[..., 0], epochs=3)  # (members, rows)
    for n in range(4):
        model = fn.Model(NETWORK, seed=7 + n, backend="numpy")
        model.fit(X, y[n], epochs=3)
        for population in both:
            assert_same_bits(population.parameters[n], model.parameters.flat)
    losses = both[0].evaluate(X, y)
    assert losses.tolist() == [both[0][n].evaluate(X, y[n]) for n in range(4)]


@every_way
def test_a_member_stops_alone_and_the_rest_validates(network, backend):
    rows = [np.arange(30) % 5 != fold for fold in range(4)]
    population = made(network=network, backend=backend)
    histories = population.fit(
        X, Y, optimizer="adam", rows=rows, validation="rest", epochs=40, batch_size=4,
        early_stopping=[1, 3, None, 2], metrics=["r2"],
    )  # fmt: skip
    assert len(histories[2]) == 40
    for n, patience in ((0, 1), (1, 3), (3, 2)):
        model = fn.Model(network, seed=7 + n, backend=backend)
        rest = X[~rows[n]], Y[~rows[n]]
        model.fit(X[rows[n]], Y[rows[n]], epochs=40, batch_size=4, validation=rest,
                  early_stopping=patience, metrics=["r2"])  # fmt: skip
        assert histories[n].validation_loss == model.history.validation_loss
        assert histories[n].metrics == model.history.metrics
        assert_same_bits(population.parameters[n], model.parameters.flat)


@every_way
def test_a_member_diverges_alone(network, backend):
    population = made(3, network=network, backend=backend)
    with pytest.warns(
        RuntimeWarning, match=r"1 of 3 members diverged \(1\); member 1: the loss"
    ) as told:
        histories = population.fit(X, Y, optimizer=fn.SGD([0.01, 1e30, 0.01]), epochs=3)
    assert [len(history) for history in histories][::2] == [3, 3]
    assert list(population.diverged) == [1]
    for n, rate in enumerate([0.01, 1e30, 0.01]):
        model = fn.Model(network, seed=7 + n, backend=backend)
        with pytest.raises(fn.Diverged) if n == 1 else nullcontext() as caught:
            model.fit(X, Y, optimizer=fn.SGD(rate), epochs=3)
        if n == 1:
            assert str(population.diverged[1]) == str(caught.value)
        assert histories[n].loss == model.history.loss
        assert_same_bits(population.parameters[n], model.parameters.flat)
    assert told[0].filename == __file__
    with pytest.raises(fn.Diverged, match="2 of 2 members"):
        made(2).fit(X, Y, optimizer=fn.SGD(1e30), epochs=3)


def test_ten_epochs_and_ten_more_are_twenty():
    once, twice = made(), made()
    once.fit(X, Y, optimizer="adam", epochs=20)
    twice.fit(X, Y, optimizer="adam", epochs=10)
    chosen = twice.take([3, 1])
    chosen.fit(X, Y, optimizer="adam", epochs=20, initial_epoch=10)
    assert_same_bits(chosen.parameters, once.parameters[[3, 1]])
    model = pickle.loads(pickle.dumps(twice))[0]
    model.fit(X, Y, optimizer="adam", epochs=20, initial_epoch=10)
    assert_same_bits(model.parameters.flat, once.parameters[0])


@every_way
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_a_fit_that_was_broken_off_resumes_bit_for_bit(tmp_path, stop, network, backend):
    options = {
        "optimizer": fn.Adam([0.01, 0.02, 0.03]), "epochs": [6, 3, 8], "rows": [range(9), range(5),
        range(30)], "batch_size": 4, "validation": (X, Y), "early_stopping": 5,
    }  # fmt: skip
    make = partial(made, network=network, backend=backend)
    whole = make(3)
    wanted = whole.fit(X, Y, **options)

    def breaks(model, history):
        if len(history) == 4:
            raise stop

    path = tmp_path / "fit.ckpt"
    broken = make(3)
    with pytest.raises(stop):
        broken.fit(X, Y, **options, callbacks=[breaks], checkpoint=path)
    resumed = make(3)
    found = resumed.fit(X, Y, **options, checkpoint=path, resume=True)
    assert_same_bits(resumed.parameters, whole.parameters)
    assert [h.validation_loss for h in found] == [h.validation_loss for h in wanted]
    with pytest.raises(fn.ModelFileError, match=r"its members\[2\] l2 was 0.0, now it is 0.5"):
        make(3).fit(X, Y, **options, l2=[0, 0, 0.5], checkpoint=path, resume=True)
    with pytest.raises(fn.ModelFileError, match=r"its members\[0\] training rows were different"):
        make(3).fit(X, -Y, **options, checkpoint=path, resume=True)


def test_what_is_saved_is_read_again(tmp_path):
    population = made(dtype="float64")
    found = fn.load_population(population.save(tmp_path / "some.safetensors"), backend="numpy")
    assert_same_bits(found.parameters, population.parameters)
    assert (found.seeds, found.network, found.dtype) == (
        population.seeds, population.network, "float64",
    )  # fmt: skip
    with pytest.raises(fn.ModelFileError, match=r"holds a population.*load_population"):
        fn.load(tmp_path / "some.safetensors")


def test_more_members_than_fit_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    with pytest.raises(fn.DoesNotFit, match=r"and 97\.7 KiB are free; there is room for 806 mem"):
        made(1000)
    population = made(300)
    with pytest.raises(fn.DoesNotFit, match=r"a fit of 300 members: 452 KiB.*room for 64 mem"):
        population.fit(X, Y, batch_size=None)
    sizes = 999, 1000, 1.5 * 2**20, 1023.9 * 2**20, 1023 * 2**30, 2**50
    texts = ["999 B", "0.977 KiB", "1.5 MiB", "1 GiB", "1,023 GiB", "1,048,576 GiB"]
    assert [memory.text(size) for size in sizes] == texts


def test_a_callback_that_answers_true_ends_its_member():
    seen = []

    def callback(model, history):
        seen.append((model.seed, len(history)))
        return model.seed == 8 and len(history) == 2

    made(3).fit(X, Y, epochs=3, batch_size=None, callbacks=[callback])
    assert sorted(seen) == [(7, 1), (7, 2), (7, 3), (8, 1), (8, 2), (9, 1), (9, 2), (9, 3)]


REFUSED = [
    ({"optimizer": fn.SGD([0.1, 0.2])}, fn.DefinitionError, "has 2 values; give one for all"),
    ({"l2": [0, 0, 0, -1.0]}, fn.DefinitionError, "member 3: l2 is -1"),
    ({"epochs": [1, 2]}, fn.DefinitionError, "epochs has 2 values"),
    ({"rows": 5}, fn.DataError, "rows has 1 entries"),
    ({"rows": [[0]] * 3}, fn.DataError, "rows has 3 entries"),
    ({"rows": [[0], [1], [2], [30]]}, fn.DataError, "member 3: rows holds 30; there are 30 rows"),
    ({"rows": [[0], [1], [2], []]}, fn.DataError, "member 3: rows has no entries"),
    ({"rows": [range(30)] * 4, "validation": "rest"}, fn.DataError, "its rows are all 30"),
    ({"validation": "rest"}, fn.DefinitionError, "needs rows"),
    ({"early_stopping": [1, None, 1, 1]}, fn.DefinitionError, "needs a validation loss"),
    ({"sample_weight": -np.ones((4, 30))}, fn.DataError, "member 0: sample_weight is -1"),
    ({"dropout_factor": -1}, fn.DefinitionError, "dropout_factor is -1"),
]


@pytest.mark.parametrize(("options", "error", "text"), REFUSED)
def test_what_does_not_fit_is_refused(options, error, text):
    population = made()
    before = population.parameters.copy()
    with pytest.raises(error, match=text):
        population.fit(X, Y, **options)
    assert_same_bits(population.parameters, before)


def test_constants_of_members_are_checked_like_those_of_a_model():
    rule = fn.Rprop(learning_rate=[0.1, 0.2], etas=[(0.5, 1.2), (0.4, 1.5)])
    assert rule.each == (fn.Rprop(0.1), fn.Rprop(0.2, etas=(0.4, 1.5)))
    same = fn.Rprop(np.array([0.1, 0.2]), np.array([[0.5, 1.2], [0.4, 1.5]]))
    assert (same, hash(same)) == (rule, hash(rule))
    cosine = {"name": "cosine", "rate": 0.1}
    assert fn.SGD([cosine, 0.2]) == fn.SGD([fn.Cosine(0.1), 0.2])
    with pytest.raises(fn.DefinitionError, match=r"member 1: adam beta1 is 1\.5"):
        fn.Adam(beta1=[0.5, 1.5])
    with pytest.raises(fn.DefinitionError, match="learning_rate has 2, beta1 has 3 values"):
        fn.Adam([0.1, 0.2], beta1=[0.1, 0.2, 0.3])
    with pytest.raises(fn.DefinitionError, match="has constants for 2 members"):
        fn.Model(NETWORK, backend="numpy").fit(X, Y, optimizer=fn.SGD([0.1, 0.2]))


@pytest.mark.parametrize(("rows", "ends"), [(30, {0}), (50, {0}), (9, {1, 2, 3, 4, 0})])
def test_runs_of_about_an_epoch_end_with_it(rows, ends, monkeypatch):
    some = made()
    x, y = fn.datasets.synthetic(40, 3, 1)
    train, ended = type(some.program).train_many, set()

    def train_many(program, states, data, runs):
        ended.update((run.first_step + run.steps) % 5 for run in runs)
        return train(program, states, data, runs)

    monkeypatch.setattr(type(some.program), "train_many", train_many)
    monkeypatch.setattr("fastnet.training.together.Pace.rows", lambda *given: rows)
    some.fit(x, y, epochs=4, batch_size=8)
    assert ended == ends
