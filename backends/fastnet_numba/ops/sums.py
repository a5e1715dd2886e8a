"""Sums over many rows: float32 within groups of them, float64 from group to group."""

import numpy as np

from fastnet_numba.simd.compiled import kernel


@kernel
def add_wide(wide, g, at, size):
    """wide += g, for the `size` entries from `at` on."""
    sums, ours = wide[at : at + size], g[at : at + size]
    for i in range(size):
        sums[i] += np.float64(ours[i])


@kernel
def take_wide(g, wide, at, size, more):
    """g = wide, and g added before where there is `more`; wide becomes 0 for the next batch."""
    sums, ours = wide[at : at + size], g[at : at + size]
    number = g.dtype.type
    for i in range(size):
        ours[i] = number(sums[i] + np.float64(ours[i])) if more else number(sums[i])
        sums[i] = 0.0
