"""Losses and gradients of few rows, whose set-up would take longer than the kernel itself.

All that the compiled `run` is given but the rows is kept from call to call with the same shapes.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray, vdot

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan
from fastnet.contract.program import Run
from fastnet.definition.losses import Crossentropy
from fastnet_numba import training
from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE
from fastnet_numba.run_tables import tables_of
from fastnet_numba.threads import worth_starting
from fastnet_numba.workspace import kept_with

if TYPE_CHECKING:
    from fastnet_numba.program import NumbaProgram

#: The most entries of the inputs, and of the targets. Their sum of squares shows whether they are
#: finite: of more, the matrix library might share it out to threads.
FEW_ENTRIES = 8_192

#: What passes are kept by: the task, the shapes of x and y, whether y holds class indices.
_Key = tuple[int, tuple[int, ...], tuple[int, ...], bool]


class _Pass:
    """One pass over so many rows, in one thread: all arguments of the compiled `run` but the rows.

    Args:
        program: whose plan it is.
        task: LOSS_ONLY or GRADIENT.
        rows: how many.
    """

    def __init__(self, program: "NumbaProgram", task: int, rows: int) -> None:
        plan, dtype = program.plan, program.dtype
        run, parts = Run.whole_batch(rows), program.parts(rows)
        workspace = program.for_rows(-(-rows // parts))
        wide = program.wide_sums(task, rows, parts)
        numbers = program.numbers(task, run, rows, 0, parts, 1)
        tables = tables_of(
            run, numbers, (), len(wide) > 0, workspace.layout.narrow, program.kernels.address_of
        )
        gradient = cache_lines.zeros(parts * program.stride, dtype)
        self.kernel = program.kernel_for(workspace.layout)
        self.losses = np.empty(1)
        self.gradient = gradient[: plan.size]  # what is not trained stays 0
        self.before = (workspace.evaluation, *tables)
        self.between = (program.no_memory, gradient, workspace.borrow(), self.losses)
        self.nothing, self.no_indices = program.nothing, program.no_indices
        self.after = (
            program.nothing, program.no_indices,
            np.zeros(parts * CACHE_LINE_STRIDE), np.zeros(2 * CACHE_LINE_STRIDE, np.int64),
            wide, 0,
        )  # fmt: skip

    def __call__(self, parameters: Array, x: Array, y: Array) -> float:
        """The loss; the gradient stands in `gradient`. `x` and `y` are flat."""
        labels = self.no_indices
        if y.dtype == np.intp:
            y, labels = self.nothing, y
        self.kernel(*self.before, parameters, *self.between, x, y, labels, *self.after)
        return float(self.losses[0])


class Passes:
    """Losses and gradients of a program for few rows that need no change.

    May be asked from several threads at once; each has a pass of its own. The program is given to
    each call, because it keeps this: if both kept each other, their memory would be free only when
    Python looks for such cycles.

    Args:
        plan: of the program.
        dtype: of its rows.
    """

    def __init__(self, plan: Plan, dtype: np.dtype[Any]) -> None:
        indices = (np.dtype(np.intp),) if plan.loss.kind in Crossentropy.kinds else ()
        self.target_dtypes = (dtype, *indices)
        self._idle: dict[_Key, list[_Pass]] = {}

    def run(
        self, program: "NumbaProgram", task: int, parameters: Array, x: Any, y: Any
    ) -> tuple[float, Array] | None:
        """The loss and its gradient `(size,)`, a new array; for the task LOSS_ONLY an empty one.

        None where the rows have to be looked at first, or are many.
        """
        if type(x) is not ndarray or type(y) is not ndarray:
            return None
        if x.dtype != program.dtype or y.dtype not in self.target_dtypes:
            return None
        key = task, x.shape, y.shape, y.dtype.kind == "i"
        try:
            idle = self._idle[key]
        except KeyError:
            if not _fit(program.plan, *key[1:]):
                return None
            idle = []
            self._idle = kept_with(self._idle, key, idle)
        if not (x.flags.aligned and y.flags.aligned and parameters.flags.writeable):
            return None
        if not math.isfinite(vdot(x, x) + vdot(y, y)):  # as if one of them were not finite itself
            return None
        try:  # not `if`: another thread may take the last one in between
            one = idle.pop()
        except IndexError:
            one = _Pass(program, task, len(x))
        loss = one(parameters, x.ravel(), y.ravel())  # in one piece
        gradient = one.gradient.copy() if task == training.GRADIENT else program.nothing
        idle.append(one)
        return loss, gradient


def _fit(plan: Plan, x: tuple[int, ...], y: tuple[int, ...], labels: bool) -> bool:
    """Whether rows and targets of these shapes are right, and few enough for one thread.

    `labels`: that the targets are class indices.
    """
    rows, outputs = x[0] if x else 0, plan.outputs
    shapes: list[tuple[int, ...]] = [(rows,)] if labels else [(rows, outputs)]
    if outputs == 1:
        shapes.append((rows,))
    return (
        rows > 0
        and x == (rows, plan.inputs)
        and y in shapes
        and max(math.prod(x), math.prod(y)) <= FEW_ENTRIES
        and not worth_starting(plan, rows, 1)
    )
