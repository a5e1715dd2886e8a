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

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.kinds import LOSSES
from fastnet.contract.plan import (
    Affine,
    Dropout,
    Elementwise,
    Periodic,
    PiecewiseLinear,
    Plan,
    Softmax,
)
from fastnet_numba.ops.panels import (
    PANEL,
    WORTH_PACKING,
    Blocks,
    blocks_for,
    is_far,
    worth_packing,
)
from fastnet_numba.ops.table import (
    AFFINE,
    BATCH_NORMALIZE,
    BLOCK_DEPTH,
    BLOCK_ENTRIES,
    BY_STATISTICS,
    CHUNK,
    COLUMNS,
    D_NEXT,
    DROPOUT,
    INPUT_WIDTH,
    INPUTS,
    KIND,
    LARGE,
    LOSS,
    LOSS_CONSTANT,
    MOVED,
    NOTED,
    ONES,
    OUTPUT,
    OUTPUT_ROW,
    OUTPUT_WIDTH,
    PACKED,
    PANELS,
    PLAIN,
    ROW_WEIGHTS,
    ROWS_IN_LANES,
    STRIP_DEPTH,
    STRIP_ROWS,
    SWEPT,
    TERMS,
    TILES,
    UNITS,
    WEIGHT,
    X_ROW,
    D,
    X,
    Y,
)
from fastnet_numba.simd.host import LANES, caches
from fastnet_numba.simd.tiles import HEIGHTS
from fastnet_numba.tabulating import Arena, TableRows, basis_of, row_length

#: Bytes of an arena's outputs, slopes and derivatives that a chunk of rows may take. From 2^17 to
#: 2^22 a step of 8,192 rows of 784-512-512-10 takes the same time within 2 %
#: (bench/results/numba-2026-11-28.json).
CHUNK_BYTES = 2**19

#: Bytes of weights above which they stay in no core's own caches (a choice): then as many rows as
#: possible should go through the network for each time that they are read.
FAR_BYTES = 3 * 2**20

#: Rows of a chunk: at least, so that weights read for it are used often enough, and at most. In the
#: same file, 96 at least take 1.06 times as long, 512 0.97 times; 256 or 4,096 at most the same.
FEWEST_ROWS, MOST_ROWS = 256, 1024

#: The most units of a layer, and inputs, of a network whose rows are in the lanes (`narrow.py`).
#: With 64 units that takes 1.0 to 1.7 times as long (bench/results/numba-2026-11-28.json); the most
#: inputs are a choice.
NARROW_UNITS, NARROW_INPUTS = 48, 512

#: From how many rows on they are, in vectors: for networks whose widest layer is half a vector at
#: most; whose vectors it fills to three quarters at most; for others. In the same file, units in
#: the lanes take 1.2 times as long for 8 units and 16 rows, 1.5 and 1.1 times for 17 and 24 units
#: and 32 rows; for 16, 32 and 48 units 1.1, 1.0 and 1.0 times for 128 rows, and 1.2, 1.0 and 1.0
#: times for 256.
NARROW_ROWS = (1, 2, 8)

#: Bytes of weights that stay packed for all chunks of a prediction or an evaluation, at most (a
#: choice: the third cache should hold them), and rows of a prediction's chunk then. 4,096 rows of
#: 512-512-512 take 1.03 times as long where each chunk packs them; in float64 predictions take 1.04
#: times, evaluations 1.01; with 48 or 256 rows at most 1.00 to 1.02 times
#: (bench/results/numba-panels-2026-11-29.json).
PANEL_BYTES, PANEL_ROWS = 2**23, 96


@dataclass(frozen=True)
class Layout:
    """The tables of one plan, for chunks of so many rows.

    Attributes:
        training: `(1 + operations, COLUMNS)` int64: the operations that lead to the loss.
        evaluation: the same where batches are normalized by the statistics among the parameters.
        prediction: that for the operations that lead to the prediction, without dropout.
        packed_evaluation, packed_prediction: these two for several chunks, with weights that stay
            packed.
        constants: numbers that an arena holds, by their places.
        arena: how many entries an arena has.
    """

    training: Array
    evaluation: Array
    packed_evaluation: Array
    prediction: Array
    packed_prediction: Array
    constants: dict[int, float]
    arena: int

    @property
    def narrow(self) -> bool:
        """Whether the rows are in the lanes."""
        return bool(self.training[0, ROWS_IN_LANES])

    def new_arena(self, dtype: np.dtype[Any]) -> Array:
        """A buffer that begins at a cache line; zero, so that no padding is NaN."""
        arena = cache_lines.zeros(self.arena, dtype)
        for place, value in self.constants.items():
            arena[place] = value
        return arena


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
    for op in plan.operations:
        if isinstance(op, Periodic | PiecewiseLinear):
            each += 2 * basis_of(op, itemsize)[1]
    fitting = CHUNK_BYTES // (each * itemsize)
    most = max(min(fitting, MOST_ROWS), FEWEST_ROWS)
    if rows <= most:
        return rows
    chunks = math.ceil(rows / most)
    return math.ceil(rows / chunks)


def _by_statistics(table: Array) -> Array:
    """The table where batches are normalized by the statistics among the parameters, and nothing is
    updated.
    """
    found = table.copy()
    found[1:, SWEPT] = 0
    found[1:, KIND][table[1:, KIND] == BATCH_NORMALIZE] = BY_STATISTICS
    found[0, NOTED] = found[0, MOVED] = -1
    return found


def _large(plan: Plan, blocks: Blocks, rows: int, itemsize: int) -> bool:
    """Whether a chunk of so many rows has products that tiles alone are not best for."""
    for op in plan.affine:
        if blocks.has_large(op.weight.size):
            return True
        # The weights' gradient; of one unit, it is one row.
        entries = rows * (op.units if op.units > 1 else op.inputs)
        packed = op.units > 1 and worth_packing(
            op.inputs,
            op.units,
            row_length(op.units, itemsize),
            blocks.entries,
            LANES[itemsize],
            itemsize,
        )
        if blocks.has_large(entries) and (packed or is_far(entries, blocks.entries)):
            return True
    return False


def _panels(table: Array, arena: Arena, blocks: Blocks, itemsize: int) -> dict[int, int]:
    """Where weights that stay packed go in the arena, by their places among the parameters.

    Empty where they would take more than PANEL_BYTES.
    """
    rows, panel = table[0, CHUNK], PANEL * LANES[itemsize]
    entries = {
        int(row[WEIGHT]): int(-(-row[UNITS] // panel) * panel * row[INPUTS])
        for row in table[1:]
        if row[KIND] == AFFINE
        and blocks.has_large(row[INPUTS] * row[UNITS])
        and rows >= WORTH_PACKING
        and row[UNITS] > panel
    }
    if sum(entries.values()) * itemsize > PANEL_BYTES:
        return {}
    return {weight: arena.place(count) for weight, count in entries.items()}


def _with_panels(table: Array, panels: dict[int, int], rows: int) -> Array:
    """The table with PANELS, for chunks of at most so many rows; or as it is if there are none."""
    if not panels:
        return table
    found = table.copy()
    found[0, CHUNK] = min(table[0, CHUNK], rows)
    for row in found[1:]:
        if row[KIND] == AFFINE:
            row[PANELS] = panels.get(int(row[WEIGHT]), -1)
    return found


def lay_out(plan: Plan, dtype: np.dtype[Any], rows: int, tiles: int) -> Layout:
    """The tables for `plan`, for chunks of `rows` rows, with the tiles at this address."""
    lanes, blocks = LANES[dtype.itemsize], blocks_for(dtype.itemsize, caches())
    arena = Arena(lanes, cache_lines.LINE // dtype.itemsize)
    ones = arena.keep((1.0,) * lanes, lanes)
    fewest = fewest_in_lanes(plan, lanes)
    table = TableRows(plan, arena, rows, dtype.itemsize, fewest)
    x, x_row = table.source, table.source_row
    for op in plan.operations:
        table.add(op)
    source, source_row = table.source, table.source_row
    widest = max(plan.inputs, *(op.units for op in plan.operations))
    # The last rows of a chunk are transposed as a whole block (`ops.losses.crossentropy`).
    block = lanes * max(row_length(plan.outputs, dtype.itemsize), lanes)
    large = _large(plan, blocks, rows, dtype.itemsize)
    strips = blocks.rows and min(blocks.strip, rows) * -(-widest // HEIGHTS[0]) * HEIGHTS[0]
    found = {
        CHUNK: rows,
        INPUT_WIDTH: plan.inputs,
        OUTPUT_WIDTH: plan.outputs,
        X: x,
        X_ROW: x_row,
        Y: table.place(plan.outputs, whole=True, more=block),
        ROW_WEIGHTS: arena.place(rows),
        OUTPUT: source,
        OUTPUT_ROW: source_row,
        D: table.place(widest, more=block),
        D_NEXT: table.place(widest, more=block),  # also for dropout's words, by four at once
        ONES: ones,
        NOTED: 1 if plan.statistics else -1,
        MOVED: 1 if plan.statistics else -1,
        TILES: tiles,
        LOSS: LOSSES[plan.loss.kind],
        TERMS: plan.loss.each,
        LOSS_CONSTANT: arena.keep(plan.loss.constants, max(len(plan.loss.constants), 1)),
        PACKED: arena.place(blocks.entries + strips),
        BLOCK_DEPTH: blocks.depth,
        BLOCK_ENTRIES: blocks.entries,
        STRIP_DEPTH: blocks.strip,
        STRIP_ROWS: blocks.rows,
        PLAIN: blocks.plain if large else np.iinfo(np.int64).max,
        LARGE: int(large),
    }

    def first_row(rows_in_lanes: int) -> list[int]:
        found[ROWS_IN_LANES] = rows_in_lanes
        return [found.get(place, -1) for place in range(COLUMNS)]

    training = [row for op in plan.for_loss for row in table.made[op.target]]
    prediction = [
        row for op in plan.for_prediction for row in table.made[op.target] if row[KIND] != DROPOUT
    ]
    table_of_prediction = _by_statistics(np.array([first_row(fewest), *prediction], np.int64))
    table_of_training = np.array([first_row(fewest if rows >= fewest else 0), *training], np.int64)
    table_of_evaluation = _by_statistics(table_of_training)
    panels = _panels(table_of_prediction, arena, blocks, dtype.itemsize)
    return Layout(
        training=table_of_training,
        evaluation=table_of_evaluation,
        packed_evaluation=_with_panels(table_of_evaluation, panels, rows),
        prediction=table_of_prediction,
        packed_prediction=_with_panels(table_of_prediction, panels, PANEL_ROWS),
        constants=arena.constants,
        arena=arena.length,
    )
