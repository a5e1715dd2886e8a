"""Losses and their derivatives by the network's output, of a chunk of rows in the arena.

Where the loss is computed from logits, the output is those. The derivatives are multiplied by
each row's weight and divided by `mass`, all weights of the batch (times its outputs): so the
gradient of the mean comes out at the end. To add a loss, declare its code, write its function and
name both in `term`.
"""

import numpy as np

from fastnet_numba.ops.activations import peak
from fastnet_numba.ops.declared import code
from fastnet_numba.ops.narrow import highest_of_units, stride
from fastnet_numba.ops.table import (
    LOSS,
    LOSS_CONSTANT,
    ONES,
    OUTPUT,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    ROW_WEIGHTS,
    ROWS_IN_LANES,
    D,
    Y,
)
from fastnet_numba.simd.compiled import inlined, kernel
from fastnet_numba.simd.elementwise import exp, log, sigmoid, softplus
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

#: Losses that `term` does not compute: not entry by entry, or with a constant for each output.
OF_ROWS = (QUANTILES, CROSSENTROPY, SMOOTHED_CROSSENTROPY, GAUSSIAN_NLL)


@inlined
def sum_of_losses(narrow, places, m, rows, order, first, labels, weighted, mass):
    """The weighted sum of a chunk's losses; D becomes their derivative by the output, scaled."""
    if places[LOSS] == CROSSENTROPY or places[LOSS] == SMOOTHED_CROSSENTROPY:
        if narrow is None:
            return crossentropy(places, m, rows, order, first, labels, weighted, mass)
        return narrow_crossentropy(places, m, rows, len(labels) > 0, weighted, mass)
    if places[LOSS] == GAUSSIAN_NLL:
        return gaussian_nll(places, m, rows, weighted, mass)
    if places[LOSS] == QUANTILES:
        return quantiles(places, m, rows, weighted, mass)
    return elementwise_loss(places, m, rows, weighted, mass)


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


@traced
def pinball(p, y, q):
    """The loss of the quantile q."""
    r = p - y
    slope = choose(r < 0.0, -q, choose(r > 0.0, 1.0 - q, r))
    return r * slope, slope


#: For a code, the loss of one entry and its derivative by the prediction, lane by lane.
term = by_code(
    {
        MSE: squared_error,
        MAE: absolute_error,
        HUBER: huber,
        POISSON: poisson,
        POISSON_RATE: poisson_rate,
        BINARY_CROSSENTROPY: binary_crossentropy,
        SMOOTHED_BINARY_CROSSENTROPY: smoothed_binary_crossentropy,
        QUANTILE: pinball,
    }
)


@inlined
def elementwise_loss(places, m, rows, weighted, mass):
    """The weighted sum of an elementwise loss over `rows` rows; D becomes its derivative."""
    step = lanes(m)
    kind, columns, row = places[LOSS], places[OUTPUT_WIDTH], places[OUTPUT_ROW]
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
            t, d = term(kind, load(m, p_at + i), load(m, y_at + i), constant)
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


@kernel
def quantiles(places, m, rows, weighted, mass):
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


@kernel
def gaussian_nll(places, m, rows, weighted, mass):
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


@kernel
def crossentropy(places, m, rows, order, first, labels, weighted, mass):
    """The weighted sum of -log softmax(z)_y over the rows; D becomes softmax(z) - y, scaled.

    With class indices they are `labels[row]`; else `labels` is empty, and Y holds one-hot rows or
    probabilities. Those sum to 1 up to their rounding, by which both are taken as they are.
    """
    step = lanes(m)
    columns, row = places[OUTPUT_WIDTH], places[OUTPUT_ROW]
    weighted_sum = 0.0
    for r in range(rows):
        z_at, y_at, d_at = places[OUTPUT] + r * row, places[Y] + r * row, places[D] + r * row
        top = peak(m, z_at, columns)
        summed = every(m, 0.0)
        for j in range(0, columns, step):
            e = keep_first(exp(load(m, z_at + j) - top), columns - j)
            summed = summed + e
            store(m, d_at + j, e)
        share = every(m, total(summed))
        log_share = log(share)
        w = m[places[ROW_WEIGHTS] + r] if weighted else m[places[ONES]]
        factor = every(m, w / mass)
        if len(labels):
            label = labels[order[first + r] if len(order) else first + r]
            sure, picked = every(m, 1.0), every(m, m[z_at + label]) - top
            for j in range(0, columns, step):
                one = every(m, 1.0)
                hot = keep_first(one, label - j + 1) - keep_first(one, label - j)
                store(m, d_at + j, (load(m, d_at + j) / share - hot) * factor)
        else:
            sure, picked = every(m, 0.0), every(m, 0.0)
            for j in range(0, columns, step):
                y = keep_first(load(m, y_at + j), columns - j)
                sure = sure + y
                picked = picked + choose(y > 0.0, y * (load(m, z_at + j) - top), 0.0)
            sure, picked = every(m, total(sure)), every(m, total(picked))
            for j in range(0, columns, step):
                y = keep_first(load(m, y_at + j), columns - j)
                p = keep_first(load(m, d_at + j), columns - j) / share * sure
                store(m, d_at + j, (p - y) * factor)
        loss = total(keep_first(sure * log_share - picked, 1))
        if places[LOSS] == SMOOTHED_CROSSENTROPY:
            # From the targets y to (1 - e) y + e sum(y) / columns.
            e, spread = every(m, m[places[LOSS_CONSTANT]]), every(m, 0.0)
            even = e * sure / every(m, 1.0 * columns)
            for j in range(0, columns, step):
                spread = spread + keep_first(load(m, z_at + j) - top, columns - j)
                if len(labels):
                    one = every(m, 1.0)
                    y = keep_first(one, label - j + 1) - keep_first(one, label - j)
                else:
                    y = load(m, y_at + j)
                moved = load(m, d_at + j) + (e * y - even) * factor
                store(m, d_at + j, keep_first(moved, columns - j))
            loss += total(keep_first(e * picked - even * every(m, total(spread)), 1))
        if w > 0:
            weighted_sum += loss * w
        else:
            for j in range(0, columns, step):
                store(m, d_at + j, every(m, 0.0))
    return weighted_sum


@kernel
def narrow_crossentropy(places, m, rows, indexed, weighted, mass):
    """The same as `crossentropy` with rows in the lanes; where `indexed`, Y holds class indices."""
    step, number, length = lanes(m), m.dtype.type, stride(m, rows)
    units = places[OUTPUT_WIDTH]
    summed_losses = every(m, 0.0)
    for r in range(0, rows, step):
        z_at, y_at, d_at = places[OUTPUT] + r, places[Y] + r, places[D] + r
        top = highest_of_units(m, z_at, length, units)
        summed = every(m, 0.0)
        for j in range(units):
            e = exp(load(m, z_at + j * length) - top)
            summed = summed + e
            store(m, d_at + j * length, e)
        w = load(m, places[ROW_WEIGHTS] + r) if weighted else every(m, 1.0)
        factor = w / every(m, mass)
        sure, picked = every(m, 1.0), every(m, 0.0)
        if not indexed:
            sure = every(m, 0.0)
            for j in range(units):
                sure = sure + load(m, y_at + j * length)
        for j in range(units):
            z = load(m, z_at + j * length) - top
            if indexed:
                hot = choose(absolute(load(m, y_at) - number(j)) < 0.5, every(m, 1.0), 0.0)
            else:
                hot = load(m, y_at + j * length)
            picked = picked + choose(hot > 0.0, hot * z, 0.0)
            d = (load(m, d_at + j * length) / summed * sure - hot) * factor
            store(m, d_at + j * length, keep_first(choose(w > 0.0, d, 0.0), rows - r))
        if places[LOSS] == SMOOTHED_CROSSENTROPY:
            # From the targets y to (1 - e) y + e sum(y) / units.
            e, spread = every(m, m[places[LOSS_CONSTANT]]), every(m, 0.0)
            even = e * sure / every(m, 1.0 * units)
            for j in range(units):
                spread = spread + (load(m, z_at + j * length) - top)
                if indexed:
                    hot = choose(absolute(load(m, y_at) - number(j)) < 0.5, every(m, 1.0), 0.0)
                else:
                    hot = load(m, y_at + j * length)
                d = (e * hot - even) * factor
                d = keep_first(choose(w > 0.0, d, 0.0), rows - r)
                store(m, d_at + j * length, load(m, d_at + j * length) + d)
            picked = picked - (e * picked - even * spread)
        loss = choose(w > 0.0, (sure * log(summed) - picked) * w, 0.0)
        summed_losses = summed_losses + keep_first(loss, rows - r)
    return np.float64(total(summed_losses))
