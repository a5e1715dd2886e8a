"""Chains of layers of any size: a matrix product a layer, and kernels for what stands between."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastnet_cupy.batch_pass import PART_ROWS, BatchPass
from fastnet_cupy.context import Context, Request
from fastnet_cupy.device import Epilogue, Product
from fastnet_cupy.layers import IDENTITY, RELU, Layer
from fastnet_cupy.names import THREADS


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


class LayeredPass(BatchPass):
    """The way through a chain layer by layer. Arguments: as `BatchPass`'s."""

    def __init__(self, context: Context, rows: int, training: bool) -> None:
        super().__init__(context, rows, training, in_full=False)
        layout, number = context.layout, context.number
        self.x = context.store(rows, layout.inputs)
        hidden = [layer.units for layer in layout.layers[:-1]]
        self.z = context.real(rows, max(hidden, default=1)) if number.is_16_bit and hidden else None
        if layout.layers[-1].code != IDENTITY:
            self.out_slope = context.real(rows, layout.outputs)
        self.d = [context.store(rows, layout.widest) for _ in range(2 if training else 0)]
        self.d_store = self._matrix(self.d[0], layout.outputs) if training else None
        self.plans: list[_LayerPlan] = []
        for index in range(len(layout.layers)):
            self.plans.append(self._plan(index))
        if training and any(plan.layer.bias is not None and not plan.sums for plan in self.plans):
            parts = math.ceil(rows / PART_ROWS)
            self.column_parts = context.real(parts, layout.widest)
        self.activate = context.kernel("layered.cu", "activate")
        self.finish_output = context.kernel("layered.cu", "finish_output")
        self.through_slope = context.kernel("layered.cu", "through_slope")

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

    def _plan(self, index: int) -> _LayerPlan:
        """The products and buffers of a layer."""
        context, layers = self.context, self.context.layout.layers
        layer, last = layers[index], index == len(layers) - 1
        forward, biased = self._product_with_bias(layer)
        plan = _LayerPlan(layer, forward, biased=biased)
        plain_relu = layer.code == RELU and not layer.masks and not last and layer.bias is not None
        if self.training and plain_relu:
            # Not in fp16: the backward product would store infinity where `through_slope` cuts.
            masked = () if self.scaled else (Epilogue.RELU_MASK_BIAS,)
            spec = replace(self._spec(layer), result=context.number)
            for epilogue in (*masked, Epilogue.RELU_BIAS):
                found = context.device.product(replace(spec, epilogue=epilogue))
                if found is not None:
                    plan.forward, plan.relu, plan.biased = found, True, True
                    if epilogue is Epilogue.RELU_MASK_BIAS:
                        shape = (self.rows, spec.mask_row_bytes)
                        plan.mask = context.device.empty(shape, "uint8")
                    break
        if not last:
            plan.a = context.store(self.rows, layer.units)
            if not layer.slope_from_output and self.training:
                plan.slope = context.store(self.rows, layer.units)
        if self.training:
            self._plan_back(plan, index)
        return plan

    def _plan_back(self, plan: _LayerPlan, index: int) -> None:
        context, layer = self.context, plan.layer
        plan.weight_gradient, plan.sums = self._product_with_sums(layer)
        if not layer.needs_input_gradient:
            return
        back = self._spec_back(layer)
        if self.plans[index - 1].mask is not None:
            masked = replace(back, result=context.number, epilogue=Epilogue.MASK)
            plan.back = context.device.product(masked)
            plan.masked = plan.back is not None
        if plan.back is None:
            plan.back = self._product(back)

    def _fetch(self, request: Request) -> Any:
        """A batch's x: gathered in the buffer, or the data itself where that is the batch."""
        number, masks = self.context.number, self.context.layout.masks
        if not number.is_16_bit and not masks and self._is_whole(request.source):
            return request.source.x
        self._gather(request, self.x, None)
        return self.x

    def _forward(self, request: Request) -> Any:
        context, rows, parameters = self.context, self.rows, request.parameters
        weights = request.weights
        x = a = self._fetch(request)
        for index, plan in enumerate(self.plans):
            layer = plan.layer
            count = np.int64(rows * layer.units)
            bias, weight = layer.bias_of(parameters), layer.weight_of(weights)
            if plan.a is None:
                plan.forward(a, weight, self.out, bias if plan.biased else None, None)
                if layer.code == IDENTITY and (bias is None or plan.biased):
                    break
                self.finish_output(
                    context.blocks(rows * layer.units),
                    THREADS,
                    (
                        context.int_table, context.float_table, np.int32(index), count,
                        None if plan.biased else bias, self.out, self.out_slope,
                    ),
                )  # fmt: skip
                break
            if plan.relu:
                plan.forward(a, weight, plan.a, layer.bias_of(weights), plan.mask)
            else:
                z = plan.a if self.z is None else self._matrix(self.z, layer.units)
                plan.forward(a, weight, z, bias if plan.biased else None, None)
                self.activate(
                    context.blocks(rows * layer.units),
                    THREADS,
                    (
                        context.int_table, context.float_table, request.block, request.steps,
                        np.int32(index), count, z, None if plan.biased else bias, plan.a,
                        plan.slope,
                    ),
                )  # fmt: skip
            a = plan.a
        return x

    def _backward(self, request: Request, x: Any, d: Any) -> None:
        """From the last layer to the first; `d`: by the last one's z."""
        weights = request.weights
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
