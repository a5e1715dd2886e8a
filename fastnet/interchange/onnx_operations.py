"""The operators of ONNX, on the values of a graph that is read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.interchange.expressions import Polynomial
from fastnet.interchange.onnx_activations import FUNCTIONS, ROWS, Row
from fastnet.interchange.onnx_file import DOUBLE, INT32, INT64, REALS
from fastnet.interchange.onnx_shapes import Shapes
from fastnet.interchange.onnx_values import Signal, Size, Value

_INTEGERS = (INT32, INT64)


class Operations(Shapes):
    """All operators of a dense network; `OPERATIONS` has them by name."""

    # --- functions of one number -----------------------------------------------------------

    def function(self, a: Value, *, name: str) -> Value:
        """Exp, Erf and the like."""
        self._has()
        signal = self._signal(a)
        return replace(signal, p=signal.stage.algebra.apply(name, signal.p))

    def extreme(self, a: Value, b: Value, *, name: str) -> Value:
        """Max and Min."""
        self._has()
        if not isinstance(a, Signal):
            a, b = b, a
        one = self._signal(a)
        return replace(one, p=one.stage.algebra.apply(name, one.p, self._operand(one, b)))

    def _operand(self, one: Signal, value: Value) -> Polynomial | float:
        """A number, or an expression in the same numbers as `one`."""
        return self._same(one, value)[1].p if isinstance(value, Signal) else self._number(value)

    def clip(self, a: Value, low: Value | None = None, high: Value | None = None) -> Value:
        if self._file.opset < 11:
            given = self._has(min=float, max=float)
            low, high = (None if bound is None else np.array(bound) for bound in given)
        else:
            self._has()
        signal = self._signal(a)
        p, apply = signal.p, signal.stage.algebra.apply
        for bound, name in ((low, "Max"), (high, "Min")):
            if bound is not None:
                p = apply(name, p, self._number(bound))
        return replace(signal, p=p)

    def activation(self, a: Value, *, row: Row) -> Value:
        """An operator that is an activation."""
        defaults = {name: default for name, (_, default) in row.attributes.items()}
        given = self._has(**defaults)
        constants = {}
        for (name, (constant, _)), value in zip(row.attributes.items(), given, strict=True):
            if value not in row.choices.get(constant, (value,)):
                choices = " and ".join(map(repr, row.choices[constant]))
                raise self._refuse(f"{name} is {value!r}; fastnet has {choices}.")
            constants[constant] = value
        signal = self._signal(a)
        return replace(signal, p=row.formula(signal.stage.algebra.apply, signal.p, **constants))

    def hard_sigmoid(self, a: Value) -> Value:
        """max(0, min(1, alpha z + beta))."""
        alpha, beta = self._has(alpha=0.2, beta=0.5)
        signal = self._signal(a)
        apply = signal.stage.algebra.apply
        return replace(signal, p=apply("Min", apply("Relu", alpha * signal.p + beta), 1.0))

    def softmax(self, a: Value) -> Value:
        (axis,) = self._has(axis=-1 if self._file.opset >= 13 else 1)
        if axis not in (1, -1):
            raise self._refuse(f"axis is {axis}; fastnet has softmax over the units, axis 1.")
        signal = self._signal(a, matrix=True)
        return replace(signal, p=signal.stage.algebra.apply("Softmax", signal.p))

    def greater(self, a: Value, b: Value) -> Value:
        """1 where a > b, else 0."""
        self._has()
        over = self._sum(a, b, -1.0)
        return replace(over, p=over.stage.algebra.apply("Step", over.p))

    def less(self, a: Value, b: Value) -> Value:
        return self.greater(b, a)

    def sum(self, *parts: Value) -> Value:
        self._has()
        total, *rest = parts
        for part in rest:
            total = self.plus(total, part)
        return total

    def where(self, which: Value, a: Value, b: Value) -> Value:
        """which * a + (1 - which) * b."""
        self._has()
        choice = self._signal(which)
        one, other = (self._operand(choice, value) for value in (a, b))
        return replace(choice, p=choice.p * one + (1 - choice.p) * other)

    # --- constants, and operators that change no number ------------------------------------

    def root(self, a: Value) -> Value:
        self._has()
        return self._folded(np.sqrt, self._constant(a))

    def identity(self, a: Value) -> Value:
        self._has()
        return a

    def cast(self, a: Value) -> Value:
        kind, _ = self._has(to=0, saturate=1)
        whole = isinstance(a, Size) or (isinstance(a, np.ndarray) and a.dtype.kind == "i")
        reals = () if isinstance(a, Size) else REALS
        if kind not in ((*_INTEGERS, *reals) if whole else reals):
            raise self._refuse(f"it casts to ONNX's element type {kind}; fastnet supports floats.")
        if isinstance(a, Signal):
            return replace(self._signal(a, whole=True), whole=False)
        if isinstance(a, np.ndarray) and kind in REALS:
            self._file.spend(8 * a.size)
            return a.astype(np.float64 if kind == DOUBLE else np.float32)
        return a

    def dropout(self, a: Value, ratio: Value | None = None, training: Value | None = None) -> Value:
        self._has(ratio=0.5, seed=0)
        if training is not None and self._number(training):
            raise self._refuse("it drops units in inference too; export the model for inference.")
        return self._signal(a)

    def constant(self) -> Value:
        given = self._has(
            value=np.ndarray, value_float=float, value_floats=np.ndarray, value_int=int,
            value_ints=list,
        )  # fmt: skip
        found = [value for value in given if value is not None]
        if len(found) != 1:
            raise self._refuse("it has no number of a type that fastnet supports.")
        return found[0] if isinstance(found[0], np.ndarray) else _array(found[0])


def _array(value: Any) -> Array:
    """The attributes of a Constant node are float32 and int64."""
    array = np.array(value)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


@dataclass(frozen=True)
class Operation:
    """An operator, and how many inputs it has, at least and at most."""

    do: Callable[..., Value]
    least: int = 1
    most: int = 1


#: By domain and name.
OPERATIONS: dict[tuple[str, str], Operation] = {
    **{("", name): Operation(partial(Operations.function, name=name)) for name in FUNCTIONS},
    **{
        ("", row.operator): Operation(partial(Operations.activation, row=row))
        for row in ROWS.values()
        if row.operator
    },
    ("", "Max"): Operation(partial(Operations.extreme, name="Max"), 2, 2),
    ("", "Min"): Operation(partial(Operations.extreme, name="Min"), 2, 2),
    ("", "Add"): Operation(Operations.plus, 2, 2),
    ("", "BatchNormalization"): Operation(Operations.batch_norm, 5, 5),
    ("", "Cast"): Operation(Operations.cast),
    ("", "Clip"): Operation(Operations.clip, 1, 3),
    ("", "Concat"): Operation(Operations.concat, 1, 8),
    ("", "Constant"): Operation(Operations.constant, 0, 0),
    ("", "Div"): Operation(Operations.divided, 2, 2),
    ("", "Dropout"): Operation(Operations.dropout, 1, 3),
    ("", "Flatten"): Operation(Operations.flatten),
    ("", "Gather"): Operation(Operations.gather, 2, 2),
    ("", "Gemm"): Operation(Operations.gemm, 2, 3),
    ("", "Greater"): Operation(Operations.greater, 2, 2),
    ("", "GreaterOrEqual"): Operation(Operations.greater, 2, 2),
    ("", "HardSigmoid"): Operation(Operations.hard_sigmoid),
    ("", "Identity"): Operation(Operations.identity),
    ("", "LayerNormalization"): Operation(Operations.layer_norm, 2, 3),
    ("", "Less"): Operation(Operations.less, 2, 2),
    ("", "LessOrEqual"): Operation(Operations.less, 2, 2),
    ("", "MatMul"): Operation(Operations.matmul, 2, 2),
    ("", "Mul"): Operation(Operations.times, 2, 2),
    ("", "Neg"): Operation(Operations.negative),
    ("", "PRelu"): Operation(Operations.prelu, 2, 2),
    ("", "Pow"): Operation(Operations.power, 2, 2),
    ("", "Reshape"): Operation(Operations.reshape, 2, 2),
    ("", "Shape"): Operation(Operations.shape),
    ("", "Slice"): Operation(Operations.slice, 3, 5),
    ("", "Softmax"): Operation(Operations.softmax),
    ("", "Sqrt"): Operation(Operations.root),
    ("", "Squeeze"): Operation(Operations.squeeze, 1, 2),
    ("", "Sub"): Operation(Operations.minus, 2, 2),
    ("", "Sum"): Operation(Operations.sum, 1, 8),
    ("", "Transpose"): Operation(Operations.transpose),
    ("", "Unsqueeze"): Operation(Operations.unsqueeze, 1, 2),
    ("", "Where"): Operation(Operations.where, 3, 3),
    ("ai.onnx.ml", "Scaler"): Operation(Operations.scaler),
}
