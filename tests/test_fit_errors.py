"""What a model, its fit and their settings refuse, in which words."""

import math

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn

NETWORK = fn.Network(4, [fn.Dense(12, "tanh"), fn.Dense(1)])
X, Y = rows_for(NETWORK, 40)


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
    model = fn.Model(NETWORK, backend="numpy", seed=6)
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


def test_a_dropout_step_that_no_fit_reaches_is_refused():
    says = rf"dropout_step is {2**53}; it must be less than {2**53}"
    with pytest.raises(fn.DefinitionError, match=says):
        fn.Model(NETWORK, backend="numpy").loss_and_gradient(X, Y, dropout_step=2**53)
