"""The steps of many tiny networks, each of which has a lane of all vectors to itself.

Letters: `p` parameters, `g` their gradient, `a` what comes out of a layer, `s` its slope, `d` the
loss's derivative by it. In the buffer `m`, and in `w` for what is as long as the parameters, every
number of a network is a vector: one for each lane. Of two groups of networks that are trained
in turns, layer by layer, each has its own half of both buffers: while the processor waits for
what the one needs next, it works for the other.
"""

from fastnet_numba.ops.activations import IDENTITY, RELU, SIGMOID, TANH, activate
from fastnet_numba.ops.losses import CROSSENTROPY, MSE, term
from fastnet_numba.ops.optimizers import ADAM, DOUBLE, NESTEROV, SGD, SINGLE
from fastnet_numba.simd.compiled import entry, inlined
from fastnet_numba.simd.elementwise import exp, log, sigmoid, tanh
from fastnet_numba.simd.vectors import (
    FLUSHING,
    absolute,
    choose,
    control_word,
    every,
    fma,
    lanes,
    load,
    set_control_word,
    square_root,
    store,
    total,
)

#: Rows that go through a network together: the accumulators of a layer's unit.
AT_ONCE = 4

#: Columns of the table of layers: the activation's code and the place of its constants, columns in
#: and out, the places of weights and bias in the parameters (-1: no bias), and those of what comes
#: out, its slope and its derivative in `m`.
CODE, CONSTANTS, INPUTS, UNITS, WEIGHT, BIAS, OUTPUT, SLOPE, DERIVATIVE, FIELDS = range(10)

#: A run's integers. Places are in `m`, in elements; PER_STEP is 1 where rates differ by step.
(
    DEPTH, BLOCKS, SIZE, LOSS, LOSS_CONSTANT, X, Y, SHARES, OPTIMIZER, MOMENTA, PENALIZED,
    DECAYED, PER_STEP, GROUPS, INTEGERS,
) = range(15)  # fmt: skip

#: What each lane has at every step, and what they have alike, Adam's factors by t.
RATE, L2, DECAY, BY_STEP = range(4)
LENGTHEN, WIDEN, EPSILON, FACTORS = range(4)


@inlined
def forward(layer, w, m, source):
    """a = f(source weights + bias) of one layer, for a block of rows."""
    size = lanes(m)
    inputs, units, bias = layer[INPUTS], layer[UNITS], layer[BIAS]
    for j in range(units):
        z0 = every(m, 0.0)
        if bias >= 0:
            z0 = load(w, (bias + j) * size)
        z1, z2, z3 = z0, z0, z0
        weight, at = (layer[WEIGHT] + j) * size, source
        for _ in range(inputs):
            v = load(w, weight)
            z0 = fma(load(m, at), v, z0)
            z1 = fma(load(m, at + size), v, z1)
            z2 = fma(load(m, at + 2 * size), v, z2)
            z3 = fma(load(m, at + 3 * size), v, z3)
            weight += units * size
            at += 4 * size
        if layer[CODE] == SIGMOID:
            z0, z1, z2, z3 = sigmoid(z0), sigmoid(z1), sigmoid(z2), sigmoid(z3)
        elif layer[CODE] == TANH:
            z0, z1, z2, z3 = tanh(z0), tanh(z1), tanh(z2), tanh(z3)
        elif layer[CODE] == RELU:
            z0, z1 = choose(z0 < 0.0, 0.0, z0), choose(z1 < 0.0, 0.0, z1)
            z2, z3 = choose(z2 < 0.0, 0.0, z2), choose(z3 < 0.0, 0.0, z3)
        out = layer[OUTPUT] + 4 * j * size
        store(m, out, z0)
        store(m, out + size, z1)
        store(m, out + 2 * size, z2)
        store(m, out + 3 * size, z3)
    if not (
        layer[CODE] == IDENTITY
        or layer[CODE] == SIGMOID
        or layer[CODE] == TANH
        or layer[CODE] == RELU
    ):
        activate(layer[CODE], m, layer[OUTPUT], layer[SLOPE], 4 * units * size, layer[CONSTANTS])


@inlined
def sloped(layer, m, d0, d1, d2, d3, k):
    """d times the slope of a layer's activation, for the vectors from `k` on of what comes out.

    The slopes of the commonest are computed from what comes out: to keep them takes longer.
    """
    size, code = lanes(m), layer[CODE]
    if code != IDENTITY:
        a = layer[SLOPE] + k
        if code == SIGMOID or code == TANH or code == RELU:
            a = layer[OUTPUT] + k
        a0, a1 = load(m, a), load(m, a + size)
        a2, a3 = load(m, a + 2 * size), load(m, a + 3 * size)
        if code == SIGMOID:
            d0, d1 = d0 * (a0 * (1.0 - a0)), d1 * (a1 * (1.0 - a1))
            d2, d3 = d2 * (a2 * (1.0 - a2)), d3 * (a3 * (1.0 - a3))
        elif code == TANH:
            d0, d1 = d0 * (1.0 - a0 * a0), d1 * (1.0 - a1 * a1)
            d2, d3 = d2 * (1.0 - a2 * a2), d3 * (1.0 - a3 * a3)
        elif code == RELU:
            d0, d1 = choose(a0 > 0.0, d0, 0.0), choose(a1 > 0.0, d1, 0.0)
            d2, d3 = choose(a2 > 0.0, d2, 0.0), choose(a3 > 0.0, d3, 0.0)
        else:
            d0, d1, d2, d3 = d0 * a0, d1 * a1, d2 * a2, d3 * a3
    return d0, d1, d2, d3


@inlined
def backward(layer, w, m, g, source, before, goes_on, first):
    """The gradient of one layer's parameters, added up over blocks of rows.

    And d of the layer `before`, if it `goes_on` to there.
    """
    size = lanes(m)
    inputs, units, d_at = layer[INPUTS], layer[UNITS], layer[DERIVATIVE]
    if layer[BIAS] >= 0:
        for j in range(units):
            d, at = d_at + 4 * j * size, g + (layer[BIAS] + j) * size
            summed = (load(m, d) + load(m, d + size)) + (
                load(m, d + 2 * size) + load(m, d + 3 * size)
            )
            if not first:
                summed = summed + load(w, at)
            store(w, at, summed)
    for i in range(inputs):
        a = source + 4 * i * size
        a0, a1 = load(m, a), load(m, a + size)
        a2, a3 = load(m, a + 2 * size), load(m, a + 3 * size)
        e0 = every(m, 0.0)
        e1, e2, e3 = e0, e0, e0
        weight, d = (layer[WEIGHT] + i * units) * size, d_at
        for _ in range(units):
            d0, d1 = load(m, d), load(m, d + size)
            d2, d3 = load(m, d + 2 * size), load(m, d + 3 * size)
            summed = fma(a0, d0, a1 * d1) + fma(a2, d2, a3 * d3)
            if not first:
                summed = summed + load(w, g + weight)
            store(w, g + weight, summed)
            if goes_on:
                v = load(w, weight)
                e0, e1 = fma(d0, v, e0), fma(d1, v, e1)
                e2, e3 = fma(d2, v, e2), fma(d3, v, e3)
            weight += size
            d += 4 * size
        if goes_on:
            k, e = 4 * i * size, before[DERIVATIVE] + 4 * i * size
            e0, e1, e2, e3 = sloped(before, m, e0, e1, e2, e3, k)
            store(m, e, e0)
            store(m, e + size, e1)
            store(m, e + 2 * size, e2)
            store(m, e + 3 * size, e3)


@inlined
def entries_loss(kind, constant, m, layer, y_at, share_at):
    """The loss of a block of rows, entry by entry, and d of the last layer."""
    size, units, p_at, d_at = lanes(m), layer[UNITS], layer[OUTPUT], layer[DERIVATIVE]
    summed = every(m, 0.0)
    for j in range(units):
        for k in range(4 * j * size, 4 * (j + 1) * size, size):
            share = load(m, share_at + k - 4 * j * size)
            p, y = load(m, p_at + k), load(m, y_at + k)
            if kind == MSE:  # the commonest, without a call
                r = p - y
                t, e = r * r, r + r
            else:
                t, e = term(kind, p, y, constant)
            summed = summed + choose(share > 0.0, t * share, 0.0)
            store(m, d_at + k, e * share)
        at = d_at + 4 * j * size
        d0, d1 = load(m, at), load(m, at + size)
        d2, d3 = load(m, at + 2 * size), load(m, at + 3 * size)
        d0, d1, d2, d3 = sloped(layer, m, d0, d1, d2, d3, 4 * j * size)
        store(m, at, choose(load(m, share_at) > 0.0, d0, 0.0))
        store(m, at + size, choose(load(m, share_at + size) > 0.0, d1, 0.0))
        store(m, at + 2 * size, choose(load(m, share_at + 2 * size) > 0.0, d2, 0.0))
        store(m, at + 3 * size, choose(load(m, share_at + 3 * size) > 0.0, d3, 0.0))
    return summed


@inlined
def rows_loss(m, layer, y_at, share_at):
    """The cross-entropy of a block of rows of logits, and its derivative by them."""
    size, units, p_at, d_at = lanes(m), layer[UNITS], layer[OUTPUT], layer[DERIVATIVE]
    summed = every(m, 0.0)
    for r in range(0, 4 * size, size):
        top = load(m, p_at + r)
        for j in range(1, units):
            z = load(m, p_at + 4 * j * size + r)
            top = choose(z > top, z, choose(top >= z, top, z + top))
        whole, sure, picked = every(m, 0.0), every(m, 0.0), every(m, 0.0)
        for j in range(units):
            k = 4 * j * size + r
            z, y = load(m, p_at + k) - top, load(m, y_at + k)
            e = exp(z)
            whole, sure = whole + e, sure + y
            picked = picked + choose(y > 0.0, y * z, 0.0)
            store(m, d_at + k, e)
        share = load(m, share_at + r)
        for j in range(units):
            k = 4 * j * size + r
            d = (load(m, d_at + k) / whole * sure - load(m, y_at + k)) * share
            store(m, d_at + k, choose(share > 0.0, d, 0.0))
        summed = summed + choose(share > 0.0, (sure * log(whole) - picked) * share, 0.0)
    return summed


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
    least_p = every(m, SINGLE[0] if m.itemsize == 4 else DOUBLE[0])
    least = every(m, SINGLE[1] if m.itemsize == 4 else DOUBLE[1])
    stay = 1.0 - rate * decay
    if numbers[DECAYED] != 0 and kind != ADAM:
        for k in range(0, length, size):
            store(w, k, load(w, k) * stay)
    if kind == SGD and numbers[DECAYED] == 0 and numbers[PENALIZED] == 0:
        for k in range(0, length, size):  # nothing fades away
            store(w, k, fma(-rate, load(w, g + k), load(w, k)))
    elif kind == SGD:
        for k in range(0, length, size):
            store(w, k, cleared(fma(-rate, load(w, g + k), load(w, k)), least_p))
    elif kind == ADAM:
        root = every(m, SINGLE[2] if m.itemsize == 4 else DOUBLE[2])
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
        w: of each group parameters, optimizer's memory and room for the gradient.
        m: of each group rows, targets, shares of rows in the loss, constants, and room.
        rates: RATE, L2 and DECAY for every lane of all groups, of each step or of all.
        factors: Adam's, of each step.
        losses: room for each step's losses, of all lanes.
        at, end: the steps to do.

    Returns:
        `end`, or the step before whose update it stopped, because a loss is not finite.
    """
    size, depth, blocks, groups = lanes(m), numbers[DEPTH], numbers[BLOCKS], numbers[GROUPS]
    length, own_w, own_m = numbers[SIZE] * size, len(w) // groups, len(m) // groups
    g, outputs = own_w - length, table[depth - 1, UNITS]
    constant = every(m, m[numbers[LOSS_CONSTANT]])
    before = control_word()
    set_control_word(before | FLUSHING)
    while at < end:
        finite = every(m, 0.0)
        for block in range(blocks):
            x = numbers[X] + block * table[0, INPUTS] * 4 * size
            source = x
            for n in range(depth):
                for k in range(groups):
                    p, q = w[k * own_w : (k + 1) * own_w], m[k * own_m : (k + 1) * own_m]
                    forward(table[n], p, q, source)
                source = table[n, OUTPUT]
            y = numbers[Y] + block * outputs * 4 * size
            share = numbers[SHARES] + block * 4 * size
            for k in range(groups):
                q = m[k * own_m : (k + 1) * own_m]
                if numbers[LOSS] == CROSSENTROPY:
                    found = rows_loss(q, table[depth - 1], y, share)
                else:
                    found = entries_loss(numbers[LOSS], constant, q, table[depth - 1], y, share)
                loss = (at * groups + k) * size
                if block > 0:
                    found = load(losses, loss) + found
                store(losses, loss, found)
                finite = finite + found * 0.0
            for n in range(depth - 1, -1, -1):
                source = table[n - 1, OUTPUT] if n > 0 else x
                for k in range(groups):
                    p, q = w[k * own_w : (k + 1) * own_w], m[k * own_m : (k + 1) * own_m]
                    backward(table[n], p, q, g, source, table[max(n - 1, 0)], n > 0, block == 0)
        if not total(finite) == 0.0:  # NaN, if a loss is not finite
            break
        for k in range(groups):
            p, q = w[k * own_w : (k + 1) * own_w], m[k * own_m : (k + 1) * own_m]
            own = ((at * BY_STEP if numbers[PER_STEP] else 0) * groups + k) * size
            if numbers[PENALIZED] != 0:
                penalize(table, p, g, load(rates, own + L2 * groups * size))
            rate = load(rates, own + RATE * groups * size)
            decay = load(rates, own + DECAY * groups * size)
            update(numbers, p, q, rate, decay, factors, at)
        at += 1
    set_control_word(before)
    return at
