"""Rows of the data, gathered into the arena."""

from fastnet_numba.compiled import inlined, kernel
from fastnet_numba.layout import (
    INPUT_WIDTH,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    ROW_WEIGHTS,
    X_ROW,
    X,
    Y,
)
from fastnet_numba.vectors import lanes, load, load_first, store


@inlined
def copy_row(m, at, x, begin, count):
    """A row of `count` numbers; behind them zeros up to a whole vector."""
    step = lanes(m)
    whole = count - count % step
    for j in range(0, whole, step):
        store(m, at + j, load(x, begin + j))
    if whole < count:
        store(m, at + whole, load_first(x, begin + whole, count - whole))


@kernel
def gather(places, m, x, y, weights, order, first, rows):
    """Rows `first` to `first + rows` of the order (of the data, without one) into the arena."""
    inputs, outputs = places[INPUT_WIDTH], places[OUTPUT_WIDTH]
    x_at, x_row = places[X], places[X_ROW]
    y_at, y_row, w_at = places[Y], places[OUTPUT_ROW], places[ROW_WEIGHTS]
    for r in range(rows):
        row = order[first + r] if len(order) else first + r
        if x_row == 1:
            m[x_at + r] = x[row]
        else:
            copy_row(m, x_at + r * x_row, x, row * inputs, inputs)
        if len(y):
            if y_row == 1:
                m[y_at + r] = y[row]
            else:
                copy_row(m, y_at + r * y_row, y, row * outputs, outputs)
        if len(weights):
            m[w_at + r] = weights[row]
