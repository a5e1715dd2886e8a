"""What a model is made with, as its attributes: fixed, but for seeds, which are checked."""

import copy
import pickle

import numpy as np
import pytest

import fastnet as fn
from fastnet.errors import DefinitionError

NETWORK = fn.Network(2, [fn.Dense(3, "tanh"), fn.Dense(1)])


@pytest.mark.parametrize("kind", [fn.Model, fn.Population])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", fn.Network(2, [fn.Dense(1)])),
        ("dtype", "float64"),
        ("precision", "tf32"),
        ("backend", "numpy"),
    ],
)
def test_what_is_compiled_cannot_be_set(kind, name, value):
    made = kind(NETWORK, seed=[1]) if kind is fn.Population else kind(NETWORK, seed=1)
    before = getattr(made, name)
    with pytest.raises(
        DefinitionError, match=f"{name} cannot be set to .*make another {kind.__name__}"
    ):
        setattr(made, name, value)
    for one in (made, copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert getattr(one, name) == before


def test_seeds_that_are_assigned_are_checked_and_count():
    model, population = fn.Model(NETWORK, seed=1), fn.Population(NETWORK, seed=[1, 2])
    for wrong in ("nonsense", -1, 1.5, 2**64, None):
        with pytest.raises(DefinitionError, match="seed is"):
            model.seed = wrong
    for wrong in ("nonsense", -1, [1, -2], [3]):
        with pytest.raises(DefinitionError, match="seed"):
            population.seeds = wrong
    assert (model.seed, population.seeds) == (1, [1, 2])
    model.seed, population.seeds = np.uint8(7), 7
    assert (model.seed, population.seeds) == (7, [7, 8])
    x, y = np.eye(2), np.ones(2)
    other = fn.Model.of(NETWORK, model.parameters, seed=7)
    for one in (model, other):
        one.fit(x, y, epochs=3, batch_size=1)
    assert (model.parameters.flat == other.parameters.flat).all()
