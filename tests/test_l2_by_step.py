"""A run whose L2 changes from step to step, where a backend's program says that it may."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn
from fastnet.contract.program import Data, Run, State

NETWORK = fn.Network(5, [fn.Dense(7, "tanh"), fn.Dense(2)])


@pytest.mark.parametrize("rule", [fn.SGD(0.1), fn.Adam(0.01)], ids=["sgd", "adam"])
def test_it_is_the_same_as_a_run_for_each_step(backend, rule):
    model = fn.Model(NETWORK, backend=backend, dtype="float64", seed=1)
    program = model.program
    if not getattr(program, "l2_by_step", False):
        pytest.skip(f"{backend} takes one L2 a run, and says so")
    x, y = rows_for(NETWORK, 20)
    data = Data(x.astype(np.float64), y.astype(np.float64))
    l2 = np.array([0.5, 0.0, 0.25, 0.125, 2.0, 0.0, 0.1])
    rates = np.full(7, 0.05)

    def state():
        size = model.parameters.flat.size
        return State(model.parameters.flat.copy(), rule.memory(size, np.dtype(np.float64)))

    together, apart = state(), state()
    losses = program.train(together, data, Run(0, rates, 8, None, rule, l2=l2))
    single = [
        program.train(apart, data, Run(step, rates[:1], 8, None, rule, l2=float(l2[step])))
        for step in range(7)
    ]
    assert_same_bits(losses, np.concatenate(single))
    assert_same_bits(together.parameters, apart.parameters)
    without = state()
    program.train(without, data, Run(0, rates, 8, None, rule))
    assert not np.array_equal(without.parameters, together.parameters)
