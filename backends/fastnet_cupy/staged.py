"""Networks that are no chain of layers, by stages: embeddings, products, norms, residual sums.

Values stay where they are until the way back has read them. What a stage reads besides products is
kept in float32 or float64, whatever products read: norms, sums and learned activations are as exact
as in full precision.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastnet.contract import plan
from fastnet_cupy.batch_pass import PART_ROWS, BatchPass
from fastnet_cupy.context import Context, Request, lanes_of
from fastnet_cupy.device import Product
from fastnet_cupy.embedding import Embedding
from fastnet_cupy.layers import Stage
from fastnet_cupy.names import SUM_COLUMNS, THREADS
from fastnet_cupy.stage_arrays import Kept, Value, arrays_of

#: Parts in the sums of columns, at most: blocks add them up by themselves where they need them.
MOST_PARTS = 64


@dataclass
class _Derivative:
    """A derivative in a lent array, or at the output; nobody changes it while it has holders."""

    array: Any
    lent: Any = None
    holders: int = 1


class StagedPass(BatchPass):
    """The way through a network stage by stage. Arguments: as `BatchPass`'s."""

    def __init__(self, context: Context, rows: int, training: bool) -> None:
        super().__init__(context, rows, training, in_full=True)
        layout, number = context.layout, context.number
        self.stages = layout.stages
        full, store = partial(context.real, rows), partial(context.store, rows)
        made = arrays_of(layout, number.is_16_bit, training, full, store, self.out)
        self.values, self.kept, self.arrays = made.values, made.kept, made.lent
        self.lent: list[Any] = []
        widest, products = layout.widest, [stage for stage in self.stages if stage.is_product]
        # Of products, before what comes out and what goes back is rounded to 16 bits.
        self.z = full(widest) if number.is_16_bit else None
        self.d_in_16_bit = store(widest) if training and number.is_16_bit else None
        self.part_rows = max(PART_ROWS, math.ceil(rows / MOST_PARTS))
        self.parts = math.ceil(rows / self.part_rows)
        self.sums = self.batch_sums = self.batch_squares = None
        if training:
            self.sums = context.real(self.parts, 2 * widest)
            self.column_parts = context.real(math.ceil(rows / PART_ROWS), widest)
        if training and layout.shares is not None:
            shape = (self.parts, widest)
            self.batch_sums = context.device.empty(shape, "float64")
            self.batch_squares = context.device.empty(shape, "float64")
            for stage, kept in zip(self.stages, self.kept, strict=True):
                if isinstance(stage.front, plan.BatchNormalize):
                    kept.s = context.real(stage.layer.units)
        self.forward: dict[int, tuple[Product, bool]] = {}
        self.weight_gradient: dict[int, tuple[Product, bool]] = {}
        self.back: dict[int, Product] = {}
        #: Values by which derivatives are needed: some parameter stands before them.
        self.receiving = {
            stage.target
            for stage in self.stages
            if stage.is_trained or stage.layer.needs_input_gradient
        }
        for stage in products:
            self.forward[stage.target] = self._product_with_bias(stage.layer)
            if training:
                self.weight_gradient[stage.target] = self._product_with_sums(stage.layer)
                if stage.layer.needs_input_gradient:
                    self.back[stage.target] = self._product(self._spec_back(stage.layer))
        self.embeddings = {
            stage.target: Embedding(context, rows, stage.front, kept.basis)
            for stage, kept in zip(self.stages, self.kept, strict=True)
            if isinstance(stage.front, plan.Embed | plan.Periodic | plan.PiecewiseLinear)
        }
        self.kernels = {name: context.kernel("staged.cu", name) for name in _KERNELS}

    @staticmethod
    def bytes_needed(context: Context, rows: int, training: bool) -> tuple[int, int]:
        """Bytes of device memory: fixed, and for each row of a batch."""
        layout, number = context.layout, context.number
        each = 0

        def full(columns: int) -> bool:
            nonlocal each
            each += columns * number.real_bytes
            return True

        def store(columns: int) -> bool:
            nonlocal each
            each += columns * number.bytes
            return True

        arrays_of(layout, number.is_16_bit, training, full, store, full(2 * layout.outputs))
        if number.is_16_bit:
            full(layout.widest)
            store(layout.widest)
        if not training:
            return 0, each
        full(math.ceil(layout.widest / PART_ROWS))
        of_parts = layout.widest * MOST_PARTS * (2 * number.real_bytes + 2 * 8)
        return of_parts + layout.gradient_size * number.real_bytes, each

    def _over(self, kernel: str, entries: int, *arguments: Any) -> None:
        """Launch a kernel that goes over entries."""
        self.kernels[kernel](self.context.blocks(entries), THREADS, arguments)

    def _by_rows(self, kernel: str, units: int, *arguments: Any) -> None:
        """Launch a kernel in which lanes share a row."""
        lanes = lanes_of(units)
        shape = (np.int32(self.rows), np.int32(units), np.int32(lanes))
        self._over(kernel, self.rows * lanes, *shape, *arguments)

    def _by_columns(self, kernel: str, units: int, *arguments: Any) -> None:
        """Launch a kernel whose blocks take some columns of a part of the rows."""
        blocks = math.ceil(units / SUM_COLUMNS) * self.parts
        self.kernels[kernel](blocks, THREADS, arguments)

    def _forward(self, request: Request) -> Any:
        values = self.values
        x = values[0]
        if not self.context.number.is_16_bit and self._is_whole(request.source):
            x = Value(request.source.x)
        else:
            self._gather(request, x.store, x.full)
        for index, stage in enumerate(self.stages):
            read = [x if source == 0 else values[source] for source in stage.sources]
            self._stage(request, index, stage, read)
        return x

    def _stage(self, request: Request, index: int, stage: Stage, read: list[Value]) -> None:
        """The value that a stage makes."""
        parameters, layer, kept = request.parameters, stage.layer, self.kept[index]
        made, bias, other = self.values[stage.target], layer.bias_of(parameters), None
        z, embedding = kept.z, self.embeddings.get(stage.target)
        if stage.is_product or embedding:
            z = made.full
            if z is None:
                z = made.store if self.z is None else self._matrix(self.z, layer.units)
        if stage.is_product:
            product, biased = self.forward[stage.target]
            product(read[0].operand, layer.weight_of(request.weights), z, bias if biased else None,
                    None)  # fmt: skip
            bias = None if biased else bias
        elif embedding:
            embedding.forward(parameters, read[0].full, z)
        elif isinstance(stage.front, plan.Normalize):
            epsilon = np.float64(stage.front.epsilon)
            self._by_rows("normalize", layer.units, epsilon, read[0].full, z, kept.s)
        elif isinstance(stage.front, plan.BatchNormalize):
            self._batch_normalize(request, stage.front, read[0].full, kept)
        else:
            z, other = read[0].full, read[1].full if len(read) > 1 else None
        changed = stage.is_activated or stage.scale or bias is not None
        if z is made.full and made.store is None and not changed:
            return
        scale, shift, alpha = (
            None if piece is None else piece.of(parameters)
            for piece in (stage.scale, stage.shift, stage.alpha)
        )
        entries = self.rows * layer.units
        self._over(
            "transform", entries, self.context.int_table, self.context.float_table, request.block,
            request.steps, np.int32(index), np.int64(entries), z, other, scale,
            shift if bias is None else bias, alpha, np.int32(stage.complement), made.full,
            made.store, kept.slope, kept.learned,
        )  # fmt: skip

    def _batch_normalize(
        self, request: Request, op: plan.BatchNormalize, x: Any, kept: Kept
    ) -> None:
        """z of a batch norm, and the statistics of the batch in the gradient."""
        control, columns, each = request.block, np.int32(op.units), np.int32(self.part_rows)
        parts, sums, squares = np.int32(self.parts), self.batch_sums, self.batch_squares
        batch: tuple[Any, Any] = (None, None)
        if sums is not None:
            self._by_columns("batch_sums", op.units, control, x, columns, each, sums)
            given = (control, x, columns, each, parts, sums, squares)
            self._by_columns("batch_squares", op.units, *given)
            gradient = self.gradients.reshape(-1)
            batch = op.mean.of(gradient), op.variance.of(gradient)
        running = op.mean.of(request.parameters), op.variance.of(request.parameters)
        self._by_columns(
            "batch_normalize", op.units, control, x, np.int32(self.rows), columns, each, parts,
            sums, squares, np.float64(op.epsilon), *running, kept.z, kept.s, *batch,
        )  # fmt: skip

    def _lend(self, columns: int) -> _Derivative:
        array = self.lent.pop()
        return _Derivative(self._matrix(array, columns), array)

    def _release(self, derivative: _Derivative) -> None:
        derivative.holders -= 1
        if not derivative.holders and derivative.lent is not None:
            self.lent.append(derivative.lent)

    def _backward(self, request: Request, x: Any, d: Any) -> None:
        """From the last stage to the first."""
        self.lent = [*self.arrays]  # all of them, wherever the last way back may have ended
        found = {self.stages[-1].target: _Derivative(d)}
        for index in reversed(range(len(self.stages))):
            stage = self.stages[index]
            own = found.pop(stage.target, None)
            if own is None:
                continue
            back = self._back(request, x, index, own, found)
            if back is not None:
                for source in stage.sources:  # twice the same one where a block does nothing
                    if source in self.receiving:
                        self._add(found, source, back)
                self._release(back)
            self._release(own)

    def _add(self, found: dict[int, _Derivative], source: int, more: _Derivative) -> None:
        """Add to the derivative by a value what one more reader makes of it."""
        before = found.get(source)
        if before is None:
            more.holders += 1
            found[source] = more
            return
        found[source] = self._lend(more.array.shape[1])
        self._over_back(0, more.array, before=before.array, onward=found[source].array)
        self._release(before)

    def _over_back(
        self, index: int, d: Any, a: Any = None, slope: Any = None, scale: Any = None,
        before: Any = None, du: Any = None, stored: Any = None, onward: Any = None,
    ) -> None:  # fmt: skip
        """Launch `transform_back`."""
        tables = self.context.int_table, self.context.float_table, np.int32(index)
        entries = self.rows * d.shape[1]
        given = (d, a, slope, scale, before, du, stored, onward)
        self._over("transform_back", entries, *tables, np.int64(entries), *given)

    def _back(
        self, request: Request, x: Value, index: int, d: _Derivative,
        found: dict[int, _Derivative],
    ) -> _Derivative | None:  # fmt: skip
        """A stage's part of the gradient, and the derivative by each of its sources, if needed."""
        stage, kept = self.stages[index], self.kept[index]
        gradient, units = self.gradients.reshape(-1), stage.layer.units
        source = stage.sources[0]
        read = x if source == 0 else self.values[source]
        needed = stage.layer.needs_input_gradient
        steep: dict[str, Any] = {"slope": kept.slope}
        if stage.is_activated and kept.slope is None:
            made = self.values[stage.target]
            steep["a"] = made.store if made.full is None else made.full
        if stage.alpha:
            self._sum_products(d.array, kept.learned, False, stage.alpha, gradient)
        if stage.is_product:
            return self._product_back(request, index, d, read, steep)
        du = d
        if stage.is_activated and (stage.front or stage.scale):
            du = self._lend(units)
            self._over_back(index, d.array, **steep, du=du.array)
            steep = {}
        z = kept.z if stage.keeps_z else read.full
        batch = isinstance(stage.front, plan.BatchNormalize)
        sums = onward = None
        if stage.scale or batch:
            plain = batch or stage.shift is not None
            sums = self._sum_products(du.array, z, plain, stage.scale, gradient)
        if embedding := self.embeddings.get(stage.target):
            embedding.back(request.parameters, read.full, du.array, gradient)
        if needed:
            onward = self._onward(request, index, du, z, sums, steep, found)
        if du is not d:
            self._release(du)
        return onward

    def _onward(
        self, request: Request, index: int, du: _Derivative, z: Any, sums: Any,
        steep: dict[str, Any], found: dict[int, _Derivative],
    ) -> _Derivative:  # fmt: skip
        """The derivative by what a stage without a product reads.

        Where it has one source, it is added to what is found of that one.
        """
        stage, kept = self.stages[index], self.kept[index]
        units = stage.layer.units
        scale = None if stage.scale is None else stage.scale.of(request.parameters)
        if stage.front is None and scale is None and not stage.is_activated:
            du.holders += 1
            return du
        embedding = self.embeddings.get(stage.target)
        onward, before = self._lend(embedding.inputs if embedding else units), None
        if len(stage.sources) == 1:
            before = found.pop(stage.sources[0], None)
        end = (scale, None if before is None else before.array, onward.array)
        match stage.front:
            case plan.Normalize():
                self._by_rows("normalize_back", units, du.array, z, kept.s, *end)
            case plan.BatchNormalize():
                shape = (self.rows, units, self.part_rows, self.parts)
                given = (request.block, du.array, z, kept.s, scale, *map(np.int32, shape))
                self._by_columns("batch_normalize_back", units, *given, sums, *end[1:])
            case _ if embedding:
                embedding.onward(du.array, *end[1:])
            case _:
                last = dict(zip(("scale", "before", "onward"), end, strict=True))
                self._over_back(index, du.array, **steep, **last)
        if before:
            self._release(before)
        return onward

    def _product_back(
        self, request: Request, index: int, d: _Derivative, read: Value, steep: dict[str, Any]
    ) -> _Derivative | None:
        """The gradient of a product's weight and bias, and the derivative by what it reads."""
        stage, layer = self.stages[index], self.stages[index].layer
        gradient, stored, own = self.gradients.reshape(-1), d.array, None
        if self.d_in_16_bit is not None:
            stored = self._matrix(self.d_in_16_bit, layer.units)
        elif stage.is_activated:
            own = self._lend(layer.units)
            stored = own.array
        if stored is not d.array:
            self._over_back(index, d.array, **steep, stored=stored)
        product, sums = self.weight_gradient[stage.target]
        dw, db = layer.weight_of(gradient), layer.bias_of(gradient)
        product(read.operand, stored, dw, db if sums else None, None)
        if db is not None and not sums:
            self._sum(stored, layer.units, db)
        onward = None
        if stage.target in self.back:
            onward = self._lend(layer.inputs)
            weight = layer.weight_of(request.weights)
            self.back[stage.target](stored, weight, onward.array, None, None)
        if own:
            self._release(own)
        return onward

    def _sum_products(
        self, d: Any, z: Any, plain: bool, piece: plan.Parameter | None, gradient: Any
    ) -> Any:
        """The sums of d's and z's products by column, and behind them those of d if `plain`.

        Args:
            d: `(rows, columns)`.
            z: likewise, or None.
            plain: see above.
            piece: the first parameter whose gradient they are; None: they are not.
            gradient: all of it.

        Returns:
            The sums of each part of the rows.
        """
        units = d.shape[1]
        width = (1 + plain) * units
        whole = None if piece is None else gradient[piece.offset : piece.offset + width]
        alone = self.parts == 1 and whole is not None
        sums = whole if alone else self.sums
        shape = (self.rows, units, self.part_rows)
        given = (d, z, np.int32(plain), *map(np.int32, shape), sums)
        self._by_columns("sum_products", units, *given)
        if whole is not None and not alone:
            self.context.add_up(sums, self.parts, width, whole)
        return sums


_KERNELS = (
    "transform", "transform_back", "normalize", "normalize_back", "sum_products", "batch_sums",
    "batch_squares", "batch_normalize", "batch_normalize_back",
)  # fmt: skip
