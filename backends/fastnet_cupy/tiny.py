"""Tiny networks: a whole run of steps in one launch of one block."""

from typing import Any

import numpy as np

from fastnet_cupy.ground import WARP, Ground, Source
from fastnet_cupy.layout import Layout

#: Multiplications of a step's way forward, at most. One multiprocessor of an H100 or H200 makes
#: 128 a clock at best, some 10 us for twice as many on the way back too: about what the launches
#: of a step's kernels take. An estimate: no GPU was at hand to measure it.
MOST_PRODUCTS = 2**18

#: Threads of the block, at most; as kernels/tiny.cu has it.
MOST_THREADS = 512

#: Rows that go through together, at most.
MOST_ROWS = 512

#: Bytes of shared memory that the kernel declares by itself, rounded up.
OWN_BYTES = 1024

#: Layers and parameters up to which a network gets a kernel of its own, in which its table is
#: constants: loops over a few inputs are then taken apart, and no table is read on the way.
OWN_LAYERS, OWN_PARAMETERS = 4, 512


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
    if layout.products * batch > MOST_PRODUCTS:
        return 0
    fixed, each = _entries(layout, slots)
    room = (shared - OWN_BYTES) // itemsize - fixed
    return max(min(room // each, batch, MOST_ROWS), 0)


class Tiny:
    """Trains one tiny network.

    Args:
        ground: what it stands on; its numbers are float32 or float64.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        layout = ground.layout
        own = len(layout.layers) <= OWN_LAYERS and layout.size <= OWN_PARAMETERS
        table = {}
        if own:
            entries = ground.device.download(ground.whole)
            table = {"FN_TABLE": ",".join(map(str, entries.tolist()))}
        self.kernel = ground.kernel("tiny.cu", "tiny_train", **table)

    def train(
        self,
        block: Any,
        code: int,
        slots: int,
        constants: Any,
        objective: Any,
        rates: Any,
        losses: Any,
        parameters: Any,
        memory: Any,
        source: Source,
        chunk: int,
        batch: int,
    ) -> None:
        """Launch a run.

        Args:
            block: the control block; its NOW becomes the number of updates made.
            code, slots, constants: of the optimizer.
            objective: penalties and limits.
            rates: `(steps, RATES)`.
            losses: `(steps,)` float64, to be filled.
            parameters, memory: changed in place.
            source: the rows.
            chunk: rows that go through together.
            batch: rows of a batch.
        """
        ground, layout = self.ground, self.ground.layout
        itemsize = np.dtype(ground.number.real).itemsize
        fixed, each = _entries(layout, slots)
        rows = min(batch, chunk)
        items = max(rows * layout.widest, layout.size)
        self.kernel(
            1,
            min(-(-items // WARP) * WARP, MOST_THREADS),
            (
                ground.whole,
                ground.reals,
                constants,
                objective,
                np.int32(code),
                np.int32(slots),
                parameters,
                memory,
                source.x,
                source.y,
                source.labels,
                source.weights,
                source.order,
                rates,
                losses,
                block,
                np.int32(chunk),
            ),
            (fixed + each * chunk) * itemsize,
        )


