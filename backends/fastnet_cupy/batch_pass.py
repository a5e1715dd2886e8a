"""Ways through a network by products and kernels between them: what they have in common.

That is a batch's rows at the beginning, the loss at the end, and matrix products. Products are
computed by the device's library. Where it has an epilogue for bias, ReLU, the ReLU's mask or the
bias' gradient, it computes that as well, otherwise kernels of our own do: both give the same, up to
rounding.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from fastnet_cupy.context import BLOCKS_EACH, Context, Request, Source, lanes_of
from fastnet_cupy.device import Epilogue, Product, ProductSpec
from fastnet_cupy.layers import Layer
from fastnet_cupy.names import SUM_COLUMNS, THREADS, WARP, Mode
from fastnet_cupy.precision import FLOAT32, FLOAT64

#: Rows of a part, in sums of columns; as many parts as that makes are then added up.
PART_ROWS = 512


class BatchPass(ABC):
    """A way for batches of up to `rows` rows.

    Args:
        context: its device and network.
        rows: of a batch, at most.
        training: whether gradients are computed.
        in_full: whether the derivative by the network's output is needed in full.

    Attributes:
        count, stride, gradients, loss_parts, loss_count, scaled: as `NarrowPass`'s.
        result: the kind of number of products that are not stored for others.
        out: `(rows, outputs)`, what the loss is computed from.
        out_slope: the last activation's slope, where that is not done by itself; else None.
        d_store: the derivative by `out` as products read it; None: it is only needed in full.
    """

    count = 1
    out_slope: Any = None
    d_store: Any = None

    def __init__(self, context: Context, rows: int, training: bool, in_full: bool) -> None:
        self.context, self.rows, self.training = context, rows, training
        layout, number, device = context.layout, context.number, context.device
        self.result = FLOAT64 if number.real == "float64" else FLOAT32
        self.scaled = number.name == "fp16"
        self.out = context.real(rows, layout.outputs)
        self.real_d = None
        in_full = in_full or self.scaled or (layout.softmax and number.is_16_bit)
        if training and in_full:
            self.real_d = context.real(rows, layout.outputs)
        self.lanes = lanes_of(layout.outputs)
        self.loss_blocks = min(
            math.ceil(rows * self.lanes / THREADS), BLOCKS_EACH * device.multiprocessors
        )
        self.loss_count = self.loss_blocks
        self.loss_parts = device.empty((self.loss_blocks,), "float64")
        self.peaks = context.real(self.loss_blocks) if self.scaled else None
        self.stride = layout.gradient_size
        self.gradients = context.real(1 if training else 0, self.stride)
        self.column_parts: Any = None

        def kernel(name: str) -> Any:
            return context.kernel("layered.cu", name)

        self.gather, self.softmax = kernel("gather"), kernel("softmax")
        self.losses, self.choose_scale = kernel("losses"), kernel("choose_scale")
        self.output_derivative = kernel("output_derivative")
        self.sum_columns = kernel("sum_columns")
        self.store_predictions = kernel("store_predictions")

    @abstractmethod
    def _forward(self, request: Request) -> Any:
        """Fill `out`; return the batch's x, for `_backward`."""

    @abstractmethod
    def _backward(self, request: Request, x: Any, d: Any) -> None:
        """Fill the gradient; `d` is the derivative by `out`: `d_store`, or in full."""

    def launch(self, request: Request) -> None:
        """Compute what is requested."""
        context, layout, rows, mode = self.context, self.context.layout, self.rows, request.mode
        x = self._forward(request)
        entries = rows * layout.outputs
        spread = context.blocks(rows * self.lanes)
        row = (np.int32(rows), np.int32(layout.outputs), np.int32(self.lanes))
        if layout.softmax or (mode == Mode.PREDICT and layout.output_softmax):
            self.softmax(spread, THREADS, (self.out, *row))
        if mode == Mode.PREDICT:
            given = (context.int_table, request.block, self.out, request.out)
            self.store_predictions(context.blocks(entries), THREADS, given)
            return
        source, d, real_d = request.source, None, None
        if mode == Mode.GRADIENT:
            d, real_d = self.d_store, self.real_d
            if layout.softmax and real_d is None:
                real_d = d  # they are of one type
        self.losses(
            self.loss_blocks,
            THREADS,
            (
                context.int_table,
                context.float_table,
                request.block,
                request.scalars,
                source.order,
                self.out,
                source.y,
                source.labels,
                source.weights,
                np.int32(rows),
                np.int32(self.lanes),
                None if layout.softmax else self.out_slope,
                real_d,
                None if self.scaled else d,
                self.loss_parts,
                self.peaks,
            ),
        )
        if mode != Mode.GRADIENT:
            return
        if self.scaled:
            self.choose_scale(1, WARP, (self.peaks, np.int32(self.loss_blocks), request.scalars))
            wide = real_d if d is None else None
            scaling = (request.scalars, np.int64(entries), real_d, d, wide)
            self.output_derivative(context.blocks(entries), THREADS, scaling)
        self._backward(request, x, real_d if d is None else d)

    def _is_whole(self, source: Source) -> bool:
        """Whether a batch's x is the data itself, in a place where products can read it."""
        aligned = self.context.device.address(source.x) % ProductSpec.alignment == 0
        return source.order is None and source.rows == self.rows and aligned

    def _gather(self, request: Request, x: Any, wide: Any) -> None:
        """Gather a batch's x as products read it, and in full; either may be None."""
        context, source = self.context, request.source
        self.gather(
            context.blocks(self.rows * context.layout.inputs),
            THREADS,
            (
                context.int_table, context.float_table, request.block, request.steps,
                source.order, source.x, np.int32(self.rows), x, wide,
            ),
        )  # fmt: skip

    def _spec(self, layer: Layer) -> ProductSpec:
        """x @ weight."""
        number = self.context.number
        return ProductSpec(
            self.rows, layer.units, layer.inputs, False, False, number, self.result,
            alignment=_aligned(layer.weight, number.bytes),
        )  # fmt: skip

    def _product_with_bias(self, layer: Layer) -> tuple[Product, bool]:
        """x @ weight, and whether it adds the bias."""
        spec = self._spec(layer)
        found = None
        if layer.bias is not None:
            found = self.context.device.product(replace(spec, epilogue=Epilogue.BIAS))
        return (self._product(spec), False) if found is None else (found, True)

    def _product_with_sums(self, layer: Layer) -> tuple[Product, bool]:
        """The gradient by the weight, and whether it sums up the bias'."""
        context = self.context
        spec = ProductSpec(
            layer.inputs, layer.units, self.rows, True, False, context.number, self.result,
            alignment=_aligned(layer.weight, context.number.real_bytes),
        )  # fmt: skip
        found = None
        if layer.bias is not None:
            found = context.device.product(replace(spec, epilogue=Epilogue.SUMS))
        return (self._product(spec), False) if found is None else (found, True)

    def _spec_back(self, layer: Layer) -> ProductSpec:
        """The derivative by x."""
        number = self.context.number
        return ProductSpec(
            self.rows, layer.inputs, layer.units, False, True, number, self.result,
            alignment=_aligned(layer.weight, number.bytes),
        )  # fmt: skip

    def _product(self, spec: ProductSpec) -> Product:
        found = self.context.device.product(spec)
        assert found is not None, "a product without an epilogue is always there"
        return found

    def _matrix(self, buffer: Any, columns: int) -> Any:
        """The beginning of a buffer, as a matrix of so many columns."""
        return buffer.reshape(-1)[: self.rows * columns].reshape(self.rows, columns)

    def _sum(self, d: Any, columns: int, sums: Any) -> None:
        """The sums of the columns of `d`: of parts of the rows, then of these."""
        parts = math.ceil(self.rows / PART_ROWS)
        between = sums if parts == 1 else self.column_parts.reshape(-1)[: parts * columns]
        groups = math.ceil(columns / SUM_COLUMNS)
        shape = (np.int32(self.rows), np.int32(columns), np.int32(PART_ROWS))
        self.sum_columns(groups * parts, THREADS, (d, *shape, between))
        if parts > 1:
            self.context.add_up(between, parts, columns, sums)


def _aligned(offset: int, itemsize: int) -> int:
    """Bytes that a piece of a flat vector begins at, at the least: a power of two up to 256."""
    place = offset * itemsize
    return min(place & -place, 256) if place else 256
