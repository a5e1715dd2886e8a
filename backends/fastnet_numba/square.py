"""Tiny networks of two layers, trained on up to four rows: all numbers stay in registers.

The rows are a square (`simd/squares.py`), and so are the weights of a layer and what comes out of
it; each step forward, back or down is a product of squares. As in `tiny.py`, what takes time is the
latency of instructions that wait for each other, so nothing is stored and loaded again in between.

Letters, with the number of their layer: `w` weights, `b` bias in every row, `s` slope, `d` the
loss's derivative; `x`, `h` and `a` what goes into the first layer, comes out of it, and out of the
second; `y` targets.
"""

import math

from fastnet_numba.ops.activations import FUNCTIONS, IDENTITY, RELU, SIGMOID, TANH
from fastnet_numba.ops.lanes import cleared
from fastnet_numba.ops.losses import BINARY_CROSSENTROPY, MSE, TERMS_OF
from fastnet_numba.ops.optimizers import bounds
from fastnet_numba.simd.compiled import entry
from fastnet_numba.simd.elementwise import sigmoid_alone
from fastnet_numba.simd.squares import SIDE
from fastnet_numba.simd.traced import by_code
from fastnet_numba.simd.vectors import (
    FLUSHING,
    choose,
    control_word,
    every,
    fma,
    load_square,
    set_control_word,
    square_product,
    store,
    total,
    transposed,
)

#: Columns of the table of layers: the activation's code, whether there is a bias.
CODE, HAS_BIAS = range(2)

#: The commonest activations and losses: more of them would leave fewer registers.
ACTIVATIONS = (IDENTITY, RELU, SIGMOID, TANH)
LOSSES = (MSE, BINARY_CROSSENTROPY)


def has(codes: list[int], loss: int) -> bool:
    """Whether a network of these activations and this loss is for this path."""
    return len(codes) == 2 and set(codes) <= set(ACTIVATIONS) and loss in LOSSES


def logistic(z, c0, c1):
    """a = sigmoid(z), where no other vector is computed meanwhile."""
    a = sigmoid_alone(z)
    return a, a * (1.0 - a)


apply = by_code({code: FUNCTIONS[code] for code in ACTIVATIONS} | {SIGMOID: logistic})
term = by_code({code: TERMS_OF[code] for code in LOSSES})


@entry
def square_steps(table, constants, sizes, w, m, rates, losses, scale_, constant_):
    """The steps of a run.

    The arguments are those of `tiny.steps`, but `constants` is not read, and two hold other things.

    Args:
        w: for each layer w, b and the mask of its units.
        m: x, the mask of outputs, y.
    """
    square = SIDE * SIDE
    layer = 3 * square
    w_0, b_0, units = load_square(w, 0), load_square(w, square), load_square(w, 2 * square)
    w_1, b_1 = load_square(w, layer), load_square(w, layer + square)
    x, inside, y = load_square(m, 0), load_square(m, square), load_square(m, 2 * square)
    zero, one = every(w_0, 0.0), every(w_0, 1.0)
    scale, constant, loss = every(w_0, scale_), every(w_0, constant_), sizes[3]
    number = m.dtype.type
    bound, _, _ = bounds(m)
    least = every(w_0, bound)
    before = control_word()
    set_control_word(before | FLUSHING)
    made = len(losses)
    for step in range(len(losses)):
        h, s_0 = apply(table[0, CODE], square_product(b_0, x, w_0), zero, zero)
        a, s_1 = apply(table[1, CODE], square_product(b_1, h, w_1), zero, zero)
        t, d_1 = term(loss, a, y, constant)
        found = total(choose(inside > 0.0, t, 0.0)) * scale_
        losses[step] = found
        if not math.isfinite(found):
            made = step + 1
            break
        d_1 = choose(inside > 0.0, d_1 * scale, 0.0) * s_1
        d_0 = square_product(zero, d_1, transposed(w_1)) * s_0
        # First what the next step waits for: the processor takes the oldest of what is ready.
        rate = every(w_0, number(-rates[min(step, len(rates) - 1)]))
        w_0 = cleared(fma(square_product(zero, transposed(x), d_0), rate, w_0), least)
        if table[0, HAS_BIAS] != 0:
            b_0 = cleared(fma(square_product(zero, one, d_0), rate, b_0), least)
        h = choose(units > 0.0, h, 0.0)  # else units that are not there would get weights
        w_1 = cleared(fma(square_product(zero, transposed(h), d_1), rate, w_1), least)
        if table[1, HAS_BIAS] != 0:
            b_1 = cleared(fma(square_product(zero, one, d_1), rate, b_1), least)
    set_control_word(before)
    store(w, 0, w_0)
    store(w, square, b_0)
    store(w, layer, w_1)
    store(w, layer + square, b_1)
    return made
