"""What fades away becomes 0: no parameter and no memory is ever a subnormal number."""

import numpy as np
import pytest
from compare import assert_near
from samples import label
from tolerances import FADING

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.definition.optimizers import negligible

#: Every kind of update; means forget nine tenths a step, so that they fade soon.
OPTIMIZERS = [
    fn.SGD(), fn.SGD(momentum=0.1), fn.SGD(momentum=0.1, nesterov=True),
    fn.Adam(beta1=0.1, beta2=0.1), fn.RMSprop(alpha=0.1), fn.RMSprop(alpha=0.1, momentum=0.1),
    fn.Adagrad(), fn.Rprop(0.01), fn.Lion(beta1=0.1, beta2=0.1),
]  # fmt: skip

LOWERED = lower(fn.Network(40, [fn.Dense(9)]))
RATE, LEFT = 2.0**-7, 2.0**-6  # of a parameter is left so much at every step


def subnormal(array):
    return (array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)


def spectrum(dtype):
    """Numbers of both signs and of all magnitudes up to 1, subnormal ones and 0 among them."""
    bits = np.linspace(np.log2(np.finfo(dtype).smallest_subnormal), 0, LOWERED.size - 1)
    signs = np.where(np.arange(LOWERED.size - 1) % 3, 1.0, -1.0)
    return np.append(0, 1.25 * np.exp2(bits) * signs / 2).astype(dtype)


def update(backend, optimizer, gradients):
    """The states after updates by these gradients, from an older version's subnormal numbers."""
    start = spectrum(gradients[0].dtype)
    program = loading.load(backend).compile(LOWERED, start.dtype, None, None)
    memory = optimizer.memory(LOWERED.size, start.dtype)
    if optimizer.name != "rprop":  # which of its last gradient looks at the sign only
        memory[:1] = np.abs(start)[::-1]
    state = State(program.to_device(start.copy()), program.to_device(memory))
    decay = (1 - LEFT) / RATE
    for step, gradient in enumerate(gradients):
        run = Run(step, 1, 1, None, optimizer, RATE, weight_decay=decay)
        program.update(state, program.to_device(gradient.copy()), run, step)
        yield program.to_host(state.parameters).copy(), program.to_host(state.memory).copy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=label)
def test_what_fades_away_becomes_0(backend, optimizer, dtype):
    tiny = spectrum(dtype)
    assert subnormal(tiny).any()
    steps = {"float32": 60, "float64": 450}[dtype]
    gradients = [tiny, -tiny, tiny] + [np.zeros_like(tiny)] * steps
    wanted = update("numpy", optimizer, gradients[:3])
    for step, (p, memory) in enumerate(update(backend, optimizer, gradients)):
        assert not subnormal(p).any(), f"parameters, step {step}"
        assert not subnormal(memory).any(), f"memory, step {step}"
        if step < 3:
            p_wanted, memory_wanted = next(wanted)
            assert_near(p, p_wanted, FADING[dtype])
            assert_near(memory, memory_wanted, FADING[dtype])
    np.testing.assert_array_equal(p, 0)
    # What is left: means and sums of squares, and step sizes.
    if optimizer.name in ("sgd", "lion"):
        np.testing.assert_array_equal(memory, 0)
    if optimizer.name == "rprop":
        np.testing.assert_array_equal(memory[0], 0)


def test_nan_does_not_become_0(backend):
    for optimizer in OPTIMIZERS:
        gradient = np.where(np.arange(LOWERED.size) == 5, np.nan, spectrum("float32"))
        (p, _memory), *_ = update(backend, optimizer, [gradient.astype(np.float32)])
        assert np.isnan(p[5])
        assert np.isfinite(np.delete(p, 5)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [fn.Rprop(0.01), fn.Lion()], ids=label)
def test_a_negligible_gradient_has_no_sign(backend, optimizer, dtype):
    program = loading.load(backend).compile(LOWERED, np.dtype(dtype), None, None)
    start = np.ones(LOWERED.size, dtype)
    memory = optimizer.memory(LOWERED.size, start.dtype)
    state = State(program.to_device(start.copy()), program.to_device(memory))
    gradient = np.full(LOWERED.size, negligible(dtype).memory / 2, dtype)
    gradient[::2] *= -1
    program.update(state, program.to_device(gradient), Run(0, 1, 1, None, optimizer, RATE), 0)
    np.testing.assert_array_equal(program.to_host(state.parameters), start)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [1, 5])  # for both widths of Numba's tiny networks
def test_plain_steps_of_tiny_networks_clear_too(backend, units, dtype):
    lowered = lower(fn.Network(1, [fn.Dense(units)]))
    program = loading.load(backend).compile(lowered, np.dtype(dtype), None, None)
    # A first step takes weights and biases to half of the targets, where they stay, or back to 0.
    least = negligible(dtype).parameter
    halves = least * np.array([0.9, 1.1, 1e6, -0.9, -1.1])[:units]
    x, y = np.ones((3, 1), dtype), np.tile(2 * halves, (3, 1)).astype(dtype)
    data = program.upload(Data(Inputs(x), y))
    run = Run(0, 4, 3, None, fn.SGD(), units / 4)
    starts = [np.zeros(lowered.size, dtype) for _ in range(4)]
    memory = fn.SGD().memory(lowered.size, dtype)
    alone, *several = (State(program.to_device(p), program.to_device(memory)) for p in starts)
    program.train(alone, data, run)
    program.train_many(several, [data] * 3, [run] * 3)
    wanted = np.tile(np.where(np.abs(halves) < least, 0, halves), 2)
    for state in [alone, *several]:
        found = program.to_host(state.parameters)
        np.testing.assert_allclose(found, wanted, rtol=FADING[dtype], atol=0)
