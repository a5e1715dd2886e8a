"""Orders of the rows, drawn on the device."""

from typing import Any

import numpy as np

from fastnet_cupy.context import Context
from fastnet_cupy.names import THREADS

#: Arrays as long as an order that it takes to draw it, at most: the order, the numbers that CuPy
#: sorts several orders by, both of these again while it sorts, and the copy that steps read.
ARRAYS_OF_ORDER = 5


def draw_orders(context: Context, seed: int, epochs: range, rows: int) -> Any:
    """The orders of the rows in some epochs, `(len(epochs), rows)` int64, on the device.

    The same numbers as `Program.orders` has by default; there is a row and an epoch at least.

    Raises:
        MemoryError: if there is no room for them.
    """
    entries = len(epochs) * rows
    keys = context.device.empty((len(epochs), rows), "int64")
    shape = np.int64(epochs.start), np.int64(len(epochs)), np.int64(rows)
    kernel = context.kernel("step.cu", "draw_keys")
    kernel(context.blocks(-(-entries // 4)), THREADS, (np.uint64(seed), *shape, keys))
    context.device.sort(keys)
    kernel = context.kernel("step.cu", "keep_rows")
    kernel(context.blocks(entries), THREADS, (keys, np.int64(entries)))
    return keys
