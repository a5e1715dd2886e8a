"""Losses and gradients of few rows that are as the kernels want them go straight to these."""

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for

import fastnet as fn
from fastnet.contract.program import Data, Inputs

pytest.importorskip("numba", reason="numba is not installed")


def made(dtype, rows, threads=None, inputs=1):
    network = fn.Network(inputs, [fn.Dense(1)])
    x, y = rows_for(network, rows)
    model = fn.Model(network, backend="numba", dtype=dtype, threads=threads, seed=1)
    return model.program, model.parameters.flat.copy(), x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 7, 8192])  # the last are summed in blocks
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_rows_are_answered_at_once(dtype, rows, threads):
    program, flat, x, y = made(dtype, rows, threads)
    data = Data(Inputs(x), y)
    loss, gradient = program.gradient(flat, data)
    for _ in range(2):
        found = program.gradient_at_once(flat, x, y)
        assert found is not None
        assert found[0] == loss
        assert_same_bits(found[1], gradient)
        assert program.loss_at_once(flat, x, y) == program.loss(flat, data)


def unaligned(array):
    moved = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def fixed(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda flat, x, y: (flat, x.astype(np.float16), y),
        lambda flat, x, y: (flat, x, y.astype(np.int64)),
        lambda flat, x, y: (flat, x.astype(">f4"), y),
        lambda flat, x, y: (flat, x[:5], y),
        lambda flat, x, y: (flat, x[:, :2], y),
        lambda flat, x, y: (flat, x[:0], y[:0]),
        lambda flat, x, y: (flat, x[0], y[0]),
        lambda flat, x, y: (flat, unaligned(x), y),
        lambda flat, x, y: (flat, x, unaligned(y)),
        lambda flat, x, y: (fixed(flat), x, y),
        lambda flat, x, y: (flat, x * np.float32(np.inf), y),
        lambda flat, x, y: (flat, np.ma.array(x), y),
    ],
)
def test_what_has_to_be_looked_at_first_is_not(change):
    given = change(*made("float32", 6, inputs=3)[1:])
    program = made("float32", 6, inputs=3)[0]
    assert program.gradient_at_once(*given) is None
    assert program.loss_at_once(*given) is None
