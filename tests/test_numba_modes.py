"""Numba's steps count subnormal numbers as 0; afterwards the processor is as it was."""

import platform

import numpy as np
import pytest

import fastnet as fn

pytest.importorskip("numba", reason="numba is not installed")

TINY = np.array([np.finfo(np.float32).smallest_subnormal * 64], np.float32)
HALF = np.array([0.5], np.float32)


def is_subnormal(array):
    return bool(((array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)).any())


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"),
    reason=f"{platform.machine()} is left as it is",
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_gradient_has_no_subnormal_numbers_and_numpy_still_has_them(threads):
    x = np.ones((4096, 3), np.float32)
    y = np.full((4096, 64), 1e-39, np.float32)  # the residual, and so the derivative by the bias
    network = fn.Network(3, [fn.Dense(64, init="zeros")])
    found = {}
    for backend in ("numpy", "numba"):
        model = fn.Model(network, backend=backend, threads=threads)
        found[backend] = model.loss_and_gradient(x, y)[1]
    assert is_subnormal(found["numpy"])
    assert not found["numba"].any()
    assert is_subnormal(TINY * HALF)


def test_a_prediction_may_be_subnormal():
    network = fn.Network(1, [fn.Dense(1, "sigmoid", init=fn.Arrays([[1.0]]))])
    x = np.full((300, 1), -90, np.float32)
    model = fn.Model(network, backend="numba")
    for rows in (1, 300):
        assert is_subnormal(model.predict(x[:rows]))


def test_tiny_networks_leave_the_processor_as_it_was():
    x, y = fn.datasets.xor()
    model = fn.Model(fn.datasets.xor_network(), backend="numba", seed=1)
    model.fit(x, y, optimizer=fn.SGD(1.0), batch_size=None, epochs=10)
    with pytest.raises(fn.FastnetError):
        model.fit(x, y * 1e38, optimizer=fn.SGD(1.0), batch_size=None, epochs=3)
    assert is_subnormal(TINY * HALF)
