"""Matrix products of every size, from register tiles.

Small ones are a matter of tiles alone. Where B is larger than the cache near the core, it is
copied panel by panel into one piece first (`packed`). A layer of one unit is a product with one
column, for which vectors run along the inputs (`column`).
"""

import numpy as np

from fastnet_numba.ops.panels import LARGE_BYTES, PANEL, PANEL_DEPTH, WORTH_PACKING
from fastnet_numba.simd.compiled import entry, kernel
from fastnet_numba.simd.host import register_bytes
from fastnet_numba.simd.tiles import ADD, BIAS, KEEP, MASK, RELU, TIMES, ZERO
from fastnet_numba.simd.vectors import (
    address_of_tiles,
    every,
    fma,
    keep_first,
    lanes,
    load,
    load_first,
    product,
    store,
    total,
    transpose,
)

REGISTER_BYTES = register_bytes()

__all__ = ["ADD", "BIAS", "KEEP", "MASK", "RELU", "TIMES", "ZERO", "column", "multiply", "sum_of"]


@entry
def tiles_for(like):
    """The address of the tiles for arrays like this one: what `multiply` is to be given."""
    return address_of_tiles(like)


@kernel
def multiply(
    tiles, c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row,
    rows, columns, depth, begin, end, e, e_at, e_row, m, scratch,
):  # fmt: skip
    """C = A B: see `tiles.py`. `m[scratch]` is room for a packed panel."""
    bytes_of_b = columns * depth * (REGISTER_BYTES // lanes(m))
    if bytes_of_b > LARGE_BYTES and rows >= WORTH_PACKING:
        multiply_packed(
            tiles, c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row, np.int64(0),
            rows, columns, depth, begin, end, e, e_at, e_row, m, scratch,
        )  # fmt: skip
    else:
        product(
            tiles, c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row,
            rows, columns, depth, begin, end, e, e_at, e_row,
        )  # fmt: skip


@kernel
def multiply_packed(
    tiles, c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row, turned,
    rows, columns, depth, begin, end, e, e_at, e_row, m, scratch,
):  # fmt: skip
    """C = A B with B copied panel by panel into one piece.

    Where `turned` is not 0, b holds B's transpose: B (k, j) is `b[b_at + j * b_row + k]`.
    """
    size = lanes(m)
    panel = PANEL * size
    for k0 in range(0, depth, PANEL_DEPTH):
        deep = min(PANEL_DEPTH, depth - k0)
        opening = begin if k0 == 0 else ADD
        closing = end if k0 + deep == depth else KEEP
        for j0 in range(0, columns, panel):
            wide = min(panel, columns - j0)
            if turned != 0:
                for j in range(0, wide, size):
                    for k in range(0, deep, size):
                        transpose(
                            m, scratch + k * panel + j, panel,
                            b, b_at + (j0 + j) * b_row + k0 + k, b_row,
                            min(wide - j, size), min(deep - k, size),
                        )  # fmt: skip
            elif wide == panel:
                for k in range(deep):
                    here, there = b_at + (k0 + k) * b_row + j0, scratch + k * panel
                    for j in range(0, panel, size):
                        store(m, there + j, load(b, here + j))
            else:
                for k in range(deep):
                    here, there = b_at + (k0 + k) * b_row + j0, scratch + k * panel
                    for j in range(0, wide, size):
                        store(m, there + j, load_first(b, here + j, wide - j))
            # A bias begins with the columns, a slope with the rows too: both move with j0.
            product(
                tiles, c, c_at + j0, c_row, a, a_at + k0 * a_column, a_row, a_column,
                m, scratch, panel, rows, wide, deep, opening, closing, e, e_at + j0, e_row,
            )  # fmt: skip


@kernel
def column(p, weight, bias, m, x, row, inputs, z, rows, end):
    """z = x w + b for one unit: a sum along each row of x."""
    step = lanes(m)
    whole = inputs - inputs % step
    zero = m.dtype.type(0)
    b = p[bias] if bias >= 0 else zero
    for r in range(rows):
        here = x + r * row
        summed = every(m, 0.0)
        for k in range(0, whole, step):
            summed = fma(load(m, here + k), load(p, weight + k), summed)
        if whole < inputs:
            rest = inputs - whole
            tail = load_first(m, here + whole, rest)
            summed = fma(tail, load_first(p, weight + whole, rest), summed)
        value = total(summed) + b
        m[z + r] = value if end == KEEP or not value < 0 else zero


@kernel
def sum_of(m, at, count):
    """The sum of `count` entries."""
    step = lanes(m)
    summed = every(m, 0.0)
    for i in range(0, count, step):
        summed = summed + keep_first(load(m, at + i), count - i)
    return total(summed)
