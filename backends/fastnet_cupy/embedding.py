"""Launches of the kernels that make numbers of categories, and several numbers of one, and back.

All is in full precision, whatever products read. Every sum over rows is one thread's, in the order
of the rows, and of a few such threads in their order: the same bits whatever the launch.
"""

import math
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import plan
from fastnet_cupy.context import Context
from fastnet_cupy.names import SUM_COLUMNS, THREADS, Category

_KERNELS = (
    "embed", "embed_back", "functions_of_numbers", "embed_numbers", "angles_back", "sum_by_number",
    "past_numbers",
)  # fmt: skip

Numeric = plan.Periodic | plan.PiecewiseLinear


def functions_of(op: Numeric) -> int:
    """The functions of each number whose sums are learned."""
    return op.weight.shape[1]


def categories_of(op: plan.Embed) -> Array:
    """The table of `names.Category`, int32: a row for each category, and one for their end."""
    first, block, rows = op.numbers, 0, []
    for size, table in zip(op.sizes, op.tables, strict=True):
        offset = -1 if table is None else table.offset
        rows.append({Category.FIRST: first, Category.TABLE: offset, Category.FIRST_BLOCK: block})
        first += size - 1 if table is None else table.shape[1]
        block += 0 if table is None else size * math.ceil(table.shape[1] / SUM_COLUMNS)
    rows.append({Category.FIRST: first, Category.TABLE: -1, Category.FIRST_BLOCK: block})
    return np.array([[row[place] for place in Category] for row in rows], np.int32)


class Embedding:
    """An embedding in front of a network, for batches of up to `rows` rows.

    Args:
        context: its device and network.
        rows: of a batch, at most.
        op: what it computes.
        basis: `(rows, n f)`, for what is computed of numbers that become several; else None.
    """

    def __init__(self, context: Context, rows: int, op: plan.Embed | Numeric, basis: Any) -> None:
        self.context, self.rows, self.op, self.basis = context, rows, op, basis
        self.kernels = {name: context.kernel("staged.cu", name) for name in _KERNELS}
        if isinstance(op, plan.Embed):
            self.inputs, table = op.numbers + len(op.sizes), categories_of(op)
            self.categories = context.device.upload(table)
            self.blocks = int(table[-1, Category.FIRST_BLOCK])
        else:
            self.inputs = op.units - op.numbers * (op.each - 1)
            self.made = op.weight.shape[2]

    def _over(self, kernel: str, columns: int, shape: tuple[int, ...], *arguments: Any) -> None:
        """Launch a kernel that goes over so many columns of all rows."""
        entries = self.rows * columns
        given = (*map(np.int32, shape), np.int64(entries), *arguments)
        self.kernels[kernel](self.context.blocks(entries), THREADS, given)

    def forward(self, parameters: Any, x: Any, z: Any) -> None:
        """z `(rows, units)` of x `(rows, inputs)`."""
        op = self.op
        if isinstance(op, plan.Embed):
            sizes = (op.numbers, self.inputs, op.units)
            self._over("embed", op.units, sizes, self.categories, parameters, x, z)
            return
        numbers, functions = op.numbers, functions_of(op)
        frequency = phase = edges = slope = None
        if isinstance(op, plan.Periodic):
            frequency, phase = op.frequency.of(parameters), op.phase.of(parameters)
        else:
            edges, slope = op.edges.of(parameters), op.slope.of(parameters)
        given = (x, frequency, phase, edges, self.basis)
        narrow = (numbers, functions, self.inputs)
        self._over("functions_of_numbers", numbers * functions, narrow, *given)
        weight, bias = op.weight.of(parameters), op.bias.of(parameters)
        shape = (numbers, functions, op.each, self.made, self.inputs, op.units)
        self._over("embed_numbers", op.units, shape, self.basis, weight, bias, slope, x, z)

    def back(self, parameters: Any, x: Any, d: Any, gradient: Any) -> None:
        """The gradient's pieces, of the derivative d `(rows, units)` by z."""
        op = self.op
        if isinstance(op, plan.Embed):
            if self.blocks:
                sizes = (op.numbers, self.inputs, op.units, self.rows)
                given = (self.categories, *map(np.int32, sizes), x, d, gradient)
                self.kernels["embed_back"](self.blocks, THREADS, given)
            return
        functions, of_d = functions_of(op), (d, op.units, op.each)
        self._sum(op.weight, gradient, functions, self.made, (self.basis, *of_d))
        self._sum(op.bias, gradient, 1, self.made, (None, *of_d))
        if isinstance(op, plan.PiecewiseLinear):
            self._sum(op.slope, gradient, 1, self.made, (x, *of_d))
            if self.context.layout.shares is not None:
                # Statistics stand in the gradient too, and edges among them: they stay.
                self._sum(op.edges, gradient, 1, op.edges.shape[1], (None, *of_d), rows=0)
            return
        dt, columns = self.basis, op.numbers * functions
        shape = (op.numbers, functions, op.each, self.made, self.inputs, op.units)
        frequency, phase = op.frequency.of(parameters), op.phase.of(parameters)
        weight = op.weight.of(parameters)
        self._over("angles_back", columns, shape, x, frequency, phase, weight, d, dt)
        of_dt = (dt, columns, functions)
        self._sum(op.phase, gradient, 1, functions, (None, *of_dt))
        self._sum(op.frequency, gradient, 1, functions, (x, *of_dt), factor=2 * math.pi)

    def _sum(
        self, piece: plan.Parameter, gradient: Any, functions: int, made: int,
        given: tuple[Any, Any, int, int], factor: float = 1.0, rows: int | None = None,
    ) -> None:  # fmt: skip
        """A piece `(n, functions, made)` of the gradient: see `sum_by_number`.

        Args:
            piece: which.
            gradient: all of it.
            functions: see there.
            made: see there.
            given: a, d, d's columns, and how many of them a number has.
            factor: see there.
            rows: that are summed up; None: all.
        """
        a, d, length, each = given
        numbers = self.op.numbers
        shape = (self.rows if rows is None else rows, numbers, functions, made)
        a_length = numbers * functions if a is self.basis else self.inputs
        arguments = (
            *map(np.int32, shape), np.float64(factor), a, np.int32(a_length), d, np.int32(length),
            np.int32(each), piece.of(gradient),
        )  # fmt: skip
        blocks = math.ceil(numbers * functions * made / SUM_COLUMNS)
        self.kernels["sum_by_number"](blocks, THREADS, arguments)

    def onward(self, d: Any, before: Any, onward: Any) -> None:
        """The derivative by x `(rows, inputs)`: d's, and `before` unless that is None."""
        op = self.op
        assert not isinstance(op, plan.Embed), "nothing before it has parameters"
        shape = (op.numbers, op.each, self.inputs, op.units)
        self._over("past_numbers", self.inputs, shape, d, before, onward)
