"""A plan, run by compiled kernels: prediction, loss, gradient, and whole runs of steps."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numba
import numpy as np
from numpy import empty, ndarray

from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Inputs, Program, Run, State, TeamWork
from fastnet_numba import many, shuffling, team, tiny, training
from fastnet_numba.at_once import Passes
from fastnet_numba.gradients import copies_of, gradient_room
from fastnet_numba.kernels import load
from fastnet_numba.lane_plan import LanePlan
from fastnet_numba.lane_plan import plan_of as lane_plan_of
from fastnet_numba.layout import Layout, chunk_rows, lay_out
from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE
from fastnet_numba.ops.table import CHUNK, COLUMNS
from fastnet_numba.run_tables import segments_of, tables_of
from fastnet_numba.threads import OCCUPIED, LoadMonitor, in_threads, wanted, worth_starting
from fastnet_numba.workspace import Workspace, kept_with

#: What `predict_at_once` takes, in an arena of its own: as many rows as need no more multiply-adds
#: than this, FEWEST in any case, and MOST at most. Python's lock is held for them: for some 0.1 ms
#: in float32, or longer for FEWEST rows of a large network. The other way's time over this one's
#: (bench/results/numba-choices-2026-11-29.json): 7.7 for 16 rows of 32-64-64-1, 1.7 for 256, and
#: 1.2 for 16 rows of 784-512-512-10.
FEW_PRODUCTS = 2**22
FEWEST, MOST = 16, 512

#: Tasks that find gradients.
_WITH_GRADIENTS = (training.GRADIENT, training.TRAIN)

#: What stands for the table of `predict_few` until the first prediction makes that.
NO_TABLE = np.zeros((1, COLUMNS), np.int64)


class NumbaProgram(Program):
    """A plan for one dtype. May be used from several threads at once."""

    def __init__(self, plan: Plan, dtype: np.dtype[Any], threads: int | None) -> None:
        super().__init__(plan, dtype)
        self.threads = threads
        self.kernels = load(dtype)
        self.nothing = np.zeros(0, dtype)
        self.no_indices = np.zeros(0, np.intp)
        self.no_memory = np.zeros((0, plan.trained), dtype)
        self.no_rows = Data(Inputs(self.nothing), self.nothing)
        self.tiles = self.kernels.tiles_for(self.nothing)
        # Parts of the gradient lie so far apart, on cache lines of their own.
        self.stride = -(-plan.size // CACHE_LINE_STRIDE) * CACHE_LINE_STRIDE + CACHE_LINE_STRIDE
        self.segments = segments_of(plan)
        self.load_monitor = LoadMonitor()
        self._workspaces: dict[int, Workspace] = {}
        self.few_table, self.few_arena = NO_TABLE, self.nothing
        self.predict_few: Callable[..., bool] = _no_rows
        self.outputs = plan.outputs
        self._at_once = Passes(plan, dtype)

    @cached_property
    def _chunk_rows(self) -> Callable[[int], int]:
        """The rows of a chunk, for so many rows."""
        return lru_cache(partial(chunk_rows, self.plan, self.dtype.itemsize))

    @cached_property
    def tiny(self) -> tiny.TinyPlans:
        """The plans for the path of tiny networks."""
        return tiny.TinyPlans(self.plan, self.dtype)

    def to_device(self, array: Array) -> Array:
        """The array itself, or an aligned copy of it in one piece."""
        flags = array.flags
        if flags.c_contiguous and flags.aligned and type(array) is ndarray:
            return array
        return np.require(array, requirements=["C", "A"])

    def to_host(self, array: Array) -> Array:
        """The array itself."""
        return array

    def _workspace(self, rows: int) -> Workspace:
        """The layout for chunks of so many rows."""
        found = self._workspaces.get(rows)
        if found is None:
            layout = lay_out(self.plan, self.dtype, rows, self.tiles)
            found = Workspace(layout, self.dtype, self.kernels.address_of)
            self._workspaces = kept_with(self._workspaces, rows, found)
        return found

    def for_rows(self, rows: int) -> Workspace:
        """The workspace for so many rows, of a batch or of a thread's part of one."""
        return self._workspace(self._chunk_rows(rows))

    def predict(self, parameters: Array, x: Inputs) -> Array:
        """Predictions `(rows, outputs)`, a new array."""
        out = np.empty((len(x), self.plan.outputs), self.dtype)
        state, data = State(parameters, self.no_memory), Data(x, self.nothing)
        self._run(training.PREDICT, state, data, Run.whole_batch(len(x)), out)
        return out

    def predict_at_once(self, parameters: Array, x: Any) -> Array | None:
        """Predictions for few rows of the kernel's dtype and layout; None for others."""
        # Numba takes far longer to refuse an argument than to predict a row. Of the dtypes that
        # native arrays have there is one object each.
        if type(x) is not ndarray or x.dtype is not self.dtype:
            return None
        try:
            out = empty((len(x), self.outputs), self.dtype)
            if self.predict_few(self.few_table, parameters, self.few_arena, x, out):
                return out
            if self.few_table is NO_TABLE:
                self._lay_out_few()
                return self.predict_at_once(parameters, x)
        except TypeError:  # another dtype, another number of dimensions, or not in one piece
            pass
        return None

    def _lay_out_few(self) -> None:
        """Make the table and the arena of `predict_at_once`."""
        most = min(max(FEW_PRODUCTS // self.plan.products, FEWEST), MOST)
        few = self.for_rows(most)
        # In this order: another thread may read all three now, the table before the arena.
        self.few_arena = few.borrow()
        if not numba.config.DISABLE_JIT:  # plain Python does not hold the GIL throughout
            self.predict_few = self.kernels.predict_at_once
        self.few_table = few.prediction_at_once

    def loss_at_once(self, parameters: Array, x: Any, y: Any) -> float | None:
        """The loss over few rows of the kernel's dtype and layout; None for others."""
        found = self._at_once.run(self, training.LOSS_ONLY, parameters, x, y)
        return None if found is None else found[0]

    def gradient_at_once(self, parameters: Array, x: Any, y: Any) -> tuple[float, Array] | None:
        """The loss and its gradient over few rows of the kernel's dtype and layout, or None."""
        return self._at_once.run(self, training.GRADIENT, parameters, x, y)

    def parts(self, rows: int) -> int:
        """The parts of a batch of so many rows."""
        return min(wanted(self.plan, rows, self.threads), rows)

    def loss(self, parameters: Array, data: Data) -> float:
        """The loss over all rows, without dropout or penalties."""
        return self.loss_alone(parameters, data)

    def loss_alone(self, parameters: Array, data: Data, alone: bool = False) -> float:
        """The loss; `alone`: in this thread, with the same bits."""
        state, run = State(parameters, self.no_memory), Run.whole_batch(len(data))
        return float(self._run(training.LOSS_ONLY, state, data, run, self.nothing, alone)[0])

    def loss_many(self, parameters: Sequence[Array], data: Sequence[Data]) -> list[float]:
        """The losses of several networks, each in a thread of its own."""
        return many.losses(self, parameters, data)

    def gradient(
        self,
        parameters: Array,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """The loss with penalties, and its gradient, over all rows as one batch."""
        seed, step = dropout or (0, 0)
        run = Run.whole_batch(len(data), step=step, seed=seed, dropout=dropout is not None)
        gradient = np.zeros(self.plan.size, self.dtype)
        state = State(parameters, self.no_memory)
        losses = self._run(
            training.GRADIENT,
            state,
            data,
            replace(run, l1=l1, l2=l2),
            gradient[: self.plan.trained],
        )
        return float(losses[0]), gradient

    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Array]:
        """The loss of one step's batch, its mass and its gradient."""
        size = self.plan.size if self.plan.statistics else self.plan.trained
        gradient = np.empty(size, self.dtype)
        run = replace(_one_step(run, step, len(data)), l1=0.0, l2=0.0)
        loss = self._run(training.GRADIENT, state, data, run, gradient)[0]
        if not run.training:  # then the batch's statistics are those among the parameters
            for piece, _ in self.plan.statistics:
                piece.of(gradient)[...] = piece.of(state.parameters)
        counted = np.broadcast_to(1.0, len(data)) if data.weight is None else data.weight
        mass = counted[run.rows_of(step, len(data))].sum(dtype=np.float64)
        return float(loss), float(mass * self.plan.loss.each), gradient

    def update(self, state: State, gradient: Array, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step."""
        gradient = np.require(gradient, self.dtype, ["C", "A", "W"])
        run = _one_step(replace(run, order=None), step, 1)
        run.check(self.plan, state, run.batch_size)
        self._run(training.UPDATE, state, self.no_rows, run, gradient)
        state.updates += 1

    def orders(self, seed: int, epochs: range, rows: int) -> Array:
        """The orders of the rows in some epochs, `(len(epochs), rows)` intp."""
        return shuffling.orders(self.kernels.shuffle, seed, epochs, rows, self.threads)

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place."""
        run.check(self.plan, state, len(data))
        return self.train_alone(state, data, run)

    def train_alone(self, state: State, data: Data, run: Run, alone: bool = False) -> Array:
        """Do the steps of a run; `alone`: in this thread, with the same bits."""
        if (small := self.tiny.suiting(data, run)) is not None:
            losses = tiny.train(self.kernels, self.plan, small, state, data, run)
        else:
            losses = self._run(training.TRAIN, state, data, run, self.nothing, alone)
        made = len(losses) - (not math.isfinite(losses[-1]))
        state.updates += made
        return losses

    def train_many(
        self, states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
    ) -> list[Array]:
        """Train several networks: tiny ones side by side, others each in a thread of its own."""
        return many.train(self, states, data, runs)

    def in_team(self, size: int, slots: int) -> TeamWork | None:
        """How so many processes do steps together: as threads would, unless each has several."""
        return team.work(self, size, slots)

    @cached_property
    def lane_plan(self) -> LanePlan | None:
        """The plan for tiny networks side by side, or None."""
        return lane_plan_of(self.plan, self.dtype, self.kernels.address_of)

    def _run(
        self, task: int, state: State, data: Data, run: Run, out: Array, alone: bool = False
    ) -> Array:
        """Hand a task to the compiled `run`, in as many threads as pay.

        Args:
            task: one of `training`'s.
            state, data, run: see the contract.
            out: where predictions or a gradient go; for an update, the gradient.
            alone: in one thread, even where several would pay.

        Returns:
            The losses of the steps.
        """
        updating = task in (training.UPDATE, training.TRAIN)
        rows = 1 if task == training.UPDATE else len(data)
        parameters = state.parameters if updating else _writable(state.parameters)
        batch = min(run.batch_size, rows)
        parts = self.parts(batch)
        if self.threads is None and not worth_starting(self.plan, batch, run.steps):
            alone = True
        predicting = task == training.PREDICT  # then workers do not wait for each other
        workers = 1 if alone else parts if predicting else self.load_monitor.workers(parts)
        if workers > 1 and self.threads is None:
            workers = min(workers, OCCUPIED.left())
        whole = bool(self.plan.statistics) and run.training and task in _WITH_GRADIENTS
        if whole:  # its rows go through the network together, to be normalized by each other
            parts, workers = 1, 1
        workspace = self._workspace(batch) if whole else self.for_rows(-(-batch // parts))
        layout = workspace.layout
        several = not updating and batch > parts * layout.training[0, CHUNK]
        if predicting:
            table = workspace.prediction_of_many if several else workspace.prediction
        elif task == training.LOSS_ONLY and several:
            table = workspace.evaluation_of_many
        elif updating or run.training:
            table = workspace.training
        else:
            table = workspace.evaluation
        gradient = out.reshape(-1)
        copies, size = parameters, len(parameters)
        copied = copies_of(parameters.nbytes, workers) if task == training.TRAIN else 0
        if task in _WITH_GRADIENTS:
            room = gradient_room(state, (parts + copied) * self.stride)
            gradient = room[: parts * self.stride]
            if copied:
                copies = room[parts * self.stride :]
        wide = self.wide_sums(task, batch, parts)
        losses = np.empty(run.steps)
        steps, int_table, float_table = tables_of(
            run,
            self.numbers(task, run, rows, state.updates, parts, workers)
            | {training.COPIED: int(copied > 0)},
            self.segments,
            len(wide) > 0,
            layout.narrow,
            self.kernels.address_of,
        )
        rows_of_run = self.flat_rows(data, run)
        shared = np.zeros(parts * CACHE_LINE_STRIDE)
        signals = np.zeros((workers + 1 + parts) * CACHE_LINE_STRIDE, np.int64)
        kernel = self.kernel_for(layout)  # now, because compiling it is no part of the time below
        made, busy = [0] * workers, [0.0] * workers

        def work(worker: int) -> None:
            began = time.thread_time() if workers > 1 else 0.0  # it takes microseconds
            arena = workspace.borrow()  # here, so that workers clear new ones at the same time
            if copied:
                own = copies[worker * self.stride :][:size]
                own[:] = parameters
            made[worker] = kernel(
                table, steps, int_table, float_table, copies, state.memory, gradient,
                arena, losses, *rows_of_run, shared, signals, wide, worker,
            )  # fmt: skip
            workspace.free.append(arena)
            if copied:  # all copies are the same then, so each puts back a share
                share = slice(size * worker // workers, size * (worker + 1) // workers)
                parameters[share] = own[share]
            if workers > 1:
                busy[worker] = time.thread_time() - began

        began = time.perf_counter()
        given_up = signals[workers * CACHE_LINE_STRIDE :]
        with OCCUPIED.by(workers):
            started = in_threads(work, workers, given_up, optional=predicting)
        if not started:  # nothing is changed yet
            return self._run(task, state, data, run, out, alone=True)
        if not predicting:
            done = batch * run.steps * (3 if task in _WITH_GRADIENTS else 1)  # passes over rows
            self.load_monitor.note(parts, workers, done, sum(busy), time.perf_counter() - began)
        if task == training.GRADIENT:
            out[...] = gradient[: len(out)]
        return losses[: made[0]]

    def flat_rows(self, data: Data, run: Run) -> tuple[Array, ...]:
        """Inputs, targets, class indices, weights and order for the kernel; some may be empty."""
        y, labels = data.y.reshape(-1), self.no_indices
        if data.y.dtype == np.intp:
            y, labels = self.nothing, data.y
        weights = self.nothing if data.weight is None else data.weight
        order = self.no_indices if run.order is None else run.order.reshape(-1)
        return data.x.numbers.reshape(-1), y, labels, weights, order

    def wide_sums(self, task: int, rows: int, parts: int) -> Array:
        """Room for sums in float64 of the parts' gradients; empty where a batch has few rows."""
        many = task in _WITH_GRADIENTS and rows > parts * training.MANY_ROWS
        return np.zeros(parts * self.stride if many and self.dtype == np.float32 else 0)

    def kernel_for(self, layout: Layout) -> Any:
        """The compiled function that follows the tables of this layout."""
        return self.kernels.narrow_run if layout.narrow else self.kernels.run

    def numbers(
        self, task: int, run: Run, rows: int, updates: int, parts: int, workers: int
    ) -> dict[int, int]:
        """The integers of a run that are not its own, by their places in the kernel's table."""
        return {
            training.TASK: task,
            training.STEPS: 0 if task == training.PREDICT else run.steps,
            training.BATCH: min(run.batch_size, rows),
            training.BATCHES: -(-rows // max(run.batch_size, 1)),
            training.ROWS: rows,
            training.UPDATES: updates,
            training.PARTS: parts,
            training.WORKERS: workers,
            training.IN_TEAM: 0,
            training.COPIED: 0,
            training.TRAINED: self.plan.trained,
            training.SIZE_OF_PART: self.stride,
            training.SEGMENTS: len(self.segments) // 3,
        }


def _no_rows(*arguments: Any) -> bool:
    """What `predict_at_once` asks where the GIL is not held, and before it has a table."""
    return False


def _writable(parameters: Array) -> Array:
    """The parameters, or a copy if they are read-only, for which no kernel is compiled."""
    return parameters if parameters.flags.writeable else parameters.copy()


def _one_step(run: Run, step: int, rows: int) -> Run:
    """A step of a run on so many rows, as a run of its own."""
    order = run.order
    if order is not None:
        batches = -(-rows // run.batch_size)
        order = order[step // batches - run.first_step // batches][None]
    return replace(
        run,
        first_step=step,
        steps=1,
        order=order,
        learning_rate=run.of_step("learning_rate", step),
        l2=run.of_step("l2", step),
        weight_decay=run.of_step("weight_decay", step),
        dropout_factor=run.of_step("dropout_factor", step),
    )
