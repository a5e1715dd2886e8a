"""The operators of ONNX that change shapes, and those that exporters compute shapes with."""

import math
from dataclasses import replace

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import message_of
from fastnet.interchange.onnx_arithmetic import Arithmetic
from fastnet.interchange.onnx_file import OnnxFile
from fastnet.interchange.onnx_values import Signal, Size, Stage, Value


class Shapes(Arithmetic):
    """The graph's input becomes `(rows, inputs)`, and an output `(rows,)` is one of one unit.

    Attributes:
        rows: of the graph's input, if their number is fixed.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__(file)
        self.rows: int | None = None

    def flatten(self, a: Value) -> Value:
        (axis,) = self._has(axis=1)
        signal = self._signal(a, whole=True)
        sizes = len(signal.stage.shape or "ab")
        if sizes == 1 or (axis != 1 and (axis != -1 or sizes != 2)):
            raise self._refuse(f"axis is {axis}; it must be 1, which keeps the rows.")
        return self._flat(signal, None)

    def reshape(self, a: Value, shape: Value) -> Value:
        (zero_is_zero,) = self._has(allowzero=0)
        if isinstance(a, np.ndarray):
            return self._reshaped(a, shape)
        signal = self._signal(a, whole=True)
        entries = shape.entries if isinstance(shape, Size) else tuple(self._places(shape))
        rows: set[int | str | None] = {"rows", -1, self.rows or -1, -1 if zero_is_zero else 0}
        if self._is_vector(signal.stage):
            rows = {1}
        elif len(entries) == 1 and entries[0] in rows - {0} and signal.stage.width == 1:
            return self._column(signal)
        last = entries[1] if len(entries) == 2 else None
        right = isinstance(last, int) and (last > 0 or (last == -1 and entries[0] != -1))
        if not right or entries[0] not in rows:
            raise self._refuse(f"to {list(entries)}; it must be to [rows, units].")
        return self._flat(signal, last if isinstance(last, int) and last > 0 else None)

    def _reshaped(self, a: Array, shape: Value) -> Array:
        try:
            return a.reshape(self._places(shape))
        except (ValueError, TypeError, OverflowError) as error:
            raise self._refuse(f"{message_of(error)}.") from error

    def _places(self, shape: Value) -> list[int]:
        array = self._constant(shape)
        if array.dtype.kind != "i" or array.ndim != 1:
            raise self._refuse(f"its shape is {array.dtype} {array.shape}, not a list of integers.")
        return [int(size) for size in array]

    def _is_vector(self, stage: Stage) -> bool:
        """Whether the stage is an input `(inputs,)`, which is one row."""
        return stage.before is None and len(stage.shape or ()) == 1

    def _column(self, signal: Signal) -> Signal:
        """`(rows,)` of `(rows, 1)`."""
        stage = signal.stage
        if stage.before is None or stage.shape is not None:
            raise self._refuse("fastnet supports that of a layer's outputs only.")
        return replace(signal, stage=replace(stage, shape=(self.rows,)))

    def _flat(self, signal: Signal, width: int | None) -> Signal:
        stage = signal.stage
        if stage.shape is None:
            if width not in (None, stage.width) and stage.width is not None:
                raise self._refuse(f"from {stage.width} units to {width}; it must keep the rows.")
            return signal
        if signal.p.line is None:
            raise self._refuse("an activation comes before the first matrix product.")
        if stage.before is not None:
            raise self._refuse("its input is (rows,); fastnet supports an Unsqueeze there.")
        sizes = stage.shape if self._is_vector(stage) else stage.shape[1:]
        if sizes and all(isinstance(size, int) and size > 0 for size in sizes):
            size = math.prod(size or 0 for size in sizes)
            if width not in (None, size):
                raise self._refuse(f"from {size} numbers a row to {width}; it must keep the rows.")
            width = size
        return replace(signal, stage=replace(stage, shape=None, width=width))

    def squeeze(self, a: Value, axes: Value | None = None) -> Value:
        signal, places = self._signal(a, whole=True), self._axes(axes)
        stage = signal.stage
        sizes = (self.rows, stage.width) if stage.shape is None else stage.shape
        places = {place + len(sizes) if place < 0 else place for place in places}
        if not places or not places <= set(range(1, len(sizes))):
            raise self._refuse(f"it is of axes {sorted(places)}; it must keep the rows, axis 0.")
        if any(sizes[place] != 1 for place in places):
            raise self._refuse(f"it is of axes {sorted(places)}, and shape {sizes} is not 1 there.")
        left = tuple(size for place, size in enumerate(sizes) if place not in places)
        if stage.shape is None:
            return self._column(signal)
        if len(left) == 2:
            return self._flat(signal, left[1])
        return replace(signal, stage=replace(stage, shape=left))

    def unsqueeze(self, a: Value, axes: Value | None = None) -> Value:
        places = self._axes(axes)
        if isinstance(a, Size):
            return a
        signal = self._signal(a, whole=True)
        stage = signal.stage
        if len(stage.shape or ()) == 1:
            if places in ({1}, {-1}):
                return replace(signal, stage=replace(stage, shape=None, width=1))
            if self._is_vector(stage) and places in ({0}, {-2}):
                return self._flat(signal, None)
        raise self._refuse(f"of axes {sorted(places)}; it must give (rows, units).")

    def _axes(self, given: Value | None) -> set[int]:
        (axes,) = self._has(axes=[])
        return set(axes if given is None else self._places(given))

    def transpose(self, a: Value) -> Value:
        (axes,) = self._has(perm=[])
        array = self._constant(a)
        if axes and sorted(axes) != list(range(array.ndim)):
            raise self._refuse(f"perm is {axes}, and its constant has shape {array.shape}.")
        return array.transpose(axes or None)

    # --- shapes, from which exporters compute the shape for a Reshape ----------------------

    def shape(self, a: Value) -> Value:
        start, end = self._has(start=0, end=int)
        stage = self._signal(a).stage
        sizes = (stage.width,) if stage.shape is None else stage.shape[1:]
        return Size(("rows", *sizes)[start:end])

    def gather(self, a: Value, index: Value) -> Value:
        (axis,) = self._has(axis=0)
        if not isinstance(a, Size) or axis != 0:
            raise self._refuse(
                "fastnet supports it on the shape of an array only, and reads no embeddings."
            )
        place = self._integer(index)
        if not -len(a.entries) <= place < len(a.entries):
            raise self._refuse(f"the shape has no entry {place}.")
        return Size((a.entries[place],))

    def slice(
        self,
        a: Value,
        start: Value,
        end: Value,
        axes: Value | None = None,
        step: Value | None = None,
    ) -> Value:
        self._has()
        plain = (axes is None or not self._number(axes)) and (
            step is None or self._number(step) == 1
        )
        if not isinstance(a, Size) or not plain:
            raise self._refuse("fastnet supports it on the shape of an array only, in steps of 1.")
        first, last = self._integer(start), self._integer(end)
        return Size(a.entries[first:last])

    def concat(self, *parts: Value) -> Value:
        (axis,) = self._has(axis=0)
        if all(isinstance(part, Size | np.ndarray) for part in parts):
            entries: list[int | str | None] = []
            for part in parts:
                more = part.entries if isinstance(part, Size) else self._constant(part).tolist()
                entries += more if isinstance(more, list | tuple) else [more]
            return Size(tuple(entries))
        if len(parts) == 2 and axis in (1, -1):
            one, other = self._same(*(self._signal(part) for part in parts))
            opposite = one.p.near(1 - other.p)
            if opposite and self.settled(other).activation.name == "sigmoid":
                return replace(other, ended=True)
        raise self._refuse(
            "fastnet supports it of 1 - p and p only, the probabilities of two classes."
        )
