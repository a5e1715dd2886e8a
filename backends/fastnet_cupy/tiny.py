"""Tiny networks: a whole run of steps in one launch, of one block for each network."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet_cupy.context import OWN_BYTES, Context, Source
from fastnet_cupy.layout import Layout, tabulate
from fastnet_cupy.names import TINY_THREADS, WARP, Network

#: Rows that go through together, at most: with two for each thread all have work in the narrowest
#: layer.
MOST_ROWS = 2 * TINY_THREADS

#: Layers and parameters up to which a network gets a kernel of its own, in which its table is
#: constants: loops over a few inputs are then unrolled, and no table is read. An estimate: up to
#: here the unrolled code stays within some thousand instructions.
OWN_LAYERS, OWN_PARAMETERS = 4, 64


def _stride(columns: int) -> int:
    """How far rows are apart on the chip; as kernels/tiny.cu has it."""
    return columns | 1


def _entries(layout: Layout, slots: int) -> tuple[int, int]:
    """Entries of shared memory: fixed, and for each row of a chunk."""
    wide = sum(_stride(layer.units) for layer in layout.layers)
    each = _stride(layout.inputs) + layout.outputs + 2 + 2 * wide + 2 * _stride(layout.widest)
    return layout.size * (2 + slots) + WARP, each


def chunk_rows(layout: Layout, slots: int, batch: int, itemsize: int, shared: int) -> int:
    """Rows that go through together, of a batch: 0 where the network does not fit.

    Args:
        layout: the network.
        slots: vectors of the optimizer's memory.
        batch: rows of a batch.
        itemsize: bytes of a number.
        shared: bytes that a block may have.
    """
    fixed, each = _entries(layout, slots)
    room = (shared - OWN_BYTES) // itemsize - fixed
    return max(min(room // each, batch, MOST_ROWS), 0)


@dataclass
class TinyRun:
    """What a run needs beside its state and rows, on the device.

    Attributes:
        block: the control block; its NOW becomes the number of updates made.
        settings: of the run.
        steps: the step table.
        slots: vectors of the optimizer's memory.
        losses: `(steps,)` float64, to be filled.
        chunk: rows that go through together.
        batch: rows of a batch.
    """

    block: Any
    settings: Any
    steps: Any
    slots: int
    losses: Any
    chunk: int
    batch: int


class Tiny:
    """Trains tiny networks of one layout.

    Args:
        context: its device and network; its numbers are float32 or float64.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        layout = context.layout
        own = len(layout.layers) <= OWN_LAYERS and layout.size <= OWN_PARAMETERS
        table = {}
        if own:
            entries = tabulate(layout).ints.tolist()
            table = {"FN_TABLE": ",".join(map(str, entries))}
        self.kernel = context.kernel("tiny.cu", "tiny_train", **table)

    def train(self, run: TinyRun, parameters: Any, memory: Any, source: Source) -> None:
        """Launch a run: parameters and memory are changed in place."""
        self._launch(
            1,
            run.slots,
            run.batch,
            run.chunk,
            run.block,
            run.settings,
            run.steps,
            parameters,
            memory,
            source.x,
            source.y,
            source.labels,
            source.weights,
            source.order,
            run.losses,
            np.int32(run.chunk),
            None,
        )

    def train_many(self, networks: Any, count: int, slots: int, batch: int, chunk: int) -> None:
        """Launch runs of `count` networks with `slots`, `batch` and `chunk` in common.

        `networks` is `(count, len(Network))` int64 on the device: where their arrays are.
        """
        nothing = [None] * len(Network)
        self._launch(count, slots, batch, chunk, *nothing, np.int32(chunk), networks)

    def _launch(self, blocks: int, slots: int, batch: int, chunk: int, *arguments: Any) -> None:
        context, layout = self.context, self.context.layout
        fixed, each = _entries(layout, slots)
        items = max(min(batch, chunk) * layout.widest, layout.size)
        self.kernel(
            blocks,
            min(-(-items // WARP) * WARP, TINY_THREADS),
            (context.int_table, context.float_table, *arguments),
            (fixed + each * chunk) * context.number.real_bytes,
        )
