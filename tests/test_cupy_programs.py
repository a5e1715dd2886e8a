"""What the CUDA backend does around its kernels: graphs, streams, room, arrays that stay there."""

import math
from dataclasses import replace

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from simulated.building import absence
from tolerances import FORWARD

import fastnet as fn
from fastnet.contract import choosing as contract
from fastnet.contract import loading
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet.errors import DoesNotFit
from fastnet_cupy import buffers, steps, streaming
from fastnet_cupy import program as programs
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.regimes import LAYERED, NARROW, REGIMES
from fastnet_cupy.tiny import Tiny

missing = absence()
pytestmark = pytest.mark.skipif(missing is not None, reason=missing or "")

NETWORK = fn.Network(
    6, [fn.Dense(17, "gelu"), fn.Dropout(0.2), fn.Dense(9, "tanh"), fn.Dense(3, "softmax")],
    "crossentropy",
)  # fmt: skip
LOWERED = lower(NETWORK)
ROWS = 75
TINY = REGIMES


def a_program(regimes=LAYERED, dtype="float64", **device):
    from simulated.device import HostDevice

    return CudaProgram(LOWERED, np.dtype(dtype), None, HostDevice(**device), regimes)


def some_rows(dtype="float64", rows=ROWS):
    x, y = rows_for(NETWORK, rows)
    return Data(Inputs(x.astype(dtype)), y, weights_for(rows).astype(dtype))


def on_device(program, data):
    return program.upload(data)


def a_run(count, first=0, batch=16, shuffled=True, rows=ROWS, **options):
    batches = math.ceil(rows / batch)
    epochs = range(first // batches, (first + count - 1) // batches + 1)
    order = np.stack([np.random.default_rng(e).permutation(rows) for e in epochs])
    return Run(
        first, count, batch, order if shuffled else None, fn.Adam(), 0.01, seed=3, **options,
    )  # fmt: skip


def trained(program, data, *runs):
    flat = initial_parameters(NETWORK, 7).astype(program.dtype)
    memory = fn.Adam().memory(len(flat), flat.dtype)
    state = State(program.to_device(flat), program.to_device(memory))
    losses = np.concatenate([program.train(state, data, run) for run in runs])
    return program.to_host(state.parameters), program.to_host(state.memory), losses


@pytest.mark.parametrize("regimes", [LAYERED, NARROW], ids=["layered", "narrow"])
def test_a_captured_graph_does_what_its_launches_do(monkeypatch, regimes):
    # Steps that need the whole gradient before any update: see test_gpu_runs.py.
    count = 2 * steps.GRAPH_STEPS + 5
    program = a_program(regimes)
    graphed = trained(program, on_device(program, some_rows()), a_run(count))
    monkeypatch.setattr(steps, "GRAPH_STEPS", 10**9)
    program = a_program(regimes)
    eager = trained(program, on_device(program, some_rows()), a_run(count))
    for found, wanted in zip(graphed, eager, strict=True):
        assert_same_bits(found, wanted)


def test_a_graph_is_captured_once_and_again_where_an_array_had_to_grow(monkeypatch):
    program = a_program()
    captured = []
    capture = program.device.capture
    monkeypatch.setattr(program.device, "capture", lambda work: captured.append(1) or capture(work))
    data = on_device(program, some_rows())
    length = steps.GRAPH_STEPS
    trained(program, data, *(a_run(length, first * length) for first in range(4)))
    assert len(captured) == 1
    trained(program, data, a_run(20 * length))  # more losses than there was room for
    assert len(captured) == 2


@pytest.mark.parametrize("regimes", [LAYERED, TINY], ids=["layered", "tiny"])
def test_an_order_is_copied_once_an_epoch(monkeypatch, regimes):
    program, data = a_program(regimes), some_rows()
    sent = []
    copy = program.device.copy

    def counting(target, source):
        sent.append(source.size)
        copy(target, source)

    monkeypatch.setattr(program.device, "copy", counting)
    orders = [np.random.default_rng(e).permutation(ROWS) for e in range(3)]
    runs = [replace(a_run(1, step), order=orders[step // 5][None]) for step in range(15)]
    trained(program, on_device(program, data), *runs)
    assert sent.count(ROWS) == 3, "five batches an epoch, a run each"


def test_tiny_networks_share_a_launch_and_have_the_bits_of_each_alone(monkeypatch):
    program, launched = a_program(TINY), []
    launch = Tiny._launch

    def counting(tiny, blocks, *arguments):
        launched.append(blocks)
        launch(tiny, blocks, *arguments)

    monkeypatch.setattr(Tiny, "_launch", counting)

    def a_network(n):
        """Every third has other rows, a few, and all of them in a batch."""
        rows = 5 if n % 3 == 0 else ROWS
        flat = initial_parameters(NETWORK, n)
        flat[-1] = np.nan if n == 7 else flat[-1]
        memory = fn.Adam().memory(len(flat), flat.dtype)
        state = State(program.to_device(flat), program.to_device(memory), n)
        data = some_rows(rows=rows)
        run = a_run(4 + n % 2, n, shuffled=n % 4 > 0, rows=rows, l2=0.1 * n)
        if n % 4 > 1:
            run = replace(run, order=program.to_device(run.order))
        return state, on_device(program, data if n % 2 else replace(data, weight=None)), run

    networks = [a_network(n) for n in range(17)]
    found = program.train_many(*zip(*networks, strict=True))
    assert launched == [6, 11]
    for n, (state, _, _) in enumerate(networks):
        alone, data, run = a_network(n)
        assert_same_bits(found[n], program.train(alone, data, run))
        assert state.updates == alone.updates
        assert_same_bits(program.to_host(state.parameters), program.to_host(alone.parameters))
        assert_same_bits(program.to_host(state.memory), program.to_host(alone.memory))
    assert len(found[7]) == 1
    assert launched == [6, 11] + 17 * [1]


@pytest.mark.parametrize("regimes", [LAYERED, TINY], ids=["layered", "tiny"])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_order_on_the_device_does_what_one_on_the_host_does(monkeypatch, regimes, streamed):
    program, run = a_program(regimes), a_run(23)
    data = some_rows() if streamed else on_device(program, some_rows())
    there = replace(run, order=program.to_device(run.order))
    downloaded = []
    download = program.device.download
    monkeypatch.setattr(
        program.device, "download", lambda array: downloaded.append(array.shape) or download(array)
    )
    runs = [replace(there, steps=5, order=there.order[:1]) for _ in range(3)]
    found, wanted = (trained(program, data, one, *runs) for one in (there, run))
    for array, other in zip(found, wanted, strict=True):
        assert_same_bits(array, other)
    assert downloaded.count(run.order.shape) == downloaded.count((1, ROWS)) / 2 == streamed
    flat = program.to_device(initial_parameters(NETWORK, 7))
    (loss, mass, gradient), right = (
        program.batch_gradient(State(flat, None), data, one, 7) for one in (there, run)
    )
    assert (loss, mass) == right[:2]
    assert_same_bits(program.to_host(gradient), program.to_host(right[2]))


def test_an_order_without_room_on_the_device_is_drawn_on_the_host():
    small, large = a_program(memory_bytes=2**16), a_program()
    found, other = (program.orders(3, range(2), 6_000) for program in (small, large))
    assert type(found) is np.ndarray
    assert large.device.holds(other)
    assert_same_bits(found, large.to_host(other))


@pytest.mark.parametrize("regimes", [LAYERED, NARROW, TINY], ids=["layered", "narrow", "tiny"])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("buffer_bytes", [1, 4_000, 2**26])
def test_data_that_stays_on_the_host_trains_alike(monkeypatch, regimes, shuffled, buffer_bytes):
    monkeypatch.setattr(streaming, "BUFFER_BYTES", buffer_bytes)
    runs = [a_run(23, shuffled=shuffled), a_run(40, 23, shuffled=shuffled)]
    program = a_program(LAYERED if regimes is TINY else regimes)
    wanted = trained(program, on_device(program, some_rows()), *runs)
    streamed = trained(a_program(regimes), some_rows(), *runs)
    for found, kept in zip(streamed, wanted, strict=True):
        assert_same_bits(found, kept)


def test_data_too_large_for_the_device_stays_on_the_host_and_the_whole_contract_holds(monkeypatch):
    monkeypatch.setattr(programs, "LARGE_BYTES", 1_000)
    monkeypatch.setattr(programs, "BLOCK_ENTRIES", 17 * 500)
    rows = 60_000
    small, large = a_program(memory_bytes=3_000_000), a_program()
    data = some_rows(rows=rows)
    kept = on_device(small, data)
    assert kept.x.numbers is data.x.numbers, "2.9 MB of rows do not leave room for steps in 3 MB"
    assert large.device.holds(on_device(large, data).x.numbers)
    flat = initial_parameters(NETWORK, 7)
    parameters, other = small.to_device(flat), large.to_device(flat)
    assert_same_bits(small.predict(parameters, kept.x), large.predict(other, data.x))
    loss = small.loss(parameters, kept)
    assert loss == pytest.approx(large.loss(other, on_device(large, data)), rel=1e-12)
    run = a_run(30, batch=256, rows=rows)
    found = trained(small, kept, run)
    for one, wanted in zip(found, trained(large, on_device(large, data), run), strict=True):
        assert_same_bits(one, wanted)


def test_a_batch_that_does_not_fit_is_reported_with_its_bytes_and_a_batch_size_that_fits():
    program = a_program(memory_bytes=400_000)
    data = on_device(program, some_rows(rows=2_000))
    with pytest.raises(DoesNotFit, match=r"2,000 rows as one batch need [\d,]+ bytes") as caught:
        trained(program, data, a_run(1, batch=2_000, rows=2_000))
    assert isinstance(caught.value, MemoryError)
    text = str(caught.value)
    needed, free = (int(text.split(w)[0].split()[-1].replace(",", "")) for w in (" bytes", " are"))
    assert needed > free
    fits = int(text.split("batch_size=")[1].split()[0].replace(",", ""))
    assert 16 < fits < 2_000
    program = a_program(memory_bytes=400_000)
    data = on_device(program, some_rows(rows=2_000))
    _, _, losses = trained(program, data, a_run(2, batch=fits, rows=2_000))
    assert np.isfinite(losses).all()


def test_batch_sizes_tried_one_after_another_fit_although_buffers_are_kept():
    program = a_program(memory_bytes=800_000)
    data = on_device(program, some_rows(rows=2_000))
    for batch in (300, 350, 400, 450):  # each with buffers of its own, which do not all fit
        _, _, losses = trained(program, data, a_run(1, batch=batch, rows=2_000))
        assert np.isfinite(losses).all()


@pytest.mark.parametrize("regimes", [LAYERED, NARROW, TINY], ids=["layered", "narrow", "tiny"])
def test_data_of_which_a_part_is_on_the_device_trains_alike(regimes):
    program = a_program(LAYERED if regimes is TINY else regimes)
    wanted = trained(program, on_device(program, some_rows()), a_run(23))
    for part in ("x", "y", "weight"):
        program, data = a_program(regimes), some_rows()
        data = replace(data, **{part: getattr(on_device(program, data), part)})
        for found, kept in zip(trained(program, data, a_run(23)), wanted, strict=True):
            assert_same_bits(found, kept)


@pytest.mark.parametrize("regimes", [LAYERED, NARROW], ids=["layered", "narrow"])
def test_more_rows_than_fit_are_predicted_piece_by_piece(monkeypatch, regimes):
    monkeypatch.setattr(programs, "LARGE_BYTES", 1_000)
    small, large = a_program(regimes, memory_bytes=500_000), a_program(regimes)
    flat, data = initial_parameters(NETWORK, 7), some_rows(rows=20_000)
    found = small.predict(small.to_device(flat), data.x)
    assert_near(found, large.predict(large.to_device(flat), data.x), FORWARD["float64"])
    loss = large.loss(large.to_device(flat), data)
    assert small.loss(small.to_device(flat), data) == pytest.approx(loss, rel=1e-12)


def test_rows_that_cannot_be_one_batch_are_reported():
    program = a_program(memory_bytes=100_000)
    data = some_rows(rows=5_000)
    flat = program.to_device(initial_parameters(NETWORK, 7))
    with pytest.raises(DoesNotFit, match=r"5,000 rows at once are more than .* fewer"):
        program.gradient(flat, data)


def test_predictions_of_rows_on_the_device_stay_there():
    model = fn.Model(NETWORK, backend="simulated", seed=1)
    x, _ = rows_for(NETWORK, 30)
    program = model._program
    there = program.to_device(x.astype(np.float32))
    found = model.predict(there)
    assert program.device.holds(found)
    assert program.device.lent == program.device.handed_back == 1, "it may be read too soon"
    assert_same_bits(program.to_host(found), model.predict(x))
    flat = model.parameters.flat
    assert program.predict_at_once(flat, x) is None
    assert program.predict_at_once(flat, program.to_device(x)) is None, "float64"
    assert program.predict_at_once(flat, there[:, :3]) is None
    assert program.predict_at_once(flat, there[:0]) is None


def test_products_with_and_without_epilogues_agree():
    data = some_rows()
    flat = initial_parameters(NETWORK, 7).astype(np.float32)
    network = fn.Network(6, [fn.Dense(40, "relu"), fn.Dense(24, "relu"), fn.Dense(3)])
    lowered = lower(network)
    flat = initial_parameters(network, 3).astype(np.float32)
    x, y = (a.astype(np.float32) for a in rows_for(network, ROWS))
    found = []
    for epilogues in (True, False):
        from simulated.device import HostDevice

        device = HostDevice(epilogues=epilogues)
        program = CudaProgram(lowered, np.dtype(np.float32), None, device, LAYERED)
        data = Data(Inputs(program.to_device(x)), program.to_device(y))
        found.append(program.gradient(program.to_device(flat), data)[1])
    assert_near(found[0], found[1], FORWARD["float32"])


def test_a_program_keeps_buffers_for_a_few_sizes_only():
    program = a_program()
    flat = program.to_device(initial_parameters(NETWORK, 7))
    free = []
    for _ in range(3):
        for rows in (1, 20, 50, 100, 200, 400, 900, 2_000):
            program.predict(flat, on_device(program, some_rows(rows=rows)).x)
        free.append(program.device.memory()[0])
    assert free[0] == free[1] == free[2], "buffers pile up"
    assert len(program.buffers.kept) <= buffers.KEPT


def test_the_contract_says_which_precisions_there_are():
    assert loading.load("simulated").precisions == contract.PRECISIONS
    assert loading.load("cupy").precisions == contract.PRECISIONS
    assert loading.load("numpy").precisions == loading.load("numba").precisions == ()


@pytest.mark.parametrize("regimes", [LAYERED, NARROW], ids=["layered", "narrow"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_on_the_device_may_begin_anywhere(regimes, dtype):
    from simulated.device import HostDevice

    network = fn.Network(4, [fn.Dense(8, "tanh"), fn.Dense(2)])
    lowered = lower(network)
    program = CudaProgram(lowered, np.dtype(dtype), None, HostDevice(), regimes)
    flat = initial_parameters(network, 1).astype(dtype)
    x = rows_for(network, 32)[0].astype(dtype)
    room = program.to_device(np.zeros(4 * 32 + 1, dtype))
    there = room[1:].reshape(32, 4)
    program.device.copy(there, x)
    found = program.to_host(program.predict_at_once(flat, there))
    assert_same_bits(found, program.predict(program.to_device(flat), Inputs(program.to_device(x))))


def write(model, value):
    """Ways to change a model's parameters: each changes one, in place."""
    flat, bias = model.parameters.flat, model.parameters["0.bias"]
    yield flat.__setitem__(3, value)
    yield bias.__setitem__(0, value)
    yield np.add(bias[1:2], 1, out=bias[1:2])
    yield memoryview(flat).__setitem__(0, value)
    yield model.parameters.__setitem__("2.bias", np.full(9, value))
    yield setattr(model.parameters, "flat", model.parameters.flat * 2)
    yield np.copyto(bias[2:3], np.nan)
    yield np.copyto(bias[2:3], -0.0)
    yield np.copyto(bias[2:3], 0.0)


def test_parameters_go_to_the_device_when_they_have_changed(monkeypatch):
    model = fn.Model(NETWORK, backend="simulated", dtype="float64", seed=1)
    device, flat = model.program.device, model.parameters.flat
    x, y = rows_for(NETWORK, ROWS)
    upload, sizes = device.upload, []
    monkeypatch.setattr(device, "upload", lambda array: sizes.append(array.size) or upload(array))

    def evaluated(model):
        loss, gradient = model.loss_and_gradient(x, y)
        return model.predict(x), np.array([model.evaluate(x, y), loss]), gradient

    def assert_up_to_date(uploads):
        sizes.clear()
        found = evaluated(model), evaluated(model)
        assert sizes.count(flat.size) == uploads
        fresh = fn.Model(NETWORK, backend="simulated", dtype="float64", seed=2)
        fresh.parameters.flat[...] = flat
        for again in found:
            for array, wanted in zip(again, evaluated(fresh), strict=True):
                assert_same_bits(array, wanted)

    assert_up_to_date(1)
    for _ in write(model, 0.25):
        assert_up_to_date(1)
        assert_up_to_date(0)
    model.fit(x, y, epochs=1)
    assert_up_to_date(1)
    # What a program hands over to be trained is another copy.
    own = model.program.to_device(flat)
    device.copy(own, np.zeros_like(flat))
    assert_up_to_date(0)
    assert own is not model.program.parameters_to_device(flat)


def test_kept_parameters_make_room(monkeypatch):
    program = a_program(LAYERED, memory_bytes=2**20)
    flat = np.zeros(LOWERED.size)
    kept = program.parameters_to_device(flat)
    assert program.parameters_to_device(flat) is kept
    with pytest.raises(DoesNotFit):
        program.gradient(kept, Data(Inputs(np.zeros((2**12, 6))), np.zeros((2**12, 3))))
    assert program.buffers.parameters is None
    small = a_program(LAYERED, memory_bytes=2**15)
    with pytest.raises(DoesNotFit, match=r"10,000 parameters take 80,000 bytes .* smaller network"):
        small.parameters_to_device(np.zeros(10_000))


def steps_of_a_run(program, weighted, **settings):
    """Five steps: their losses, the parameters after them, and the kernels that were launched."""
    from simulated.device import HostDevice

    launched, launch = [], HostDevice.launch
    x, y = rows_for(NETWORK, ROWS)
    put = program.to_device
    weight = put(weights_for(ROWS)) if weighted else None
    state = State(put(initial_parameters(NETWORK, 7)), put(np.zeros((0, LOWERED.size))))
    run = Run(0, 5, ROWS, None, fn.SGD(), 0.1, **settings)

    def counted(self, kernel, *given):
        launched.append(kernel.name)
        launch(self, kernel, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HostDevice, "launch", counted)
        losses = program.train(state, Data(Inputs(put(x)), put(y), weight), run)
    return losses, program.to_host(state.parameters), launched


@pytest.mark.parametrize("weighted", [False, True])
def test_a_narrow_step_is_two_launches(monkeypatch, weighted):
    losses, moved, launched = steps_of_a_run(a_program(NARROW), weighted)
    assert launched == [*["mass"] * weighted, "narrow", "update_by_parts"] * 5
    monkeypatch.setattr(steps, "MOST_OWN_READS", 0)
    apart = steps_of_a_run(a_program(NARROW), weighted)
    assert apart[2] == [*["mass"] * weighted, "narrow", "total", "update_by_parts"] * 5
    assert_same_bits(losses, apart[0])
    assert_same_bits(moved, apart[1])
    # With a penalty, the gradient is put together before: the same sums.
    near = steps_of_a_run(a_program(NARROW), weighted, clip_norm=1e9)
    assert_same_bits(losses, near[0])
    assert_same_bits(moved, near[1])
    assert "sum_parts" in near[2]


def test_many_rows_weights_are_added_up_by_several_blocks(monkeypatch):
    wanted = steps_of_a_run(a_program(), True)
    monkeypatch.setattr(steps, "MASS_ROWS", 20)
    found = steps_of_a_run(a_program(), True)
    assert found[2].count("add_up_mass") == 5
    assert "add_up_mass" not in wanted[2]
    for one, other in zip(found[:2], wanted[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
