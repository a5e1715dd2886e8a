"""Training on data that stays on the host: it passes through two buffers on the device.

While the device computes on one, the host gathers the rows of the next steps into pinned memory,
and copies them to the other.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Run
from fastnet_cupy.context import Source
from fastnet_cupy.device import Device
from fastnet_cupy.steps import GRAPH_STEPS, Training

#: Bytes of rows in one buffer, about: over PCIe 5.0 x16, 64 GB/s, they take 1 ms, beside which the
#: start of a copy does not matter.
BUFFER_BYTES = 2**26

#: The part of the free memory that one buffer may take: both together half, as `DATA_SHARE` of
#: program.py leaves it for steps.
BUFFER_SHARE = 1 / 4


@dataclass
class _Buffer:
    """Rows on the host and on the device.

    Attributes:
        host: pinned arrays: x, y or labels, and weights where there are any.
        source: the same on the device.
        copied: the moment at which the device has them, so that the host may gather the next rows.
        used: the moment from which on the device does not need them any more.
    """

    host: list[Array]
    source: Source
    copied: Any = None
    used: Any = None

    @property
    def device(self) -> list[Any]:
        """The device's arrays, in the order of the host's."""
        return [
            array
            for array in (
                self.source.x, self.source.y, self.source.labels, self.source.weights,
            )
            if array is not None
        ]  # fmt: skip


class Stream:
    """The two buffers, for rows of one kind and batches of one size.

    Args:
        device: where.
        data: host arrays like those that will pass; it is not kept.
        batch: rows of a batch.

    Attributes:
        steps: whose batches a buffer holds.
    """

    def __init__(self, device: Device, data: Data, batch: int) -> None:
        self.device, self.batch = device, batch
        arrays = _arrays(data)
        row = sum(array.nbytes // len(array) for array in arrays)
        room = min(BUFFER_BYTES, int(device.memory()[0] * BUFFER_SHARE))
        self.steps = max(room // (row * batch), 1)
        if self.steps > GRAPH_STEPS:
            self.steps -= self.steps % GRAPH_STEPS
        self.buffers = [self._buffer(arrays) for _ in range(2)]

    def _buffer(self, arrays: list[Array]) -> _Buffer:
        rows = self.steps * self.batch
        shapes = [((rows, *array.shape[1:]), array.dtype) for array in arrays]
        host = [self.device.pinned(shape, dtype) for shape, dtype in shapes]
        x, y, *weights = (self.device.empty(shape, dtype) for shape, dtype in shapes)
        labels = arrays[1].ndim == 1
        source = Source(rows, x, None if labels else y, y if labels else None, *weights)
        return _Buffer(host, source)

    def train(self, training: Training, data: Data, run: Run) -> None:
        """Do the steps of a run that `training` has loaded, on the rows of `data`."""
        for chunk, first in enumerate(range(0, run.steps, self.steps)):
            buffer = self.buffers[chunk % 2]
            last = min(first + self.steps, run.steps)
            if buffer.copied is not None:
                buffer.copied.wait()
            rows = self._rows(len(data), run, first, last)
            for array, host in zip(_arrays(data), buffer.host, strict=True):
                # mode="clip" spares the buffer that the default makes; all rows are in range.
                array.take(rows, 0, host[: len(rows)], "clip")
            for target, host in zip(buffer.device, buffer.host, strict=True):
                buffer.copied = self.device.stage(target, host, buffer.used)
                self.device.wait_for(buffer.copied)
            training.do(buffer.source, last - first)
            buffer.used = self.device.event()

    def _rows(self, rows: int, run: Run, first: int, last: int) -> Array:
        """Which rows steps `first` to `last` of the run take, each filled up to a whole batch."""
        batches = math.ceil(rows / self.batch)
        first_epoch = run.first_step // batches
        pieces = []
        for step in range(run.first_step + first, run.first_step + last):
            epoch, place = divmod(step, batches)
            places = np.arange(place * self.batch, (place + 1) * self.batch)
            np.minimum(places, rows - 1, out=places)
            pieces.append(places if run.order is None else run.order[epoch - first_epoch, places])
        return np.concatenate(pieces)


def _arrays(data: Data) -> list[Array]:
    """x, y or labels, and weights where there are any."""
    return [data.x.numbers, data.y, *([] if data.weight is None else [data.weight])]
