"""From a plan to tables of numbers that compiled code follows: which operation, on what, where.

One buffer, the arena, holds all that a pass over some rows needs, for each thread its own:

    x | each layer's output | slopes and masks | transposed weights | y | weights of rows | d, d' |
    a packed block of weights

A layer's output has a row of whole vectors for every row of the batch; what stands behind the
units is never read as a unit. Layers of one unit are the exception: theirs is one number a
row, so that vectors run along the rows. Where a network is narrow, many rows lie the other way
round, in a row for each unit (`narrow.py`); there is room for either. `slopes` are the derivatives
of activations by what goes in, and dropout's masks: going back, both are multiplied with.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.kinds import ACTIVATIONS, LOSSES
from fastnet.contract.loading import lacking
from fastnet.contract.plan import (
    Add,
    Affine,
    Dropout,
    Elementwise,
    Normalize,
    Operation,
    Plan,
    Scale,
    Softmax,
)
from fastnet.errors import BackendUnavailable
from fastnet_numba.ops.activations import MOST_CONSTANTS, RELU
from fastnet_numba.ops.narrow import LINE
from fastnet_numba.ops.panels import blocks_for
from fastnet_numba.ops.table import (
    ADD,
    AFFINE,
    AS_THEY_LIE,
    BIAS,
    BLOCK_COLUMNS,
    BLOCK_DEPTH,
    BLOCK_ROWS,
    CHUNK,
    CODE,
    COLUMNS,
    CONSTANTS,
    D_NEXT,
    DROPOUT,
    ELEMENTWISE,
    EPSILON,
    FORK,
    FUSED,
    INPUT_WIDTH,
    INPUTS,
    KEPT,
    KIND,
    LAYER,
    LOSS,
    LOSS_CONSTANT,
    NEEDS_INPUT_GRADIENT,
    NORMALIZE,
    ONES,
    OTHER,
    OUTPUT,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    PACKED,
    PLAIN,
    RATE,
    RECTIFY,
    ROW_WEIGHTS,
    ROWS_IN_LANES,
    SCALE,
    SLOPE,
    SOFTMAX,
    SOURCE,
    SOURCE_ROW,
    TARGET,
    TARGET_ROW,
    TERMS,
    TILES,
    TRANSPOSED,
    UNITS,
    WEIGHT,
    X_ROW,
    D,
    X,
    Y,
)
from fastnet_numba.simd.host import LANES, caches

#: Bytes of an arena's outputs, slopes and derivatives that a chunk of rows may take. Measured on a
#: busy machine (bench/test_choices.py): from 2^17 to 2^22 a step of 8,192 rows takes the same time
#: within 2 %.
CHUNK_BYTES = 2**19

#: Bytes of weights from which they come from far away.
FAR_BYTES = 3 * 2**20

#: Rows of a chunk: at least, so that weights read for it are used often enough, and at most.
#: Likewise, on 784-512-512-10: 96 at least take 1.06 times as long, 512 0.97 times; 256 or 4,096 at
#: most the same.
FEWEST_ROWS, MOST_ROWS = 256, 1024

#: Rows of a chunk up to which the backward pass reads whole vectors of weights as they lie, instead
#: of their transpose, made once a step. Likewise (test_weights_as_they_lie), transposing takes 1.2
#: to 1.4 times as long for one row, 1.0 to 1.2 times for 8, and 0.9 to 1.0 times for 32.
FEW_ROWS = 8

#: Units from which a layer's rows are long. Likewise: with none the same; other processors' caches
#: have fewer ways.
LONG = 128

#: The most units of a layer, and inputs, of a network whose rows are in the lanes (`narrow.py`).
NARROW_UNITS, NARROW_INPUTS = 48, 512

#: From how many rows on they are, in vectors: for networks whose widest layer is half a vector at
#: most; whose vectors it fills to three quarters at most; for others. Likewise (test_narrow), units
#: in the lanes take 1.2 times as long for 8 units and 16 rows, 1.5 and 1.1 times for 17 and 24
#: units and 32 rows; for 16, 32 and 48 units 1.1, 1.0 and 1.0 times for 128 rows, and 1.2, 1.0 and
#: 1.0 times for 256.
NARROW_ROWS = (1, 2, 8)


@dataclass(frozen=True)
class Layout:
    """The tables of one plan, for chunks of so many rows.

    Attributes:
        training: `(1 + operations, COLUMNS)` int64: the operations that lead to the loss.
        prediction: the same for those that lead to the prediction, without dropout.
        constants: numbers that an arena holds, by their places.
        arena: how many entries an arena has.
    """

    training: Array
    prediction: Array
    constants: dict[int, float]
    arena: int

    @property
    def narrow(self) -> bool:
        """Whether the rows are in the lanes."""
        return bool(self.training[0, ROWS_IN_LANES])

    def new_arena(self, dtype: np.dtype[Any]) -> Array:
        """A buffer that begins at a cache line; zero, so that no padding is NaN."""
        arena = on_cache_lines(self.arena, dtype)
        for place, value in self.constants.items():
            arena[place] = value
        return arena


def on_cache_lines(entries: int, dtype: np.dtype[Any]) -> Array:
    """Zeros, `(entries,)`, the first of which begins a cache line."""
    raw = np.zeros(entries + 64 // dtype.itemsize, dtype)
    skip = (-raw.ctypes.data % 64) // dtype.itemsize
    return raw[skip : skip + entries]


def row_length(units: int, itemsize: int) -> int:
    """How far rows of a layer's output are apart.

    Where rows are long, by an odd number of cache lines: else the same column of many rows would
    share a part of the caches' sets and evict itself.
    """
    if units == 1:
        return 1
    lanes = LANES[itemsize]
    length = -(-units // lanes) * lanes
    if units < LONG:
        return length
    line = 64 // itemsize
    return (-(-length // line) | 1) * line


def transposed_length(rows: int, itemsize: int) -> int:
    """How far units of so many rows are apart: `narrow.stride`."""
    line = LINE // itemsize
    return (-(-rows // line) | 1) * line


def fewest_in_lanes(plan: Plan, lanes: int) -> int:
    """From how many rows on these are in the lanes; 0 for never, as with dropout or norms."""
    widest = max(op.units for op in plan.affine)
    if widest > NARROW_UNITS or plan.inputs > NARROW_INPUTS:
        return 0
    for op in plan.operations:
        in_place = isinstance(op, Elementwise | Softmax) and op.sources[0] in plan.spare
        if not in_place and not isinstance(op, Affine):
            return 0
    whole = math.ceil(widest / lanes) * lanes
    return lanes * NARROW_ROWS[(widest > lanes // 2) + (widest > whole * 3 // 4)]


#: Rows of a chunk that share a lane, at most: so many terms of losses and gradients are summed up
#: in float32, one after the other, before chunks are added in float64.
IN_A_LANE = 128


def narrow_chunk_rows(plan: Plan, itemsize: int, rows: int) -> int:
    """How many rows of `rows` go through a narrow network together: whole tiles."""
    # Outputs and slopes, inputs and targets, two derivatives of the widest layer.
    each = plan.inputs + sum(2 * op.units for op in plan.affine) + plan.outputs
    each += 2 * max(plan.inputs, *(op.units for op in plan.affine))
    tile = 4 * LANES[itemsize]
    most = max(min(CHUNK_BYTES // (each * itemsize), IN_A_LANE * LANES[itemsize]), 2 * tile)
    if rows <= most:
        return rows
    return math.ceil(rows / math.ceil(rows / most) / tile) * tile


def chunk_rows(plan: Plan, itemsize: int, rows: int) -> int:
    """How many rows go through the network together, of `rows`."""
    lanes = LANES[itemsize]
    if 0 < fewest_in_lanes(plan, lanes) <= rows:
        return narrow_chunk_rows(plan, itemsize, rows)
    weights = sum(op.weight.size for op in plan.affine)
    if weights * itemsize > FAR_BYTES:
        return min(rows, MOST_ROWS)  # weights from far away should serve many rows
    # Output, slope and the two derivatives of a layer, in a row of the batch.
    each = sum(
        3 * row_length(op.units, itemsize)
        for op in plan.operations
        if not isinstance(op, Elementwise | Softmax | Dropout)  # which are in place
    )
    each += row_length(plan.inputs, itemsize)
    fitting = CHUNK_BYTES // (each * itemsize)
    most = max(min(fitting, MOST_ROWS), FEWEST_ROWS)
    if rows <= most:
        return rows
    chunks = math.ceil(rows / most)
    return math.ceil(rows / chunks)


class _Arena:
    """Gives out places, one behind the other, each on a cache line with a vector to spare.

    Attributes:
        length: how many entries are given out.
        constants: numbers that the arena holds from the start, by their places.
    """

    def __init__(self, lanes: int, line: int) -> None:
        self.lanes, self.line = lanes, line
        self.length = line
        self.constants: dict[int, float] = {}

    def place(self, entries: int) -> int:
        at = self.length
        # One vector more than asked for: whole vectors are read and written at any entry.
        self.length += -(-(entries + self.lanes) // self.line) * self.line
        return at

    def keep(self, values: tuple[float, ...], count: int) -> int:
        """The place of these constants, filled up with zeros to `count`."""
        at = self.place(count)
        for offset in range(count):
            self.constants[at + offset] = values[offset] if offset < len(values) else 0.0
        return at


class _Rows:
    """The rows of the table for chunks of so many rows: each reads what the one before it made."""

    def __init__(self, plan: Plan, arena: _Arena, chunk: int, itemsize: int) -> None:
        self.arena, self.chunk, self.itemsize = arena, chunk, itemsize
        self.fewest_in_lanes = fewest_in_lanes(plan, arena.lanes)
        self.value, self.units = 0, plan.inputs
        self.source_row = row_length(plan.inputs, itemsize)
        self.source = self.place(plan.inputs, whole=True)
        self.before: list[int] | None = None
        self.made: dict[int, list[list[int]]] = {}
        self.spare = plan.spare
        # The sums that read a value once more than the operation after it, the outermost first.
        self.sums: dict[int, list[Add]] = {}
        for op in reversed(plan.operations):
            if isinstance(op, Add):
                self.sums.setdefault(op.sources[0], []).append(op)
        self.kept: dict[int, tuple[int, int]] = {}

    def add(self, op: Operation) -> None:
        """The rows of the next operation.

        Raises:
            BackendUnavailable: if there are none for it.
        """
        self.made[op.target] = []
        if op.sources[-1] != self.value:
            raise BackendUnavailable(
                f"backend 'numba' runs chains of operations and sums over parts of them; {op} "
                "reads another value than the one before it. Use backend='numpy'."
            )
        self._fork(op)
        joined = isinstance(op, Scale) and self._join(op)
        if not joined:
            self._row(op)
        self.value, self.units = op.target, op.units

    def _fork(self, op: Operation) -> None:
        """Rows for the sums that read the value too, and for a copy where it must stay."""
        in_place = isinstance(op, Elementwise | Softmax | Dropout)
        sums = self.sums.pop(self.value, [])
        rectified = self.before is not None and self.before[KIND] == RECTIFY
        stays = in_place and (bool(sums) or (rectified and not isinstance(op, Dropout)))
        for each in sums:
            self.kept[each.target] = (self.source, self.place(self.units))
            self._append(op, {KIND: FORK, KEPT: self.kept[each.target][1]})
        if stays:
            self._append(op, {KIND: FORK, TARGET: self.place(self.units)})

    def _join(self, op: Scale) -> bool:
        """Let the normalization before it do the scaling, if there is one."""
        if self.before is None or self.before[KIND] != NORMALIZE or self.before[WEIGHT] >= 0:
            return False
        self.before[WEIGHT] = op.scale.offset
        self.before[BIAS] = -1 if op.shift is None else op.shift.offset
        return True

    def _append(self, op: Operation, fields: dict[int, int]) -> None:
        """A row of the operation."""
        fields = {
            INPUTS: self.units,
            UNITS: op.units if fields[KIND] == AFFINE else self.units,
            SOURCE: self.source,
            SOURCE_ROW: self.source_row,
            TARGET: self.source,
            TARGET_ROW: self.source_row,
            FUSED: 0,
            NEEDS_INPUT_GRADIENT: int(op.needs_input_gradient),
            **fields,
        }
        self.source, self.source_row = fields[TARGET], fields[TARGET_ROW]
        self.before = [fields.get(field, -1) for field in range(COLUMNS)]
        self.made[op.target].append(self.before)

    def _row(self, op: Operation) -> None:
        match op:
            case Affine():
                fields = self._affine(op)
            case Elementwise():
                fields = self._elementwise(op)
            case Softmax():
                fields = {KIND: SOFTMAX, SLOPE: self._slope()}
            case Dropout():
                fields = {KIND: DROPOUT, SLOPE: self._slope(), LAYER: op.layer}
                fields[RATE] = _bits(op.rate)
            case Normalize():
                fields = {
                    KIND: NORMALIZE,
                    TARGET: self.place(op.units),
                    KEPT: self.place(op.units),
                    CONSTANTS: self.arena.place(self.chunk),
                    EPSILON: _bits(op.epsilon),
                }
            case Scale():
                fields = {
                    KIND: SCALE,
                    WEIGHT: op.scale.offset,
                    BIAS: -1 if op.shift is None else op.shift.offset,
                    TARGET: self.place(op.units),
                }
            case Add():
                other, kept = self.kept[op.target]
                fields = {KIND: ADD, OTHER: other, KEPT: kept, TARGET: self.place(op.units)}
            case _:
                raise lacking("numba", "operation", type(op).__name__.lower())
        self._append(op, fields)

    def place(self, units: int, whole: bool = False, more: int = 0) -> int:
        """Room for a value of so many units, with them or with the rows in one piece.

        `whole`: blocks of rows are transposed to there, whole vectors of units.
        """
        lanes = self.arena.lanes
        lines = -(-units // lanes) * lanes if whole else units
        entries = self.chunk * row_length(units, self.itemsize)
        if self.fewest_in_lanes:
            entries = max(entries, lines * transposed_length(self.chunk, self.itemsize))
        return self.arena.place(entries + more)

    def _slope(self) -> int:
        return self.place(self.units)

    def _affine(self, op: Affine) -> dict[int, int]:
        lanes = self.arena.lanes
        row = row_length(op.units, self.itemsize)
        target = self.place(op.units)
        transposed = -1
        large = op.weight.size > blocks_for(self.itemsize, caches()).plain
        if op.needs_input_gradient and op.inputs > 1 and op.units > 1:
            if self.chunk <= FEW_ROWS and op.units % lanes == 0:
                transposed = AS_THEY_LIE
            elif not large:
                transposed = self.arena.place(-(-op.units // lanes) * lanes * self.source_row)
        return {
            KIND: AFFINE,
            INPUTS: op.inputs,
            WEIGHT: op.weight.offset,
            BIAS: -1 if op.bias is None else op.bias.offset,
            TARGET: target,
            TARGET_ROW: row,
            TRANSPOSED: transposed,
        }

    def _elementwise(self, op: Elementwise) -> dict[int, int]:
        code = ACTIVATIONS[op.kind]
        before = self.before
        if code == RELU and before is not None and before[KIND] in (AFFINE, NORMALIZE):
            # That computes it; going back, its slope is that of what came out.
            before[FUSED] = 1
            return {KIND: RECTIFY, SLOPE: self.source}
        slope = self._slope()
        constants = self.arena.keep(op.constants, MOST_CONSTANTS)
        return {KIND: ELEMENTWISE, CODE: code, SLOPE: slope, CONSTANTS: constants}


def _bits(number: float) -> int:
    """A float64, as the table of integers holds it."""
    return int(np.float64(number).view(np.int64))


def lay_out(plan: Plan, dtype: np.dtype[Any], rows: int, tiles: int) -> Layout:
    """The tables for `plan`, for chunks of `rows` rows, with the tiles at this address."""
    lanes, blocks = LANES[dtype.itemsize], blocks_for(dtype.itemsize, caches())
    arena = _Arena(lanes, 64 // dtype.itemsize)
    ones = arena.keep((1.0,) * lanes, lanes)
    table = _Rows(plan, arena, rows, dtype.itemsize)
    x, x_row = table.source, table.source_row
    fewest = table.fewest_in_lanes
    for op in plan.operations:
        table.add(op)
    source, source_row = table.source, table.source_row
    widest = max(plan.inputs, *(op.units for op in plan.operations))
    found = {
        CHUNK: rows,
        INPUT_WIDTH: plan.inputs,
        OUTPUT_WIDTH: plan.outputs,
        X: x,
        X_ROW: x_row,
        Y: table.place(plan.outputs, whole=True),
        ROW_WEIGHTS: arena.place(rows),
        OUTPUT: source,
        OUTPUT_ROW: source_row,
        D: table.place(widest),
        D_NEXT: table.place(widest, more=8),  # and dropout's words, by four at once
        ONES: ones,
        TILES: tiles,
        LOSS: LOSSES[plan.loss.kind],
        TERMS: plan.loss.each,
        LOSS_CONSTANT: arena.keep(plan.loss.constants, max(len(plan.loss.constants), 1)),
        PACKED: arena.place(blocks.depth * blocks.columns),
        BLOCK_DEPTH: blocks.depth,
        BLOCK_COLUMNS: blocks.columns,
        BLOCK_ROWS: blocks.rows,
        PLAIN: blocks.plain,
    }

    def first_row(rows_in_lanes: int) -> list[int]:
        found[ROWS_IN_LANES] = rows_in_lanes
        return [found.get(place, -1) for place in range(COLUMNS)]

    training = [row for op in plan.for_loss for row in table.made[op.target]]
    prediction = [
        row for op in plan.for_prediction for row in table.made[op.target] if row[KIND] != DROPOUT
    ]
    return Layout(
        training=np.array([first_row(fewest if rows >= fewest else 0), *training], np.int64),
        prediction=np.array([first_row(fewest), *prediction], np.int64),
        constants=arena.constants,
        arena=arena.length,
    )
