"""Dropout's masks: the same bits as `fastnet.random` gives, computed where they are needed."""

import numpy as np
from numba.core import types

from fastnet import random
from fastnet_numba.ops.philox import HALF, LOW, fourth, philox
from fastnet_numba.simd.compiled import part
from fastnet_numba.simd.parts import by_address

_PURPOSE = np.uint64(random.DROPOUT)


@by_address(types.none)
def draw(m, at, scratch, row, units, rows, first, rate, layer, seed, step):
    """Draw the masks of a layer: see `masks`."""


@part
def masks(m, at, scratch, row, units, rows, first, rate, layer, seed, step):
    """Masks for `rows` rows from row `first` of the batch on: 0, or 1 / (1 - rate).

    `m[scratch]` is room for the masks of all these rows and eight more, one behind the other.
    """
    low, high = np.uint64(seed) & LOW, np.uint64(seed) >> HALF
    c1, c2, c3 = np.uint64(step) & LOW, np.uint64(layer), fourth(_PURPOSE, np.uint64(step))
    # As `random.keep_threshold` has it; both round halves to even.
    limit = np.uint64(min(np.rint(rate * 2.0**32), 2.0**32 - 1))
    nothing, kept = m.dtype.type(0), m.dtype.type(1 / (1 - rate))
    begin = first * units
    block = begin // 4
    blocks = (begin + rows * units + 3) // 4 - block
    words = m[scratch : scratch + 4 * blocks]
    for i in range(blocks):
        w0, w1, w2, w3 = philox(np.uint64(block + i), c1, c2, c3, low, high)
        words[4 * i] = kept if w0 >= limit else nothing
        words[4 * i + 1] = kept if w1 >= limit else nothing
        words[4 * i + 2] = kept if w2 >= limit else nothing
        words[4 * i + 3] = kept if w3 >= limit else nothing
    offset = begin - 4 * block
    for r in range(rows):
        some = words[offset + r * units : offset + (r + 1) * units]
        target = m[at + r * row : at + r * row + units]
        for j in range(units):
            target[j] = some[j]
