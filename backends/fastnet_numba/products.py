"""Matrix products of every size, from register tiles.

Small ones are a matter of tiles alone. Where B is larger than the cache near the core, it is
copied panel by panel into one piece first (`packed`). A layer of one unit is a product with one
column, for which vectors run along the inputs (`column`).
"""

from fastnet_numba.compiled import entry, kernel
from fastnet_numba.tiles import ADD, BIAS, KEEP, MASK, RELU, TIMES, ZERO
from fastnet_numba.vectors import address_of_tiles, every, fma, keep_first, lanes, load, load_first, product, total

__all__ = ["ADD", "BIAS", "KEEP", "MASK", "RELU", "TIMES", "ZERO", "column", "multiply", "sum_of"]


@entry
def tiles_for(like):
    """The address of the tiles for arrays like this one: what `multiply` is to be given."""
    return address_of_tiles(like)


@kernel
def multiply(
    tiles, c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row,
    rows, columns, depth, begin, end, e, e_at, e_row,
):  # fmt: skip
    """C = A B: see `tiles.py`."""
    product(
        tiles, c, c_at, c_row, a, a_at, a_row, a_column, b, b_at, b_row,
        rows, columns, depth, begin, end, e, e_at, e_row,
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
