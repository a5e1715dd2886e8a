"""Rows of the data, gathered into the arena."""

from fastnet_numba.ops.table import (
    INPUT_WIDTH,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    ROW_WEIGHTS,
    X_ROW,
    X,
    Y,
)
from fastnet_numba.simd.compiled import inlined
from fastnet_numba.simd.vectors import fetch, lanes, load, load_first, store

#: How far ahead shuffled rows are fetched, which lie anywhere in memory: so many rows, or vectors
#: where rows are long (choices: far enough for memory to answer, but not a whole chunk).
ROWS_AHEAD, VECTORS_AHEAD = 24, 128


@inlined
def copy_row(m, at, x, begin, count):
    """Copy a row of `count` numbers, filled up with zeros to a whole vector."""
    step = lanes(m)
    whole = count - count % step
    for j in range(0, whole, step):
        store(m, at + j, load(x, begin + j))
    if whole < count:
        store(m, at + whole, load_first(x, begin + whole, count - whole))


@inlined
def copy_numbers(out, to, m, at, count):
    """Copy `count` numbers from `m[at]` to `out[to]`, and change nothing behind them.

    A loop over single numbers would do them one by one, because an index might be negative.
    """
    step = lanes(m)
    whole = count - count % step
    for j in range(0, whole, step):
        store(out, to + j, load(m, at + j))
    for j in range(whole, count):
        out[to + j] = m[at + j]


@inlined
def take(m, at, length, x, row, width):
    """Copy row number `row` of x, `width` numbers, to `m[at]`; `length` is the room of a row."""
    if length == 1:
        m[at] = x[row]
    else:
        copy_row(m, at, x, row * width, width)


@inlined
def gather(places, m, x, y, weights, order, first, rows):
    """Copy rows `first` to `first + rows` of the order (without one: of the data) to the arena."""
    x_row, y_row = places[X_ROW], places[OUTPUT_ROW]
    last, width, step = len(order) - 1, places[INPUT_WIDTH], lanes(m)
    ahead = max(1, min(ROWS_AHEAD, VECTORS_AHEAD * step // width))
    for r in range(rows):
        row = order[first + r] if len(order) else first + r
        if len(order):
            then = order[min(first + r + ahead, last)]
            for j in range(0, width, step):
                fetch(x, then * width + j)
            fetch(y, then * places[OUTPUT_WIDTH])
        take(m, places[X] + r * x_row, x_row, x, row, places[INPUT_WIDTH])
        if len(y):
            take(m, places[Y] + r * y_row, y_row, y, row, places[OUTPUT_WIDTH])
        if len(weights):
            m[places[ROW_WEIGHTS] + r] = weights[row]
