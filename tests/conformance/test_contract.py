"""A backend has the contract's methods, and they do what it says."""

import inspect
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from poison import poison
from samples import rows_for, weights_for
from tolerances import FORWARD

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.loading import CONTRACT
from fastnet.contract.lowering import lower
from fastnet.contract.program import Backend, Data, Inputs, Probe, Program, Run, State
from fastnet.contract.starting import initial_parameters

NETWORK = fn.Network(
    5,
    [fn.Dense(16, "relu"), fn.Dropout(0.25), fn.Dense(9, "gelu"), fn.Dense(3, "softmax")],
    "crossentropy",
)
LOWERED = lower(NETWORK)
ROWS = 37


def assert_same_signatures(cls, contract):
    """What a backend overrides takes what the contract says, by the same names."""
    for name, member in inspect.getmembers(contract, inspect.isfunction):
        if name.startswith("_"):
            continue
        found, wanted = (
            [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (getattr(cls, name), member)
        )
        assert found == wanted, f"{cls.__name__}.{name} should take {inspect.signature(member)}"


@pytest.fixture(params=["float32", "float64"])
def case(request, backend):
    """A program, and read-only parameters and rows that it was handed."""
    dtype = np.dtype(request.param)
    program = loading.load(backend).compile(LOWERED, dtype, None, None)
    flat = initial_parameters(NETWORK, 7).astype(dtype)
    x, y = rows_for(NETWORK, ROWS)
    arrays = [x.astype(dtype), y, weights_for(ROWS).astype(dtype)]
    for array in (*arrays, flat):
        array.flags.writeable = False
    return program, flat, program.upload(Data(Inputs(arrays[0]), *arrays[1:]))


def a_run(steps, first=0, optimizer=None, **options):
    order = np.stack([np.random.default_rng(e).permutation(ROWS) for e in range(10)])
    order.flags.writeable = False
    rates = np.full(steps, 0.05)
    rates.flags.writeable = False
    batches = -(-ROWS // 8)
    return Run(
        first_step=first,
        steps=steps,
        learning_rate=rates,
        batch_size=8,
        order=order[first // batches :],
        optimizer=optimizer or fn.Adam(0.05),
        seed=3,
        **options,
    )


def a_state(program, flat, optimizer=None):
    memory = (optimizer or fn.Adam(0.05)).memory(len(flat), flat.dtype)
    return State(program.to_device(flat.copy()), program.to_device(memory))


def trained(program, flat, data, *runs):
    state = a_state(program, flat)
    losses = [program.train(state, data, run) for run in runs]
    return (
        program.to_host(state.parameters).copy(),
        program.to_host(state.memory).copy(),
        np.concatenate(losses),
        state.updates,
    )


def test_a_backend_takes_what_the_contract_says(backend):
    found = loading.load(backend)
    assert_same_signatures(type(found), Backend)
    assert found.name == backend
    assert found.contract == CONTRACT


def test_a_program_takes_what_the_contract_says(backend):
    program = loading.load(backend).compile(LOWERED, np.dtype(np.float32), None, None)
    assert isinstance(program, Program)
    assert_same_signatures(type(program), Program)


def test_a_backend_describes_itself_in_words(backend):
    facts = loading.load(backend).describe()
    assert set(facts) >= {"versions", "device", "threads"}
    assert all(isinstance(value, str) and value for value in facts.values())
    assert loading.load(backend).probe() == Probe(usable=True)


def test_results_are_new_host_arrays_of_the_programs_dtype(case):
    program, flat, data = case
    parameters = program.to_device(flat)
    first, second = program.predict(parameters, data.x), program.predict(parameters, data.x)
    assert isinstance(first, np.ndarray)
    assert not np.shares_memory(first, second)
    assert first.shape == (ROWS, 3)
    assert first.dtype == flat.dtype
    assert first.flags.writeable
    first[...] = math.nan
    assert_same_bits(program.predict(parameters, data.x), second)
    loss, gradient = program.gradient(parameters, data)
    kept = gradient.copy()
    assert isinstance(loss, float)
    assert gradient.shape == flat.shape
    assert gradient.dtype == flat.dtype
    gradient[...] = math.nan
    assert_same_bits(program.gradient(parameters, data)[1], kept)
    assert isinstance(program.loss(parameters, data), float)


def test_what_is_handed_over_is_not_written_to(case):
    program, flat, data = case
    given = (data.x.numbers, data.y, data.weight)
    before = [np.array(program.to_host(a)) for a in given]
    parameters = program.to_device(flat)
    program.predict(parameters, data.x)
    program.loss(parameters, data)
    program.gradient(parameters, data, 0.1, 0.1, (3, 4))
    trained(program, flat, data, a_run(12))
    for array, kept in zip(given, before, strict=True):
        assert_same_bits(program.to_host(array), kept)
    assert_same_bits(program.to_host(parameters), flat)


@pytest.mark.parametrize("byte", [0xFF, 0x00, 0x41])
def test_results_do_not_depend_on_what_memory_held_before(case, byte):
    program, flat, data = case
    parameters = program.to_device(flat)
    shapes = [(ROWS, n) for n in (1, 3, 5, 9, 16)] + [(8, n) for n in (1, 3, 5, 9, 16)]
    shapes += [(5, n) for n in (1, 3, 5, 9, 16)] + [flat.shape, (2, len(flat)), (12,)]

    def results():
        poison(byte, *shapes)
        yield program.predict(parameters, data.x)
        poison(byte, *shapes)
        yield np.array(program.loss(parameters, data))
        poison(byte, *shapes)
        loss, gradient = program.gradient(parameters, data, 0.1, 0.1, (3, 4))
        yield np.append(gradient, gradient.dtype.type(loss))
        poison(byte, *shapes)
        yield from trained(program, flat, data, a_run(12))[:3]

    wanted = [program.predict(parameters, data.x), np.array(program.loss(parameters, data))]
    loss, gradient = program.gradient(parameters, data, 0.1, 0.1, (3, 4))
    wanted += [np.append(gradient, gradient.dtype.type(loss))]
    wanted += trained(program, flat, data, a_run(12))[:3]
    for found, kept in zip(results(), wanted, strict=True):
        assert_same_bits(found, kept)


@pytest.mark.parametrize("cuts", [[1] * 23, [5, 5, 5, 5, 3], [7, 1, 15], [22, 1]])
def test_a_run_may_be_cut_anywhere(case, cuts):
    program, flat, data = case
    whole = trained(program, flat, data, a_run(23, clip_norm=1.0))
    starts = np.cumsum([0, *cuts[:-1]]).tolist()
    pieces = [a_run(n, first, clip_norm=1.0) for n, first in zip(cuts, starts, strict=True)]
    pieced = trained(program, flat, data, *pieces)
    for found, wanted in zip(pieced[:3], whole[:3], strict=True):
        assert_same_bits(found, wanted)
    assert pieced[3] == whole[3] == 23


def test_training_counts_updates_and_returns_float64_losses(case):
    program, flat, data = case
    _, _, losses, updates = trained(program, flat, data, a_run(9))
    assert losses.shape == (9,)
    assert losses.dtype == np.float64
    assert np.isfinite(losses).all()
    assert updates == 9


def test_the_first_loss_of_a_run_is_that_of_its_batch_before_the_update(backend):
    lowered = lower(fn.Network(3, [fn.Dense(4, "tanh"), fn.Dense(1)]))
    program = loading.load(backend).compile(lowered, np.dtype(np.float64), None, None)
    x, y = rows_for(fn.Network(3, [fn.Dense(1)]), 10)
    flat = np.linspace(-1, 1, lowered.size)
    order = np.arange(10)[::-1][None].copy()
    run = Run(0, 1, 4, order, fn.SGD(), 0.1, l1=0.1, l2=0.2)
    data = program.upload(Data(Inputs(x), y))
    state = a_state(program, flat, fn.SGD())
    (loss,) = program.train(state, data, run)
    batch = program.upload(Data(Inputs(x[[9, 8, 7, 6]]), y[[9, 8, 7, 6]]))
    wanted, gradient = program.gradient(program.to_device(flat), batch, 0.1, 0.2)
    assert loss == pytest.approx(wanted, rel=FORWARD["float64"])
    assert_near(program.to_host(state.parameters), flat - 0.1 * gradient, FORWARD["float64"])


def test_training_stops_before_the_update_of_the_first_loss_that_is_not_finite(backend):
    lowered = lower(fn.Network(1, [fn.Dense(1)]))
    program = loading.load(backend).compile(lowered, np.dtype(np.float32), None, None)
    x = np.array([[1.0], [1.0], [1e30], [1.0]], np.float32)
    data = program.upload(Data(Inputs(x), np.zeros((4, 1), np.float32)))
    flat = np.array([0.5, 0.25], np.float32)
    state = a_state(program, flat, fn.SGD())
    losses = program.train(state, data, Run(0, 8, 1, None, fn.SGD(), 0.1))
    assert losses.shape == (3,)
    assert np.isfinite(losses[:2]).all()
    assert not math.isfinite(losses[2])
    assert state.updates == 2
    assert np.isfinite(program.to_host(state.parameters)).all()


def test_one_program_serves_several_threads_at_once(case):
    program, flat, data = case
    parameters = program.to_device(flat)

    def work(index):
        if index % 3 == 0:
            return program.predict(parameters, data.x)
        if index % 3 == 1:
            return program.gradient(parameters, data, 0.1, 0.0, (1, index))[1]
        return trained(program, flat, data, a_run(15))[0]

    wanted = [work(index) for index in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(12)))
    for one, other in zip(found, wanted, strict=True):
        assert_same_bits(one, other)
