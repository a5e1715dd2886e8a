"""A plan, run by compiled kernels: prediction, loss, gradient, and whole runs of steps."""

import math
import time
from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np
from numpy import empty, ndarray

from fastnet.arrays.checks import Array
from fastnet.contract.plan import Affine, Drop, Plan
from fastnet.contract.program import Data, Run, State
from fastnet_numba import tiny, training
from fastnet_numba.kernels import load
from fastnet_numba.layout import Layout, chunk_rows, lay_out
from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE
from fastnet_numba.ops.optimizers import constants
from fastnet_numba.threads import LoadMonitor, in_threads, wanted

Draw = tuple[int, int] | None

_NO_ROWS, _NO_NUMBERS = np.zeros(0, np.int64), np.zeros(0)


#: What `predict_at_once` takes, in an arena of its own: as many rows as need no more multiply-adds
#: than this, and a handful in any case. Python's lock is held for them: some 0.1 ms in float32, but
#: for the handful of a large network. A longer call's way (threads, arenas, the tables of a run)
#: costs a good part of that by itself.
FEW_PRODUCTS = 2**22
FEWEST, MOST = 16, 512

#: How many layouts a program keeps, for batches of different sizes.
_KEPT = 16


class _Workspace:
    """A layout, and the arenas for it that nobody uses at the moment."""

    def __init__(self, layout: Layout, dtype: np.dtype[Any]) -> None:
        self.layout = layout
        self.dtype = dtype
        self.free: list[Array] = []

    def borrow(self) -> Array:
        """An arena; `free` is where it goes back to."""
        try:  # not `if`: another thread may be faster
            return self.free.pop()
        except IndexError:
            return self.layout.new_arena(self.dtype)


class NumbaProgram:
    """A plan for one dtype. May be used from several threads at once."""

    l2_by_step = True

    def __init__(self, plan: Plan, dtype: np.dtype[Any], threads: int | None) -> None:
        self.plan = plan
        self.dtype = dtype
        self.threads = threads
        self.kernels = load(dtype)
        self.nothing = np.zeros(0, dtype)
        self.tiles = self.kernels.tiles_for(self.nothing)
        self.tiny = tiny.plan_of(plan, dtype)
        self.dropping = any(isinstance(op, Drop) for op in plan.operations)
        self.load_monitor = LoadMonitor()
        self._workspaces: dict[int, _Workspace] = {}
        self._chunk_rows = lru_cache(partial(chunk_rows, plan, dtype.itemsize))
        self.no_memory = np.zeros((0, 0), dtype)
        weights = sum(op.weight.size for op in plan.operations if isinstance(op, Affine))
        most = chunk_rows(plan, dtype.itemsize, min(max(FEW_PRODUCTS // weights, FEWEST), MOST))
        few = self._workspace(most)
        self.few_table, self.few_arena = few.layout.prediction, few.borrow()
        self.predict_few = self.kernels.predict_at_once
        if numba.config.DISABLE_JIT:  # plain Python does not hold the GIL throughout
            self.predict_few = lambda *arguments: False
        self.outputs = plan.outputs

    def to_device(self, array: Array) -> Array:
        """The array itself, or an aligned copy of it in one piece."""
        return np.require(array, requirements=["C", "A"])

    def to_host(self, array: Array) -> Array:
        """The array itself."""
        return array

    def _workspace(self, rows: int) -> _Workspace:
        """The layout for chunks of so many rows."""
        found = self._workspaces.get(rows)
        if found is None:
            layout = lay_out(self.plan, self.dtype, rows, self.tiles)
            found = _Workspace(layout, self.dtype)
            kept = list(self._workspaces.items())[1 - _KEPT :]
            self._workspaces = dict([*kept, (rows, found)])
        return found

    def _for_rows(self, rows: int) -> _Workspace:
        """The workspace for so many rows, of a batch or of a thread's part of one."""
        return self._workspace(self._chunk_rows(rows))

    def predict(self, parameters: Array, x: Array) -> Array:
        """Predictions `(rows, outputs)`, a new array."""
        out = np.empty((len(x), self.plan.outputs), self.dtype)
        state = State(parameters, self.no_memory)
        self._run(training.PREDICT, state, Data(x, self.nothing), _whole_batch(len(x)), out)
        return out

    def predict_at_once(self, parameters: Array, x: Any) -> Array | None:
        """Predictions for a few rows that are as the kernel takes them; None for others."""
        if type(x) is not ndarray:
            return None
        try:
            out = empty((len(x), self.outputs), self.dtype)
            if self.predict_few(self.few_table, parameters, self.few_arena, x, out):
                return out
        except TypeError:  # another dtype, another number of dimensions, or not in one piece
            pass
        return None

    def loss(self, parameters: Array, data: Data) -> float:
        """The loss over all rows, without dropout or penalties."""
        run = _whole_batch(len(data.x))
        state = State(parameters, self.no_memory)
        losses = self._run(training.LOSS_ONLY, state, data, run, self.nothing)
        return float(losses[0])

    def gradient(
        self,
        parameters: Array,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: Draw = None,
    ) -> tuple[float, Array]:
        """The loss with penalties, and its gradient, over all rows as one batch."""
        seed, step = dropout or (0, 0)
        run = _whole_batch(len(data.x), step, l1, l2, seed)
        state, gradient = State(parameters, self.no_memory), np.empty_like(parameters)
        dropping = dropout is not None
        losses = self._run(training.GRADIENT, state, data, run, gradient, dropping)
        return float(losses[0]), gradient

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place."""
        if self.tiny is not None and tiny.suits(self.tiny, data, run):
            losses = tiny.train(self.kernels.tiny, self.plan, self.tiny, state, data, run)
        else:
            losses = self._run(training.TRAIN, state, data, run, self.nothing, True)
        made = len(losses) - (not math.isfinite(losses[-1]))
        state.updates += made
        return losses

    def _run(
        self,
        task: int,
        state: State,
        data: Data,
        run: Run,
        out: Array,
        dropping: bool = False,
        alone: bool = False,
    ) -> Array:
        """Hand a task to the compiled `run`, in as many threads as it is worth.

        Args:
            task: one of `training`'s.
            state, data, run: see the contract.
            out: where predictions or a gradient go.
            dropping: whether dropout does its work.
            alone: in one thread, whatever it is worth.
        """
        rows = len(data.x)
        parameters = state.parameters if task == training.TRAIN else _writable(state.parameters)
        batch = min(run.batch_size, rows)
        parts = min(wanted(self.plan, batch, self.threads), batch)
        workers = 1 if alone else self.load_monitor.workers(parts)
        workspace = self._for_rows(-(-batch // parts))
        layout = workspace.layout
        table = layout.prediction if task == training.PREDICT else layout.training
        size = self.plan.size
        stride = -(-size // CACHE_LINE_STRIDE) * CACHE_LINE_STRIDE + CACHE_LINE_STRIDE
        if task in (training.GRADIENT, training.TRAIN):
            gradient = np.empty(parts * stride, self.dtype)
        else:
            gradient = out.reshape(-1)
        losses = np.empty(len(run.learning_rates))
        labels, y = _NO_ROWS, self.nothing
        if data.y.dtype == np.intp:
            labels = data.y
        else:
            y = data.y.reshape(-1)
        code, own = (0, ()) if task != training.TRAIN else constants(run.optimizer)
        whole = np.zeros(training.RUN_NUMBERS, np.int64)
        numbers: dict[int, int] = {
            training.TASK: task,
            training.FIRST_STEP: run.first_step,
            training.STEPS: len(run.learning_rates),
            training.BATCH: batch,
            training.ROWS: rows,
            training.SEED: run.seed - 2**64 if run.seed >= 2**63 else run.seed,
            training.DROPPING: dropping and self.dropping,
            training.UPDATES: state.updates,
            training.PARTS: parts,
            training.WORKERS: workers,
            training.OPTIMIZER: code,
            training.STRIDE: stride,
        }
        if task != training.TRAIN:
            numbers[training.STEPS] = int(task != training.PREDICT)
        for place, value in numbers.items():
            whole[place] = value
        no = math.inf
        varying = isinstance(run.l2, np.ndarray)
        real = np.array(
            [
                run.l1,
                0.0 if varying else run.l2,
                no if run.clip_value is None else run.clip_value,
                no if run.clip_norm is None else run.clip_norm,
                *own,
            ]
        )
        weights = self.nothing if data.weight is None else data.weight
        order = _NO_ROWS if run.order is None else run.order.reshape(-1)
        shared = np.zeros(parts * CACHE_LINE_STRIDE)
        signals = np.zeros((workers + 1) * CACHE_LINE_STRIDE, np.int64)
        arenas = [workspace.borrow() for _ in range(workers)]
        made, busy = [0] * workers, [0.0] * workers
        x = data.x.reshape(-1)

        def work(worker: int) -> None:
            began = time.thread_time() if workers > 1 else 0.0  # it takes microseconds
            made[worker] = self.kernels.run(
                table,
                parameters,
                state.memory,
                gradient,
                arenas[worker],
                x,
                y,
                labels,
                weights,
                order,
                run.learning_rates,
                run.l2 if varying else _NO_NUMBERS,
                losses,
                whole,
                real,
                shared,
                signals,
                worker,
            )
            if workers > 1:
                busy[worker] = time.thread_time() - began

        began = time.perf_counter()
        if not in_threads(
            work, workers, signals[workers * CACHE_LINE_STRIDE :]
        ):  # nothing is changed yet
            return self._run(task, state, data, run, out, dropping, alone=True)
        self.load_monitor.note(workers, sum(busy), time.perf_counter() - began)
        workspace.free += arenas
        if task == training.GRADIENT:
            out[...] = gradient[:size]
        return losses[: made[0]]


def _writable(parameters: Array) -> Array:
    """The parameters, or a copy if they are read-only, for which no kernel is compiled."""
    return parameters if parameters.flags.writeable else parameters.copy()


def _whole_batch(rows: int, step: int = 0, l1: float = 0.0, l2: float = 0.0, seed: int = 0) -> Run:
    """All rows as one batch."""
    return Run(step, np.zeros(1), rows, None, None, l1, l2, seed=seed)  # type: ignore[arg-type]
