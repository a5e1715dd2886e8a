"""A plan, run on a device: prediction, loss, gradient, and whole runs of training steps."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import loading
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Inputs, Program, Run, State
from fastnet.errors import DoesNotFit
from fastnet_cupy import control, names, tiny
from fastnet_cupy.context import Context, Source
from fastnet_cupy.device import Device
from fastnet_cupy.layered import LayeredPass
from fastnet_cupy.layout import lay_out
from fastnet_cupy.names import Control
from fastnet_cupy.narrow import NarrowPass, Shape, kernel_for, shape_for
from fastnet_cupy.precision import number_for
from fastnet_cupy.regimes import REGIMES, Regimes
from fastnet_cupy.steps import (
    Collector,
    GivenGradient,
    Growing,
    Order,
    Pass,
    Steps,
    Training,
)
from fastnet_cupy.streaming import Stream

_log = logging.getLogger("fastnet")

#: Bytes from which on it is looked whether an array fits on the device; and the part of what is
#: free that one array of data may take: the rest is for what steps need.
LARGE_BYTES, DATA_SHARE = 2**24, 0.6

#: Entries of the widest layer that predictions and losses work on together, layer by layer.
BLOCK_ENTRIES = 2**24

#: Bytes for a run's small arrays, and for what is lost where arrays begin at round addresses.
SMALL_BYTES = 2**15

#: Sets of buffers that a program keeps, for batches of different sizes.
KEPT = 6

Made = TypeVar("Made")

#: What a run may have another number of at every step.
BY_STEP = ("learning_rate", "l2", "weight_decay", "dropout_factor")


class CudaProgram(Program):
    """A plan for one dtype and precision. May be used from several threads, one at a time.

    Args:
        plan: what is run.
        dtype: of parameters and rows.
        precision: of products; None: the dtype's own.
        device: where it runs.
        regimes: which path through a network is taken for which sizes.
        backend: the name of the backend that it belongs to, for errors.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: np.dtype[Any],
        precision: str | None,
        device: Device,
        regimes: Regimes = REGIMES,
        backend: str = "cupy",
    ) -> None:
        super().__init__(plan, dtype)
        self.regimes, self.device, self.backend = regimes, device, backend
        self.layout = lay_out(plan)
        self.number = number_for(dtype, precision)
        self.context = Context(device, self.layout, self.number)
        self.lock = threading.RLock()
        self._kept: dict[tuple[Any, ...], Any] = {}
        self._tiny: tuple[Any, ...] | None = None
        self._downloaded: list[tuple[Any, Array]] = []

    @cached_property
    def shape(self) -> Shape | None:
        """The kernel made for this network, compiled when first wanted; None: there is none."""

        def spills(shape: Shape) -> bool:
            return kernel_for(self.context, shape).spills

        return shape_for(self.layout, self.number, self.device.shared_bytes, spills)

    def _shape_from(self, rows: int, least: int) -> Shape | None:
        """That kernel, for so many rows or more."""
        return self.shape if rows >= least else None

    def to_device(self, array: Array) -> Any:
        """A copy on the device; the array itself where that is too large for it."""
        if self.device.holds(array):
            return array
        if array.nbytes >= LARGE_BYTES:
            free, _ = self.device.memory()
            if array.nbytes > DATA_SHARE * free:
                _log.warning(
                    "%s bytes of data stay in the processor's memory and stream through the GPU's, "
                    "of which %s bytes are free.", f"{array.nbytes:,}", f"{free:,}",
                )  # fmt: skip
                return array
        with self.lock:
            return self.device.upload(np.ascontiguousarray(array))

    def to_host(self, array: Any) -> Array:
        """A copy on the host."""
        if not self.device.holds(array):
            return np.asarray(array)
        with self.lock:
            return self.device.download(array)

    def predict(self, parameters: Any, x: Inputs) -> Array:
        """Predictions `(rows, outputs)`, a new host array."""
        out = np.empty((len(x), self.layout.outputs), self.dtype)
        with self.lock, self._report_out_of_memory(len(x)):
            for first, source in self._blocks(Data(x, None)):
                predicted = self._predicted(parameters, source)
                out[first : first + source.rows] = self.device.download(predicted)
        return out

    def predict_at_once(self, parameters: Any, x: Any) -> Any:
        """Predictions on the device for rows that are there, if they are as kernels take them."""
        if not self.device.holds(x):
            return None
        if x.ndim != 2 or x.shape[1] != self.layout.inputs or not len(x):
            return None
        if x.dtype != self.dtype or not x.flags.c_contiguous:
            return None
        with self.lock, self._report_out_of_memory(len(x)):
            self.device.join()
            out = self.device.lend((len(x), self.layout.outputs), self.dtype)
            try:
                own = self.device.upload(parameters)
                for first, source in self._blocks(Data(Inputs(x), None)):
                    self._predicted(own, source, out[first : first + source.rows])
            finally:  # also after an error: the caller may then free x
                self.device.hand_back()
            return out

    def _predicted(self, parameters: Any, source: Source, out: Any = None) -> Any:
        """Predictions on the device."""
        rows = source.rows
        if out is None:
            out = self.device.empty((rows, self.layout.outputs), self.dtype)
        steps = self._evaluation_steps(rows)
        steps.begin(control.control(rows=rows, batch=rows))
        steps.update_copy(parameters)
        steps.predict(parameters, source, out)
        return out

    def loss(self, parameters: Any, data: Data) -> float:
        """The loss over all rows, without dropout or penalties: the blocks' weighted mean."""
        total = weights = 0.0
        with self.lock, self._report_out_of_memory(len(data)):
            for _, source in self._blocks(data):
                steps = self._evaluation_steps(source.rows)
                steps.begin(control.control(rows=source.rows, batch=source.rows))
                steps.update_copy(parameters)
                steps.loss(parameters, source)
                losses, masses = steps.taken(1)
                if masses[0] > 0:
                    total += float(losses[0] * masses[0])
                    weights += float(masses[0])
        return total / weights

    def gradient(
        self,
        parameters: Any,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """The loss with penalties, and its gradient, over all rows as one batch."""
        seed, step = dropout or (0, 0)
        run = Run.whole_batch(len(data), step=step, seed=seed, dropout=dropout is not None)
        with self.lock, self._report_out_of_memory(len(data)):
            steps, loss, _ = self._derive(parameters, data, replace(run, l1=l1, l2=l2))
            return loss, self.device.download(steps.gradient[: self.layout.size])

    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Any]:
        """The loss of one step's batch, its mass and its gradient."""
        rows = run.rows_of(step, len(data))
        count = len(range(len(data))[rows]) if isinstance(rows, slice) else len(rows)
        factor = run.of_step("dropout_factor", step)
        whole = replace(Run.whole_batch(count, step=step, seed=run.seed), dropout_factor=factor)
        with self.lock, self._report_out_of_memory(count):
            batch, order = self._take(data, rows)
            steps, loss, mass = self._derive(state.parameters, batch, whole, order)
            gradient = self.context.real(self.layout.size)
            self.device.copy(gradient, steps.gradient[: self.layout.size])
            return loss, mass * self.plan.loss.each, gradient

    def _take(self, data: Data, rows: slice | Array) -> tuple[Data, Any]:
        """Some rows as a batch: the rows themselves, or all rows and the order on the device."""
        if isinstance(rows, slice):
            return _each(data, itemgetter(rows)), None
        if all(map(self.device.holds, _arrays(data))):
            return data, self.device.upload(rows.astype(np.int64))
        return _each(data, lambda array: self.to_host(array)[rows]), None

    def _derive(
        self, parameters: Any, data: Data, run: Run, order: Any = None
    ) -> tuple[Collector, float, float]:
        """The gradient of one batch, the loss with penalties, and the rows' weights.

        Args:
            parameters: on the device.
            data: the batch's rows; or with `order` `(rows,)` the rows that it picks from.
            run: of the one step.
            order: on the device.
        """
        rows = run.batch_size
        block = control.control(rows=rows, batch=rows, ordered=order is not None)
        # A batch of all rows is an epoch, so the step's number is the epoch's too.
        block[Control.FIRST_STEP] = block[Control.FIRST_EPOCH] = run.first_step
        shape = self._shape_from(rows, self.regimes.narrow_evaluation)
        source = self._source(self._all(data))
        source.rows, source.order = rows, order

        def make() -> Collector:
            return Collector(self.context, self._pass(shape, rows, True, 1))

        lacking = self._lacking(shape, rows, True, 1, "{} rows would fit")
        steps = self._keep(("gradient", rows), make, lacking)
        steps.begin_run(block, run, 0)
        steps.update_copy(parameters)
        steps.derive(parameters, source)
        losses, masses = steps.taken(1)
        return steps, float(losses[0]), float(masses[0])

    def update(self, state: State, gradient: Any, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step."""
        slots = self._slots(run, state)
        of_step: dict[str, Any] = {name: run.of_step(name, step) for name in BY_STEP}
        single = replace(run, first_step=step, steps=1, order=None, batch_size=1, **of_step)
        with self.lock, self._report_out_of_memory(1):

            def make() -> Training:
                return Training(self.context, GivenGradient(self.context), slots, True)

            training = self._keep(("update", slots), make, lambda: "the parameters do not fit.")
            training.pass_.gradients = gradient
            training.load(state, single, control.control(rows=1, batch=1))
            training.do(Source(1, None), 1)
            training.store(state, 1)

    def _slots(self, run: Run, state: State) -> int:
        """The vectors of the optimizer's memory.

        Raises:
            BackendUnavailable: for an optimizer that the kernels do not have.
        """
        kind, _ = run.optimizer.canonical()
        if kind not in names.kinds_of("optimizer"):
            raise loading.lacking(self.backend, "optimizer", kind)
        return int(state.memory.shape[0])

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place."""
        rows, slots = len(data), self._slots(run, state)
        batch = min(run.batch_size, rows)
        streamed = not all(map(self.device.holds, _arrays(data)))
        block = control.control(
            rows=rows,
            batch=batch,
            steps=run.steps,
            first_step=run.first_step,
            ordered=run.order is not None and not streamed,
        )
        with self.lock, self._report_out_of_memory(rows):
            chunk = 0
            if not streamed and self.number.mantissa >= 23 and self._is_tiny(batch):
                itemsize = self.dtype.itemsize
                shared = self.device.shared_bytes
                chunk = tiny.chunk_rows(self.layout, slots, batch, itemsize, shared)
            if chunk:
                return self._train_tiny(state, data, run, block, chunk)
            collecting = bool(run.l1 or np.any(run.l2) or run.clip_norm is not None)
            weighted = data.weight is not None
            key = ("training", batch, slots, collecting, weighted)
            shape = self._shape_from(batch, self.regimes.narrow_training)

            def make() -> Training:
                pass_ = self._pass(shape, batch, True, 2 + slots)
                return Training(self.context, pass_, slots, collecting)

            lacking = self._lacking(shape, batch, True, 2 + slots, "batch_size={} would fit")
            training = self._keep(key, make, lacking)
            data = self._on_host(data) if streamed else data
            self._downloaded = self._downloaded if streamed else []
            if streamed:
                stream = self._stream(data, batch)
                block[Control.STREAMED] = stream.steps
                training.load(state, run, block)
                stream.train(training, data, run)
            else:
                training.load(state, run, block)
                source = self._source(data)
                if run.order is not None:
                    source.order = training.take_order(run.order)
                training.do(source, run.steps)
            return training.store(state, run.steps)

    def _is_tiny(self, batch: int) -> bool:
        """Whether one block alone is sooner done with a step than all with theirs."""
        work, regimes = self.layout.products * batch, self.regimes
        if work > regimes.tiny_products:
            return work <= regimes.tiny_products_alone and batch < regimes.narrow_training
        return True

    def _train_tiny(self, state: State, data: Data, run: Run, block: Array, chunk: int) -> Array:
        """A whole run in one launch, of which `chunk` rows go through together."""
        context, slots = self.context, int(state.memory.shape[0])
        if self._tiny is None:
            growing = Growing(context, "float64"), Growing(context, "float64")
            self._tiny = (tiny.Tiny(context), *growing, Order(context))
        kernel, steps, losses, order = self._tiny
        put = self.device.upload
        source = self._source(data)
        if run.order is not None:
            order.take(run.order)
            source.order = order.array
        steps.fill(control.step_table(self.layout, run, state.updates))
        losses.room(run.steps)
        control.drop(block, self.layout, run)
        block[Control.OPTIMIZER], block[Control.SLOTS] = control.code(run.optimizer), slots
        on_device = put(block)
        given = tiny.TinyRun(
            block=on_device,
            settings=put(control.settings(run)),
            steps=steps.array,
            slots=slots,
            losses=losses.array,
            chunk=chunk,
            batch=int(block[Control.BATCH]),
        )
        kernel.train(given, state.parameters, state.memory, source)
        made = int(self.device.download(on_device)[Control.NOW])
        state.updates += made
        done: Array = self.device.download(losses.array[: min(made + 1, run.steps)])
        return done

    def _source(self, data: Data) -> Source:
        """The rows of device arrays."""
        labels = data.y is not None and data.y.ndim == 1
        return Source(
            len(data),
            data.x.numbers,
            None if labels else data.y,
            data.y if labels else None,
            data.weight,
        )

    def _blocks(self, data: Data) -> Iterator[tuple[int, Source]]:
        """All rows in pieces that go through together, on the device: each one's first row."""
        rows = len(data)
        size = self._block_rows(rows, self.device.holds(data.x.numbers))
        for first in range(0, rows, size):
            piece = _each(data, itemgetter(slice(first, first + size)))
            yield first, self._source(self._all(piece))

    def _block_rows(self, rows: int, there: bool) -> int:
        """Rows that go through together, of so many, which are on the device or not."""
        narrow = self._shape_from(rows, self.regimes.narrow_evaluation)
        each = self.layout.outputs * self.dtype.itemsize
        size = rows  # no layer's output leaves the chip
        if narrow is None:
            each += 2 * LayeredPass.bytes_needed(self.context, rows, False)[1]
        if narrow is None or not there:
            size = max(BLOCK_ENTRIES // self.layout.widest, 1)
            each += self.layout.inputs * self.dtype.itemsize
        if min(size, rows) * each < LARGE_BYTES:
            return size
        fitting = self.device.memory()[0] // 2 // each
        return max(min(size, fitting), 16)

    def _on_host(self, data: Data) -> Data:
        """Streamed data, of which some may have gone to the device: it is brought home once."""
        there = [array for array in _arrays(data) if self.device.holds(array)]
        if [id(array) for array in there] != [id(array) for array, _ in self._downloaded]:
            self._downloaded = [(array, self.to_host(array)) for array in there]
        home = {id(array): host for array, host in self._downloaded}
        return _each(data, lambda array: home.get(id(array), array))

    def _all(self, data: Data) -> Data:
        """All rows on the device."""
        device = self.device
        return _each(data, lambda array: array if device.holds(array) else device.upload(array))

    def _evaluation_steps(self, rows: int) -> Steps:
        """For predictions and losses of so many rows: buffers for the next power of two."""
        shape = self._shape_from(rows, self.regimes.narrow_evaluation)
        if shape is None:
            size = max(2 ** (rows - 1).bit_length(), 16)
        else:  # with more, its blocks take turns
            size = min(rows, shape.rows * self.device.multiprocessors)

        def make() -> Steps:
            return Steps(self.context, self._pass(shape, size, False))

        return self._keep(
            ("evaluation", size, shape is None), make, self._lacking(shape, size, False)
        )

    def _pass(self, shape: Shape | None, rows: int, training: bool, vectors: int = 0) -> Pass:
        """The way through the network for so many rows: by a narrow kernel, or layer by layer.

        Raises:
            MemoryError: if its buffers do not fit on the device, with `vectors` as long as the
                parameters beside them.
        """
        fixed, each = self._needs(shape, rows, training, vectors)
        if fixed + each * rows > self.device.memory()[0]:
            raise MemoryError
        if shape is not None:
            return NarrowPass(self.context, shape, rows, training)
        return LayeredPass(self.context, rows, training)

    def _needs(
        self, shape: Shape | None, rows: int, training: bool, vectors: int
    ) -> tuple[int, int]:
        """Bytes of a pass: fixed, and for each row."""
        kind: Any = LayeredPass if shape is None else NarrowPass
        fixed, each = kind.bytes_needed(self.context, rows, training)
        vectors += self.number.is_16_bit
        fixed += vectors * self.layout.size * self.dtype.itemsize + SMALL_BYTES
        return fixed + (self.device.product_bytes if shape is None else 0), each

    def _lacking(
        self, shape: Shape | None, rows: int, training: bool, vectors: int = 0, advice: str = ""
    ) -> Callable[[], str]:
        """Says what a pass needs and what would fit; `advice` has `{}` for the number of rows."""

        def text() -> str:
            fixed, each = self._needs(shape, rows, training, vectors)
            free, _ = self.device.memory()
            room = (free - fixed) // each if each else 0
            fits = advice.format(f"{room:,}") if room > 0 and advice else "no batch would fit"
            return (
                f"{rows:,} rows as one batch need {fixed + each * rows:,} bytes on the GPU, of "
                f"which {free:,} are free; {fits}."
            )

        return text

    def _stream(self, data: Data, batch: int) -> Stream:
        """The buffers through which data that stays on the host passes."""
        key = ("stream", data.y.ndim, data.weight is not None, batch)

        def lacking() -> str:
            return (
                f"the data stays in the processor's memory, and two batches of {batch:,} rows do "
                f"not fit twice, there and on the GPU beside the network, which has "
                f"{self.device.memory()[0]:,} bytes free; take a smaller batch_size."
            )

        return self._keep(key, lambda: Stream(self.device, data, batch), lacking)

    def _keep(
        self, key: tuple[Any, ...], make: Callable[[], Made], lacking: Callable[[], str]
    ) -> Made:
        """What was made for a key, or is made now; the oldest make room, all if need be.

        Raises:
            DoesNotFit: if there is no room even so; `lacking` has the words.
        """
        found: Made | None = self._kept.pop(key, None)
        if found is None:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            try:
                found = make()
            except MemoryError:
                self._kept.clear()
                self._tiny = None
                try:
                    found = make()
                except MemoryError as error:
                    raise DoesNotFit(lacking()) from error
        self._kept[key] = found
        return found

    @contextmanager
    def _report_out_of_memory(self, rows: int) -> Iterator[None]:
        """Report that the device has no room as an error that says so."""
        try:
            yield
        except DoesNotFit:
            raise
        except MemoryError as error:
            raise DoesNotFit(
                f"{rows:,} rows at once are more than fits on the GPU, which has "
                f"{self.device.memory()[0]:,} bytes free; hand over fewer."
            ) from error


def _each(data: Data, change: Callable[[Any], Any]) -> Data:
    """The same data with each of its arrays changed."""
    return Data(
        Inputs(change(data.x.numbers)),
        None if data.y is None else change(data.y),
        None if data.weight is None else change(data.weight),
    )


def _arrays(data: Data) -> list[Any]:
    """Those that there are."""
    return [array for array in (data.x.numbers, data.y, data.weight) if array is not None]
