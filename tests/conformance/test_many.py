"""Many networks trained at once: near those trained alone, with bits that have no neighbors."""

import math

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from tolerances import TRAJECTORY

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters

TANH = fn.Network(3, [fn.Dense(5, "tanh"), fn.Dense(2, "silu"), fn.Dense(2)], "huber")
CLASSES = fn.Network(2, [fn.Dense(4, "relu"), fn.Dense(3, "softmax")], "crossentropy")
YES_OR_NO = fn.Network(4, [fn.Dense(1, "sigmoid")], "binary_crossentropy")

RULES = [fn.SGD(), fn.SGD(momentum=0.8), fn.SGD(momentum=0.8, nesterov=True), fn.Adam(),
         fn.AdamW(), fn.RMSprop()]  # fmt: skip


def cases(program, network, rules):
    """States, rows and runs of 19 networks that differ in all that may differ."""
    lowered, count = program.plan, 19
    states, data, runs = [], [], []
    for n in range(count):
        rule = rules[n % len(rules)]
        rows = 6 if n % 5 else 1 + n // 5
        x, y = rows_for(network, rows, seed=n % 2, form="index" if n % 3 else "soft")
        weight = weights_for(rows, n) if n % 4 == 0 else None
        y = y if y.dtype.kind == "i" else y.astype(np.float64)
        data.append(program.upload(Data(Inputs(x), y, weight)))
        flat = initial_parameters(network, n)
        memory = rule.memory(lowered.trained, flat.dtype)
        states.append(State(program.to_device(flat), program.to_device(memory)))
        steps = 8 + n % 3
        rate = 0.02 * (1 + n % 4)
        if n % 7 == 0:
            rate = np.linspace(rate, 0, steps)
        decay = rule.decoupled_decay
        runs.append(
            Run(0, steps, rows, None, rule, rate, l2=0.01 * (n % 2), weight_decay=decay,
                reports_penalty=False)
        )  # fmt: skip
    return states, data, runs


def copied(program, state):
    host = program.to_host
    parameters, memory = host(state.parameters).copy(), host(state.memory).copy()
    return State(program.to_device(parameters), program.to_device(memory), state.updates)


@pytest.mark.parametrize("network", [TANH, CLASSES, YES_OR_NO])
def test_many_networks_end_where_each_does_alone(backend, network):
    program = loading.load(backend).compile(lower(network), np.dtype(float), None, None)
    states, data, runs = cases(program, network, RULES)
    chosen = [0, 5, 17]
    alone = [copied(program, states[n]) for n in chosen]
    trio = [copied(program, states[n]) for n in chosen]
    losses = program.train_many(states, data, runs)
    fewer = program.train_many(trio, [data[n] for n in chosen], [runs[n] for n in chosen])
    host = program.to_host
    for n, single, other, found in zip(chosen, alone, trio, fewer, strict=True):
        wanted = program.train(single, data[n], runs[n])
        assert_near(losses[n], wanted, TRAJECTORY)
        assert_near(host(states[n].parameters), host(single.parameters), TRAJECTORY)
        if single.memory.shape[0]:
            assert_near(host(states[n].memory), host(single.memory), TRAJECTORY)
        assert states[n].updates == single.updates
        assert_same_bits(losses[n], found)
        assert_same_bits(host(states[n].parameters), host(other.parameters))


@pytest.mark.parametrize("rule", [fn.SGD(), fn.SGD(momentum=0.8), fn.Adam()])
def test_a_network_whose_loss_overflows_stops_before_its_update(backend, rule):
    network = fn.Network(3, [fn.Dense(5, "tanh"), fn.Dense(2)], "mse")
    # One thread has so many networks that Numba trains two groups of them in turns.
    program = loading.load(backend).compile(lower(network), np.dtype(float), 1, None)
    states, data, runs = cases(program, network, [rule])
    bad = program.to_host(states[3].parameters).copy()
    bad[-2:] = 1e200
    states[3] = State(program.to_device(bad.copy()), states[3].memory)
    others = copied(program, states[4]), copied(program, states[18])
    losses = program.train_many(states, data, runs)
    assert len(losses[3]) == 1
    assert not math.isfinite(losses[3][0])
    assert states[3].updates == 0
    assert_same_bits(program.to_host(states[3].parameters), bad)
    for place, other in zip((4, 18), others, strict=True):
        program.train_many([other], [data[place]], [runs[place]])
        assert_same_bits(
            program.to_host(states[place].parameters), program.to_host(other.parameters)
        )


@pytest.mark.parametrize("members", [1, 17])
def test_networks_of_one_row_each_end_where_each_does_alone(backend, members):
    program = loading.load(backend).compile(lower(YES_OR_NO), np.dtype(float), None, None)
    rule, states, data = fn.Adam(), [], []
    for n in range(members):
        x, y = rows_for(YES_OR_NO, 1, seed=n)
        data.append(program.upload(Data(Inputs(x), y)))
        flat = initial_parameters(YES_OR_NO, n)
        memory = rule.memory(program.plan.trained, flat.dtype)
        states.append(State(program.to_device(flat), program.to_device(memory)))
    runs = [Run(0, 20, 1, None, rule, 0.1 / (n + 1)) for n in range(members)]
    alone = [copied(program, state) for state in states]
    found = program.train_many(states, data, runs)
    for n in range(members):
        assert_near(found[n], program.train(alone[n], data[n], runs[n]), TRAJECTORY)
        one, other = (program.to_host(s.parameters) for s in (states[n], alone[n]))
        assert_near(one, other, TRAJECTORY)


def test_networks_that_are_not_at_work_hold_no_room(backend):
    network = fn.Network(3, [fn.Dense(40, "tanh"), fn.Dense(2)], "mse")
    program = loading.load(backend).compile(lower(network), np.dtype(float), None, None)
    states, data, runs = cases(program, network, [fn.RMSprop()])
    program.train_many(states, data, runs)
    assert all(state.room is None for state in states)
