"""Runs of steps: the buffers that a run needs, and its launches, captured once and repeated.

Pointers of a captured graph stay what they were. So a `Steps` has parameters, optimizer's memory,
order, step table and losses of its own, copies a run's into them, and captures again only where one
of them had to grow, or the data is in another place.
"""

import math
from typing import Any, Protocol

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Run, State
from fastnet_cupy import control
from fastnet_cupy.context import Context, Request, Source
from fastnet_cupy.device import Graph
from fastnet_cupy.names import (
    MASS_THREADS,
    OPTIMIZER_CONSTANTS,
    SUM_COLUMNS,
    THREADS,
    WARP,
    Control,
    Mode,
    Scalar,
    Setting,
)

#: Steps in a captured graph. An estimate: a replay costs the processor about 10 us, as a launch
#: from Python does, and a kernel takes the GPU at least 2 us; so with this many steps it is the GPU
#: that takes the time. Shorter runs are launched step by step.
GRAPH_STEPS = 16

#: Graphs that are kept: one for each of the two buffers that data is streamed through.
KEPT_GRAPHS = 2

#: Rows whose weights one block adds up, about, and blocks, at most: a thread then reads sixteen
#: weights, eight at a time, in the time of two accesses to memory, about that of one more launch.
MASS_ROWS, MOST_MASS_BLOCKS = 16 * MASS_THREADS, 128

#: Parts of a loss that all blocks of an update may read together, where each adds them up by itself
#: instead of one block before it: 2 MB from the second cache, in less time than one more launch.
MOST_OWN_READS = 2**18


class Pass(Protocol):
    """The path forward and back through a network, for batches of a size: narrow, layered
    or staged.

    Attributes:
        loss_parts, loss_count: what a pass leaves of the loss.
        gradients, count, stride: what it leaves of the gradient.
        scaled: whether that carries the step's scale.
    """

    loss_parts: Any
    loss_count: int
    gradients: Any
    count: int
    stride: int
    scaled: bool

    def launch(self, request: Request) -> None:
        """Compute what is requested."""
        ...


class GivenGradient:
    """A pass whose gradient is there already, in `gradients`: it adds nothing to the loss."""

    loss_count, count, scaled = 0, 1, False

    def __init__(self, context: Context) -> None:
        self.stride = context.layout.gradient_size
        self.loss_parts = context.device.empty((1,), "float64")
        self.gradients: Any = None

    def launch(self, request: Request) -> None:
        """There is nothing to do."""


class Growing:
    """A device array that is replaced by a longer one when a run needs it."""

    def __init__(self, context: Context, dtype: str) -> None:
        self.context, self.dtype = context, dtype
        self.array = context.device.empty((1,), dtype)

    def fill(self, values: Any) -> bool:
        """Hold `values` of the host or the device, flat.

        Returns:
            Whether the array had to be replaced.
        """
        flat = values.reshape(-1)
        grown = self.room(flat.size)
        self.context.device.copy(self.array[: flat.size], flat)
        return grown

    def room(self, entries: int) -> bool:
        """Have room for so many entries; return whether the array had to be replaced."""
        if entries <= self.array.size:
            return False
        self.array = self.context.device.empty((2 ** (entries - 1).bit_length(),), self.dtype)
        return True


class Order(Growing):
    """The order of the rows: copied once, though an epoch may take many runs."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "int64")
        self._last: tuple[Any, Any] = None, None

    def take(self, order: Any) -> bool:
        """Hold an order `(epochs, rows)` of the host or the device.

        Returns:
            Whether the array had to be replaced.
        """
        device = self.context.device
        address = device.address(order) if device.holds(order) else order.ctypes.data
        place = address, order.shape, order.strides
        # Runs have views of one array, which is kept alive here: so its memory is not used again.
        if place == self._last[0]:
            return False
        grown = self.fill(order)
        self._last = place, order
        return grown


class Steps:
    """Steps of one pass over rows, one batch after another.

    Args:
        context: its device and network.
        pass_: the path through the network.
    """

    def __init__(self, context: Context, pass_: Pass) -> None:
        self.context, self.pass_ = context, pass_
        device = context.device
        self.block = device.empty((len(Control),), "int64")
        self.scalars = device.upload(np.ones(len(Scalar)))  # SCALE stays 1 but in fp16
        self.settings: Any = None
        self.steps: Any = None
        self.losses, self.masses = Growing(context, "float64"), Growing(context, "float64")
        self.copy = context.store(context.layout.size) if context.number.is_16_bit else None
        self.mass, self.mass_blocks = context.kernel("step.cu", "mass"), 1
        self.add_up_mass = context.kernel("step.cu", "add_up_mass")
        self.mass_parts = device.empty((MOST_MASS_BLOCKS,), "float64")
        self.total = context.kernel("step.cu", "total")
        self.convert = context.kernel("step.cu", "convert")
        self.advance = context.kernel("layered.cu", "advance")

    def begin(self, block: Array) -> bool:
        """Set the control block for some steps.

        Returns:
            Whether an array that launches name had to be replaced.
        """
        steps, batch = int(block[Control.STEPS]), int(block[Control.BATCH])
        self.mass_blocks = min(math.ceil(batch / MASS_ROWS), MOST_MASS_BLOCKS)
        self.context.device.copy(self.block, block)
        return self.losses.room(steps) | self.masses.room(steps)

    def update_copy(self, parameters: Any) -> None:
        """Update the copy of the parameters that products read."""
        if self.copy is not None:
            size = self.context.layout.size
            arguments = (parameters, self.copy, np.int64(size))
            self.convert(self.context.blocks(size), THREADS, arguments)

    def predict(self, parameters: Any, source: Source, out: Any) -> None:
        """Predictions of the next batch."""
        self._pass(Mode.PREDICT, parameters, source, out)
        self.advance(1, WARP, (self.block,))

    def loss(self, parameters: Any, source: Source) -> None:
        """The loss of the next batch, and the weights behind it."""
        self._pass(Mode.LOSS, parameters, source)
        self._total(source)

    def _pass(self, mode: Mode, parameters: Any, source: Source, out: Any = None) -> None:
        if source.weights is not None and mode != Mode.PREDICT:
            blocks = self.mass_blocks
            sums = self.scalars if blocks == 1 else self.mass_parts  # MASS is the first scalar
            arguments = (self.block, source.weights, source.order, sums)
            self.mass(blocks, MASS_THREADS, arguments)
            if blocks > 1:
                self.add_up_mass(1, WARP, (sums, np.int32(blocks), self.scalars))
        own = (self.block, self.steps, self.scalars)
        self.pass_.launch(Request(mode, *own, parameters, self.copy, source, out))

    def _total(self, source: Source, sums: Any = None) -> None:
        blocks = 0 if sums is None else sums.shape[1]
        self.total(
            1,
            THREADS,
            (
                self.context.int_table,
                self.block,
                self.scalars,
                self.settings,
                np.int32(source.weights is not None),
                self.pass_.loss_parts,
                np.int32(self.pass_.loss_count),
                sums,
                np.int32(blocks),
                self.losses.array,
                self.masses.array,
            ),
        )

    def results(self, steps: int) -> tuple[Array, Array]:
        """The losses of so many steps, and the weights behind each."""
        get = self.context.device.download
        return get(self.losses.array[:steps]), get(self.masses.array[:steps])


class Collector(Steps):
    """Steps that make a gradient and add it up, penalties and all, in one array."""

    def __init__(self, context: Context, pass_: Pass) -> None:
        super().__init__(context, pass_)
        size = context.layout.gradient_size
        device, blocks = context.device, context.blocks(size)
        self.collect = context.kernel("step.cu", "collect")
        self.gradient = context.real(max(size, pass_.stride))
        self.sums = device.empty((3, blocks), "float64")
        self.settings = device.empty((Setting.CONSTANTS + 2 * OPTIMIZER_CONSTANTS,), "float64")
        self.table = Growing(context, "float64")

    def begin_run(self, block: Array, run: Run, updates: int) -> bool:
        """Set all that the steps of a run need, but for its state and rows.

        Args:
            block: the control block, to which what the run does in training is added.
            run: its settings.
            updates: of the optimizer's memory before the first step.

        Returns:
            Whether an array that launches name had to be replaced.
        """
        layout = self.context.layout
        control.drop(block, layout, run)
        block[Control.TRAINING] = run.training
        self.context.device.copy(self.settings, control.settings(run))
        moved = self.table.fill(control.step_table(layout, run, updates))
        self.steps = self.table.array
        return self.begin(block) | moved

    def derive(self, parameters: Any, source: Source) -> None:
        """The next batch's loss, and its gradient in `gradient`."""
        self._pass(Mode.GRADIENT, parameters, source)
        self._collect(parameters)
        self._total(source, self.sums)

    def _added(self) -> Any:
        """The pass's gradient in one piece: its parts are added up."""
        pass_ = self.pass_
        if pass_.count == 1:
            return pass_.gradients
        self.context.add_up(pass_.gradients, pass_.count, pass_.stride, self.gradient)
        return self.gradient

    def _collect(self, parameters: Any) -> None:
        context = self.context
        self.collect(
            self.sums.shape[1],
            THREADS,
            (
                context.int_table,
                self.block,
                self.settings,
                self.steps,
                self.scalars,
                parameters,
                self._added(),
                self.gradient,
                self.sums,
            ),
        )


class Training(Collector):
    """Training steps for one optimizer.

    Args:
        context: its device and network.
        pass_: the path through the network.
        slots: vectors of the optimizer's memory.
        collecting: whether penalties or a limit of the gradient's norm need all of it before
            any parameter is updated.
    """

    def __init__(self, context: Context, pass_: Pass, slots: int, collecting: bool) -> None:
        super().__init__(context, pass_)
        self.slots, self.collecting = slots, collecting
        layout = context.layout
        self.parameters = context.real(layout.size)
        self.memory = context.real(slots, layout.trained)
        self.order = Order(context)
        self.update_parameters = context.kernel("step.cu", "update_parameters")
        self.update_by_parts = context.kernel("step.cu", "update_by_parts")
        self.move_statistics = context.kernel("step.cu", "move_statistics")
        self.warm = False
        self.graphs: dict[tuple[int, ...], Graph] = {}

    def load(self, state: State, run: Run, block: Array) -> None:
        """Copy a run's state, and set all that its steps need, but for their rows."""
        device = self.context.device
        block[Control.OPTIMIZER], block[Control.SLOTS] = control.code(run.optimizer), self.slots
        if self.begin_run(block, run, state.updates):
            self.graphs.clear()
        device.copy(self.parameters, state.parameters)
        device.copy(self.memory, state.memory)
        self.update_copy(self.parameters)

    def take_order(self, order: Any) -> Any:
        """The order of the rows, on the device."""
        if self.order.take(order):
            self.graphs.clear()
        return self.order.array

    def store(self, state: State, steps: int) -> Array:
        """Copy the state back; return the losses up to the first that is not finite."""
        device = self.context.device
        device.copy(state.parameters, self.parameters)
        device.copy(state.memory, self.memory)
        losses = device.download(self.losses.array[:steps])
        bad = np.flatnonzero(~np.isfinite(losses))
        made = int(bad[0]) if bad.size else steps
        state.updates += made
        return losses[: made + 1]

    def do(self, source: Source, steps: int) -> None:
        """The next steps, so many, on the rows of `source`."""
        if not self.warm:  # what is loaded at a first launch must not be part of a graph
            self.warm = True
            first = min(steps, GRAPH_STEPS)
            self._launch(source, first)
            steps -= first
        whole, rest = divmod(steps, GRAPH_STEPS)
        if whole:
            self._graph(source).replay(whole)
        self._launch(source, rest)

    def _launch(self, source: Source, steps: int) -> None:
        """So many steps, one launch after another."""
        for _ in range(steps):
            self._step(source)

    def _graph(self, source: Source) -> Graph:
        """The launches of GRAPH_STEPS steps on these very places.

        It is known by them, and keeps none of the data: were it freed, and other data of as many
        rows put in its place, the launches would still be the right ones.
        """
        arrays = (source.x, source.y, source.labels, source.weights, source.order)
        address = self.context.device.address
        key = (source.rows, *(0 if array is None else address(array) for array in arrays))
        found = self.graphs.get(key)
        if found is None:
            while len(self.graphs) >= KEPT_GRAPHS:
                del self.graphs[next(iter(self.graphs))]
            found = self.graphs[key] = self.context.device.capture(
                lambda: self._launch(source, GRAPH_STEPS)
            )
        return found

    def _step(self, source: Source) -> None:
        context, pass_, trained = self.context, self.pass_, self.context.layout.trained
        self._pass(Mode.GRADIENT, self.parameters, source)
        by_parts = not self.collecting and pass_.count > 1
        blocks = math.ceil(trained / SUM_COLUMNS) if by_parts else context.blocks(trained)
        own = not self.collecting and blocks * pass_.loss_count <= MOST_OWN_READS
        if self.collecting:
            self._collect(self.parameters)
            self._total(source, self.sums)
            gradient, scaled = self.gradient, False
        else:
            gradient, scaled = pass_.gradients, pass_.scaled
            if not own:
                self._total(source)
        begin = (
            context.int_table,
            self.block,
            self.settings,
            self.steps,
            self.scalars,
            np.int32(source.weights is not None),
            pass_.loss_parts,
            np.int32(pass_.loss_count if own else 0),
            self.losses.array,
            self.masses.array,
            gradient,
        )
        parts = (np.int32(pass_.count), np.int32(pass_.stride)) if by_parts else ()
        rest = (
            np.int32(scaled),
            np.int64(trained),
            context.factors,
            self.parameters,
            self.memory,
            self.copy,
        )
        update = self.update_by_parts if by_parts else self.update_parameters
        update(blocks, THREADS, (*begin, *parts, *rest))
        if context.shares is not None:
            self._move(gradient)

    def _move(self, gradient: Any) -> None:
        """Move the statistics toward those of the batch, which stand in its gradient."""
        context, layout = self.context, self.context.layout
        behind, count = slice(layout.trained, layout.size), layout.size - layout.trained
        batch = gradient.reshape(-1)[behind]
        given = (self.block, batch, context.shares, np.int64(count), self.parameters[behind])
        self.move_statistics(context.blocks(count), THREADS, given)
