"""Every member of a population is the model trained alone, on every backend."""

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from tolerances import TRAJECTORY

import fastnet as fn

NETWORK = fn.Network(
    5, [fn.Dense(17, "tanh"), fn.Dropout(0.25), fn.Dense(3, "softmax")], "crossentropy"
)
ROWS = 23


def alone(member, x, y, backend, weight, **options):
    """The model that a member should be, trained by itself."""
    network = NETWORK
    factor = options.pop("dropout_factor")
    if factor != 1:
        layers = [fn.Dropout(0.25 * factor) if i == 1 else d for i, d in enumerate(NETWORK.layers)]
        network = fn.Network(5, layers, "crossentropy")
    model = fn.Model(network, seed=40 + member, backend=backend, dtype="float64")
    model.fit(x, y, sample_weight=weight, batch_size=8, **options)
    return model


def test_members_are_the_models_trained_alone(backend):
    x, y = rows_for(NETWORK, ROWS)
    weights = np.stack([weights_for(ROWS, n) for n in range(3)])
    rows = [np.arange(4), np.random.default_rng(1).integers(0, ROWS, ROWS), [0]]  # and one row
    rates, l2, epochs, factors = [0.1, 0.02, 0.3], [0.0, 0.01, 0.1], [1, 3, 2], [1, 0.5, 0.25]
    population = fn.Population(NETWORK, members=3, seed=40, backend=backend, dtype="float64")
    histories = population.fit(
        x, y, optimizer=fn.SGD(rates, momentum=0.5), l2=l2, epochs=epochs, rows=rows,
        sample_weight=weights, dropout_factor=factors, batch_size=8, validation=(x, y),
    )  # fmt: skip
    predicted = population.predict(x)
    assert predicted.shape == (3, ROWS, 3)
    for n in range(3):
        model = alone(
            n, x[rows[n]], y[rows[n]], backend, weights[n][rows[n]],
            optimizer=fn.SGD(rates[n], momentum=0.5), l2=l2[n], epochs=epochs[n],
            dropout_factor=factors[n], validation=(x, y),
        )  # fmt: skip
        assert_same_bits(population.parameters[n], model.parameters.flat)
        assert histories[n].loss == model.history.loss
        assert histories[n].validation_loss == model.history.validation_loss
        assert_same_bits(predicted[n], model.predict(x))
        assert_same_bits(population[n].parameters.flat, model.parameters.flat)


@pytest.mark.parametrize(("members", "optimizer"), [(1, "adam"), (17, "sgd")])
def test_tiny_networks_are_near_the_models_trained_alone(backend, members, optimizer):
    """Where backends put networks into the lanes of a vector, sums have another order."""
    x, y = fn.datasets.xor()
    network = fn.datasets.xor_network()
    rule = {"name": optimizer, "learning_rate": list(np.linspace(0.5, 2, members))}
    population = fn.Population(network, members=members, seed=3, backend=backend, dtype="float64")
    histories = population.fit(x, y, optimizer=rule, epochs=30, batch_size=None)
    for n in (0, members - 1):
        own = {"name": optimizer, "learning_rate": rule["learning_rate"][n]}
        model = fn.Model(network, seed=3 + n, backend=backend, dtype="float64")
        model.fit(x, y, optimizer=own, epochs=30, batch_size=None)
        assert_near(population.parameters[n], model.parameters.flat, TRAJECTORY)
        assert_near(np.array(histories[n].loss), np.array(model.history.loss), TRAJECTORY)
