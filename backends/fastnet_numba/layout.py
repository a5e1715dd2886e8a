"""From a plan to tables of numbers that compiled code follows: which operation, on what, where.

One buffer, the arena, holds all that a pass over some rows needs, for each thread its own:

    x | each layer's output | slopes and masks | turned weights | y | weights of rows | d, d'

A layer's output has a row of whole vectors for every row of the batch; what stands behind the
units is never read as a unit. Layers of one unit are the exception: theirs is one number a
row, so that vectors run along the rows. `slopes` are the derivatives of activations by what goes
in, and dropout's masks: going back, both are multiplied with.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Activate, Affine, Drop, Plan
from fastnet.definition import activations, losses
from fastnet_numba.ops.panels import LARGE_BYTES, PANEL, PANEL_DEPTH
from fastnet_numba.ops.table import (
    AFFINE,
    BIAS,
    BINARY_CROSSENTROPY,
    CHUNK,
    CODE,
    COLUMNS,
    CONSTANTS,
    CROSSENTROPY,
    D_NEXT,
    DROP,
    ELEMENTWISE,
    ELU,
    FUSED,
    GELU,
    HUBER,
    IDENTITY,
    INPUT_WIDTH,
    INPUTS,
    KIND,
    LAYER,
    LEAKY_RELU,
    LOSS,
    LOSS_CONSTANT,
    MAE,
    MSE,
    ONES,
    OUTPUT,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    PACKED,
    POISSON,
    POISSON_RATE,
    QUANTILE,
    RECTIFY,
    RELU,
    ROW_WEIGHTS,
    SIGMOID,
    SILU,
    SLOPE,
    SOFTMAX,
    SOFTPLUS,
    SOURCE,
    SOURCE_ROW,
    TANH,
    TANH_GELU,
    TARGET,
    TARGET_ROW,
    TILES,
    TURNED,
    UNITS,
    WEIGHT,
    X_ROW,
    D,
    X,
    Y,
)
from fastnet_numba.simd.host import LANES

_CODES = {
    "identity": IDENTITY,
    "relu": RELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "selu": ELU,
    "softplus": SOFTPLUS,
    "silu": SILU,
    "gelu": GELU,
}

#: Bytes of an arena's outputs, slopes and derivatives that a chunk of rows may take.
CHUNK_BYTES = 2**19

#: Rows of a chunk: at least, so that weights read for it are used often enough, and at most.
FEWEST_ROWS, MOST_ROWS = 96, 1024


def activation_code(activation: Any) -> tuple[int, tuple[float, float]]:
    """An elementwise activation's code, and its constants: of the negative side, of the other."""
    code, constants = _CODES[activation.name], (0.0, 1.0)
    match activation:
        case activations.LeakyReLU():
            constants = activation.slope, 1.0
        case activations.ELU():
            constants = activation.alpha, 1.0
        case activations.SELU():
            constants = activation.SCALE * activation.ALPHA, activation.SCALE
        case activations.GELU(approximate="tanh"):
            code = TANH_GELU
    return code, constants


def loss_code(loss: losses.Loss) -> tuple[int, float]:
    """A loss's code and its constant."""
    match loss:
        case losses.Huber():
            return HUBER, loss.delta
        case losses.Quantile():
            return QUANTILE, loss.q
        case losses.Poisson(log_input=False):
            return POISSON_RATE, loss.EPSILON
    code = {
        "mse": MSE,
        "mae": MAE,
        "poisson": POISSON,
        "binary_crossentropy": BINARY_CROSSENTROPY,
        "crossentropy": CROSSENTROPY,
    }[loss.name]
    return code, 0.0


@dataclass(frozen=True)
class Layout:
    """The tables of one plan, for chunks of so many rows.

    Attributes:
        training: `(1 + operations, COLUMNS)` int64: from the input to what the loss is made of.
        prediction: the same without dropout, with the output's activation.
        constants: numbers that an arena holds, by their places.
        arena: how many entries an arena has.
    """

    training: Array
    prediction: Array
    constants: dict[int, float]
    arena: int

    def new_arena(self, dtype: np.dtype[Any]) -> Array:
        """A buffer that begins at a cache line; zero, so that no padding is NaN."""
        raw = np.zeros(self.arena + 64 // dtype.itemsize, dtype)
        skip = (-raw.ctypes.data % 64) // dtype.itemsize
        arena = raw[skip : skip + self.arena]
        for place, value in self.constants.items():
            arena[place] = value
        return arena


def row_length(units: int, lanes: int) -> int:
    """How far rows of a layer's output are apart.

    Not by a multiple of 512 entries (2 or 4 KiB): the same column of many rows would share a few
    places of the caches, and drive itself out.
    """
    if units == 1:
        return 1
    length = -(-units // lanes) * lanes
    return length + lanes if length % 512 == 0 else length


def chunk_rows(plan: Plan, itemsize: int, rows: int) -> int:
    """How many rows go through the network together, of `rows`."""
    lanes = LANES[itemsize]
    weights = sum(op.weight.size for op in plan.operations if isinstance(op, Affine))
    if weights * itemsize > LARGE_BYTES:
        return min(rows, MOST_ROWS)  # weights from far away should serve many rows
    # Output, slope and the two derivatives of a layer, in a row of the batch.
    each = sum(3 * row_length(op.units, lanes) for op in plan.operations if isinstance(op, Affine))
    each += row_length(plan.inputs, lanes)
    fitting = CHUNK_BYTES // (each * itemsize)
    most = max(min(fitting, MOST_ROWS), FEWEST_ROWS)
    if rows <= most:
        return rows
    chunks = math.ceil(rows / most)
    return math.ceil(rows / chunks)


class _Arena:
    """Hands out places, one behind the other, each on a cache line with a vector to spare."""

    def __init__(self, lanes: int, line: int) -> None:
        self.lanes, self.line = lanes, line
        self.length = line

    def place(self, entries: int) -> int:
        at = self.length
        # One vector more than asked for: whole vectors are read and written at any entry.
        self.length += -(-(entries + self.lanes) // self.line) * self.line
        return at


def lay_out(plan: Plan, dtype: np.dtype[Any], rows: int, tiles: int) -> Layout:
    """The tables for `plan`, for chunks of `rows` rows, with the tiles at this address."""
    lanes = LANES[dtype.itemsize]
    arena = _Arena(lanes, 64 // dtype.itemsize)
    ones = arena.place(1)
    constants = {ones: 1.0}
    x_row = row_length(plan.inputs, lanes)
    x = arena.place(rows * x_row)
    table: list[list[int]] = []
    source, source_row, width = x, x_row, plan.inputs

    def keep(*values: float) -> int:
        place = arena.place(len(values))
        constants.update(zip(range(place, place + len(values)), values, strict=True))
        return place

    def add(kind: int, fields: dict[int, int]) -> None:
        row = [-1] * COLUMNS
        common = {KIND: kind, INPUTS: width, UNITS: width, SOURCE: source,
                  SOURCE_ROW: source_row, TARGET: source, TARGET_ROW: source_row,
                  FUSED: 0}  # fmt: skip
        for field, value in {**common, **fields}.items():
            row[field] = value
        table.append(row)

    def activate(op: Activate) -> None:
        name = op.activation.name
        if name == "relu":
            # Made by the product itself; going back it is told from what came out.
            table[-1][FUSED] = 1
            add(RECTIFY, {SLOPE: source})
        elif name == "softmax":
            add(SOFTMAX, {SLOPE: arena.place(rows * source_row)})
        else:
            code, scales = activation_code(op.activation)
            slope = arena.place(rows * source_row)
            add(ELEMENTWISE, {CODE: code, SLOPE: slope, CONSTANTS: keep(*scales)})

    first = True
    for op in plan.operations:
        match op:
            case Affine():
                target_row = row_length(op.units, lanes)
                target = arena.place(rows * target_row)
                turned = -1
                large = op.inputs * op.units * dtype.itemsize > LARGE_BYTES
                if not first and op.inputs > 1 and op.units > 1 and not large:
                    turned = arena.place(-(-op.units // lanes) * lanes * source_row)
                fields = {
                    UNITS: op.units,
                    WEIGHT: op.weight.offset,
                    BIAS: -1 if op.bias is None else op.bias.offset,
                    TARGET: target,
                    TARGET_ROW: target_row,
                    TURNED: turned,
                }
                add(AFFINE, fields)
                source, source_row, width, first = target, target_row, op.units, False
            case Activate():
                activate(op)
            case Drop():
                slope = arena.place(rows * source_row)
                fields = {
                    SLOPE: slope,
                    LAYER: op.layer,
                    CODE: random.keep_threshold(op.rate),
                    CONSTANTS: keep(1 / (1 - op.rate)),
                }
                add(DROP, fields)

    training = list(table)
    prediction = [row for row in table if row[KIND] != DROP]
    if plan.output is not None:
        activate(plan.output)
        prediction.append(table[-1])
    loss, constant = loss_code(plan.loss)
    widest = max(max(row[TARGET_ROW], row[SOURCE_ROW]) for row in table)
    found = {
        CHUNK: rows,
        INPUT_WIDTH: plan.inputs,
        OUTPUT_WIDTH: plan.outputs,
        X: x,
        X_ROW: x_row,
        Y: arena.place(rows * source_row),
        ROW_WEIGHTS: arena.place(rows),
        OUTPUT: source,
        OUTPUT_ROW: source_row,
        D: arena.place(rows * widest),
        D_NEXT: arena.place(rows * widest + 8),  # and dropout's words, by four at once
        ONES: ones,
        TILES: tiles,
        LOSS: loss,
        LOSS_CONSTANT: keep(constant),
        PACKED: arena.place(PANEL_DEPTH * PANEL * lanes),
    }
    first_row = [found.get(place, -1) for place in range(COLUMNS)]
    return Layout(
        training=np.array([first_row, *training], np.int64),
        prediction=np.array([first_row, *prediction], np.int64),
        constants=constants,
        arena=arena.length,
    )
