"""The rows of the table that kernels follow, made of operations, and places in the arena."""

import numpy as np

from fastnet.arrays.cache_lines import LINE
from fastnet.contract.kinds import ACTIVATIONS
from fastnet.contract.loading import lacking
from fastnet.contract.plan import (
    Add,
    Affine,
    BatchNormalize,
    Dropout,
    Elementwise,
    Embed,
    Normalize,
    Operation,
    Parametric,
    Periodic,
    PiecewiseLinear,
    Plan,
    Scale,
    Softmax,
)
from fastnet.errors import BackendUnavailable
from fastnet_numba.ops.activations import MOST_CONSTANTS, RELU
from fastnet_numba.ops.panels import blocks_for
from fastnet_numba.ops.table import (
    ADD,
    AFFINE,
    AS_THEY_LIE,
    BASIS,
    BASIS_ROW,
    BATCH_NORMALIZE,
    BIAS,
    CODE,
    COLUMNS,
    CONSTANTS,
    DROPOUT,
    ELEMENTWISE,
    EMBED,
    EPSILON,
    FORK,
    FUSED,
    INPUTS,
    KEPT,
    KIND,
    LAYER,
    NEEDS_INPUT_GRADIENT,
    NORMALIZE,
    OTHER,
    PARAMETRIC,
    PERIODIC,
    PIECEWISE_LINEAR,
    RATE,
    RECTIFY,
    SCALE,
    SLOPE,
    SOFTMAX,
    SOURCE,
    SOURCE_ROW,
    STAY,
    SWEPT,
    TARGET,
    TARGET_ROW,
    TRANSPOSED,
    UNITS,
    WEIGHT,
)
from fastnet_numba.simd.host import LANES, caches

#: Rows of a chunk up to which the backward pass reads whole vectors of weights as they lie, instead
#: of their transpose, made once a step; and those of weights so large that they would be transposed
#: as they are packed. Transposing takes 1.2 to 1.4 times as long for one row, 1.0 to 1.2 times for
#: 8, and 0.9 to 1.0 times for 32 (bench/results/numba-2026-11-28.json); with 512 and 2,048 units,
#: where weights are packed, 1.0 to 1.1 times for 16 and for 32 (numba-2026-11-29.json there).
FEW_ROWS, FEW_ROWS_OF_LARGE = 8, 32

#: Weights of a layer from which they are updated on the way back (`ops/sweep.py`). Updating them
#: after it takes 1.0 times as long with 128 and 256 units, 1.0 to 1.1 with 512 and 1,024, and 1.4
#: to 1.9 with 2,048 (bench/results/numba-choices-2026-11-29.json).
WORTH_SWEEPING = 2**16

#: Units from which a layer's rows are long. Without this a step takes the same time where it was
#: measured (bench/results/numba-2026-11-28.json); other processors' caches have fewer ways.
LONG = 128


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
    line = LINE // itemsize
    return (-(-length // line) | 1) * line


def basis_of(op: Periodic | PiecewiseLinear, itemsize: int) -> tuple[int, int]:
    """The functions of each feature, and how far rows of those of all features are apart."""
    functions = op.weight.shape[1]
    return functions, row_length(op.numbers * functions, itemsize)


def transposed_length(rows: int, itemsize: int) -> int:
    """How far units of so many rows are apart: `narrow.stride`."""
    line = LINE // itemsize
    return (-(-rows // line) | 1) * line


class Arena:
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


class TableRows:
    """The rows of the table for chunks of so many rows: each reads what the one before it made."""

    def __init__(
        self, plan: Plan, arena: Arena, chunk: int, itemsize: int, fewest_in_lanes: int
    ) -> None:
        self.arena, self.chunk, self.itemsize = arena, chunk, itemsize
        self.fewest_in_lanes = fewest_in_lanes
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
        if isinstance(op, Embed):
            self._embed(op)
        elif isinstance(op, Periodic | PiecewiseLinear):
            self._numeric(op)
        elif not (isinstance(op, Scale) and self._join(op)):
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

    def _embed(self, op: Embed) -> None:
        source, row = self.source, self.source_row
        target, length = self.place(op.units), row_length(op.units, self.itemsize)
        there = {SOURCE_ROW: row, TARGET_ROW: length}
        if op.numbers:
            numbers = {KIND: STAY, SOURCE: source, TARGET: target, UNITS: op.numbers}
            self._append(op, {**there, **numbers})
        column = op.numbers
        for place, (size, table) in enumerate(zip(op.sizes, op.tables, strict=True)):
            fields = {
                KIND: EMBED,
                SOURCE: source + op.numbers + place,
                TARGET: target + column,
                UNITS: size - 1 if table is None else table.shape[1],
                WEIGHT: -1 if table is None else table.offset,
                INPUTS: size,
                CODE: column,
            }
            column += fields[UNITS]
            self._append(op, {**there, **fields})
        self.source = target

    def _numeric(self, op: Periodic | PiecewiseLinear) -> None:
        source, row = self.source, self.source_row
        target, length = self.place(op.units), row_length(op.units, self.itemsize)
        periodic = isinstance(op, Periodic)
        functions, basis_row = basis_of(op, self.itemsize)
        there = {SOURCE: source, SOURCE_ROW: row, TARGET: target, TARGET_ROW: length}
        fields = {
            KIND: PERIODIC if periodic else PIECEWISE_LINEAR,
            INPUTS: op.numbers,
            UNITS: op.each,
            WEIGHT: op.weight.offset,
            BIAS: op.bias.offset,
            OTHER: op.frequency.offset if isinstance(op, Periodic) else op.slope.offset,
            LAYER: op.phase.offset if isinstance(op, Periodic) else op.edges.offset,
            CODE: functions,
            BASIS: self.arena.place(self.chunk * basis_row),
            BASIS_ROW: basis_row,
        }
        if periodic:
            fields[SLOPE] = self.arena.place(self.chunk * basis_row)
            fields[TRANSPOSED] = self.arena.place(functions * op.each)
            fields[CONSTANTS] = self.arena.place(self.chunk)
        self._append(op, {**there, **fields})
        rest = op.units - op.numbers * op.each
        if rest:
            places = {SOURCE: source + op.numbers, TARGET: target + op.numbers * op.each}
            columns = {KIND: STAY, UNITS: rest, CODE: op.numbers * op.each, OTHER: op.numbers}
            self._append(op, {**there, **places, **columns})
        self.source = target

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
                    # In the place of a product's result, which nobody else reads.
                    KEPT: self.source if op.sources[0] in self.spare else self.place(op.units),
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
            case BatchNormalize():
                mean, variance, inverses = (self.arena.place(op.units) for _ in range(3))
                fields = {
                    KIND: BATCH_NORMALIZE,
                    WEIGHT: op.mean.offset,
                    BIAS: op.variance.offset,
                    KEPT: mean,
                    OTHER: variance,
                    CONSTANTS: inverses,
                    EPSILON: _bits(op.epsilon),
                    RATE: _bits(op.momentum),
                    TARGET: self.place(op.units),
                }
            case Parametric():
                fields = {
                    KIND: PARAMETRIC,
                    CODE: ACTIVATIONS[op.kind],
                    CONSTANTS: self.arena.keep(op.constants, MOST_CONSTANTS),
                    WEIGHT: op.alpha.offset,
                    OTHER: int(op.complement),
                    TARGET: self.place(op.units),
                    SLOPE: self._slope(),
                    KEPT: self.place(op.units),
                }
            case Add():
                other, kept = self.kept[op.target]
                fields = {KIND: ADD, OTHER: other, KEPT: kept, TARGET: self.place(op.units)}
            case _:
                raise lacking("numba", "operation", type(op).__name__.lower())
        self._append(op, fields)

    def place(self, units: int, whole: bool = False, more: int = 0) -> int:
        """The place of a value of so many units, `(rows, units)` or, narrow, `(units, rows)`.

        Args:
            units: of the value.
            whole: whether blocks of rows are transposed to there, by whole vectors of units.
            more: entries of room behind it.
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
        large = blocks_for(self.itemsize, caches()).has_large(op.weight.size)
        few = self.chunk <= (FEW_ROWS_OF_LARGE if large else FEW_ROWS) and op.units % lanes == 0
        if op.needs_input_gradient and op.inputs > 1 and op.units > 1:
            if few:
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
            # One input has its derivatives from a product of another order of sums.
            SWEPT: int(few and op.inputs > 1 and op.weight.size >= WORTH_SWEEPING),
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
