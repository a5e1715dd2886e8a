"""Sums over many rows: float32 within groups of them, float64 from group to group."""

import numpy as np
from numba.core import types

from fastnet_numba.simd.compiled import part
from fastnet_numba.simd.parts import by_address


@by_address(types.none)
def add_wide(wide, g, at, size):
    """Add a group's sums: see `wide_added`."""


@by_address(types.none)
def take_wide(g, wide, at, size, more):
    """Take the sum of all groups: see `wide_taken`."""


@part
def wide_added(wide, g, at, size):
    """wide += g, for the `size` entries from `at` on."""
    sums, ours = wide[at : at + size], g[at : at + size]
    for i in range(size):
        sums[i] += np.float64(ours[i])


@part
def wide_taken(g, wide, at, size, more):
    """g = wide, and g added before where there is `more`; wide becomes 0 for the next batch."""
    sums, ours = wide[at : at + size], g[at : at + size]
    number = g.dtype.type
    for i in range(size):
        ours[i] = number(sums[i] + np.float64(ours[i])) if more else number(sums[i])
        sums[i] = 0.0
