"""What a backend overrides does the same as the default that the contract has for it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from tolerances import FORWARD, OPTIMIZER

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.plan import Parameter
from fastnet.contract.program import Data, Inputs, Program, Run, State
from fastnet.contract.starting import initial_parameters

NETWORK = fn.Network(
    5,
    [fn.Dropout(0.125), fn.Dense(6, "gelu"), fn.Dropout(0.25), fn.Dense(4, "selu"),
     fn.Dense(3, "softmax")],
    "crossentropy",
)  # fmt: skip
ROWS = 37
FLOAT64 = np.dtype(np.float64)


@pytest.fixture
def case(backend):
    program = loading.load(backend).compile(lower(NETWORK), FLOAT64, None, None)
    x, y = rows_for(NETWORK, ROWS)
    rows = Data(Inputs(x.astype(FLOAT64)), y, weights_for(ROWS).astype(FLOAT64))
    return program, initial_parameters(NETWORK, 3), program.upload(rows)


def a_run(steps, rule, first=0, **options):
    order = np.stack([np.random.default_rng(e).permutation(ROWS) for e in range(9)])
    first_epoch = first // -(-ROWS // 8)
    return Run(first, steps, 8, order[first_epoch:], rule, 0.05, seed=3, **options)


def a_state(program, flat, rule):
    put = program.to_device
    return State(put(flat.copy()), put(rule.memory(len(flat), flat.dtype)))


@pytest.mark.parametrize(
    "rule",
    [fn.SGD(), fn.SGD(momentum=0.9), fn.SGD(momentum=0.9, nesterov=True), fn.Adam(), fn.RMSprop(),
     fn.RMSprop(momentum=0.5), fn.Adagrad(), fn.Rprop(), fn.Lion()],
    ids=lambda rule: "-".join(map(str, [rule.canonical()[0], *rule.canonical()[1]])),
)  # fmt: skip
def test_a_run_is_its_batches_gradients_and_updates(case, rule):
    program, flat, data = case
    options = {"l1": 1e-3, "l2": 0.01, "weight_decay": 0.1, "clip_norm": 0.5, "clip_value": 0.2}
    fast, plain = a_state(program, flat, rule), a_state(program, flat, rule)
    losses = program.train(fast, data, a_run(23, rule, **options))
    wanted = Program.train(program, plain, data, a_run(23, rule, **options))
    assert_near(losses, wanted, FORWARD["float64"])
    get = program.to_host
    # A fused run may sum in another order than single steps do.
    assert_near(get(fast.parameters), get(plain.parameters), OPTIMIZER)
    assert_near(get(fast.memory), get(plain.memory), OPTIMIZER)
    assert fast.updates == plain.updates == 23


def test_loss_and_gradient_over_all_rows(case):
    program, flat, data = case
    parameters = program.to_device(flat)
    wanted = Program.loss(program, parameters, data)
    assert program.loss(parameters, data) == pytest.approx(wanted, rel=FORWARD["float64"])
    for arguments in [(), (0.1, 0.2), (0.0, 0.0, (3, 4))]:
        loss, gradient = program.gradient(parameters, data, *arguments)
        wanted, derivatives = Program.gradient(program, parameters, data, *arguments)
        assert loss == pytest.approx(wanted, rel=FORWARD["float64"])
        assert_near(gradient, derivatives, FORWARD["float64"])


def with_factors(statistic):
    """A plan whose pieces have rate and decay factors, and maybe a last one that is not trained."""
    plan = lower(fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(2)]))
    factors = [(0.5, 1.0), (2.0, 0.0), (1.0, 3.0), (0.0, 1.0)]
    pieces = [
        replace(piece, rate_factor=rate, decay_factor=decay)
        for piece, (rate, decay) in zip(plan.parameters, factors, strict=True)
    ]
    if statistic:
        pieces.append(Parameter("running", plan.size, (5,), "statistic"))
    return replace(plan, parameters=tuple(pieces), size=plan.size + 5 * statistic), factors


@pytest.mark.parametrize("statistic", [False, True])
@pytest.mark.parametrize("rule", [fn.SGD(), fn.Adam()], ids=["sgd", "adam"])
def test_factors_change_the_rate_and_the_decay_of_their_piece_and_statistics_stay(
    backend, rule, statistic
):
    plan, factors = with_factors(statistic)
    program = loading.load(backend).compile(plan, FLOAT64, None, None)
    plain = loading.load("numpy").compile(lower(fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(2)])),
                                          FLOAT64, None, None)  # fmt: skip
    x, y = rows_for(fn.Network(3, [fn.Dense(2)]), 9)
    rows = Data(Inputs(x.astype(FLOAT64)), y.astype(FLOAT64))
    start = np.linspace(-1, 1, plan.size)
    moved = State(start[: plan.trained].copy(), rule.memory(plan.trained, FLOAT64))
    plain.train(moved, rows, Run(0, 1, 9, None, rule, 0.1))
    memory = program.to_device(rule.memory(plan.trained, FLOAT64))
    state = State(program.to_device(start.copy()), memory)
    program.train(state, program.upload(rows), Run(0, 1, 9, None, rule, 0.1, weight_decay=0.5))
    found = program.to_host(state.parameters)
    step = start[: plan.trained] - moved.parameters  # of a rate of 0.1, without factors
    for piece, (rate, decay) in zip(plan.parameters[:4], factors, strict=True):
        here = slice(piece.offset, piece.offset + piece.size)
        wanted = start[here] * (1 - 0.1 * rate * 0.5 * decay) - rate * step[here]
        np.testing.assert_allclose(found[here], wanted, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(found[plan.trained :], start[plan.trained :])
    assert program.to_host(state.memory).shape == (rule.slots, plan.trained)


def test_masses_make_the_means_of_parts_add_up(case):
    program, flat, data = case
    rule = fn.SGD()
    state = a_state(program, flat, rule)
    run = a_run(5, rule, dropout_factor=0.0)
    parts = [program.batch_gradient(state, data, run, step) for step in range(5)]
    masses = np.array([mass for _, mass, _ in parts])
    loss, gradient = program.gradient(program.to_device(flat), data)
    share = masses / masses.sum()
    assert share @ [part[0] for part in parts] == pytest.approx(loss, rel=1e-12)
    gradients = np.stack([program.to_host(part[2]) for part in parts])
    assert_near(share @ gradients, gradient, FORWARD["float64"])
    assert masses.sum() == pytest.approx(float(program.to_host(data.weight).sum()), rel=1e-12)


def test_a_batch_whose_weights_are_all_0_has_no_mass_no_loss_and_no_gradient(case):
    program, flat, data = case
    rule = fn.SGD()
    nothing = Data(data.x, data.y, program.to_device(np.zeros(ROWS)))
    found = program.batch_gradient(a_state(program, flat, rule), nothing, a_run(1, rule), 0)
    assert found[:2] == (0.0, 0.0)
    assert not program.to_host(found[2]).any()
    assert program.loss(program.to_device(flat), nothing) == 0
    loss, gradient = program.gradient(program.to_device(flat), nothing)
    assert loss == 0
    assert not gradient.any()


def test_many_networks_train_as_each_does_alone(case):
    program, flat, data = case
    rules = [fn.Adam(), fn.Adam(beta1=0.5), fn.SGD()]
    runs = [a_run(9, rule, first=5 * n, l2=0.01 * n) for n, rule in enumerate(rules)]
    starts = [flat * (1 + 0.1 * n) for n in range(3)]
    together = [a_state(program, s, rule) for s, rule in zip(starts, rules, strict=True)]
    losses = program.train_many(together, [data] * 3, runs)
    for state, start, rule, run, found in zip(together, starts, rules, runs, losses, strict=True):
        alone = a_state(program, start, rule)
        assert_same_bits(found, program.train(alone, data, run))
        get = program.to_host
        assert_same_bits(get(state.parameters), get(alone.parameters))


@pytest.mark.parametrize(
    ("activation", "last", "loss"),
    [("tanh", "identity", "mse"), ("relu", "softmax", "crossentropy"), ("silu", "sigmoid", "mse")],
)
def test_the_input_gradient_is_the_slope_of_the_prediction(backend, activation, last, loss):
    network = fn.Network(4, [fn.Dense(6, activation), fn.Dropout(0.5), fn.Dense(3, last)], loss)
    program = loading.load(backend).compile(lower(network), FLOAT64, None, None)
    parameters = program.to_device(initial_parameters(network, 5))
    rng = np.random.default_rng(7)
    x, direction, d = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 3))

    def value(step):
        rows = Inputs(program.to_device(x + step * direction))
        return float((d * program.predict(parameters, rows)).sum())

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    found = program.input_gradient(parameters, Inputs(program.to_device(x)), d)
    assert found.shape == x.shape
    assert found.dtype == FLOAT64
    assert float((found * direction).sum()) == pytest.approx(slope, rel=1e-7)


def test_a_default_run_stops_before_the_update_of_a_loss_that_is_not_finite(case):
    program, flat, data = case
    rule = fn.SGD()
    numbers = np.array(program.to_host(data.x.numbers))
    numbers[int(a_run(1, rule).order[0, 20])] = math.nan
    spoiled = Data(Inputs(program.to_device(numbers)), data.y)
    state = a_state(program, flat, rule)
    losses = Program.train(program, state, spoiled, a_run(5, rule))
    assert len(losses) == 3
    assert math.isnan(losses[2])
    assert state.updates == 2
