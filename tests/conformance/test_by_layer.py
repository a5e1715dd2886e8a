"""Learning rates and decay of single layers, against the naive loop with a rate for each number."""

import naive
import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import label, rows_for
from tolerances import OPTIMIZER

import fastnet as fn

WIDTHS = (5, 8, 3)
FACTORS = [((0.5, 0.1), (2.0, 0.0)), (3.0, 0.25)]
LAYERS = [
    fn.Dense(8, "tanh", learning_rate_factor=FACTORS[0][0], decay_factor=FACTORS[0][1]),
    fn.Dense(3, learning_rate_factor=FACTORS[1][0], decay_factor=FACTORS[1][1]),
]
#: Of the flat vector: weight and bias of the first layer, both of the second.
RATES = np.repeat([0.5, 0.1, 3.0], [40, 8, 27])
DECAYS = np.repeat([2.0, 0.0, 0.25], [40, 8, 27])

RULES = [
    (fn.SGD(0.05), lambda: naive.sgd(0.05 * RATES)),
    (fn.SGD(0.05, momentum=0.8, nesterov=True), lambda: naive.sgd(0.05 * RATES, 0.8, True)),
    (fn.AdamW(0.01, weight_decay=0.1), lambda: naive.adam(0.01 * RATES, weight_decay=0.1 * DECAYS)),
    (fn.RMSprop(0.01, momentum=0.5), lambda: naive.rmsprop(0.01 * RATES, momentum=0.5)),
    (fn.Adagrad(0.05), lambda: naive.adagrad(0.05 * RATES)),
    (
        fn.Lion(0.002, weight_decay=0.3),
        lambda: naive.lion(0.002 * RATES, weight_decay=0.3 * DECAYS),
    ),
]


@pytest.mark.parametrize("batch_size", [16, None], ids=["batches_with_a_tail", "full_batch"])
@pytest.mark.parametrize(
    ("optimizer", "update"), RULES, ids=lambda v: "naive" if callable(v) else label(v)
)
def test_a_layer_has_a_learning_rate_and_a_decay_of_its_own(backend, optimizer, update, batch_size):
    network = fn.Network(5, LAYERS)
    model = fn.Model(network, backend=backend, dtype="float64", seed=5, threads=2)
    start = model.parameters.flat.copy()
    x, y = rows_for(network, 100)
    epochs = 8 if batch_size else 50
    model.fit(x, y, optimizer=optimizer, epochs=epochs, batch_size=batch_size, clip_norm=1.0)
    steps = naive.batches(5, epochs, 100, batch_size or 100)

    def clipped(p, g):
        return g / max(np.linalg.norm(g), 1.0)

    wanted, _ = naive.train(start, WIDTHS, "tanh", x, y, steps, update(), clipped)
    assert_near(model.parameters.flat, wanted, OPTIMIZER)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_with_a_factor_of_0_stays_as_it_is(backend, dtype):
    layers = [fn.Dense(20, "relu", learning_rate_factor=0), fn.Dense(7, "tanh"), fn.Dense(2)]
    network = fn.Network(3, layers)
    model = fn.Model(network, backend=backend, dtype=dtype, seed=1)
    before = {name: piece.copy() for name, piece in model.parameters.items()}
    x, y = rows_for(network, 70)
    model.fit(x, y, optimizer=fn.AdamW(0.01, weight_decay=0.5), epochs=3)
    for name, piece in model.parameters.items():
        if name.startswith("0."):
            assert_same_bits(piece, before[name])
        else:
            assert (piece != before[name]).any()


def test_ntk_scaling_trains_as_weights_over_the_root_of_the_inputs():
    network = fn.Network(9, [fn.Dense(4, "tanh", scaling="ntk"), fn.Dense(1, scaling="ntk")])
    model = fn.Model(network, dtype="float64", seed=2)
    x, y = rows_for(network, 30)
    roots = np.repeat([3.0, 1.0, 2.0, 1.0], [36, 4, 4, 1])
    p, update = roots * model.parameters.flat, naive.adam(0.05, weight_decay=0.2, epsilon=1e-30)
    other = fn.Model(network, dtype="float64", seed=2)
    for t in range(1, 21):
        other.parameters.flat[...] = p / roots
        p = update(p, other.loss_and_gradient(x, y)[1] / roots, t)
    rule = fn.AdamW(0.05, weight_decay=0.2, epsilon=1e-30)
    model.fit(x, y, optimizer=rule, epochs=20, batch_size=None)
    assert_near(model.parameters.flat, p / roots, OPTIMIZER)


@pytest.mark.parametrize(
    ("layer", "optimizer", "says"),
    [
        ({"learning_rate_factor": 0.5}, "rprop", "rprop has steps of its own.*factor 0.5 of Dense"),
        ({"learning_rate_factor": 0}, "lbfgs", "lbfgs has steps of its own, not a learning rate"),
        ({"scaling": "ntk"}, "sgd", "sgd cannot follow the scaling 'ntk' of Dense.*use 'adam' or"),
        ({"scaling": "ntk"}, "lbfgs", "lbfgs cannot follow the scaling 'ntk'"),
    ],
)
def test_an_optimizer_that_cannot_follow_says_so(layer, optimizer, says):
    model = fn.Model(fn.Network(2, [fn.Dense(1, **layer)]), seed=0)
    with pytest.raises(fn.DefinitionError, match=says):
        model.fit(np.ones((3, 2)), np.ones(3), optimizer=optimizer)
