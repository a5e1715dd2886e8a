"""Networks that are no chain of layers on CUDA: graphs, streams, room, fewer bits."""

import numpy as np
import pytest
from compare import assert_near, assert_same_bits
from samples import rows_for, weights_for
from simulated.building import absence
from tolerances import GRADIENT_FLOAT32

import fastnet as fn
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Run, State
from fastnet.contract.starting import initial_parameters
from fastnet_cupy import steps, streaming
from fastnet_cupy.program import CudaProgram
from fastnet_cupy.staged import StagedPass

missing = absence()
pytestmark = pytest.mark.skipif(missing is not None, reason=missing or "")

NETWORK = fn.Network(
    fn.Inputs(2, (40, 3)),
    [fn.Embed((5, "one_hot"), fn.Periodic(3, 4)), fn.Dense(12), fn.BatchNorm(), fn.Mish(),
     fn.Residual([fn.LayerNorm(), fn.Dropout(0.1), fn.Dense(20, fn.PReLU()), fn.Dense(12)]),
     fn.Scale(), fn.Dense(3, "softmax")],
    "crossentropy",
)  # fmt: skip
LOWERED = lower(NETWORK)
ROWS = 75


def a_program(dtype="float64", precision=None, **device):
    from simulated.device import HostDevice

    return CudaProgram(LOWERED, np.dtype(dtype), precision, HostDevice(**device))


def some_rows(dtype="float64", rows=ROWS):
    x, y = rows_for(NETWORK, rows)
    return Data(Inputs(x.astype(dtype)), y, weights_for(rows).astype(dtype))


def trained(program, data, count=17, batch=16):
    order = np.stack([np.random.default_rng(e).permutation(ROWS) for e in range(9)])
    run = Run(0, count, batch, order, fn.Adam(), 0.01, l2=0.1, clip_norm=1.0, seed=3)
    flat = initial_parameters(NETWORK, 7).astype(program.dtype)
    memory = fn.Adam().memory(LOWERED.trained, flat.dtype)
    state = State(program.to_device(flat), program.to_device(memory))
    losses = program.train(state, data, run)
    return program.to_host(state.parameters), program.to_host(state.memory), losses


def test_captured_graphs_streams_and_schedules_change_no_bit(monkeypatch):
    program = a_program()
    wanted = trained(program, program.upload(some_rows()))
    assert (wanted[0][LOWERED.trained :] != initial_parameters(NETWORK, 7)[LOWERED.trained :]).all()
    streamed = trained(a_program(), some_rows())
    monkeypatch.setattr(streaming, "BUFFER_BYTES", 4_000)
    monkeypatch.setattr(steps, "GRAPH_STEPS", 10**9)
    eager = trained(a_program(seed=5, multiprocessors=3), some_rows())
    for others in (streamed, eager):
        for found, one in zip(others, wanted, strict=True):
            assert_same_bits(found, one)


def test_products_without_epilogues_give_the_same_but_for_rounding():
    flat, found = initial_parameters(NETWORK, 7).astype("float32"), []
    for program in (a_program("float32"), a_program("float32", epilogues=False)):
        data = program.upload(some_rows("float32", 700))
        found.append(program.gradient(program.to_device(flat), data, 0.0, 0.1, (3, 4))[1])
    assert_near(*found, GRADIENT_FLOAT32)
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("rows", [40, 700], ids=["one part", "parts"])
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_a_pass_takes_the_room_it_says_it_needs(precision, rows):
    program = a_program("float32", precision)
    for training in (False, True):
        free = program.device.memory()[0]
        made = StagedPass(program.context, rows, training)
        taken = free - program.device.memory()[0]
        fixed, each = StagedPass.bytes_needed(program.context, rows, training)
        slack = 512 * (len(made.values) + len(made.kept) + 40)  # arrays are a multiple of 512 bytes
        assert taken - slack <= fixed + each * rows
        assert fixed + each * rows <= 1.4 * taken + 2**17
        del made


def test_a_step_that_was_interrupted_leaves_the_next_one_whole(monkeypatch):
    program, data = a_program(), some_rows()
    state = State(program.to_device(initial_parameters(NETWORK, 7)), None)
    run = Run(0, 1, ROWS, None, fn.SGD(), 0.1, seed=3)
    wanted = program.batch_gradient(state, data, run, 0)
    back = StagedPass._back
    for last in range(4):

        def interrupted(self, request, x, index, *given, last=last):
            if index == last:
                raise KeyboardInterrupt
            return back(self, request, x, index, *given)

        with monkeypatch.context() as patched:
            patched.setattr(StagedPass, "_back", interrupted)
            with pytest.raises(KeyboardInterrupt):
                program.batch_gradient(state, data, run, 0)
    found = program.batch_gradient(state, data, run, 0)
    assert found[:2] == wanted[:2]
    assert_same_bits(program.to_host(found[2]), program.to_host(wanted[2]))
