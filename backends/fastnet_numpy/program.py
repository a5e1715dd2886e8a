"""A plan, run by NumPy: prediction, loss, gradient, and whole runs of training steps."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.blas import capped
from fastnet.contract.plan import Activate, Affine, Plan
from fastnet.contract.program import Data, Run, State
from fastnet_numpy.activations import Function, function
from fastnet_numpy.layers import Draw, stages
from fastnet_numpy.losses import Mean
from fastnet_numpy.optimizers import UPDATES
from fastnet_numpy.threads import wanted

#: Entries of the widest layer that prediction and loss work on together: 4 MiB in float32.
#: Measured on 32-64-64-1, 784-128-10 and 1024-2048-2048-10: from 2^20 on wide layers are at
#: their best, because a block's rows share one reading of the weights; narrow ones lose
#: half their speed again when nothing is split, because layers then leave the cache.
BLOCK_ENTRIES = 2**20

#: Rows up to which predicting does not cap the matrix library's threads: the cap takes half as
#: long as a prediction of one row, and the library shares out no product so small.
FEW_ROWS = 16


class Pass:
    """Forward and backward through the whole network, for batches of `rows` rows.

    Buffers are allocated when it is made, and every call uses them again.
    """

    def __init__(self, plan: Plan, rows: int, parameters: Array, gradient: Array) -> None:
        made = stages(plan, rows, parameters, gradient)
        self.forward = [stage.forward for stage in made]
        self.backward = [stage.backward for stage in reversed(made)]
        self.mean = Mean(plan.loss, rows, plan.outputs, parameters.dtype)
        self.d = np.empty((rows, plan.outputs), parameters.dtype)

    def loss(self, x: Array, y: Array, weight: Array | None, draw: Draw) -> float:
        """The loss of a batch; its derivative by the output stays in `d`."""
        for forward in self.forward:
            x = forward(x, draw)
        return self.mean(x, y, weight, self.d)

    def derive(self) -> None:
        """Fill the gradient, after `loss`."""
        d = self.d
        for backward in self.backward:
            d = backward(d)


class Penalty:
    """l1 sum |w| + l2 / 2 sum w^2 over the weights;  dw += l1 sign(w) + l2 w."""

    def __init__(
        self, plan: Plan, parameters: Array, gradient: Array, l1: float, l2: float
    ) -> None:
        self.pieces = [(w.of(parameters), w.of(gradient)) for w in plan.weights]
        self.l1, self.l2 = l1, l2

    def __call__(self) -> float:
        """Add the derivative to the gradient and return the penalty."""
        total = 0.0
        for w, dw in self.pieces:
            if self.l1:
                total += self.l1 * float(np.abs(w).sum())
                dw += self.l1 * np.sign(w)
            if self.l2:
                total += self.l2 / 2 * float(np.square(w).sum())
                dw += self.l2 * w
        return total


class NumpyProgram:
    """The living definition of a program."""

    l2_by_step = True

    def __init__(self, plan: Plan, dtype: np.dtype[Any], threads: int | None) -> None:
        self.plan = plan
        self.dtype = dtype
        self.threads = threads
        self.widest = max(
            max(op.inputs, op.units) for op in plan.operations if isinstance(op, Affine)
        )
        self.block_rows = max(BLOCK_ENTRIES // self.widest, 1)
        operations = plan.operations if plan.output is None else (*plan.operations, plan.output)
        self.forward = [
            function(op.activation, dtype) if isinstance(op, Activate) else op for op in operations
        ]

    def to_device(self, array: Array) -> Array:
        """NumPy works where the array is."""
        return array

    def to_host(self, array: Array) -> Array:
        """NumPy works where the array is."""
        return array

    def predict(self, parameters: Array, x: Array) -> Array:
        """Predictions `(rows, outputs)`, a new array."""
        out = np.empty((len(x), self.plan.outputs), self.dtype)
        with np.errstate(all="ignore"), self._capped(len(x)):
            for block in self._blocks(len(x)):
                self._forward(parameters, x[block], out[block])
        return out

    def predict_at_once(self, parameters: Array, x: Any) -> Array | None:
        """Checks are a small part of what NumPy takes."""
        return None

    def _capped(self, rows: int) -> AbstractContextManager[None]:
        """The cap for a pass over all rows, block by block, beyond a few."""
        if rows <= FEW_ROWS and self.threads is None:
            return nullcontext()
        return capped(wanted(self.plan, min(rows, self.block_rows), self.threads))

    def _blocks(self, rows: int) -> Iterator[slice]:
        size = self.block_rows
        return (slice(start, start + size) for start in range(0, rows, size))

    def _forward(self, parameters: Array, x: Array, out: Array) -> None:
        """Like `Pass.loss` without the loss, on fresh arrays, so that threads can share it."""
        for op in self.forward:
            match op:
                case Affine():
                    x = x @ op.weight.of(parameters)
                    if op.bias is not None:
                        x += op.bias.of(parameters)
                case Function():
                    a = np.empty_like(x) if op.needs_z else x
                    op.forward(x, a)
                    x = a
        out[...] = x

    def loss(self, parameters: Array, data: Data) -> float:
        """The loss over all rows, without dropout or penalties: the blocks' weighted mean."""
        total = weights = 0.0
        unused = np.empty_like(parameters)
        passes: dict[int, Pass] = {}
        with np.errstate(all="ignore"), self._capped(len(data.x)):
            for block in self._blocks(len(data.x)):
                x, y = data.x[block], data.y[block]
                weight = None if data.weight is None else data.weight[block]
                share = len(x) if weight is None else float(weight.sum(dtype=np.float64))
                if len(x) not in passes:
                    passes[len(x)] = Pass(self.plan, len(x), parameters, unused)
                total += share * passes[len(x)].loss(x, y, weight, None)
                weights += share
        return total / weights

    def gradient(
        self,
        parameters: Array,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: Draw = None,
    ) -> tuple[float, Array]:
        """The loss with penalties, and its gradient, over all rows as one batch."""
        gradient = np.zeros_like(parameters)
        whole = Pass(self.plan, len(data.x), parameters, gradient)
        with np.errstate(all="ignore"), capped(wanted(self.plan, len(data.x), self.threads)):
            loss = whole.loss(data.x, data.y, data.weight, dropout)
            whole.derive()
            loss += Penalty(self.plan, parameters, gradient, l1, l2)()
        return loss, gradient

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place."""
        rows = min(run.batch_size, len(data.x))
        with np.errstate(all="ignore"), capped(wanted(self.plan, rows, self.threads)):
            return self._train(state, data, run)

    def _train(self, state: State, data: Data, run: Run) -> Array:
        p = state.parameters
        g = np.zeros_like(p)
        update = UPDATES[run.optimizer.name](run.optimizer, state.memory, len(p), self.dtype)
        l2s = np.broadcast_to(run.l2, len(run.learning_rates)).tolist()
        penalty = Penalty(self.plan, p, g, run.l1, l2s[0]) if run.l1 or any(l2s) else None
        batches = Batches(self.plan, data, run, p, g)
        losses = np.empty(len(run.learning_rates))
        for index, lr in enumerate(run.learning_rates.tolist()):
            step = run.first_step + index
            pass_, x, y, weight = batches(step)
            loss = pass_.loss(x, y, weight, (run.seed, step))
            if penalty is None:
                losses[index] = loss
                if not math.isfinite(loss):
                    return losses[: index + 1]
                pass_.derive()
            else:
                pass_.derive()
                penalty.l2 = l2s[index]
                loss += penalty()
                losses[index] = loss
                if not math.isfinite(loss):
                    return losses[: index + 1]
            if run.clip_value is not None:
                np.clip(g, -run.clip_value, run.clip_value, g)
            if run.clip_norm is not None:
                norm = math.sqrt(float(np.vdot(g, g)))
                if math.isinf(norm):  # the squares overflowed, the norm need not
                    peak = float(np.abs(g).max())
                    norm = peak * float(np.linalg.norm(g / peak))
                if norm > run.clip_norm:
                    g *= run.clip_norm / norm
            state.updates += 1
            update(p, g, lr, state.updates)
        return losses


class Batches:
    """The batches of a run: for a step, its rows, gathered, and the pass that fits them."""

    def __init__(
        self, plan: Plan, data: Data, run: Run, parameters: Array, gradient: Array
    ) -> None:
        self.plan, self.data, self.order = plan, data, run.order
        self.parameters, self.gradient = parameters, gradient
        self.size = min(run.batch_size, len(data.x))
        self.count = -(-len(data.x) // self.size)
        self.first_epoch = run.first_step // self.count
        self.passes: dict[int, tuple[Pass, Array, Array, Array | None]] = {}

    def __call__(self, step: int) -> tuple[Pass, Array, Array, Array | None]:
        epoch, batch = divmod(step, self.count)
        start = batch * self.size
        stop = min(start + self.size, len(self.data.x))
        pass_, x, y, weight = self._buffers(stop - start)
        if self.order is None:
            if self.count == 1:
                return pass_, x, y, weight
            weight = self.data.weight
            weight = None if weight is None else weight[start:stop]
            return pass_, self.data.x[start:stop], self.data.y[start:stop], weight
        rows = self.order[epoch - self.first_epoch, start:stop]
        # mode="clip" spares the buffer that the default makes; all rows are in range.
        self.data.x.take(rows, 0, x, "clip")
        self.data.y.take(rows, 0, y, "clip")
        if weight is not None:
            self.data.weight.take(rows, 0, weight, "clip")
        return pass_, x, y, weight

    def _buffers(self, rows: int) -> tuple[Pass, Array, Array, Array | None]:
        """A pass for so many rows, and buffers for them; the data itself for a full batch."""
        if rows not in self.passes:
            pass_ = Pass(self.plan, rows, self.parameters, self.gradient)
            if self.order is None:
                self.passes[rows] = (pass_, self.data.x, self.data.y, self.data.weight)
            else:
                x, y = (_like(array, rows) for array in (self.data.x, self.data.y))
                weight = None if self.data.weight is None else _like(self.data.weight, rows)
                self.passes[rows] = (pass_, x, y, weight)
        return self.passes[rows]


def _like(array: Array, rows: int) -> Array:
    """An empty array like `array`, but for the number of its rows."""
    return np.empty((rows, *array.shape[1:]), array.dtype)
