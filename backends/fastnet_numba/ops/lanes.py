"""The steps of many tiny networks, each of which has a lane of all vectors to itself.

Letters: `p` parameters, `g` their gradient, `a` what comes out of a layer, `s` its slope, `d` the
loss's derivative by it. In the buffer `m`, and in `w` for what is as long as the parameters, every
number of a network is a vector: one for each lane. ROWS rows go through the networks
together, as a block.
"""

from fastnet_numba.ops.activations import IDENTITY, RELU, SIGMOID, TANH, activate
from fastnet_numba.ops.losses import CROSSENTROPY, term
from fastnet_numba.ops.optimizers import ADAM, NESTEROV, SGD, bounds
from fastnet_numba.simd.compiled import entry, inlined
from fastnet_numba.simd.elementwise import exp, larger, log, sigmoid, tanh
from fastnet_numba.simd.lanes import ROWS
from fastnet_numba.simd.vectors import (
    FLUSHING,
    absolute,
    choose,
    control_word,
    every,
    fma,
    high,
    in_rows,
    lanes,
    load,
    load_block,
    low,
    set_control_word,
    square_root,
    store,
    total,
)

#: Columns of the table of layers: the activation's code and the place of its constants, columns in
#: and out, the places of weights and bias in the parameters (-1: no bias), and those of what comes
#: out, its slope and its derivative in `m`; the activation's address, for all but the commonest.
CODE, CONSTANTS, INPUTS, UNITS, WEIGHT, BIAS, OUTPUT, SLOPE, DERIVATIVE, ADDRESS, FIELDS = range(11)

#: A run's integers. Places are in `m`, in elements; PER_STEP is 1 where rates differ by step.
(
    DEPTH, BLOCKS, SIZE, LOSS, LOSS_CONSTANT, X, Y, SHARES, OPTIMIZER, MOMENTA, PENALIZED,
    DECAYED, PER_STEP, INTEGERS,
) = range(14)  # fmt: skip

#: What each lane has for itself at every step.
RATE, L2, DECAY, BY_STEP = range(4)

#: What all lanes have alike at every step, of Adam's update t: 1 / (1 - beta1^t), by which the
#: learning rate is multiplied; 1 / sqrt(1 - beta2^t), by which the root is; and epsilon.
LENGTHEN, WIDEN, EPSILON, FACTORS = range(4)


@inlined
def forward(layer, w, m, source):
    """a = f(source weights + bias) of one layer, for a block of rows."""
    size = lanes(m)
    inputs, units, bias = layer[INPUTS], layer[UNITS], layer[BIAS]
    end = source + inputs * ROWS * size
    j = 0
    while j < units * size:
        z = every(load_block(m, source), 0.0)
        if bias >= 0:
            z = in_rows(load(w, bias * size + j))
        weight, at = layer[WEIGHT] * size + j, source
        while at < end:
            z = fma(load_block(m, at), in_rows(load(w, weight)), z)
            weight += units * size
            at += ROWS * size
        if layer[CODE] == SIGMOID:
            z = sigmoid(z)
        elif layer[CODE] == TANH:
            z = tanh(z)
        elif layer[CODE] == RELU:
            z = choose(z < 0.0, 0.0, z)
        store(m, layer[OUTPUT] + ROWS * j, z)
        j += size
    if not (
        layer[CODE] == IDENTITY
        or layer[CODE] == SIGMOID
        or layer[CODE] == TANH
        or layer[CODE] == RELU
    ):
        count = units * ROWS * size
        activate(layer[ADDRESS], m, layer[OUTPUT], layer[SLOPE], count, layer[CONSTANTS])


@inlined
def sloped(layer, m, d, a, k):
    """d times the slope of a layer's activation at `a`, number `k` of what comes out.

    The slopes of the commonest are computed from what comes out: to keep them takes longer.
    """
    code = layer[CODE]
    if code == SIGMOID:  # d a (1 - a)
        d = d * a
        d = fma(-d, a, d)
    elif code == TANH:  # d (1 - a^2)
        d = fma(-(d * a), a, d)
    elif code == RELU:
        d = choose(a > 0.0, d, 0.0)
    elif code != IDENTITY:
        d = d * load_block(m, layer[SLOPE] + k)
    return d


@inlined
def over_rows(x):
    """The sum over the rows of a block."""
    x = low(x) + high(x)
    return low(x) + high(x)


@inlined
def backward(layer, w, m, g, source, before, goes_on, first):
    """The gradient of one layer's parameters, added up over blocks of rows.

    And d of the layer `before`, if it `goes_on` to there.
    """
    size = lanes(m)
    inputs, d_at = layer[INPUTS], layer[DERIVATIVE]
    end = d_at + layer[UNITS] * ROWS * size
    if layer[BIAS] >= 0:
        at, bias = d_at, g + layer[BIAS] * size
        while at < end:
            summed = over_rows(load_block(m, at))
            if not first:
                summed = summed + load(w, bias)
            store(w, bias, summed)
            bias += size
            at += ROWS * size
    weight, k = layer[WEIGHT] * size, 0
    while k < inputs * ROWS * size:
        a = load_block(m, source + k)
        e = every(a, 0.0)
        at = d_at
        while at < end:
            d = load_block(m, at)
            summed = fma(low(a), low(d), high(a) * high(d))
            summed = low(summed) + high(summed)
            if not first:
                summed = summed + load(w, g + weight)
            store(w, g + weight, summed)
            if goes_on:
                e = fma(d, in_rows(load(w, weight)), e)
            weight += size
            at += ROWS * size
        if goes_on:
            store(m, before[DERIVATIVE] + k, sloped(before, m, e, a, k))
        k += ROWS * size


@inlined
def entries_loss(kind, constant, m, layer, y_at, share_at):
    """The loss of a block of rows, entry by entry, and d of the last layer."""
    size, units = lanes(m), layer[UNITS]
    share = load_block(m, share_at)
    summed = every(share, 0.0)
    counts = share > 0.0
    for k in range(0, units * ROWS * size, ROWS * size):
        p, y = load_block(m, layer[OUTPUT] + k), load_block(m, y_at + k)
        t, e = term(kind, p, y, constant)
        summed = summed + choose(counts, t * share, 0.0)
        d = choose(counts, sloped(layer, m, e * share, p, k), 0.0)
        store(m, layer[DERIVATIVE] + k, d)
    return over_rows(summed)


@inlined
def rows_loss(m, layer, y_at, share_at):
    """The cross-entropy of a block of rows of logits, and its derivative by them."""
    size, p_at, d_at = lanes(m), layer[OUTPUT], layer[DERIVATIVE]
    end = layer[UNITS] * ROWS * size
    top = load_block(m, p_at)
    for k in range(ROWS * size, end, ROWS * size):
        top = larger(top, load_block(m, p_at + k))
    whole, sure, picked = every(top, 0.0), every(top, 0.0), every(top, 0.0)
    for k in range(0, end, ROWS * size):
        z, y = load_block(m, p_at + k) - top, load_block(m, y_at + k)
        e = exp(z)
        whole, sure = whole + e, sure + y
        picked = picked + choose(y > 0.0, y * z, 0.0)
        store(m, d_at + k, e)
    share = load_block(m, share_at)
    for k in range(0, end, ROWS * size):
        d = (load_block(m, d_at + k) / whole * sure - load_block(m, y_at + k)) * share
        store(m, d_at + k, choose(share > 0.0, d, 0.0))
    return over_rows(choose(share > 0.0, (sure * log(whole) - picked) * share, 0.0))


@inlined
def cleared(x, least):
    """0 where the magnitude is less than `least`; NaN stays."""
    return choose(absolute(x) < least, 0.0, x)


@inlined
def penalize(table, w, g, l2):
    """Add l2 w to the gradient of the weights."""
    size = lanes(w)
    for n in range(len(table)):
        weight = table[n, WEIGHT] * size
        for k in range(weight, weight + table[n, INPUTS] * table[n, UNITS] * size, size):
            store(w, g + k, load(w, g + k) + l2 * load(w, k))


@inlined
def update(numbers, w, m, rate, decay, factors, at):
    """The optimizer's step for all parameters, which `decay` has a part in."""
    size, length = lanes(m), numbers[SIZE] * lanes(m)
    kind, g = numbers[OPTIMIZER], len(w) - length
    bound_p, bound, square_bound = bounds(m)
    least_p, least, root = every(m, bound_p), every(m, bound), every(m, square_bound)
    stay = 1.0 - rate * decay
    if numbers[DECAYED] != 0 and kind != ADAM:
        for k in range(0, length, size):
            store(w, k, load(w, k) * stay)
    if kind == SGD:
        for k in range(0, length, size):
            store(w, k, cleared(fma(-rate, load(w, g + k), load(w, k)), least_p))
    elif kind == ADAM:
        keep1, keep2 = load(m, numbers[MOMENTA]), load(m, numbers[MOMENTA] + size)
        new1, new2 = load(m, numbers[MOMENTA] + 2 * size), load(m, numbers[MOMENTA] + 3 * size)
        step = rate * every(m, factors[at * FACTORS + LENGTHEN])
        widen = every(m, factors[at * FACTORS + WIDEN])
        epsilon = every(m, factors[at * FACTORS + EPSILON])
        for k in range(0, length, size):
            q = load(w, g + k)
            first = cleared(keep1 * load(w, length + k) + new1 * q, least)
            q = absolute(q)
            q = choose(q < root, root, q)
            second = keep2 * load(w, 2 * length + k) + new2 * (q * q)
            store(w, length + k, first)
            store(w, 2 * length + k, second)
            moved = stay * load(w, k) - step * (first / (square_root(second) * widen + epsilon))
            store(w, k, cleared(moved, least_p))
    else:
        momentum = load(m, numbers[MOMENTA])
        for k in range(0, length, size):
            q = load(w, g + k)
            v = cleared(momentum * load(w, length + k) + q, least)
            store(w, length + k, v)
            if kind == NESTEROV:
                v = q + momentum * v
            store(w, k, cleared(fma(-rate, v, load(w, k)), least_p))


@entry
def steps(table, numbers, w, m, rates, factors, losses, at, end):
    """The steps `at` to `end` of a run.

    Args:
        table: of the layers.
        numbers: the run's integers.
        w: parameters, the optimizer's memory and room for the gradient.
        m: rows, targets, shares of rows in the loss, constants, and room.
        rates: RATE, L2 and DECAY of every lane, of each step or of all.
        factors: Adam's, of each step.
        losses: room for each step's losses, of all lanes.
        at, end: the steps to do.

    Returns:
        `end`, or the step before whose update it stopped, because a loss is not finite.
    """
    size, depth, blocks = lanes(m), numbers[DEPTH], numbers[BLOCKS]
    g, outputs = len(w) - numbers[SIZE] * size, table[depth - 1, UNITS]
    constant = every(load_block(m, 0), m[numbers[LOSS_CONSTANT]])
    before = control_word()
    set_control_word(before | FLUSHING)
    while at < end:
        found = every(m, 0.0)
        for block in range(blocks):
            x = numbers[X] + block * table[0, INPUTS] * ROWS * size
            source = x
            for n in range(depth):
                forward(table[n], w, m, source)
                source = table[n, OUTPUT]
            y = numbers[Y] + block * outputs * ROWS * size
            share = numbers[SHARES] + block * ROWS * size
            if numbers[LOSS] == CROSSENTROPY:
                found = found + rows_loss(m, table[depth - 1], y, share)
            else:
                found = found + entries_loss(numbers[LOSS], constant, m, table[depth - 1], y, share)
            for n in range(depth - 1, -1, -1):
                source = table[n - 1, OUTPUT] if n > 0 else x
                backward(table[n], w, m, g, source, table[max(n - 1, 0)], n > 0, block == 0)
        store(losses, at * size, found)
        if not total(found * 0.0) == 0.0:  # NaN, if a loss is not finite
            break
        own = at * BY_STEP * size if numbers[PER_STEP] else 0
        if numbers[PENALIZED] != 0:
            penalize(table, w, g, load(rates, own + L2 * size))
        rate, decay = load(rates, own + RATE * size), load(rates, own + DECAY * size)
        update(numbers, w, m, rate, decay, factors, at)
        at += 1
    set_control_word(before)
    return at
