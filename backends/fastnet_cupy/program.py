"""A plan, run on a device: prediction, loss, gradient, and whole runs of training steps."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import loading
from fastnet.contract.plan import Plan
from fastnet.contract.program import BY_STEP, Data, Inputs, Program, Run, State
from fastnet.errors import DoesNotFit
from fastnet_cupy import control, given, many, names, tiny
from fastnet_cupy.buffers import Buffers, layers_pass
from fastnet_cupy.context import Context, Source
from fastnet_cupy.device import Device
from fastnet_cupy.layout import lay_out
from fastnet_cupy.names import Control
from fastnet_cupy.orders import ARRAYS_OF_ORDER, draw_orders
from fastnet_cupy.precision import number_for
from fastnet_cupy.regimes import REGIMES, Regimes
from fastnet_cupy.steps import Collector

_log = logging.getLogger("fastnet")

#: Bytes from which on the device's free memory is looked up before an array goes there: the copy
#: takes a quarter of a millisecond (PCIe 5.0 x16: 64 GB/s), beside which the look-up costs little.
LARGE_BYTES = 2**24

#: The part of the free memory that one array of data may take: as much again is left for steps,
#: whose buffers for a batch of all rows are larger than the rows.
DATA_SHARE = 1 / 2

#: Entries of the widest layer that predictions and losses work on together, layer by layer: some
#: sixty for each thread that a GPU of 132 multiprocessors, 2,048 threads each, has at once.
BLOCK_ENTRIES = 2**24


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
        self.buffers = Buffers(self.context, regimes)
        #: Copies on the host of streamed data's parts that are on the device, by their addresses.
        self._downloaded: dict[Any, tuple[Any, Array]] = {}

    def to_device(self, array: Array) -> Any:
        """A copy on the device; the array itself where that is too large for it."""
        if self.device.holds(array):
            return array
        if not self._fits(array.nbytes):
            _log.warning(
                "%s bytes of data stay in the processor's memory and stream through the GPU's, "
                "of which %s bytes are free.", f"{array.nbytes:,}", f"{self.device.memory()[0]:,}",
            )  # fmt: skip
            return array
        with self.lock:
            return self.device.upload(np.ascontiguousarray(array))

    def _fits(self, bytes_: int) -> bool:
        """Whether so many bytes on the device leave room for steps."""
        return bytes_ < LARGE_BYTES or bytes_ <= DATA_SHARE * self.device.memory()[0]

    def orders(self, seed: int, epochs: range, rows: int) -> Any:
        """The orders of the rows in some epochs, `(len(epochs), rows)`, on the device if they fit.

        The same numbers as by default; drawn there, they need not be copied over.
        """
        entries = len(epochs) * rows
        if entries and self._fits(ARRAYS_OF_ORDER * 8 * entries):
            with self.lock, contextlib.suppress(MemoryError):
                return draw_orders(self.context, seed, epochs, rows)
        return super().orders(seed, epochs, rows)

    def parameters_to_device(self, flat: Array) -> Any:
        """A copy on the device that is only read: the last one, if `flat` has the same bits.

        They are compared, because whoever has a view of the parameters may write into it; that
        takes less time than to copy them over.
        """
        with self.lock:
            kept = self.buffers.parameters
            if kept is None or not _same_bits(kept[0], flat):
                self.buffers.parameters = None
                try:
                    kept = flat.copy(), self.device.upload(flat)
                except MemoryError as error:
                    raise DoesNotFit(
                        f"{flat.size:,} parameters take {flat.nbytes:,} bytes on the GPU, of which "
                        f"{self.device.memory()[0]:,} are free; use a smaller network."
                    ) from error
                self.buffers.parameters = kept
            return kept[1]

    def to_host(self, array: Any) -> Array:
        """A copy on the host."""
        if not self.device.holds(array):
            return np.asarray(array)
        with self.lock:
            return self.device.download(array)

    def predict(self, parameters: Any, x: Inputs) -> Array:
        """Predictions `(rows, outputs)`, a new host array."""
        out = np.empty((len(x), self.layout.outputs), self.dtype)
        with self.lock, self.buffers.report_out_of_memory(len(x)):
            for first, source in self._blocks(Data(x, None)):
                predicted = self._predicted(parameters, source)
                out[first : first + source.rows] = self.device.download(predicted)
        return out

    def predict_at_once(self, parameters: Any, x: Any) -> Any:
        """Predictions on the device for rows that are there, if kernels can read them so."""
        if not self.device.holds(x):
            return None
        if x.ndim != 2 or x.shape[1] != self.layout.inputs or not len(x):
            return None
        if x.dtype != self.dtype or not x.flags.c_contiguous:
            return None
        with self.lock, self.buffers.report_out_of_memory(len(x)):
            self.device.join()
            out = self.device.lend((len(x), self.layout.outputs), self.dtype)
            try:
                own = self.parameters_to_device(parameters)
                for first, source in self._blocks(Data(Inputs(x), None)):
                    self._predicted(own, source, out[first : first + source.rows])
            finally:  # also after an error: the caller may then free x
                self.device.hand_back()
            return out

    def data_at_once(self, x: Any, y: Any, bounds: tuple[float, float] | None) -> Data | None:
        """Rows to learn from that are on the device, and may stay there."""
        with self.lock, contextlib.suppress(MemoryError):
            return given.data_at_once(self.context, x, y, bounds)
        return None  # by way of the host they may come in parts

    def _predicted(self, parameters: Any, source: Source, out: Any = None) -> Any:
        """Predictions on the device."""
        rows = source.rows
        if out is None:
            out = self.device.empty((rows, self.layout.outputs), self.dtype)
        steps = self.buffers.evaluation(rows)
        steps.begin(control.control(rows=rows, batch=rows))
        steps.update_copy(parameters)
        steps.predict(parameters, source, out)
        return out

    def loss(self, parameters: Any, data: Data) -> float:
        """The loss over all rows, without dropout or penalties: the blocks' weighted mean."""
        total = weights = 0.0
        with self.lock, self.buffers.report_out_of_memory(len(data)):
            for _, source in self._blocks(data):
                steps = self.buffers.evaluation(source.rows)
                steps.begin(control.control(rows=source.rows, batch=source.rows))
                steps.update_copy(parameters)
                steps.loss(parameters, source)
                losses, masses = steps.results(1)
                if masses[0] > 0:
                    total += float(losses[0] * masses[0])
                    weights += float(masses[0])
        return total / weights if weights else 0.0

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
        with self.lock, self.buffers.report_out_of_memory(len(data)):
            steps, loss, _ = self._derive(parameters, data, replace(run, l1=l1, l2=l2))
            gradient = np.zeros(self.layout.size, self.dtype)
            trained = slice(self.layout.trained)
            gradient[trained] = self.device.download(steps.gradient[trained])
            return loss, gradient

    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Any]:
        """The loss of one step's batch, its mass and its gradient."""
        rows = run.rows_of(step, len(data))
        count = len(range(len(data))[rows]) if isinstance(rows, slice) else len(rows)
        factor = run.of_step("dropout_factor", step) if run.training else 0.0
        whole = Run.whole_batch(count, step=step, seed=run.seed)
        whole = replace(whole, dropout_factor=factor, training=run.training)
        with self.lock, self.buffers.report_out_of_memory(count):
            batch, order = self._take(data, rows)
            steps, loss, mass = self._derive(state.parameters, batch, whole, order)
            gradient = self.context.real(self.layout.gradient_size)
            self.device.copy(gradient, steps.gradient[: self.layout.gradient_size])
            return loss, mass * self.plan.loss.each, gradient

    def _take(self, data: Data, rows: Any) -> tuple[Data, Any]:
        """Some rows as a batch: the rows themselves, or all rows and the order on the device."""
        if isinstance(rows, slice):
            return _each(data, itemgetter(rows)), None
        if all(map(self.device.holds, _arrays(data))):
            there = self.device.holds(rows)
            return data, rows if there else self.device.upload(rows.astype(np.int64))
        rows = self.to_host(rows)
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
        source = self.source(self._all(data))
        source.rows, source.order = rows, order
        steps = self.buffers.gradient(rows)
        steps.begin_run(block, run, 0)
        steps.update_copy(parameters)
        steps.derive(parameters, source)
        losses, masses = steps.results(1)
        return steps, float(losses[0]), float(masses[0])

    def update(self, state: State, gradient: Any, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step."""
        slots = self.slots(run, state)
        of_step: dict[str, Any] = {name: run.of_step(name, step) for name in BY_STEP}
        single = replace(run, first_step=step, steps=1, order=None, batch_size=1, **of_step)
        with self.lock, self.buffers.report_out_of_memory(1):
            training = self.buffers.update(slots)
            training.pass_.gradients = gradient
            training.load(state, single, control.control(rows=1, batch=1))
            training.do(Source(1, None), 1)
            training.store(state, 1)

    def slots(self, run: Run, state: State) -> int:
        """The vectors of the optimizer's memory.

        Raises:
            BackendUnavailable: for an optimizer that the kernels do not have.
        """
        kind, _ = run.optimizer.canonical()
        if kind not in names.kinds_of("optimizer"):
            raise loading.lacking(self.backend, "optimizer", kind)
        return int(state.memory.shape[0])

    def train_many(
        self, states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
    ) -> list[Array]:
        """Train several networks: tiny ones in one launch, a block each, others in turn."""
        return many.train(self, states, data, runs)

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place."""
        run.check(self.plan, state, len(data))
        rows, slots = len(data), self.slots(run, state)
        batch = min(run.batch_size, rows)
        streamed = not all(map(self.device.holds, _arrays(data)))
        block = control.control(
            rows=rows,
            batch=batch,
            steps=run.steps,
            first_step=run.first_step,
            ordered=run.order is not None and not streamed,
        )
        with self.lock, self.buffers.report_out_of_memory(rows):
            chunk = 0 if streamed else self.tiny_chunk(batch, slots)
            if chunk:
                return self._train_tiny(state, data, run, block, chunk)
            collecting = bool(run.l1 or run.uses("l2") or run.clip_norm is not None)
            weighted = data.weight is not None
            training = self.buffers.training(batch, slots, collecting, weighted)
            if streamed:
                data, run = self._on_host(data, run)
                stream = self.buffers.stream(data, batch)
                block[Control.STREAMED] = stream.steps
                training.load(state, run, block)
                stream.train(training, data, run)
            else:
                self._downloaded = {}
                training.load(state, run, block)
                source = self.source(data)
                if run.order is not None:
                    source.order = training.take_order(run.order)
                training.do(source, run.steps)
            return training.store(state, run.steps)

    def tiny_chunk(self, batch: int, slots: int) -> int:
        """Rows of a batch that go through together where one block does a run; 0: it does not."""
        if self.number.mantissa < 23 or not self._is_tiny(batch):
            return 0
        itemsize, shared = self.dtype.itemsize, self.device.shared_bytes
        return tiny.chunk_rows(self.layout, slots, batch, itemsize, shared)

    def _is_tiny(self, batch: int) -> bool:
        """Whether one block alone takes less time for a step than all blocks together.

        It has no place for parameters with factors of their own.
        """
        if self.layout.factors is not None or not self.layout.is_plain:
            return False
        work, regimes = self.layout.products * batch, self.regimes
        if work > regimes.tiny_products:
            return work <= regimes.tiny_products_alone and batch < regimes.narrow_training
        return True

    def _train_tiny(self, state: State, data: Data, run: Run, block: Array, chunk: int) -> Array:
        """A whole run in one launch, of which `chunk` rows go through together."""
        slots = int(state.memory.shape[0])
        kernel, steps, losses, order = self.buffers.for_tiny()
        put = self.device.upload
        source = self.source(data)
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

    def source(self, data: Data) -> Source:
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
            yield first, self.source(self._all(piece))

    def _block_rows(self, rows: int, there: bool) -> int:
        """Rows that go through together, of so many, which are on the device or not."""
        narrow = self.buffers.shape_from(rows, self.regimes.narrow_evaluation)
        each = self.layout.outputs * self.dtype.itemsize
        size = rows  # no layer's output leaves the chip
        if narrow is None:
            each += 2 * layers_pass(self.layout).bytes_needed(self.context, rows, False)[1]
        if narrow is None or not there:
            size = max(BLOCK_ENTRIES // self.layout.widest, 1)
            each += self.layout.inputs * self.dtype.itemsize
        if min(size, rows) * each < LARGE_BYTES:
            return size
        fitting = int(self.device.memory()[0] * DATA_SHARE) // each
        return max(min(size, fitting), 16)

    def _on_host(self, data: Data, run: Run) -> tuple[Data, Run]:
        """Streamed data and its order, of which some may be on the device: downloaded once."""
        kept, self._downloaded = self._downloaded, {}

        def on_host(array: Any) -> Array:
            if not self.device.holds(array):
                return np.asarray(array)
            key = self.device.address(array), array.shape
            found = kept.get(key) or (array, self.to_host(array))
            self._downloaded[key] = found  # with the array, so that no other has its address
            return found[1]

        order = None if run.order is None else on_host(run.order)
        return _each(data, on_host), replace(run, order=order)

    def _all(self, data: Data) -> Data:
        """All rows on the device."""
        device = self.device
        return _each(data, lambda array: array if device.holds(array) else device.upload(array))


def _same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits, in which NaN is like NaN."""
    kind = f"u{one.itemsize}"
    return bool(np.array_equal(one.view(kind), other.view(kind)))


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
