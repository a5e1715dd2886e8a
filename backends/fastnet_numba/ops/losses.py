"""Losses and their derivatives by the network's output, of a chunk of rows in the arena.

Where the loss is computed from logits, the output is those. The derivatives are multiplied by
each row's weight and divided by `mass`, all weights of the batch (times its outputs): so the
gradient of the mean comes out at the end. To add a loss, declare its code, write its function and
name both in `TERMS_OF`, or its part and name that in `loss_part`.
"""

from functools import cache
from typing import Any

import numpy as np
from numba.core import types

from fastnet_numba.ops.declared import code
from fastnet_numba.ops.narrow import highest_of_units, stride
from fastnet_numba.ops.table import (
    D_NEXT,
    LOSS_CONSTANT,
    OUTPUT,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    ROW_WEIGHTS,
    ROWS_IN_LANES,
    D,
    Y,
)
from fastnet_numba.simd.compiled import inlined, kernel, part, part_named
from fastnet_numba.simd.elementwise import exp, log, sigmoid, softplus
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.traced import by_code, traced
from fastnet_numba.simd.vectors import (
    absolute,
    choose,
    every,
    keep_first,
    lanes,
    load,
    store,
    total,
    transpose,
)

MSE = code("loss", "mse")
MAE = code("loss", "mae")
HUBER = code("loss", "huber")
POISSON = code("loss", "poisson")
POISSON_RATE = code("loss", "poisson_rate")
QUANTILE = code("loss", "quantile")
QUANTILES = code("loss", "quantiles")
BINARY_CROSSENTROPY = code("loss", "binary_crossentropy")
SMOOTHED_BINARY_CROSSENTROPY = code("loss", "smoothed_binary_crossentropy")
CROSSENTROPY = code("loss", "crossentropy")
SMOOTHED_CROSSENTROPY = code("loss", "smoothed_crossentropy")
GAUSSIAN_NLL = code("loss", "gaussian_nll")


@by_address(types.float64)
def sum_of_losses(places, m, rows, order, first, labels, weighted, mass):
    """The weighted sum of a chunk's losses; D becomes their derivative by the output, scaled.

    Where there are class indices, `labels`, those of the chunk are from place `first` of the order
    on.
    """


def squared_error(p, y, constant):
    """(p - y)^2."""
    r = p - y
    return r * r, r + r


def absolute_error(p, y, constant):
    """|p - y|."""
    r = p - y
    return absolute(r), choose(r > 0.0, 1.0, choose(r < 0.0, -1.0, r))


def huber(p, y, constant):
    """Half the square of r = p - y, beyond `constant` the tangent there."""
    r = p - y
    c = choose(r > constant, constant, choose(r < -constant, -constant, r))
    return c * (r - 0.5 * c), c


def poisson(p, y, constant):
    """Of the logarithm of a rate."""
    rate = exp(p)
    return rate - y * p, rate - y


def poisson_rate(p, y, constant):
    """Of a rate; in this order, so that 0 log(0 + e) is 0."""
    near = p + constant
    return p - y * log(near), 1.0 - y / near


def binary_crossentropy(p, y, constant):
    """max(z, 0) - z y + log(1 + exp(-|z|)) of a logit z.

    Where the prediction is certain and right, the first two cancel exactly, and what is left is
    small.
    """
    positive = choose(p < 0.0, 0.0, p)
    return softplus(-absolute(p)) + (positive - p * y), sigmoid(p) - y


def smoothed_binary_crossentropy(p, y, constant):
    """The same with y nearer to 1 / 2."""
    return binary_crossentropy(p, y + constant * (0.5 - y), constant)


def quantile(p, y, q):
    """The loss of the quantile q."""
    r = p - y
    slope = choose(r < 0.0, -q, choose(r > 0.0, 1.0 - q, r))
    return r * slope, slope


pinball = traced(quantile)

#: By code, the loss of one entry and its derivative by the prediction, lane by lane.
TERMS_OF = {
    MSE: squared_error,
    MAE: absolute_error,
    HUBER: huber,
    POISSON: poisson,
    POISSON_RATE: poisson_rate,
    BINARY_CROSSENTROPY: binary_crossentropy,
    SMOOTHED_BINARY_CROSSENTROPY: smoothed_binary_crossentropy,
    QUANTILE: quantile,
}

#: For a code, one of these.
term = by_code(TERMS_OF)


def loss_part(code: int, narrow: bool) -> Any:
    """The part for `sum_of_losses` that computes this loss; `narrow`: with rows in the lanes."""
    if code == GAUSSIAN_NLL:
        return gaussian_nll
    if code == QUANTILES:
        return quantiles
    if code == CROSSENTROPY:
        return narrow_crossentropy if narrow else crossentropy
    if code == SMOOTHED_CROSSENTROPY:
        return narrow_smoothed_crossentropy if narrow else smoothed_crossentropy
    return _of_entries(code)


@cache
def _of_entries(code: int) -> Any:
    """The part for a loss of single entries."""
    function = traced(TERMS_OF[code])

    def loss(places, m, rows, order, first, labels, weighted, mass):
        return elementwise_loss(function, places, m, rows, weighted, mass)

    return part_named(TERMS_OF[code].__name__, loss)


@inlined
def elementwise_loss(function, places, m, rows, weighted, mass):
    """The weighted sum of an elementwise loss over `rows` rows; D becomes its derivative."""
    step = lanes(m)
    columns, row = places[OUTPUT_WIDTH], places[OUTPUT_ROW]
    p_at, y_at, d_at, w_at = places[OUTPUT], places[Y], places[D], places[ROW_WEIGHTS]
    constant, scale = every(m, m[places[LOSS_CONSTANT]]), every(m, 1 / mass)
    along = row == 1 or places[ROWS_IN_LANES] != 0  # a vector holds rows, not outputs
    lines, width = rows, columns
    if along:
        lines, width = columns, rows
    if places[ROWS_IN_LANES]:
        row = stride(m, rows)
    weighted_sum = 0.0
    for r in range(lines):
        summed = every(m, 0.0)
        w = every(m, 1.0)
        if weighted and not along:
            w = every(m, m[w_at + r])
        for j in range(0, width, step):
            i = r * row + j
            t, d = function(load(m, p_at + i), load(m, y_at + i), constant)
            if weighted:
                if along:
                    w = load(m, w_at + j)
                # Rows of weight 0 do not count, even where their loss is not finite.
                t = choose(w > 0.0, t * w, 0.0)
                # In this order: of tiny weights the inverse of the sum overflows, a share does not.
                d = choose(w > 0.0, d * (w / every(m, mass)), 0.0)
            else:
                d = d * scale
            if j + step > width:
                t, d = keep_first(t, width - j), keep_first(d, width - j)
            summed = summed + t
            store(m, d_at + i, d)
        weighted_sum += total(summed)
    return weighted_sum


@part
def quantiles(places, m, rows, order, first, labels, weighted, mass):
    """The same as `elementwise_loss` of quantiles, each output with its own."""
    step = lanes(m)
    columns, row, along = places[OUTPUT_WIDTH], places[OUTPUT_ROW], places[ROWS_IN_LANES] != 0
    p_at, y_at, d_at, w_at = places[OUTPUT], places[Y], places[D], places[ROW_WEIGHTS]
    lines, width = rows, columns
    if along:
        lines, width, row = columns, rows, stride(m, rows)
    weighted_sum = 0.0
    for r in range(lines):
        summed = every(m, 0.0)
        for j in range(0, width, step):
            i = r * row + j
            w = every(m, 1.0)
            if along:
                q = every(m, m[places[LOSS_CONSTANT] + r])
                if weighted:
                    w = load(m, w_at + j)
            else:
                q = load(m, places[LOSS_CONSTANT] + j)
                if weighted:
                    w = every(m, m[w_at + r])
            t, d = pinball(load(m, p_at + i), load(m, y_at + i), q)
            summed = summed + keep_first(choose(w > 0.0, t * w, 0.0), width - j)
            d = choose(w > 0.0, d * (w / every(m, mass)), 0.0)
            store(m, d_at + i, keep_first(d, width - j))
        weighted_sum += total(summed)
    return weighted_sum


@part
def gaussian_nll(places, m, rows, order, first, labels, weighted, mass):
    """The weighted sum of (c + (mean - y)^2 exp(-c)) / 2, c = max(s, least); D its derivative.

    A row's outputs are all means, then all s. First the derivatives by the means are written, then
    those by s: whole vectors, which reach into what comes next.
    """
    step, along = lanes(m), places[ROWS_IN_LANES] != 0
    p_at, y_at, d_at, w_at = places[OUTPUT], places[Y], places[D], places[ROW_WEIGHTS]
    half, row = places[OUTPUT_WIDTH] // 2, places[OUTPUT_ROW]
    lines, width, apart = rows, half, half
    end = -(-places[OUTPUT_WIDTH] // step) * step - half  # zeros up to a whole vector of outputs
    if along:
        row = stride(m, rows)
        lines, width, apart, end = half, rows, half * row, rows
    least = every(m, m[places[LOSS_CONSTANT]])
    weighted_sum = 0.0
    for r in range(lines):
        summed = every(m, 0.0)
        for by_s in range(2):
            for j in range(0, end if by_s else width, step):
                i = r * row + j
                w = every(m, 1.0)
                if weighted:
                    w = load(m, w_at + j) if along else every(m, m[w_at + r])
                s, difference = load(m, p_at + apart + i), load(m, p_at + i) - load(m, y_at + i)
                c = choose(s < least, least, s)
                d = difference * exp(-c)
                if by_s:
                    d = 0.5 * (1.0 - difference * d) * exp(s - c)
                else:
                    t = choose(w > 0.0, 0.5 * (c + difference * d) * w, 0.0)
                    summed = summed + keep_first(t, width - j)
                d = choose(w > 0.0, d * (w / every(m, mass)), 0.0)
                store(m, d_at + by_s * apart + i, keep_first(d, width - j))
        weighted_sum += total(summed)
    return weighted_sum


@part
def crossentropy(places, m, rows, order, first, labels, weighted, mass):
    """See `crossentropy_of_rows`."""
    return crossentropy_of_rows(None, places, m, rows, order, first, labels, weighted, mass)


@part
def smoothed_crossentropy(places, m, rows, order, first, labels, weighted, mass):
    """See `crossentropy_of_rows`."""
    return crossentropy_of_rows(True, places, m, rows, order, first, labels, weighted, mass)


@part
def narrow_crossentropy(places, m, rows, order, first, labels, weighted, mass):
    """See `crossentropy_of_columns`."""
    return crossentropy_of_columns(None, places, m, rows, len(labels) > 0, weighted, mass)


@part
def narrow_smoothed_crossentropy(places, m, rows, order, first, labels, weighted, mass):
    """See `crossentropy_of_columns`."""
    return crossentropy_of_columns(True, places, m, rows, len(labels) > 0, weighted, mass)


@inlined
def crossentropy_of_rows(smoothed, places, m, rows, order, first, labels, weighted, mass):
    """The weighted sum of -log softmax(z)_y over the rows; D becomes softmax(z) - y, scaled.

    With class indices they are `labels[row]`; else `labels` is empty, and Y holds one-hot rows or
    probabilities. Those sum to 1 up to their rounding, by which both are taken as they are.

    A row has few outputs, and its sums would wait for each other: so as many rows as a vector has
    lanes are transposed to D and Y, the derivatives are found behind D, and transposed back.

    `smoothed` is None, or True where the targets are: Numba leaves out what is not for None.
    """
    step, number = lanes(m), m.dtype.type
    units, row, turned = places[OUTPUT_WIDTH], places[OUTPUT_ROW], places[D_NEXT]
    weighted_sum = 0.0
    for r in range(0, rows, step):
        count = min(rows - r, step)
        z_at, y_at, d_at = places[OUTPUT] + r * row, places[Y] + r * row, places[D] + r * row
        if len(labels):
            for i in range(first + r, first + r + count):
                label = labels[order[i] if len(order) else i]
                m[y_at + i - first - r] = number(label)
        else:
            transpose_block(m, turned, step, y_at, row, count, units)
            for j in range(units):
                store(m, y_at + j * step, load(m, turned + j * step))
        transpose_block(m, d_at, step, z_at, row, count, units)
        w = load(m, places[ROW_WEIGHTS] + r) if weighted else every(m, 1.0)
        losses = crossentropy_of_lanes(
            smoothed, places, m, d_at, y_at, turned, step, units, count, len(labels) > 0, w, mass
        )
        weighted_sum += np.float64(total(losses))
        transpose_block(m, d_at, row, turned, step, units, step)
    return weighted_sum


@inlined
def transpose_block(m, out, out_row, x, row, rows, columns):
    """Transpose `rows` by `columns` entries, either of them at most as many as a vector has lanes.

    Whole vectors are written.
    """
    step = lanes(m)
    for i in range(0, rows, step):
        for j in range(0, columns, step):
            transpose(
                m, out + j * out_row + i, out_row, m, x + i * row + j, row,
                min(rows - i, step), min(columns - j, step),
            )  # fmt: skip


@inlined
def crossentropy_of_columns(smoothed, places, m, rows, indexed, weighted, mass):
    """The same with rows in the lanes; where `indexed`, Y holds class indices."""
    step, length = lanes(m), stride(m, rows)
    summed_losses = every(m, 0.0)
    for r in range(0, rows, step):
        w = load(m, places[ROW_WEIGHTS] + r) if weighted else every(m, 1.0)
        losses = crossentropy_of_lanes(
            smoothed, places, m, places[OUTPUT] + r, places[Y] + r, places[D] + r,
            length, places[OUTPUT_WIDTH], rows - r, indexed, w, mass,
        )  # fmt: skip
        summed_losses = summed_losses + losses
    return np.float64(total(summed_losses))


@inlined
def target_of(m, y_at, length, j, indexed):
    """The target of unit `j`, of rows in the lanes: see `crossentropy_of_lanes`."""
    if indexed:
        return choose(absolute(load(m, y_at) - m.dtype.type(j)) < 0.5, every(m, 1.0), 0.0)
    return load(m, y_at + j * length)


@kernel
def crossentropy_of_lanes(
    smoothed, places, m, z_at, y_at, d_at, length, units, rows, indexed, w, mass
):
    """The weighted losses of `rows` rows, each in a lane, 0 in the others; d their derivatives.

    Outputs, targets and derivatives of a unit are `length` behind those of the one before it. Where
    `indexed`, y holds class indices. `w` are the rows' weights.
    """
    top = highest_of_units(m, z_at, length, units)
    summed = every(m, 0.0)
    for j in range(units):
        e = exp(load(m, z_at + j * length) - top)
        summed = summed + e
        store(m, d_at + j * length, e)
    factor = w / every(m, mass)
    sure, picked = every(m, 1.0), every(m, 0.0)
    if not indexed:
        sure = every(m, 0.0)
        for j in range(units):
            sure = sure + load(m, y_at + j * length)
    for j in range(units):
        z = load(m, z_at + j * length) - top
        hot = target_of(m, y_at, length, j, indexed)
        picked = picked + choose(hot > 0.0, hot * z, 0.0)
        d = (load(m, d_at + j * length) / summed * sure - hot) * factor
        store(m, d_at + j * length, keep_first(choose(w > 0.0, d, 0.0), rows))
    if smoothed is not None:
        # From the targets y to (1 - e) y + e sum(y) / units.
        e, spread = every(m, m[places[LOSS_CONSTANT]]), every(m, 0.0)
        even = e * sure / every(m, 1.0 * units)
        for j in range(units):
            spread = spread + (load(m, z_at + j * length) - top)
            hot = target_of(m, y_at, length, j, indexed)
            d = (e * hot - even) * factor
            d = keep_first(choose(w > 0.0, d, 0.0), rows)
            store(m, d_at + j * length, load(m, d_at + j * length) + d)
        picked = picked - (e * picked - even * spread)
    return keep_first(choose(w > 0.0, (sure * log(summed) - picked) * w, 0.0), rows)
