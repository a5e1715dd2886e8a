"""Whole trainings on a GPU and on the simulated device: the same bits, by graphs or without."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import gpu_devices
import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for, weights_for

import fastnet as fn

pytest.importorskip("bench.gpu", reason="the benchmarks are not beside these tests")

from bench.gpu.sanitizer import NETWORK
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet_cupy import steps
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import PATHS

NEVER = 2**62

ROWS, BATCH = 75, 16
#: Two graphs and a few steps without.
COUNT = 2 * steps.GRAPH_STEPS + 5

#: How far a run's change of the parameters may be from NumPy's, relative to it.
NEAR = {None: 1e-4, "tf32": 2e-2, "bf16": 0.15, "fp16": 2e-2}


@pytest.fixture(params=gpu_devices.KINDS, scope="module")
def device(request):
    return gpu_devices.open_device(request.param)


CASES = [
    pytest.param(path, precision, id=f"{path}-{precision or 'float32'}")
    for path in PATHS
    for precision in (None, "tf32", "bf16", "fp16")
    if path != "tiny" or precision is None
]


def compiled(device, path, precision):
    return CudaProgram(lower(NETWORK), np.dtype("float32"), precision, device, PATHS[path])


def trained(program):
    """Parameters, the optimizer's memory and the losses after COUNT steps."""
    x, y = rows_for(NETWORK, ROWS)
    put = program.to_device
    data = Data(Inputs(put(x.astype("f4"))), put(y), put(weights_for(ROWS).astype("f4")))
    flat = initial_parameters(NETWORK, 7).astype("f4")
    state = State(put(flat.copy()), put(fn.Adam().memory(flat.size, flat.dtype)))
    epochs = math.ceil(COUNT / math.ceil(ROWS / BATCH))
    order = program.orders(5, range(epochs), ROWS)  # drawn by itself, the same for all
    run = Run(0, COUNT, BATCH, order, fn.Adam(), 0.01, l2=0.01, clip_norm=5.0, seed=3)
    losses = program.train(state, data, run)
    return program.to_host(state.parameters), program.to_host(state.memory), losses


def digest(device, path, precision):
    """Of the bits of a training."""
    whole = b"".join(array.tobytes() for array in trained(compiled(device, path, precision)))
    return hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize(("path", "precision"), CASES)
def test_twice_gives_the_same_bits_and_a_device_opened_anew_too(device, path, precision):
    kind = "simulated" if device.architecture == "host" else "gpu"
    other = gpu_devices.open_device(kind)  # has asked for the products' algorithms itself
    first, *others = (trained(compiled(one, path, precision)) for one in (device, device, other))
    for again in others:
        for found, wanted in zip(again, first, strict=True):
            assert_same_bits(found, wanted)


SECOND_PROCESS = """
import sys
sys.path[:0] = sys.argv[2:]
import gpu_devices, test_gpu_runs
device = gpu_devices.open_device(sys.argv[1])
for case in test_gpu_runs.CASES:
    print(test_gpu_runs.digest(device, *case.values))
"""


def test_another_process_gives_the_same_bits(device):
    kind = "simulated" if device.architecture == "host" else "gpu"
    folders = [str(Path(__file__).parent / "simulated"), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", SECOND_PROCESS, kind, *folders],
        capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.split() == [digest(device, *case.values) for case in CASES]


@pytest.mark.parametrize(
    ("path", "precision"), [case for case in CASES if case.values[0] != "tiny"]
)
def test_a_graph_gives_the_bits_of_its_launches(device, path, precision, monkeypatch):
    graphed = trained(compiled(device, path, precision))
    monkeypatch.setattr(steps, "GRAPH_STEPS", NEVER)
    eager = trained(compiled(device, path, precision))
    for found, wanted in zip(graphed, eager, strict=True):
        assert_same_bits(found, wanted)


@pytest.mark.parametrize(("path", "precision"), CASES)
def test_every_path_gives_numpys_numbers(device, path, precision):
    found, _, losses = trained(compiled(device, path, precision))
    plain = loading.load("numpy").compile(lower(NETWORK), np.dtype("float64"), None, None)
    wanted, _, exact = trained(plain)
    start = initial_parameters(NETWORK, 7)
    apart = np.linalg.norm(found - wanted) / np.linalg.norm(wanted - start)
    assert apart <= NEAR[precision]
    np.testing.assert_allclose(losses, exact, rtol=NEAR[precision])


@pytest.mark.parametrize(("path", "precision"), CASES)
def test_rows_of_zero_weight_and_evaluation_agree_with_numpy(device, path, precision):
    """Predictions, losses and gradients, for more rows than one block takes."""
    x, y = rows_for(NETWORK, 300)
    weights = weights_for(300)
    flat = initial_parameters(NETWORK, 7)
    program = compiled(device, path, precision)
    plain = loading.load("numpy").compile(lower(NETWORK), np.dtype("float64"), None, None)
    put = program.to_device
    there = put(flat.astype("f4"))
    data = Data(Inputs(put(x.astype("f4"))), put(y), put(weights.astype("f4")))
    exact = Data(Inputs(x.astype("f8")), y, weights.astype("f8"))
    near = NEAR[precision]
    found, wanted = program.predict(there, data.x), plain.predict(flat, exact.x)
    assert np.linalg.norm(found - wanted) <= near * np.linalg.norm(wanted)
    assert program.loss(there, data) == pytest.approx(plain.loss(flat, exact), rel=near)
    loss, gradient = program.gradient(there, data)
    right_loss, right = plain.gradient(flat, exact)
    assert loss == pytest.approx(right_loss, rel=near)
    assert np.linalg.norm(gradient - right) <= near * np.linalg.norm(right)


def test_rows_on_the_device_stay_there_if_they_are_good_to_learn_from(device):
    program = compiled(device, "layered", None)
    x, y = rows_for(NETWORK, 300)
    x, put = x.astype("f4"), program.to_device
    there = put(x), put(y)
    data = program.data_at_once(*there, None)
    assert data.x.numbers is there[0]
    assert_same_bits(program.to_host(data.y), y)
    x[299, 5], wrong = np.nan, np.where(np.arange(300) == 9, 3, y)
    assert program.data_at_once(put(x), put(y), None) is None
    assert program.data_at_once(there[0], put(wrong), None) is None
