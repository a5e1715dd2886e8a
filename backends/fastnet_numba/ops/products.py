"""Matrix products of every size, from register tiles.

Small ones are a matter of tiles alone. A larger B is copied block by block into one piece first
(`multiply_packed`): rows that lie far apart share a few sets of the caches, and each is on a page
of its own. Small networks have no such product, so that is a part (`large_multiplied`). A layer of
one unit is a product with one column, for which vectors run along the inputs (`column`).
"""

from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from fastnet.arrays.cache_lines import LINE
from fastnet_numba.ops.panels import (
    FETCHED_COLUMNS,
    FETCHED_ROWS,
    PANEL,
    STEPS_ALONG,
    STEPS_OF_ONE_ROW,
    STEPS_OF_ROWS,
    is_far,
    worth_packing,
)
from fastnet_numba.simd.compiled import inlined, kernel, part, written
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.tiles import ADD, HEIGHTS, KEEP, MASK
from fastnet_numba.simd.vectors import (
    address_of_tiles,
    dots,
    every,
    fetch,
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

packing_pays, comes_from_far = inlined(worth_packing), inlined(is_far)

#: Rows of the largest tile; and of some of them, for which slopes are fetched at once.
HEIGHT = HEIGHTS[0]
SLOPED = 4 * HEIGHT


class Rows(NamedTuple):
    """A matrix in a flat array, its rows in one piece: entry (i, j) is `data[at + i * row + j]`."""

    data: Any
    at: Any
    row: Any


class Matrix(NamedTuple):
    """A matrix in a flat array: entry (i, j) is `data[at + i * row + j * column]`."""

    data: Any
    at: Any
    row: Any
    column: Any


class Shape(NamedTuple):
    """Of C `(rows, columns)` = A `(rows, depth)` B `(depth, columns)`."""

    rows: Any
    columns: Any
    depth: Any


@written
def tiles_for(like):
    """The address of the tiles for arrays like this one: what `multiply` is to be given."""
    return address_of_tiles(like)


class Room(NamedTuple):
    """Where B is packed, and in what blocks (see `panels.py`).

    Attributes:
        m, at: the blocks go to `m[at]`, and what is packed of A behind them.
        depth, entries: the most rows of a block, and its entries.
        strip, rows: where A is a transpose, the most columns of it that are packed too, and the
            rows for which a block is used in turn; 0 rows: A is not packed.
        plain: how many entries of B need no packing.
        large: the address of `large_multiplied`, for more entries than that.
        panels: where all blocks of B go instead, to be used for other rows too; -1: nowhere.
        ready: whether they are there already.
    """

    m: Any
    at: Any
    depth: Any
    entries: Any
    strip: Any
    rows: Any
    plain: Any
    large: Any
    panels: Any
    ready: Any


@by_address(types.none)
def multiply_large(
    tiles, c: Rows, a: Matrix, b: Rows, transposed, shape: Shape, begin, end, e: Rows, room: Room
):
    """C = A B where B is large; the arguments are those of `multiply`.

    Where `transposed` is not 0, b is the transpose of B.
    """


@inlined
def multiply_small(tiles, c, a, b, shape, begin, end, e):
    """C = A B from tiles alone; the arguments are those of `multiply`."""
    product(
        tiles, c.data, c.at, c.row, a.data, a.at, a.row, a.column, b.data, b.at, b.row,
        shape.rows, shape.columns, shape.depth, begin, end, e.data, e.at, e.row,
    )  # fmt: skip


@kernel
def multiply(tiles, c, a, b, shape, begin, end, e, room):
    """C = A B: see `tiles.py`.

    Args:
        tiles: what `tiles_for` gave.
        c, b: `Rows`.
        a: `Matrix`.
        shape: of the product.
        begin, end: what the entries begin as, and what becomes of them.
        e: the bias or the slope for that, `Rows` like C.
        room: for packed blocks of B.
    """
    if shape.columns * shape.depth > room.plain:
        multiply_large(room.large, tiles, c, a, b, np.int64(0), shape, begin, end, e, room)
    else:
        multiply_small(tiles, c, a, b, shape, begin, end, e)


@part
def large_multiplied(
    tiles, c: Rows, a: Matrix, b: Rows, transposed, shape: Shape, begin, end, e: Rows, room: Room
):
    """What `multiply_large` calls."""
    known = transposed != 0 or room.panels >= 0
    if known or packing_pays(
        shape.rows, shape.columns, b.row, room.entries, lanes(room.m), room.m.itemsize
    ):
        multiply_packed(tiles, c, a, b, transposed, shape, begin, end, e, room)
    elif comes_from_far(shape.columns * shape.depth, room.entries):
        steps = STEPS_OF_ONE_ROW if shape.rows == 1 else STEPS_OF_ROWS
        for k in range(0, shape.depth, steps):
            deep = min(steps, shape.depth - k)
            multiply_small(
                tiles, c, Matrix(a.data, a.at + k * a.column, a.row, a.column),
                Rows(b.data, b.at + k * b.row, b.row), Shape(shape.rows, shape.columns, deep),
                begin if k == 0 else ADD, end if k + deep == shape.depth else KEEP, e,
            )  # fmt: skip
    else:
        multiply_small(tiles, c, a, b, shape, begin, end, e)


@kernel
def multiply_rows(tiles, c, a, b, shape):
    """C = A B' of rows with rows: see `dots.py`.

    Args:
        tiles: as for `multiply`.
        c, a, b: `Rows`, of which what is behind the depth, up to whole vectors, may be read.
        shape: of the product.
    """
    for k in range(0, shape.depth, STEPS_ALONG):
        dots(
            tiles, c.data, c.at, c.row, a.data, a.at + k, a.row, b.data, b.at + k, b.row,
            shape.rows, shape.columns, min(STEPS_ALONG, shape.depth - k), np.int64(k > 0), -1,
        )  # fmt: skip


@kernel
def multiply_packed(tiles, c, a, b, transposed, shape, begin, end, e, room):
    """C = A B with B copied block by block; the arguments are those of `multiply_large`."""
    m = room.m
    size = lanes(m)
    panel = PANEL * size
    whole = -(-shape.columns // panel) * panel
    # Where C is more than stays in the second cache, it is fetched ahead where A is a transpose, as
    # in a gradient of weights, and its slopes are.
    far, down, sloped = shape.rows * shape.columns > room.entries, a.row == 1, end >= MASK
    strips = far and down and room.rows > 0
    deepest, high = (room.strip, room.rows) if strips else (room.depth, shape.rows)
    step = HEIGHT if down else SLOPED
    if not (far and (down or sloped)):
        step = shape.rows
    for k0 in range(0, shape.depth, deepest):
        deep = min(deepest, shape.depth - k0)
        opening = begin if k0 == 0 else ADD
        closing = end if k0 + deep == shape.depth else KEEP
        if strips:
            pack_strips(m, room.at + room.entries, a, k0, shape.rows, deep)
        columns = max(room.entries // (-(-deep // size) * size * panel), 1) * panel
        for first in range(0, shape.columns, columns):
            after = min(first + columns, shape.columns)
            here = room.at
            if room.panels >= 0:
                here = room.panels + k0 * whole + first * deep
            if room.panels < 0 or room.ready == 0:
                pack(m, here, b, transposed, k0, first, deep, after - first)
            for i0 in range(0, shape.rows, high):
                last = min(i0 + high, shape.rows)
                for j0 in range(first, after, panel):
                    wide = min(panel, after - j0)
                    for i in range(i0, last, step):
                        place, row, column = a.at + i * a.row + k0 * a.column, a.row, a.column
                        if strips:
                            place, column = room.at + room.entries + i * deep, HEIGHT
                        elif far and down:
                            fetch_rows(c, i + step, min(i + 2 * step, last), j0, wide)
                        if far and closing >= MASK:
                            fetch_rows(e, i, min(i + step, last), j0, wide)
                        # A bias begins with the columns, a slope with the rows too: both move.
                        product(
                            tiles, c.data, c.at + i * c.row + j0, c.row,
                            m if strips else a.data, place, row, column,
                            m, here + (j0 - first) * deep, panel,
                            min(step, last - i), wide, deep, opening, closing,
                            e.data, e.at + i * e.row + j0, e.row,
                        )  # fmt: skip


@kernel
def pack(m, at, b, transposed, k0, j0, deep, wide):
    """Copy a block of B, or of the transpose of b, panel by panel to `m[at]`: its entry (k0, j0)
    and those `deep` rows and `wide` columns behind it. A panel's rows are whole; what stands
    behind the last columns is never used.
    """
    size = lanes(m)
    panel, line = PANEL * size, LINE // m.itemsize
    if transposed != 0:
        for j in range(0, wide, size):
            there = at + j // panel * panel * deep + j % panel
            for k in range(0, deep, size):
                here = b.at + (j0 + j) * b.row + k0 + k + FETCHED_COLUMNS
                for i in range(min(wide - j, size)):
                    fetch(b.data, here + i * b.row)
                transpose(
                    m, there + k * panel, panel, b.data, b.at + (j0 + j) * b.row + k0 + k, b.row,
                    min(wide - j, size), min(deep - k, size),
                )  # fmt: skip
        return
    for k in range(deep):
        here = b.at + (k0 + k) * b.row + j0
        for j in range(0, wide, line):
            fetch(b.data, here + FETCHED_ROWS * b.row + j)
        for first in range(0, wide, panel):
            there = at + first * deep + k * panel - first
            if first + panel <= wide:
                for j in range(first, first + panel, size):
                    store(m, there + j, load(b.data, here + j))
            else:
                for j in range(first, wide, size):
                    store(m, there + j, load_first(b.data, here + j, wide - j))


@kernel
def pack_strips(m, at, a, k0, rows, deep):
    """Copy `deep` columns of A, from `k0` on, to `m[at]`: HEIGHT rows at a time, column by column.

    What stands behind the last of these strips is overwritten, by a vector at most.
    """
    size = lanes(m)
    for i in range(0, rows, HEIGHT):
        some = min(HEIGHT, rows - i)
        for k in range(deep):
            here, there = a.at + i + (k0 + k) * a.column, at + i * deep + k * HEIGHT
            for j in range(0, HEIGHT, size):
                store(m, there + j, load_first(a.data, here + j, some - j))


@inlined
def fetch_rows(c, first, last, column, wide):
    """Begin to bring rows `first` to `last` of c near, `wide` columns of them."""
    line = LINE // c.data.itemsize
    for i in range(first, last):
        for j in range(column, column + wide, line):
            fetch(c.data, c.at + i * c.row + j)


@inlined
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


@inlined
def outer(g, at, m, x, inputs, d, units):
    """dw = x' d of one row, where the units are whole vectors."""
    step = lanes(m)
    for i in range(inputs):
        factor = every(m, m[x + i])
        for j in range(0, units, step):
            store(g, at + i * units + j, factor * load(m, d + j))


@kernel
def sum_of(m, at, count):
    """The sum of `count` entries."""
    step = lanes(m)
    summed = every(m, 0.0)
    for i in range(0, count, step):
        summed = summed + keep_first(load(m, at + i), count - i)
    return total(summed)
