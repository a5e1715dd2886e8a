"""Networks of any shape: a matrix product a layer, and kernels for what stands between.

Products are computed by the device's library. Where it has an epilogue for bias, ReLU, the ReLU's
mask or the bias' gradient, it computes that as well, otherwise kernels of our own do: both give the
same, up to rounding.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastnet_cupy.context import (
    BLOCKS_EACH,
    Context,
    Request,
    lanes_of,
)
from fastnet_cupy.device import Epilogue, Product, ProductSpec
from fastnet_cupy.layout import IDENTITY, RELU, Layer
from fastnet_cupy.names import SUM_COLUMNS, THREADS, WARP, Mode
from fastnet_cupy.precision import FLOAT32, FLOAT64

#: Rows of a part, in sums of columns; as many parts as that makes are then added up.
PART_ROWS = 512


@dataclass
class _LayerPlan:
    """How one layer is computed: its products and buffers.

    Attributes:
        forward: the product; `relu`: with bias and ReLU; `biased`: with bias.
        mask: the ReLU's bits, or None.
        weight_gradient: the product; `sums`: with the bias' gradient.
        back: the product with the transposed weight, or None where the derivative by x is not
            needed; `masked`: with the mask of the layer before.
        a: what comes out, as the next layer reads it; None for the last.
        slope: the activation's, where it cannot be computed from `a`.
    """

    layer: Layer
    forward: Product
    relu: bool = False
    biased: bool = False
    mask: Any = None
    weight_gradient: Product | None = None
    sums: bool = False
    back: Product | None = None
    masked: bool = False
    a: Any = None
    slope: Any = None


class LayeredPass:
    """The path through a network layer by layer, for batches of up to `rows` rows.

    Args:
        context: its device and network.
        rows: of a batch, at most.
        training: whether gradients are computed.

    Attributes: as `NarrowPass`'s.
    """

    count = 1

    def __init__(self, context: Context, rows: int, training: bool) -> None:
        self.context, self.rows, self.training = context, rows, training
        layout, number, device = context.layout, context.number, context.device
        self.result = FLOAT64 if number.real == "float64" else FLOAT32
        self.scaled = number.name == "fp16"
        self.x = context.store(rows, layout.inputs)
        hidden = [layer.units for layer in layout.layers[:-1]]
        self.z = context.real(rows, max(hidden, default=1)) if number.is_16_bit and hidden else None
        self.out = context.real(rows, layout.outputs)
        last = layout.layers[-1]
        self.out_slope = None
        if last.code != IDENTITY:
            self.out_slope = context.real(rows, layout.outputs)
        self.real_d = None
        if training and (self.scaled or (layout.softmax and number.is_16_bit)):
            self.real_d = context.real(rows, layout.outputs)
        self.d = [context.store(rows, layout.widest) for _ in range(2 if training else 0)]
        self.lanes = lanes_of(layout.outputs)
        self.loss_blocks = min(
            math.ceil(rows * self.lanes / THREADS), BLOCKS_EACH * device.multiprocessors
        )
        self.loss_count = self.loss_blocks
        self.loss_parts = device.empty((self.loss_blocks,), "float64")
        self.peaks = context.real(self.loss_blocks) if self.scaled else None
        self.stride = layout.size
        self.gradients = context.real(1 if training else 0, layout.size)
        self.column_parts: Any = None
        self.plans: list[_LayerPlan] = []
        for index in range(len(layout.layers)):
            self.plans.append(self._plan(index))
        if training and any(plan.layer.bias is not None and not plan.sums for plan in self.plans):
            parts = math.ceil(rows / PART_ROWS)
            self.column_parts = context.real(parts, layout.widest)
        self._kernels()

    @staticmethod
    def bytes_needed(context: Context, rows: int, training: bool) -> tuple[int, int]:
        """Bytes of device memory: fixed, and for each row of a batch."""
        layout, number = context.layout, context.number
        real = number.real_bytes
        hidden = layout.layers[:-1]
        stored = layout.inputs + sum(layer.units for layer in hidden)
        reals = 2 * layout.outputs + (layout.widest if number.is_16_bit else 0)
        if not training:
            return 0, stored * number.bytes + reals * real
        stored += 2 * layout.widest
        stored += sum(layer.units for layer in hidden if not layer.slope_from_output)
        reals += layout.outputs + math.ceil(layout.widest / PART_ROWS)
        masks = sum(layer.units // 8 + 16 for layer in hidden)
        return layout.size * real, stored * number.bytes + reals * real + masks

    def _kernels(self) -> None:
        def kernel(name: str) -> Any:
            return self.context.kernel("layered.cu", name)

        self.gather, self.activate = kernel("gather"), kernel("activate")
        self.finish_output, self.softmax = kernel("finish_output"), kernel("softmax")
        self.losses, self.choose_scale = kernel("losses"), kernel("choose_scale")
        self.output_derivative = kernel("output_derivative")
        self.through_slope = kernel("through_slope")
        self.sum_columns = kernel("sum_columns")
        self.store_predictions = kernel("store_predictions")

    def _plan(self, index: int) -> _LayerPlan:
        """The products and buffers of a layer."""
        context, layers = self.context, self.context.layout.layers
        layer, last = layers[index], index == len(layers) - 1
        number, rows = context.number, self.rows
        at = _aligned(layer.weight, number.bytes)
        forward = ProductSpec(
            rows, layer.units, layer.inputs, False, False, number,
            self.result if last else number, alignment=at,
        )  # fmt: skip
        wide = replace(forward, result=self.result)
        plan = _LayerPlan(layer, self._product(wide))
        plain_relu = layer.code == RELU and not layer.masks and not last and layer.bias is not None
        if self.training and plain_relu:
            # Not in fp16: the backward product would store infinity where `through_slope` cuts.
            masked = () if self.scaled else (Epilogue.RELU_MASK_BIAS,)
            for epilogue in (*masked, Epilogue.RELU_BIAS):
                found = context.device.product(replace(forward, epilogue=epilogue))
                if found is not None:
                    plan.forward, plan.relu, plan.biased = found, True, True
                    if epilogue is Epilogue.RELU_MASK_BIAS:
                        plan.mask = context.device.empty((rows, forward.mask_row_bytes), "uint8")
                    break
        if layer.bias is not None and not plan.relu:
            found = context.device.product(replace(wide, epilogue=Epilogue.BIAS))
            if found is not None:
                plan.forward, plan.biased = found, True
        if not last:
            plan.a = context.store(rows, layer.units)
            if not layer.slope_from_output and self.training:
                plan.slope = context.store(rows, layer.units)
        if self.training:
            self._plan_back(plan, index)
        return plan

    def _plan_back(self, plan: _LayerPlan, index: int) -> None:
        context, layer, rows, number = self.context, plan.layer, self.rows, self.context.number
        real = number.real_bytes
        gradient = ProductSpec(
            layer.inputs, layer.units, rows, True, False, number, self.result,
            alignment=_aligned(layer.weight, real),
        )  # fmt: skip
        if layer.bias is not None:
            plan.weight_gradient = context.device.product(replace(gradient, epilogue=Epilogue.SUMS))
            plan.sums = plan.weight_gradient is not None
        if plan.weight_gradient is None:
            plan.weight_gradient = self._product(gradient)
        if not layer.needs_input_gradient:
            return
        at = _aligned(layer.weight, number.bytes)
        back = ProductSpec(
            rows, layer.inputs, layer.units, False, True, number, self.result, alignment=at
        )
        if self.plans[index - 1].mask is not None:
            masked = replace(back, result=number, epilogue=Epilogue.MASK)
            plan.back = context.device.product(masked)
            plan.masked = plan.back is not None
        if plan.back is None:
            plan.back = self._product(back)

    def _product(self, spec: ProductSpec) -> Product:
        found = self.context.device.product(spec)
        assert found is not None, "a product without an epilogue is always there"
        return found

    def launch(self, request: Request) -> None:
        """Compute what is requested."""
        context, layout, rows, mode = self.context, self.context.layout, self.rows, request.mode
        weights = request.copy if context.number.is_16_bit else request.parameters
        x = self._fetch(request)
        self._forward(request, weights, x)
        entries = rows * layout.outputs
        spread = context.blocks(rows * self.lanes)
        row = (np.int32(rows), np.int32(layout.outputs), np.int32(self.lanes))
        if layout.softmax or (mode == Mode.PREDICT and layout.output_softmax):
            self.softmax(spread, THREADS, (self.out, *row))
        if mode == Mode.PREDICT:
            given = (context.int_table, request.block, self.out, request.out)
            self.store_predictions(context.blocks(entries), THREADS, given)
            return
        source, d = request.source, None
        real_d = self.real_d if mode == Mode.GRADIENT else None
        if mode == Mode.GRADIENT:
            d = self._matrix(self.d[0], layout.outputs)
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
            given = (request.scalars, np.int64(entries), real_d, d)
            self.output_derivative(context.blocks(entries), THREADS, given)
        self._backward(d, weights, x)

    def _fetch(self, request: Request) -> Any:
        """A batch's x: gathered in the buffer, or the data itself where that is the batch."""
        context, source = self.context, request.source
        whole = source.order is None and source.rows == self.rows
        aligned = context.device.address(source.x) % ProductSpec.alignment == 0
        if whole and aligned and not context.number.is_16_bit and not context.layout.masks:
            return source.x
        self.gather(
            context.blocks(self.rows * context.layout.inputs),
            THREADS,
            (
                context.int_table, context.float_table, request.block, request.steps,
                source.order, source.x, np.int32(self.rows), self.x,
            ),
        )  # fmt: skip
        return self.x

    def _forward(self, request: Request, weights: Any, x: Any) -> None:
        context, rows, parameters = self.context, self.rows, request.parameters
        for index, plan in enumerate(self.plans):
            layer = plan.layer
            count = np.int64(rows * layer.units)
            bias, weight = layer.bias_of(parameters), layer.weight_of(weights)
            if plan.a is None:
                plan.forward(x, weight, self.out, bias if plan.biased else None, None)
                if layer.code == IDENTITY and (bias is None or plan.biased):
                    return
                self.finish_output(
                    context.blocks(rows * layer.units),
                    THREADS,
                    (
                        context.int_table, context.float_table, np.int32(index), count,
                        None if plan.biased else bias, self.out, self.out_slope,
                    ),
                )  # fmt: skip
                return
            if plan.relu:
                plan.forward(x, weight, plan.a, layer.bias_of(weights), plan.mask)
            else:
                z = plan.a if self.z is None else self._matrix(self.z, layer.units)
                plan.forward(x, weight, z, bias if plan.biased else None, None)
                self.activate(
                    context.blocks(rows * layer.units),
                    THREADS,
                    (
                        context.int_table, context.float_table, request.block, request.steps,
                        np.int32(index), count, z, None if plan.biased else bias, plan.a,
                        plan.slope,
                    ),
                )  # fmt: skip
            x = plan.a

    def _backward(self, d: Any, weights: Any, x: Any) -> None:
        """Fill the gradient, from the last layer to the first; `d`: by the last one's z."""
        gradient = self.gradients.reshape(-1)
        for index in reversed(range(len(self.plans))):
            plan = self.plans[index]
            layer = plan.layer
            source = self.plans[index - 1].a if index else x
            dw, db = layer.weight_of(gradient), layer.bias_of(gradient)
            assert plan.weight_gradient is not None
            plan.weight_gradient(source, d, dw, db if plan.sums else None, None)
            if db is not None and not plan.sums:
                self._sum(d, layer.units, db)
            if plan.back is None:
                return
            d = self._through(index, d, weights)

    def _through(self, index: int, d: Any, weights: Any) -> Any:
        """The derivative by the z of the layer before, from that by this layer's."""
        plan, before = self.plans[index], self.plans[index - 1]
        context, layer, rows = self.context, plan.layer, self.rows
        weight = layer.weight_of(weights)
        onward = self._matrix(self.d[(len(self.plans) - index) % 2], layer.inputs)
        assert plan.back is not None
        if plan.masked:
            plan.back(d, weight, onward, None, before.mask)
            return onward
        wide = onward if self.z is None else self._matrix(self.z, layer.inputs)
        plan.back(d, weight, wide, None, None)
        from_output = before.slope is None and before.layer.code != IDENTITY
        if before.slope is not None or from_output or context.number.is_16_bit:
            self.through_slope(
                context.blocks(rows * layer.inputs),
                THREADS,
                (
                    context.int_table, context.float_table, np.int32(index - 1),
                    np.int64(rows * layer.inputs), wide, before.a if from_output else None,
                    before.slope, onward,
                ),
            )  # fmt: skip
        return onward

    def _matrix(self, buffer: Any, columns: int) -> Any:
        """The beginning of a buffer, as a matrix of so many columns."""
        return buffer.reshape(-1)[: self.rows * columns].reshape(self.rows, columns)

    def _sum(self, d: Any, columns: int, sums: Any) -> None:
        """The sums of the columns of `d`, in two stages."""
        parts = math.ceil(self.rows / PART_ROWS)
        between = self.column_parts.reshape(-1)[: parts * columns]
        groups = math.ceil(columns / SUM_COLUMNS)
        shape = (np.int32(self.rows), np.int32(columns), np.int32(PART_ROWS))
        self.sum_columns(groups * parts, THREADS, (d, *shape, between))
        self.context.add_up(between, parts, columns, sums)


def _aligned(offset: int, itemsize: int) -> int:
    """Bytes that a piece of a flat vector begins at, at the least: a power of two up to 256."""
    place = offset * itemsize
    return min(place & -place, 256) if place else 256
