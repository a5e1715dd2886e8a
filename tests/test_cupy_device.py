"""The device on a real GPU, `cupy_device.py`, on a stand-in for CuPy: its streams, memory, graphs.

Work is late, early, or done by chance; the device is GPU 1, while GPU 0 is current.
"""

import math
import threading

import numpy as np
import pytest
from compare import assert_same_bits
from samples import rows_for, weights_for
from simulated import building
from simulated.device import HostDevice
from simulated.stand_in import Machine

import fastnet as fn
from fastnet.arrays import dlpack
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet_cupy import cupy_device, pinned, streaming
from fastnet_cupy.cupy_device import CupyDevice
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import PATHS

if building.absence() is not None:
    pytest.skip(building.absence(), allow_module_level=True)

SCHEDULES = ("late", "early", "device first", 1)
#: Path, precision, and whether the data stays on the host.
CASES = [
    (path, precision, streamed)
    for path in PATHS
    for precision in (None, "fp16")
    for streamed in (False, True)
    if path != "tiny" or (precision is None and not streamed)
]
NETWORK = fn.Network(
    6, [fn.Dense(17, "gelu"), fn.Dropout(0.2), fn.Dense(9, "relu"), fn.Dense(3, "softmax")],
    "crossentropy",
)  # fmt: skip
ROWS, BATCH = 75, 16
#: Two runs: one of launches only, one with a graph, each begun in the middle of an epoch.
RUNS = (7, 29)


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Streamed data passes in pieces of a few batches, and all of the host in small ones."""
    monkeypatch.setattr(streaming, "BUFFER_BYTES", 3000)
    monkeypatch.setattr(pinned, "PIECE_BYTES", 1024)


def opened(monkeypatch, schedule="late", **settings):
    """The machine, and its GPU 1 as a device."""
    machine = Machine(schedule, **settings)
    machine.put_in(monkeypatch)
    with machine.Device(1):
        return machine, cupy_device.open_device()


def program_on(device, path, precision=None):
    return CudaProgram(lower(NETWORK), np.dtype("float32"), precision, device, PATHS[path])


def results(device, path, precision, streamed):
    """All that a program gives: losses of two runs, state, predictions, loss, gradient."""
    program = program_on(device, path, precision)
    x, y = rows_for(NETWORK, ROWS)
    given = x.astype("f4"), y, weights_for(ROWS).astype("f4")
    there = [program.to_device(array) for array in given]
    whole = Data(Inputs(there[0]), *there[1:])
    data = Data(Inputs(given[0]), *given[1:]) if streamed else whole
    flat = initial_parameters(NETWORK, 7).astype("f4")
    memory = fn.Adam().memory(flat.size, flat.dtype)
    state = State(program.to_device(flat.copy()), program.to_device(memory))
    batches, first, found = math.ceil(ROWS / BATCH), 0, []
    epochs = math.ceil(sum(RUNS) / batches)
    order = program.orders(5, range(epochs), ROWS)
    assert device.holds(order)
    for steps in RUNS:
        own = order[first // batches :]
        run = Run(first, steps, BATCH, own, fn.Adam(), 0.01, l2=0.01, clip_norm=5.0, seed=3)
        found.append(program.train(state, data, run))
        first += steps
    own = program.to_device(flat)
    loss, gradient = program.gradient(own, whole)
    return [
        *found, program.to_host(state.parameters), program.to_host(state.memory),
        program.predict(own, whole.x), np.array(program.loss(own, whole)), np.array(loss),
        gradient,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def wanted():
    """What the simulated device gives, by case."""
    known = {}

    def of(case):
        if case not in known:
            known[case] = results(HostDevice(), *case)
        return known[case]

    return of


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_whatever_the_order_of_work_the_bits_are_the_simulated_devices(
    wanted, case, schedule, monkeypatch
):
    expected = wanted(case)
    _, device = opened(monkeypatch, schedule)
    for found, right in zip(results(device, *case), expected, strict=True):
        assert_same_bits(found, right)


def predicted(machine, device, path="layered"):
    """Predictions for rows that are filled and freed in a stream of the caller's own."""
    program = program_on(device, path)
    flat = initial_parameters(NETWORK, 7).astype("f4")
    x = rows_for(NETWORK, ROWS)[0].astype("f4")
    with machine.Device(1), machine.cuda.Stream() as stream:
        rows = machine.cupy.empty(x.shape, "f4")
        rows.set(x, stream)
        made = program.predict_at_once(flat, rows)
        del rows
        found = made.get(out=np.empty(made.shape, "f4"))
    return found, flat, x


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("path", PATHS)
def test_predictions_are_made_in_the_order_of_the_callers_stream(path, schedule, monkeypatch):
    machine, device = opened(monkeypatch, schedule)
    found, flat, x = predicted(machine, device, path)
    plain = program_on(HostDevice(), path)
    assert_same_bits(found, plain.predict(plain.to_device(flat), Inputs(x)))


def given(machine, device):
    """Rows as a program takes them over that are filled in a stream of the caller's own."""
    program = program_on(device, "layered")
    x, y = rows_for(NETWORK, ROWS)
    with machine.Device(1), machine.cuda.Stream() as stream:
        rows, labels = machine.cupy.empty(x.shape, "f8"), machine.cupy.empty((ROWS, 1), "i4")
        rows.set(x, stream)
        labels.set(y.reshape(-1, 1).astype("i4"), stream)
        data = program.data_at_once(rows, labels, None)
    return program, data, x.astype("f4"), y


def test_a_piece_of_pinned_memory_is_waited_for_again_after_ctrl_c():
    waits = []

    class Event:
        def wait(self):
            waits.append(self)
            if len(waits) == 1:
                raise KeyboardInterrupt

    def sent(target, part):
        if target == 3:
            assert len(waits) == 2, "it is filled while the device may still read it"

    one = pinned.Pinned(np.empty, sent, Event)
    piece = np.zeros(pinned.PIECE_BYTES, np.uint8)
    one.copy(1, piece)
    one.copy(2, piece)
    with pytest.raises(KeyboardInterrupt):
        one.copy(3, piece)
    one.copy(3, piece)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rows_that_the_caller_still_fills_are_taken_over(schedule, monkeypatch):
    program, data, x, y = given(*opened(monkeypatch, schedule))
    assert_same_bits(program.to_host(data.x.numbers), x)
    assert_same_bits(program.to_host(data.y), y.astype("i8"))


def test_rows_that_are_looked_at_too_early_are_found_out(monkeypatch):
    machine, device = opened(monkeypatch)
    monkeypatch.setattr(CupyDevice, "join", lambda self: None)
    assert given(machine, device)[1] is None


def without(name):
    """The device without one of its methods."""

    def plant(monkeypatch, device):
        monkeypatch.setattr(CupyDevice, name, lambda self, *given: None)

    return plant


def hasty_copies(monkeypatch, device):
    """Rows are copied before what uses their buffer is done."""
    monkeypatch.setattr(device._copies, "wait_event", lambda event: None, raising=False)


def hasty_host(monkeypatch, device):
    """The host gathers the next rows before the last ones are copied."""
    monkeypatch.setattr(pinned, "PIECE_BYTES", 2**20)  # no copy but that of rows waits
    monkeypatch.setattr(cupy_device.CupyEvent, "wait", lambda self: None)


@pytest.mark.parametrize(
    ("plant", "streamed"),
    [
        (without("join"), False), (without("hand_back"), False), (without("wait_for"), True),
        (hasty_copies, True), (hasty_host, True),
    ],
    ids=["join", "hand_back", "wait_for", "copies", "host"],
)  # fmt: skip
def test_work_that_does_not_wait_is_found_out(wanted, plant, streamed, monkeypatch):
    case = ("layered", None, True)
    plain = program_on(HostDevice(), "layered")
    wrong = False
    for schedule in SCHEDULES:
        with monkeypatch.context() as planted:
            machine, device = opened(planted, schedule)
            plant(planted, device)
            if streamed:
                pairs = zip(results(device, *case), wanted(case), strict=True)
            else:
                found, flat, x = predicted(machine, device)
                pairs = [(found, plain.predict(plain.to_device(flat), Inputs(x)))]
            wrong = wrong or any(a.tobytes() != b.tobytes() for a, b in pairs)
    assert wrong


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_copies_are_done_when_the_host_may_go_on(schedule, monkeypatch):
    _, device = opened(monkeypatch, schedule)
    host = np.arange(12, dtype="f4").reshape(3, 4)
    there, other = device.upload(host), device.empty((3, 4), "f4")
    device.copy(other, host)
    host[...] = 0
    for array in (there, other):
        assert_same_bits(device.download(array), np.arange(12, dtype="f4").reshape(3, 4))
    device.copy(other[1:], there[:2])
    assert_same_bits(device.download(other[1:]), np.arange(8, dtype="f4").reshape(2, 4))
    assert device.download(there[:0]).shape == (0, 4)
    assert not uploaded_wrongly(device)


def uploaded_wrongly(device):
    """Whether arrays that fill pieces of pinned memory, or more of them, arrive otherwise."""
    wanted = [np.full(n, n, "f4").reshape(-1, 1)[::2] for n in (9, 400, 401, 402, 2000)]
    found = [device.upload(array) for array in wanted]
    pairs = zip(found, wanted, strict=True)
    return any(device.download(a).tobytes() != b.tobytes() for a, b in pairs)


def test_pinned_memory_that_is_filled_too_early_is_found_out_and_so_is_memory_that_is_not_pinned(
    monkeypatch,
):
    _, device = opened(monkeypatch)
    with monkeypatch.context() as planted:
        planted.setattr(cupy_device.CupyEvent, "wait", lambda self: None)
        assert uploaded_wrongly(device)
    monkeypatch.setattr(pinned.Pinned, "copy", lambda self, to, source: self._send(to, source))
    with pytest.raises(AssertionError, match="not pinned"):
        device.upload(np.ones(3))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_another_threads_work_is_no_part_of_a_capture(schedule, monkeypatch):
    _, device = opened(monkeypatch, schedule)
    ours, theirs, ones = (device.upload(np.full(4, i, "f4")) for i in (0, 0, 1))

    def work():
        other = threading.Thread(target=device.copy, args=(theirs, ones))
        other.start()
        other.join()
        device.copy(ours, ones)

    graph = device.capture(work)
    assert device.download(theirs).tolist() == [1] * 4
    assert device.download(ours).tolist() == [0] * 4
    device.copy(theirs, np.zeros(4, "f4"))
    graph.replay(2)
    assert device.download(ours).tolist() == [1] * 4
    assert device.download(theirs).tolist() == [0] * 4


def test_a_capture_that_fails_leaves_the_device_as_it_was(monkeypatch):
    _, device = opened(monkeypatch)

    def work():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        device.capture(work)
    assert device.download(device.upload(np.ones(3))).tolist() == [1] * 3


def test_missing_memory_is_told_in_bytes(monkeypatch):
    machine, device = opened(monkeypatch, memory_bytes=2**16)
    assert device.memory() == (2**16, 2**16)
    with pytest.raises(MemoryError, match="no room for 80,000 bytes"):
        device.empty((10_000,), "f8")
    kept = device.empty((100,), "f8")
    assert device.memory()[0] == 2**16 - 1024
    del kept
    assert machine.live == [0, 0]


def test_a_device_is_opened_once_a_gpu_and_holds_its_own_arrays(monkeypatch):
    machine, device = opened(monkeypatch)
    other = cupy_device.open_device()
    assert other is not device
    with machine.Device(1):
        assert cupy_device.open_device() is device
    array = device.empty((3,), "f4")
    assert device.holds(array)
    assert not other.holds(array)
    assert not device.holds(np.ones(3))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rows_of_another_gpu_are_cast_and_copied_there(schedule, monkeypatch):
    machine, _ = opened(monkeypatch, schedule)
    x = np.arange(12.0).reshape(4, 3)
    with machine.Device(1):
        rows = machine.cupy.empty((3, 4), "f8")
        rows.set(np.ascontiguousarray(x.T), machine.stack()[-1])
    made = dlpack.as_rows(rows, "float32")
    assert (made.device.id, made.dtype) == (1, "float32")
    assert_same_bits(dlpack.on_host(made, "x"), x.T.astype("f4"))
    assert_same_bits(dlpack.on_host(rows[:0], "x"), np.empty((0, 4)))
