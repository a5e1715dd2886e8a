"""Philox4x32-10, which computes four random words from their address.

See `fastnet/random.py` for the address, and for the letters.
"""

import numpy as np

from fastnet_numba.simd.compiled import inlined

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_EIGHT = np.uint64(8)


@inlined
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds; 32-bit values in uint64."""
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + _W0) & LOW, (k1 + _W1) & LOW
    return c0, c1, c2, c3


@inlined
def fourth(purpose, stream):
    """The counter's fourth word: the purpose, and the stream's high bits."""
    return purpose + ((stream >> HALF) << _EIGHT)
