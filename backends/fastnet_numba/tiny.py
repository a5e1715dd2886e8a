"""Networks so small that all their numbers fit into some vectors: a path of its own.

What takes time here is not arithmetic but the latency of instructions that wait for each other. So
the lanes of a vector hold several examples, `width` lanes each, and a layer is a few multiply-adds
on registers (see `groups.py`). Weights are kept twice, as they are and transposed, and both are
updated.

Where each matrix fits into one vector, weights stay in registers, too: see `square.py`.

Letters: `w` weights, `v` the same transposed, `b` bias, `a` what comes out of a layer, `s` its
slope, `d` the loss's derivative by it.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.kinds import ACTIVATIONS, LOSSES, OPTIMIZERS
from fastnet.contract.plan import Affine, Elementwise, Plan
from fastnet.contract.program import Data, Run, State
from fastnet_numba import square
from fastnet_numba.ops.activations import IDENTITY, MOST_CONSTANTS, apply
from fastnet_numba.ops.lanes import cleared
from fastnet_numba.ops.losses import TERMS_OF, term
from fastnet_numba.ops.optimizers import SGD, bounds
from fastnet_numba.simd.compiled import entry
from fastnet_numba.simd.groups import EXAMPLE_WIDTHS
from fastnet_numba.simd.host import LANES
from fastnet_numba.simd.squares import SIDE
from fastnet_numba.simd.vectors import (
    FLUSHING,
    choose,
    control_word,
    descend,
    every,
    fma,
    lanes,
    load,
    mix,
    over_examples,
    set_control_word,
    store,
    total,
)
from fastnet_numba.square import CODE, HAS_BIAS

#: The most rows of a batch, by the lanes of an example. With 4 the general path takes 3.0 times as
#: long at 4 rows and still 2.0 times at 512, the most that were tried; with 8 it is 1.9 times at 4
#: rows, 1.1 at 16, and no more than the same from 64 on (bench/results/numba-2026-11-24.json).
MOST_ROWS = {4: 512, 8: 32}

#: Steps that take as long as it does to make room that begins at a cache line.
MANY_STEPS = 100


@dataclass(frozen=True)
class TinyPlan:
    """The layers of a plan that is small enough.

    Attributes:
        layers: each with its activation.
        width: lanes of an example.
        examples: of a vector.
        square: whether it is for `square.py`.
        table: `(layers, 2)` int64, the columns that `square.py` names.
        constants: `(layers, MOST_CONSTANTS)` float64, the activations'.
        places: for each number that the kernel has of the layers, in its order, `(numbers,)` intp,
            the place in the parameters, behind which stand a 0 and a 1.
        back: for each parameter, its place among these numbers, `(size,)` intp.
    """

    layers: list[Affine]
    width: int
    examples: int
    square: bool
    table: Array
    constants: Array
    places: Array
    back: Array


class TinyPlans:
    """The plans for this path, made when they are needed.

    Args:
        plan: the network's.
        dtype: of its numbers.
    """

    def __init__(self, plan: Plan, dtype: np.dtype[Any]) -> None:
        self.plan, self.dtype = plan, dtype

    @cached_property
    def square(self) -> TinyPlan | None:
        """That for `square.py`, or None if it is not for it."""
        return _plan_of(self.plan, self.dtype, True)

    @cached_property
    def general(self) -> TinyPlan | None:
        """That for the kernel of this file, or None if it is not for it."""
        return _plan_of(self.plan, self.dtype, False)

    def suiting(self, data: Data, run: Run) -> TinyPlan | None:
        """The plan for a run, or None where it does not suit this path."""
        found = (self.square if len(data) <= SIDE else None) or self.general
        return found if found is not None and _suits(found, data, run) else None


def _plan_of(plan: Plan, dtype: np.dtype[Any], is_square: bool) -> TinyPlan | None:
    if any(piece.rate_factor != 1 for piece in plan.parameters):
        return None
    layers: list[Affine] = []
    codes: list[int] = []
    constants: list[tuple[float, ...]] = []
    for op in plan.for_loss:
        if isinstance(op, Affine):
            layers.append(op)
            codes.append(IDENTITY)
            constants.append((0.0,) * MOST_CONSTANTS)
        elif isinstance(op, Elementwise) and codes and codes[-1] == IDENTITY:
            codes[-1] = ACTIVATIONS[op.kind]
            constants[-1] = (*op.constants, *constants[-1])[:MOST_CONSTANTS]
        else:
            return None
    widest = max(max(op.inputs, op.units) for op in layers)
    loss = LOSSES[plan.loss.kind]
    if is_square:
        width = examples = SIDE
        if widest > width or not square.has(codes, loss):
            return None
    else:
        lanes = LANES[dtype.itemsize]
        fitting = [width for width in EXAMPLE_WIDTHS if widest <= width <= lanes]
        if not fitting or loss not in TERMS_OF:
            return None
        width, examples = fitting[0], lanes // fitting[0]
    table = [(code, op.bias is not None) for code, op in zip(codes, layers, strict=True)]
    places = _places(plan, layers, width, examples, twice=not is_square)
    back = np.unique(places, return_index=True)[1][: plan.size]
    return TinyPlan(
        layers, width, examples, is_square, np.array(table, np.int64), np.array(constants), places,
        back,
    )  # fmt: skip


def _places(plan: Plan, layers: list[Affine], width: int, examples: int, twice: bool) -> Array:
    """Where the kernel's numbers of the layers come from: `TinyPlan.places`."""
    zero, one = plan.size, plan.size + 1
    numbers = np.arange(plan.size)
    # A layer: w, v where weights are kept `twice`, and for every example b and the mask of units.
    b = 2 * width if twice else width
    places = np.full((len(layers), b + 2 * examples, width), zero, np.intp)
    for layer, op in zip(places, layers, strict=True):
        w = op.weight.of(numbers)
        layer[: op.inputs, : op.units] = w
        if twice:
            layer[width : width + op.units, : op.inputs] = w.T
        if op.bias is not None:
            layer[b : b + examples, : op.units] = op.bias.of(numbers)
        layer[b + examples :, : op.units] = one
    return places.reshape(-1)


def _suits(tiny: TinyPlan, data: Data, run: Run) -> bool:
    return (
        min(run.batch_size, len(data)) == len(data) <= MOST_ROWS[tiny.width]
        and data.weight is None
        and OPTIMIZERS.get(run.optimizer.canonical()[0]) == SGD
        and not (run.l1 or run.uses("l2") or run.uses("weight_decay"))
        and run.clip_value is None
        and run.clip_norm is None
    )


def train(kernels: Any, plan: Plan, tiny: TinyPlan, state: State, data: Data, run: Run) -> Array:
    """Do the steps of a run: arrange the numbers in lanes, train, and take them back."""
    x, flat = data.x.numbers, state.parameters
    dtype, width, depth, rows = x.dtype, tiny.width, len(tiny.layers), len(x)
    y = data.y.reshape(rows, plan.outputs)
    examples = tiny.examples
    groups = -(-rows // examples)
    kernel = kernels.square if tiny.square else kernels.tiny

    numbers = np.empty(plan.size + 2, dtype)
    numbers[:-2], numbers[-2], numbers[-1] = flat, 0, 1
    kept = 3 if tiny.square else 4 * (depth + 1)  # for each example
    size, values_size = len(tiny.places), kept * groups * examples * width
    # A step takes longer where vectors lie across two cache lines.
    zeros = cache_lines.zeros if run.steps >= MANY_STEPS else np.zeros
    room = zeros(size + values_size, dtype)
    layers, values = room[:size], room[size:].reshape(-1, groups * examples, width)
    numbers.take(tiny.places, out=layers, mode="clip")  # checks no places, which it would copy for
    values[0, :rows, : plan.inputs] = x
    values[-2, :rows, : plan.outputs] = 1
    values[-1, :rows, : plan.outputs] = y
    losses = np.empty(run.steps)
    rates = np.array(run.learning_rate, np.float64, order="C", ndmin=1)
    constant = sum(plan.loss.constants)  # one or none
    made = kernel(
        tiny.table, tiny.constants, _sizes(depth, width, groups, plan.loss.kind), layers,
        values.reshape(-1), rates, losses, 1 / y.size, float(constant),
    )  # fmt: skip
    flat[:] = layers.take(tiny.back)
    return losses[:made]


@lru_cache(maxsize=8)  # of a fit of few steps, to make it takes as long as these
def _sizes(depth: int, width: int, groups: int, loss: str) -> Array:
    """The kernel's sizes."""
    return np.array([depth, width, groups, LOSSES[loss]], np.int64)


@entry
def steps(table, constants, sizes, w, m, rates, losses, scale_, constant_):
    """The steps of a run.

    Args:
        table, constants: of the layers.
        sizes: layers, width, vectors of a batch, the loss's code.
        w: for every layer w, v, b and the mask of its units.
        m: a of the input and of all layers, s and d likewise, room, the mask of outputs, y.
        rates: the learning rate of each step, or one for all.
        losses: room for each step's loss.
        scale_, constant_: of the loss: one over the outputs of a batch, and its own constant.

    Returns:
        how many steps' losses were found: one whose loss is not finite is the last.
    """
    depth, width, groups, loss = sizes[0], sizes[1], sizes[2], sizes[3]
    size = lanes(m)
    scale, constant = every(m, scale_), every(m, constant_)
    v, b = width * width, 2 * width * width
    mask, layer = b + size, b + 2 * size
    row = groups * size
    s, d = (depth + 1) * row, 2 * (depth + 1) * row
    y = (4 * (depth + 1) - 1) * row
    outputs = y - row
    number = m.dtype.type
    least, _, _ = bounds(m)
    before = control_word()
    set_control_word(before | FLUSHING)
    made = len(losses)
    for step in range(len(losses)):
        rate = number(-rates[min(step, len(rates) - 1)])
        summed = every(m, 0.0)
        for g in range(0, row, size):
            # One vector of examples forward and back, from register to register.
            a = load(m, g)
            for n in range(depth):
                here, there = n * layer, (n + 1) * row + g
                c0, c1 = every(m, constants[n, 0]), every(m, constants[n, 1])
                z = mix(load(w, here + b), a, w, here, width)
                a, slope = apply(table[n, CODE], z, c0, c1)
                a = choose(load(w, here + mask) > 0.0, a, 0.0)
                store(m, there, a)
                store(m, s + there, slope)
            inside = load(m, outputs + g)
            t, e = term(loss, a, load(m, y + g), constant)
            summed = summed + choose(inside > 0.0, t, 0.0)
            e = choose(inside > 0.0, e * scale, 0.0)
            for n in range(depth, 0, -1):
                e = e * load(m, s + n * row + g)
                store(m, d + n * row + g, e)
                if n > 1:
                    e = mix(every(m, 0.0), e, w, (n - 1) * layer + v, width)
        found = total(summed) * scale_
        losses[step] = found
        if not math.isfinite(found):
            made = step + 1
            break
        for n in range(depth):  # the next step waits for the first
            here = n * layer
            a_at, d_at = n * row, d + (n + 1) * row
            if n > 0:
                descend(w, here + v, m, d_at, a_at, groups, width, rate, least)
            descend(w, here, m, a_at, d_at, groups, width, rate, least)
            if table[n, HAS_BIAS] != 0:
                e = every(m, 0.0)
                for g in range(0, row, size):
                    e = e + load(m, d_at + g)
                moved = fma(over_examples(e, width), every(m, rate), load(w, here + b))
                store(w, here + b, cleared(moved, every(m, least)))
    set_control_word(before)
    return made
