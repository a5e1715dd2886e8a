"""Many networks of one plan at once: tiny ones in one launch, a block each, others in turn.

A block does with its network what the one block of a launch for that network alone does, on as many
threads: so bits are the same. Launched together are those that have the geometry in common.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Run, State
from fastnet_cupy import control
from fastnet_cupy.device import Device
from fastnet_cupy.layout import Layout
from fastnet_cupy.names import Control, Network

if TYPE_CHECKING:
    from fastnet_cupy.program import CudaProgram


def train(
    program: "CudaProgram", states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
) -> list[Array]:
    """Train several networks, each by its run."""
    groups: dict[tuple[int, int, int], list[int]] = {}
    found: list[Any] = [None] * len(runs)
    for place, (state, one, run) in enumerate(zip(states, data, runs, strict=True)):
        run.check(program.plan, state, len(one))
        slots, batch = program.slots(run, state), min(run.batch_size, len(one))
        there = all(part is None or program.device.holds(part) for part in one.parts)
        chunk = program.tiny_chunk(batch, slots) if there else 0
        groups.setdefault((slots, batch, chunk), []).append(place)
    for (slots, batch, chunk), places in groups.items():
        networks = [(states[place], data[place], runs[place]) for place in places]
        if chunk and len(places) > 1:
            with program.lock, program.buffers.report_out_of_memory(batch):
                losses = _in_blocks(program, networks, slots, batch, chunk)
        else:
            losses = [program.train(*one) for one in networks]
        for place, own in zip(places, losses, strict=True):
            found[place] = own
    return found


def _in_blocks(
    program: "CudaProgram",
    networks: list[tuple[State, Data, Run]],
    slots: int,
    batch: int,
    chunk: int,
) -> list[Array]:
    """Train tiny networks in one launch; `slots`, `batch` and `chunk` as in `tiny.TinyRun`."""
    device, layout = program.device, program.layout
    table = np.zeros((len(networks), len(Network)), np.int64)

    def send(column: Network, arrays: list[Array]) -> Any:
        """Arrays of the networks, one behind the other, to where the table then says."""
        sent = device.upload(np.concatenate([array.reshape(-1) for array in arrays]))
        table[:, column] = _addresses(device, sent, [array.size for array in arrays])
        return sent

    blocks = send(Network.CONTROL, [_control(layout, *one, batch, slots) for one in networks])
    kept = [
        send(Network.SETTINGS, [control.settings(run) for _, _, run in networks]),
        send(
            Network.STEPS,
            [control.step_table(layout, run, state.updates) for state, _, run in networks],
        ),
    ]
    orders: list[Any] = [run.order for _, _, run in networks]
    on_host = [order is not None and not device.holds(order) for order in orders]
    if any(on_host):
        nothing, pairs = np.zeros(0, np.int64), zip(on_host, orders, strict=True)
        kept.append(send(Network.ORDER, [order if here else nothing for here, order in pairs]))
    lengths = [run.steps for _, _, run in networks]
    losses = device.empty((sum(lengths),), "float64")
    table[:, Network.LOSSES] = _addresses(device, losses, lengths)
    for row, (state, data, _), order, here in zip(table, networks, orders, on_host, strict=True):
        source = program.source(data)
        if not here:
            row[Network.ORDER] = 0 if order is None else device.address(order)
        row[Network.PARAMETERS] = device.address(state.parameters)
        row[Network.MEMORY] = device.address(state.memory) if slots else 0
        row[[Network.X, Network.Y, Network.LABELS, Network.WEIGHTS]] = [
            0 if array is None else device.address(array)
            for array in (source.x, source.y, source.labels, source.weights)
        ]
    kernel, *_ = program.buffers.for_tiny()
    kernel.train_many(device.upload(table), len(networks), slots, batch, chunk)
    made = device.download(blocks).reshape(-1, len(Control))[:, Control.NOW].tolist()
    del kept  # which the kernel has read by now
    found = []
    parts = np.split(device.download(losses), np.cumsum(lengths)[:-1])
    for (state, _, _), updates, part in zip(networks, made, parts, strict=True):
        state.updates += updates
        found.append(part[: updates + 1])
    return found


def _control(layout: Layout, state: State, data: Data, run: Run, batch: int, slots: int) -> Array:
    """A network's control block."""
    block = control.control(
        rows=len(data),
        batch=batch,
        steps=run.steps,
        first_step=run.first_step,
        ordered=run.order is not None,
    )
    control.drop(block, layout, run)
    block[Control.OPTIMIZER], block[Control.SLOTS] = control.code(run.optimizer), slots
    return block


def _addresses(device: Device, array: Any, lengths: list[int]) -> Array:
    """Where parts of so many entries, one behind the other, begin in a device array."""
    starts = np.cumsum([0, *lengths[:-1]])
    return np.asarray(device.address(array) + array.dtype.itemsize * starts)
