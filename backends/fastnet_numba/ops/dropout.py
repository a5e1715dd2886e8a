"""Dropout's masks: the same bits as `fastnet.random` gives, computed where they are needed.

Philox4x32-10 computes four words from their address: see `fastnet/random.py` for the letters.
"""

import numpy as np

from fastnet import random
from fastnet_numba.simd.compiled import inlined, kernel

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_EIGHT = np.uint64(8)
_PURPOSE = np.uint64(random.DROPOUT)


@inlined
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds; 32-bit values in uint64."""
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def draw(m, at, scratch, row, units, rows, first, rate, layer, seed, step):
    """Masks for `rows` rows from row `first` of the batch on: 0, or 1 / (1 - rate).

    `m[scratch]` is room for the masks of all these rows and eight more, one behind the other.
    """
    low, high = np.uint64(seed) & _LOW, np.uint64(seed) >> _HALF
    c1, c2 = np.uint64(step) & _LOW, np.uint64(layer)
    c3 = _PURPOSE + ((np.uint64(step) >> _HALF) << _EIGHT)
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
        masks = words[offset + r * units : offset + (r + 1) * units]
        target = m[at + r * row : at + r * row + units]
        for j in range(units):
            target[j] = masks[j]
