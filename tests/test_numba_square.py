"""Tiny networks of two layers on few rows: the kernel that keeps all their numbers in registers."""

import numpy as np
import pytest
from compare import assert_near
from tolerances import GRADIENT_FLOAT32, TRAJECTORY

import fastnet as fn
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.definition.optimizers import negligible

pytest.importorskip("numba", reason="numba is not installed")

STEPS = 100


def trained(network, backend, dtype, x, y, rate=0.25, start=None):
    """The parameters and losses after some steps, and the program."""
    lowered = lower(network)
    program = loading.load(backend).compile(lowered, np.dtype(dtype), None, 1)
    if start is None:
        start = np.random.default_rng(2).uniform(-1, 1, lowered.size)
    memory = fn.SGD().memory(lowered.size, np.dtype(dtype))
    state = State(np.array(start, dtype), memory)
    data = Data(Inputs(x.astype(dtype)), y.astype(dtype))
    losses = program.train(state, data, Run(0, STEPS, len(x), None, fn.SGD(), rate))
    return state.parameters, losses, program, data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("inputs", "hidden", "outputs", "rows", "activations", "loss", "bias"),
    [
        (3, 4, 1, 4, ("sigmoid", "sigmoid"), "mse", True),
        (4, 3, 4, 3, ("tanh", "identity"), "mse", False),
        (1, 2, 3, 1, ("relu", "tanh"), "mse", True),
        (2, 1, 2, 2, ("identity", "relu"), "mse", True),
        (4, 4, 4, 4, ("sigmoid", "sigmoid"), "binary_crossentropy", True),
    ],
)
def test_it_trains_as_numpy_does(inputs, hidden, outputs, rows, activations, loss, bias, dtype):
    first, second = activations
    layers = [fn.Dense(hidden, first, bias=bias), fn.Dense(outputs, second)]
    network = fn.Network(inputs, layers, loss=loss)
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((rows, inputs)), rng.uniform(0, 1, (rows, outputs))
    wanted, wanted_losses, *_ = trained(network, "numpy", "float64", x, y)
    found, losses, program, data = trained(network, "numba", dtype, x, y)
    near = TRAJECTORY if dtype == "float64" else 10 * GRADIENT_FLOAT32
    assert_near(found, wanted.astype(dtype), near)
    assert_near(losses, wanted_losses, near)
    run = Run(0, 1, 5, None, fn.SGD(), 0.25)
    assert program.tiny.suiting(data, run).square
    more = Data(Inputs(np.zeros((5, inputs), dtype)), np.zeros((5, outputs), dtype))
    other = program.tiny.suiting(more, run)  # None where vectors are short
    assert other is None or not other.square


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_negligible_becomes_0(dtype):
    network = fn.Network(2, [fn.Dense(2), fn.Dense(1)])
    least = negligible(dtype).parameter
    start = least * np.array([0.9, 1.1, -0.9, -1.1, 0.9, 1.1, 1.1, -0.9, -1.1])
    x, y = np.ones((4, 2)), np.zeros((4, 1))
    found, *_ = trained(network, "numba", dtype, x, y, 1e-30, start)
    np.testing.assert_array_equal(found, np.where(np.abs(start) < least, 0, start.astype(dtype)))


def test_it_stops_at_a_loss_that_is_not_finite():
    network = fn.Network(2, [fn.Dense(2), fn.Dense(1)])
    x, y = np.full((4, 2), 10.0), np.zeros((4, 1))
    with np.errstate(all="ignore"):
        wanted = trained(network, "numpy", "float32", x, y, 10.0)[1]
    losses = trained(network, "numba", "float32", x, y, 10.0)[1]
    assert len(losses) == len(wanted) < STEPS
    assert not np.isfinite(losses[-1])
