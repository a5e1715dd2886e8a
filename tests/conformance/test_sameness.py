"""The same again: every bit, however a training is cut, watched, copied or shared out."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from compare import assert_near, assert_same_bits
from samples import label, rows_for, weights_for
from tolerances import FORWARD

import fastnet as fn

NETWORK = fn.Network(
    6, [fn.Dense(17, "gelu"), fn.Dropout(0.2), fn.Dense(9, "tanh"), fn.Dense(2, "sigmoid")],
    "binary_crossentropy",
)  # fmt: skip
ROWS = 75
X, Y = rows_for(NETWORK, ROWS)


def make(backend, dtype="float32", seed=9):
    return fn.Model(NETWORK, backend=backend, dtype=dtype, seed=seed)


def train(model, epochs=8, **options):
    settings = {"optimizer": fn.Adam(0.01), "batch_size": 16, **options}
    return model.fit(X, Y, epochs=epochs, **settings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_run_gives_the_same_bits(backend, dtype):
    models = [make(backend, dtype) for _ in range(2)]
    histories = [train(m, sample_weight=weights_for(ROWS), validation=0.2) for m in models]
    assert_same_bits(models[0].parameters.flat, models[1].parameters.flat)
    for name in ("epoch", "loss", "validation_loss", "learning_rate"):
        assert getattr(histories[0], name) == getattr(histories[1], name)


def test_another_seed_gives_other_bits(backend):
    one, other = make(backend, seed=1), make(backend, seed=2)
    assert (one.parameters.flat != other.parameters.flat).any()


#: One that is the same throughout, and one that changes within an epoch: rates come from the host.
RATES = [0.01, fn.WarmUp(2.5, fn.Step(0.01, 4))]


@pytest.mark.parametrize("rate", RATES, ids=lambda r: str(r) if isinstance(r, float) else label(r))
def test_watching_a_training_does_not_change_it(backend, rate):
    alone, watched, validated = (make(backend) for _ in range(3))
    seen = []
    train(alone, optimizer=fn.Adam(rate))
    train(watched, optimizer=fn.Adam(rate), callbacks=[lambda m, h: seen.append(len(h))])
    train(validated, optimizer=fn.Adam(rate), validation=(X[:5], Y[:5]))
    assert seen == list(range(1, 9))
    assert_same_bits(watched.parameters.flat, alone.parameters.flat)
    assert_same_bits(validated.parameters.flat, alone.parameters.flat)
    assert watched.history.loss == alone.history.loss == validated.history.loss


#: One for each way to use the memory: none, one vector, two, and the count of updates.
OPTIMIZERS = [fn.SGD(0.1), fn.SGD(0.1, momentum=0.9), fn.RMSprop(momentum=0.5), fn.AdamW()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=label)
def test_four_epochs_and_four_more_are_eight(backend, optimizer):
    whole, halves = make(backend), make(backend)
    history = train(whole, optimizer=optimizer)
    first = train(halves, 4, optimizer=optimizer)
    second = train(halves, 8, optimizer=optimizer, initial_epoch=4)
    assert_same_bits(halves.parameters.flat, whole.parameters.flat)
    assert first.loss + second.loss == history.loss
    assert second.epoch == list(range(5, 9))


def test_two_threads_train_two_models_as_one_thread_does(backend):
    wanted = []
    seeds = (1, 2, 3)
    for seed in seeds:
        model = make(backend, seed=seed)
        train(model)
        wanted.append(model.parameters.flat)
    models = [make(backend, seed=seed) for seed in seeds]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, models))
    for model, flat in zip(models, wanted, strict=True):
        assert_same_bits(model.parameters.flat, flat)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_a_model_is_a_model_of_its_own_that_trains_alike(backend, copied):
    model = make(backend)
    train(model, 2)
    other = copied(model)
    assert (other.network, other.dtype, other.seed) == (NETWORK, "float32", 9)
    assert other.backend == backend
    assert_same_bits(other.parameters.flat, model.parameters.flat)
    assert_same_bits(other.predict(X), model.predict(X))
    before = model.parameters.flat.copy()
    train(other, 4, initial_epoch=2)
    assert_same_bits(model.parameters.flat, before)
    train(model, 4, initial_epoch=2)
    assert_same_bits(other.parameters.flat, model.parameters.flat)


def test_a_row_is_predicted_alike_in_any_company_of_the_same_size(backend):
    model = make(backend)
    whole = model.predict(X)
    assert_same_bits(model.predict(X), whole)
    turned = model.predict(X[::-1])
    if backend.startswith("array_api:"):
        # What another library computes may depend on where a row is: PyTorch's functions round the
        # last numbers of an array, which fill no vector, otherwise than those before.
        assert_near(turned, whole[::-1], FORWARD["float32"])
    else:
        assert_same_bits(turned, whole[::-1])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_number_of_threads_gives_the_same_bits_every_time(backend, threads):
    network = fn.Network(64, [fn.Dense(256, "relu"), fn.Dense(1)])
    x, y = rows_for(network, 300)
    models = [fn.Model(network, backend=backend, seed=1, threads=threads) for _ in range(2)]
    for model in models:
        model.fit(x, y, epochs=2, batch_size=128)
    assert_same_bits(models[0].parameters.flat, models[1].parameters.flat)
