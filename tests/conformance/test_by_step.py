"""What a run may hold once for all steps or one for each: every backend takes both."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn
from fastnet.contract.program import Data, Inputs, Run, State

NETWORK = fn.Network(5, [fn.Dropout(0.25), fn.Dense(7, "tanh"), fn.Dropout(0.5), fn.Dense(2)])
STEPS = 7

#: For each, seven values, one of them 0.
VALUES = {
    "learning_rate": [0.05, 0.1, 0.0, 0.2, 0.05, 0.01, 0.1],
    "l2": [0.5, 0.0, 0.25, 0.125, 2.0, 0.0, 0.1],
    "weight_decay": [0.5, 0.0, 0.25, 0.125, 2.0, 0.0, 0.1],
    "dropout_factor": [1.0, 0.0, 0.5, 1.5, 0.25, 0.0, 1.0],
}


def fresh(program, flat, rule):
    memory = rule.memory(len(flat), flat.dtype)
    return State(program.to_device(flat.copy()), program.to_device(memory))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VALUES)
def test_a_value_for_each_step_is_the_same_as_a_run_for_each_step(backend, name, dtype):
    model = fn.Model(NETWORK, backend=backend, dtype=dtype, seed=1)
    program, flat = model.program, model.parameters.flat
    x, y = (array.astype(dtype) for array in rows_for(NETWORK, 20))
    data = program.upload(Data(Inputs(x), y))
    values = np.array(VALUES[name])
    for rule in (fn.SGD(), fn.Adam()):

        def run(first, steps, value, rule=rule):
            others = {"learning_rate": 0.05, "l2": 0.01, "weight_decay": 0.1, name: value}
            return Run(first, steps, 8, None, rule, **others, seed=3)

        together, apart, alike = (fresh(program, flat, rule) for _ in range(3))
        losses = program.train(together, data, run(0, STEPS, values))
        single = [
            program.train(apart, data, run(step, 1, float(values[step]))) for step in range(STEPS)
        ]
        assert_same_bits(losses, np.concatenate(single))
        get = program.to_host
        assert_same_bits(get(together.parameters), get(apart.parameters))
        program.train(alike, data, run(0, STEPS, float(values[0])))
        assert not np.array_equal(get(alike.parameters), get(together.parameters))


def test_a_factor_of_0_drops_nothing(backend):
    plain = fn.Network(5, [fn.Dense(7, "tanh"), fn.Dense(2)])
    x, y = rows_for(NETWORK, 20)
    ends = []
    for network, factor in ((NETWORK, 0.0), (plain, 1.0)):
        program = fn.Model(network, backend=backend, dtype="float64", seed=1).program
        # The first layer's draws depend on its place, so both start from given numbers.
        state = fresh(program, np.linspace(-1, 1, program.plan.size), fn.SGD())
        data = program.upload(Data(Inputs(x.astype(float)), y.astype(float)))
        program.train(state, data, Run(0, 9, 8, None, fn.SGD(), 0.1, dropout_factor=factor))
        ends.append(program.to_host(state.parameters))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)


@pytest.mark.parametrize("rule", [fn.SGD(), fn.SGD(momentum=0.5), fn.RMSprop(), fn.Rprop()])
def test_weight_decay_shrinks_parameters_before_the_step_of_any_optimizer(backend, rule):
    program = fn.Model(NETWORK, backend=backend, dtype="float64", seed=1).program
    x, y = rows_for(NETWORK, 20)
    data = program.upload(Data(Inputs(x.astype(float)), y.astype(float)))
    flat = np.linspace(-1, 1, program.plan.size)
    ends = []
    for decay in (0.0, 0.25):
        state = fresh(program, flat, rule)
        program.train(state, data, Run(0, 1, 8, None, rule, 0.1, weight_decay=decay))
        ends.append(program.to_host(state.parameters).copy())
    np.testing.assert_allclose(ends[1], ends[0] - 0.1 * 0.25 * flat, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": np.full(6, 0.1)}, r"learning_rate is float64 \(6,\)"),
        ({"l2": -0.1}, "l2 is -0.1; it must be 0 or more"),
        ({"l2": np.array([0.1, np.nan, 0.1])}, "l2 is nan"),
        ({"dropout_factor": -1.0}, "dropout_factor is -1.0"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_a_run_of_invalid_values_cannot_be_made(options, message):
    with pytest.raises(fn.DefinitionError, match=message):
        Run(**{"first_step": 0, "steps": 3, "batch_size": 8, "order": None, "optimizer": fn.SGD(),
               "learning_rate": 0.1, **options})  # fmt: skip


@pytest.mark.parametrize(
    ("options", "rule", "message"),
    [
        ({"dropout_factor": 2.0}, fn.SGD(), "dropout_factor is 2; times the rate 0.5"),
        ({"order": np.arange(20)[None]}, fn.SGD(), r"order is int64 \(1, 20\).*intp \(3, 20\)"),
        ({"order": np.zeros((3, 20), np.int32)}, fn.SGD(), "order is int32"),
        ({}, fn.Adam(), r"memory of adam has shape \(0, 58\); it must be \(2, 58\)"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_before_it_begins(backend, options, rule, message):
    program = fn.Model(NETWORK, backend=backend, dtype="float64", seed=1).program
    x, y = rows_for(NETWORK, 20)
    data = program.upload(Data(Inputs(x.astype(float)), y.astype(float)))
    state = fresh(program, np.zeros(program.plan.size), fn.SGD())
    run = Run(**{"first_step": 0, "steps": 7, "batch_size": 8, "order": None, "optimizer": rule,
                 "learning_rate": 0.1, **options})  # fmt: skip
    with pytest.raises(fn.DefinitionError, match=message):
        program.train(state, data, run)
    assert state.updates == 0
