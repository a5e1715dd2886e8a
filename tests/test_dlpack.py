"""Predictions for arrays of another library are arrays of that library, on the same device."""

import types

import numpy as np
import pytest
from compare import assert_same_bits
from roster import Entry, absence
from samples import rows_for, weights_for

import fastnet as fn
from fastnet.arrays import dlpack

NETWORK = fn.Network(3, [fn.Dense(8, "tanh"), fn.Dense(2, "softmax")], "crossentropy")

GPU = absence(Entry("cupy", library="cupy", hardware="a CUDA GPU"))


class Other:
    """An array of a library that supports DLPack and nothing else."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device

    def __array_namespace__(self):
        return types.SimpleNamespace(from_dlpack=lambda array: Other(np.from_dlpack(array)))


def everything(model, x, y, weight):
    yield model.loss_and_gradient(x, y, weight)[1]
    yield np.array(model.evaluate(x, y, weight))
    model.fit(x, y, epochs=2, batch_size=4, sample_weight=weight, validation=(x, y))
    yield model.parameters.flat


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_with_dlpack_give_the_same_results(backend, dtype):
    x, y = rows_for(NETWORK, 11)
    weight = weights_for(11)
    one, other = (fn.Model(NETWORK, backend=backend, dtype=dtype, seed=1) for _ in range(2))
    plain = everything(one, x, y, weight)
    for wanted, found in zip(plain, everything(other, *map(Other, (x, y, weight))), strict=True):
        assert_same_bits(found, wanted)


def test_predictions_are_arrays_of_the_library_of_x(backend):
    x, _ = rows_for(NETWORK, 11)
    model = fn.Model(NETWORK, backend=backend, seed=1)
    wanted = model.predict(x)
    for given in (x, x.astype(np.float32)):
        found = model.predict(Other(given))
        assert isinstance(found, Other)
        assert_same_bits(found.array, wanted)
    assert type(model.predict(x)) is np.ndarray
    assert type(model.predict(x.tolist())) is np.ndarray


def test_an_unreadable_device_is_refused():
    x, y = rows_for(NETWORK, 11)
    model = fn.Model(NETWORK, backend="numpy", seed=1)
    metal = Other(x, device=(8, 0))
    with pytest.raises(fn.DataError, match=r"x is on a device of DLPack's type 8.*pass a copy"):
        model.predict(metal)
    with pytest.raises(fn.DataError, match=r"x is on a device of DLPack's type 8"):
        model.fit(metal, y)


def test_a_gpu_array_without_cupy_is_refused(monkeypatch):
    import sys

    x, _ = rows_for(NETWORK, 11)
    monkeypatch.setitem(sys.modules, "cupy", None)
    model = fn.Model(NETWORK, backend="numpy", seed=1)
    with pytest.raises(fn.DataError, match=r"x is on a GPU.*needs CuPy.*cupy-cuda13x"):
        model.predict(Other(x, device=(2, 0)))


@pytest.fixture
def cupy():
    if GPU is not None:
        (pytest.fail if GPU.fails else pytest.skip)(GPU.reason)
    import cupy

    return cupy


@pytest.mark.parametrize("name", ["cupy", "numpy"])
def test_rows_on_a_gpu_are_rows_like_any_and_predictions_stay_there(cupy, name):
    x, y = rows_for(NETWORK, 11)
    weight = weights_for(11)
    one, other = (fn.Model(NETWORK, backend=name, seed=1) for _ in range(2))
    plain = everything(one, x, y, weight)
    on_gpu = map(cupy.asarray, (x, y, weight))
    for wanted, found in zip(plain, everything(other, *on_gpu), strict=True):
        assert_same_bits(found, wanted)
    for given in (x, x.astype(np.float32), np.asfortranarray(x)):
        found = one.predict(cupy.asarray(given))
        assert isinstance(found, cupy.ndarray)
        assert_same_bits(found.get(), one.predict(given))


@pytest.mark.parametrize("name", ["cupy", "numpy"])
def test_tensors_of_pytorch_on_a_gpu_come_back_as_such(cupy, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, _ = rows_for(NETWORK, 11)
    model = fn.Model(NETWORK, backend=name, seed=1)
    tensor = torch.tensor(x, device="cuda", requires_grad=True)
    found = model.predict(tensor)
    assert found.is_cuda
    assert_same_bits(found.cpu().numpy(), model.predict(x))


def test_other_values_pass_through():
    for value in (1.5, "x", [1, 2], np.float32(3), np.zeros(3), None):
        assert not dlpack.foreign(value)
        assert dlpack.on_host(value, "x") is value
        assert dlpack.like(value, np.zeros(3)) is value
