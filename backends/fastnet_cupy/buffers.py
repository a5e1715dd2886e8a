"""The buffers of a program: made for batches of a size, and kept for the next call."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.errors import DoesNotFit
from fastnet_cupy.context import Context
from fastnet_cupy.layered import LayeredPass
from fastnet_cupy.layout import Layout
from fastnet_cupy.narrow import WIDTHS, NarrowPass, Shape, kernel_for, shape_for
from fastnet_cupy.regimes import Regimes
from fastnet_cupy.staged import StagedPass
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
from fastnet_cupy.tiny import Tiny

#: Bytes for a pass's small arrays: some thirty, each of which begins at a multiple of 512 in
#: CuPy's memory, and is mostly shorter.
SMALL_BYTES = 2**15

#: Sets of buffers that are kept: one of each kind (training, its stream, gradient, update), and
#: two for evaluation, of which the last rows of a set need fewer than the others.
KEPT = 6

Made = TypeVar("Made")


def layers_pass(layout: Layout) -> type[LayeredPass | StagedPass]:
    """The way through a network layer by layer: as a chain, or as stages."""
    return StagedPass if layout.stages else LayeredPass


class Buffers:
    """Steps with their buffers, by what they are for.

    Args:
        context: a device and a network.
        regimes: which path through the network is taken for which sizes.
    """

    def __init__(self, context: Context, regimes: Regimes) -> None:
        self.context, self.regimes = context, regimes
        self.device, self.layout, self.number = context.device, context.layout, context.number
        self.kept: dict[tuple[Any, ...], Any] = {}
        #: What is made apart from these, and given up where room is scarce.
        self.tiny: tuple[Any, ...] | None = None
        #: Parameters on the host, and a copy on the device that is only read.
        self.parameters: tuple[Array, Any] | None = None

    @cached_property
    def shape(self) -> Shape | None:
        """The kernel made for this network, compiled when first needed; None: there is none."""

        def spills(shape: Shape) -> bool:
            return kernel_for(self.context, shape).spills

        return shape_for(self.layout, self.number, self.device.shared_bytes, spills)

    def shape_from(self, rows: int, least: int) -> Shape | None:
        """That kernel, for so many rows or more, up to where layers take less time one by one."""
        widest = next((width for width in WIDTHS if width >= self.layout.widest), 0)
        most = self.regimes.layered_from.get((self.number.name, widest), math.inf)
        return self.shape if least <= rows < most else None

    def evaluation(self, rows: int) -> Steps:
        """For predictions and losses of so many rows: buffers for the next power of two."""
        shape = self.shape_from(rows, self.regimes.narrow_evaluation)
        if shape is None:
            size = max(2 ** (rows - 1).bit_length(), 16)
        else:  # for more rows, its blocks do several batches one after another
            size = min(rows, shape.rows * shape.together * self.device.multiprocessors)

        def make() -> Steps:
            return Steps(self.context, self._pass(shape, size, False))

        lacking = self._lacking(shape, size, False)
        return self._keep(("evaluation", size, shape is None), make, lacking)

    def gradient(self, rows: int) -> Collector:
        """For the gradient over so many rows as one batch."""
        shape = self.shape_from(rows, self.regimes.narrow_evaluation)

        def make() -> Collector:
            return Collector(self.context, self._pass(shape, rows, True, 1))

        return self._keep(
            ("gradient", rows), make, self._lacking(shape, rows, True, 1, "{} rows would fit")
        )

    def training(self, batch: int, slots: int, collecting: bool, weighted: bool) -> Training:
        """For training steps.

        Args:
            batch: rows of a batch, at most.
            slots: vectors of the optimizer's memory.
            collecting: as in `Training`.
            weighted: whether rows have weights.
        """
        shape = self.shape_from(batch, self.regimes.narrow_training)

        def make() -> Training:
            pass_ = self._pass(shape, batch, True, 2 + slots)
            return Training(self.context, pass_, slots, collecting)

        lacking = self._lacking(shape, batch, True, 2 + slots, "batch_size={} would fit")
        return self._keep(("training", batch, slots, collecting, weighted), make, lacking)

    def update(self, slots: int) -> Training:
        """For the update by a gradient that is there already."""

        def make() -> Training:
            return Training(self.context, GivenGradient(self.context), slots, True)

        def lacking() -> str:
            return (
                f"an update of {self.layout.size:,} parameters needs {3 + slots} arrays as long on "
                f"the GPU, which has {self.device.memory()[0]:,} bytes free; use a smaller network."
            )

        return self._keep(("update", slots), make, lacking)

    def stream(self, data: Data, batch: int) -> Stream:
        """The buffers through which data that stays on the host passes."""
        key = ("stream", data.y.ndim, data.weight is not None, batch)

        def lacking() -> str:
            return (
                f"the data stays in the processor's memory, and two batches of {batch:,} rows do "
                f"not fit twice, there and on the GPU beside the network, which has "
                f"{self.device.memory()[0]:,} bytes free; use a smaller batch_size."
            )

        return self._keep(key, lambda: Stream(self.device, data, batch), lacking)

    def _pass(self, shape: Shape | None, rows: int, training: bool, vectors: int = 0) -> Pass:
        """The path through the network for so many rows: by a narrow kernel, or layer by layer.

        Raises:
            MemoryError: if its buffers do not fit on the device, with `vectors` as long as the
                parameters beside them.
        """
        fixed, each = self._needs(shape, rows, training, vectors)
        if fixed + each * rows > self.device.memory()[0]:
            raise MemoryError
        if shape is not None:
            return NarrowPass(self.context, shape, rows, training)
        return layers_pass(self.layout)(self.context, rows, training)

    def for_tiny(self) -> tuple[Any, ...]:
        """The kernel of tiny networks, its step table, its losses and its order."""
        if self.tiny is None:
            growing = Growing(self.context, "float64"), Growing(self.context, "float64")
            self.tiny = (Tiny(self.context), *growing, Order(self.context))
        return self.tiny

    def _needs(
        self, shape: Shape | None, rows: int, training: bool, vectors: int
    ) -> tuple[int, int]:
        """Bytes of a pass: fixed, and for each row."""
        kind: Any = layers_pass(self.layout) if shape is None else NarrowPass
        fixed, each = kind.bytes_needed(self.context, rows, training)
        vectors += self.number.is_16_bit
        fixed += vectors * self.layout.size * self.number.real_bytes + SMALL_BYTES
        return fixed + (self.device.product_bytes if shape is None else 0), each

    def _lacking(
        self, shape: Shape | None, rows: int, training: bool, vectors: int = 0, advice: str = ""
    ) -> Callable[[], str]:
        """The text on what a pass needs and what fits; `advice` has `{}` for the number of rows."""

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

    def _keep(
        self, key: tuple[Any, ...], make: Callable[[], Made], lacking: Callable[[], str]
    ) -> Made:
        """What was made for a key, or is made now; the oldest make room, all if need be.

        Raises:
            DoesNotFit: if there is no room even so, with the text of `lacking`.
        """
        found: Made | None = self.kept.pop(key, None)
        if found is None:
            while len(self.kept) >= KEPT:
                del self.kept[next(iter(self.kept))]
            try:
                found = make()
            except MemoryError:
                self.kept.clear()
                self.tiny = self.parameters = None
                try:
                    found = make()
                except MemoryError as error:
                    raise DoesNotFit(lacking()) from error
        self.kept[key] = found
        return found

    @contextmanager
    def report_out_of_memory(self, rows: int) -> Iterator[None]:
        """Raise `DoesNotFit` where the device has no room for so many rows."""
        try:
            yield
        except DoesNotFit:
            raise
        except MemoryError as error:
            raise DoesNotFit(
                f"{rows:,} rows at once are more than fits on the GPU, which has "
                f"{self.device.memory()[0]:,} bytes free; pass fewer."
            ) from error
