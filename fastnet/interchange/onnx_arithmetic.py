"""Matrix products and arithmetic on the values of an ONNX graph."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.activations import ACTIVATIONS, Identity, PReLU, ReLU
from fastnet.definition.layers import MOST_NESTED, Activate, BatchNorm, Layer, LayerNorm, Scale
from fastnet.errors import DefinitionError, ModelFileError
from fastnet.interchange.expressions import Algebra, Unrecognized, Z
from fastnet.interchange.onnx_file import OnnxFile, label
from fastnet.interchange.onnx_values import Signal, Stage, Value
from fastnet.interchange.recognition import Recognized, recognize

#: A network scales and shifts a stage per unit a few times; more are made to exhaust memory.
_MOST_STEPS = 16


class Arithmetic:
    """The operators of a graph's nodes; `node` is the one that is being read."""

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self.node: Any = None

    # --- checks of values ------------------------------------------------------------------

    def _refuse(self, reason: str) -> ModelFileError:
        return self._file.refuse(f"{label(self.node)}: {reason}")

    def _has(self, **defaults: Any) -> list[Any]:
        return self._file.attributes(self.node, defaults)

    def _signal(self, value: Value, matrix: bool = False, whole: bool = False) -> Signal:
        if not isinstance(value, Signal):
            raise self._refuse("its input does not depend on the graph's input.")
        if value.ended:
            raise self._refuse("it follows the probabilities of two classes; none may.")
        if value.whole and not whole:
            raise self._refuse("its input is of whole numbers: Cast them to float first.")
        if matrix and value.stage.shape is not None:
            raise self._refuse(
                f"its input has shape {value.stage.shape}; it must be (rows, inputs): "
                "put a Flatten before it."
            )
        return value

    def _constant(self, value: Value) -> Array:
        if not isinstance(value, np.ndarray):
            raise self._refuse("fastnet supports it with a constant there only.")
        return value

    def _number(self, value: Value) -> float:
        array = self._constant(value)
        if array.size != 1:
            raise self._refuse(f"fastnet supports it with one number there, not {array.shape}.")
        return float(array.reshape(())[()])

    def _integer(self, value: Value) -> int:
        array = self._constant(value)
        if array.dtype.kind != "i":
            raise self._refuse(f"fastnet supports it with an integer there, not {array.dtype}.")
        return int(self._number(array))

    def settled(self, signal: Signal) -> Recognized:
        """The activation that a signal has become."""
        try:
            found = recognize(signal.stage.algebra, signal.p)
        except Unrecognized:
            raise self._refuse(
                f"from {signal.stage.name} to here the graph computes no activation of fastnet "
                f"({', '.join(ACTIVATIONS)})."
            ) from None
        return found

    # --- matrix products -------------------------------------------------------------------

    def _product(self, x: Value, weight: Array, bias: Array | None) -> Signal:
        signal = self._signal(x, matrix=True)
        found = self.settled(signal)
        width = signal.stage.width
        if weight.ndim != 2 or weight.size == 0 or (width or weight.shape[0]) != weight.shape[0]:
            raise self._refuse(
                f"its constant has shape {weight.shape}; it must be ({width or 'inputs'}, units)."
            )
        if weight.dtype not in (np.float32, np.float64):
            raise self._refuse(f"its constant has dtype {weight.dtype}; it must be float.")
        stage = Stage(label(self.node), weight.shape[1], (signal.stage, found), weight)
        if bias is not None:
            stage.bias = self._per_unit(bias, weight.shape[1])
        return Signal(stage, Z)

    def _per_unit(self, array: Array, width: int | None) -> Array:
        """One number per unit, `(width,)` float64, from a constant that broadcasts to rows."""
        flat = array.reshape(-1)
        wide = array.ndim == 1 or (array.ndim == 2 and array.shape[0] == 1)
        if array.size == 1 and width is not None:
            flat = np.broadcast_to(flat, width)
        elif not wide or array.size == 0 or (width or flat.size) != flat.size:
            raise self._refuse(
                f"its constant has shape {array.shape}; it must be ({width or 'units'},)."
            )
        return flat.astype(np.float64)

    def matmul(self, a: Value, b: Value) -> Value:
        self._has()
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return self._folded(np.matmul, a, b)
        if not isinstance(a, Signal):
            raise self._refuse("fastnet supports it with the constant second: x @ weights.")
        return self._product(a, self._constant(b), None)

    # --- constants -------------------------------------------------------------------------

    def _folded(self, function: Callable[..., Array], *arrays: Array) -> Array:
        """What the graph computes of constants alone."""
        shapes = [array.shape for array in arrays]
        product = function is np.matmul
        if any(array.dtype.kind != "f" for array in arrays) or (
            product and not all(len(shape) == 2 for shape in shapes)
        ):
            raise self._refuse(f"fastnet does not support it of constants of shapes {shapes}.")
        try:
            shape = (shapes[0][0], shapes[1][1]) if product else np.broadcast_shapes(*shapes)
            self._file.spend(8 * math.prod(shape))
            return np.asarray(function(*arrays))
        except ValueError as error:
            raise self._refuse(f"its constants have shapes {shapes}, which do not fit.") from error

    def gemm(self, a: Value, b: Value, c: Value | None = None) -> Value:
        alpha, beta, across, down = self._has(alpha=1.0, beta=1.0, transA=0, transB=0)
        weight, bias = self._constant(b), None if c is None else self._constant(c)
        weight = weight.T if down else weight
        if isinstance(a, np.ndarray):
            product = alpha * self._folded(np.matmul, a.T if across else a, weight)
            product = product.astype(weight.dtype)
            return product if bias is None else self._folded(np.add, product, beta * bias)
        if across:
            raise self._refuse("fastnet supports transA with two constants only.")
        if alpha != 1:
            self._file.spend(weight.nbytes)
            weight = (weight * alpha).astype(weight.dtype)
        return self._product(a, weight, None if bias is None else bias * beta)

    # --- layers ----------------------------------------------------------------------------

    def _layer(self, x: Signal, layer: Layer, arrays: Mapping[str, Array]) -> Signal:
        """A stage of a layer that keeps the units."""
        width = x.stage.width or next(iter(arrays.values())).size
        self._file.spend(sum(array.nbytes for array in arrays.values()))
        stage = Stage(label(self.node), width, (x.stage, self.settled(x)))
        stage.layer, stage.arrays, stage.depth = layer, arrays, x.stage.depth
        return Signal(stage, Z)

    def _made(self, kind: Callable[..., Layer], *given: float) -> Layer:
        try:
            return kind(*given)
        except DefinitionError as error:
            raise self._refuse(str(error)) from error

    def layer_norm(self, a: Value, scale: Value, shift: Value | None = None) -> Value:
        axis, epsilon, _ = self._has(axis=-1, epsilon=1e-5, stash_type=1)
        if axis not in (1, -1):
            raise self._refuse(f"axis is {axis}; fastnet normalizes over the units, axis -1.")
        factor = self._constant(scale)
        start = np.zeros_like(factor) if shift is None else self._constant(shift)
        layer = self._made(LayerNorm, epsilon)
        return self._layer(self._signal(a, matrix=True), layer, {"scale": factor, "shift": start})

    def batch_norm(self, a: Value, scale: Value, shift: Value, mean: Value, var: Value) -> Value:
        epsilon, momentum, training, _ = self._has(
            epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1
        )
        if training:
            raise self._refuse("it is in training mode; export the model for inference.")
        names = ("scale", "shift", "mean", "variance")
        arrays = map(self._constant, (scale, shift, mean, var))
        share = round(1 - momentum, 9)  # fastnet's is what a batch has, ONNX's what is kept
        layer = self._made(BatchNorm, share, epsilon)
        return self._layer(
            self._signal(a, matrix=True), layer, dict(zip(names, arrays, strict=True))
        )

    def prelu(self, a: Value, slope: Value) -> Value:
        self._has()
        signal, alpha = self._signal(a, matrix=True), self._constant(slope)
        kind = alpha.dtype
        alpha = self._per_unit(alpha, signal.stage.width).astype(kind)
        return self._layer(signal, Activate(PReLU()), {"alpha": alpha})

    def _scaled(self, signal: Signal, gain: Array) -> Signal:
        """A factor for each unit; of min(z, 0), which is -relu(-z), the opposite of relu(-z)."""
        try:
            recognize(signal.stage.algebra, signal.p)
        except Unrecognized:
            signal, gain = replace(signal, p=-signal.p), -gain
        return self._layer(signal, Scale(), {"scale": gain})

    def _prelu_of(self, x: Signal, f: Signal) -> Signal | None:
        """relu(z) - alpha relu(-z), as some write PReLU, if that is what x + f is."""
        before, line = f.stage.before, f.p.line
        if not isinstance(f.stage.layer, Scale) or before is None or line is None or line[1]:
            return None
        z, below = before
        if z is not x.stage or below != Recognized(ReLU(), -1.0, 0.0):
            return None
        if self.settled(x) != Recognized(ReLU(), 1.0, 0.0):
            return None
        scale = f.stage.arrays["scale"]
        alpha = (-line[0] * scale).astype(scale.dtype)
        return self._layer(Signal(z, Z), Activate(PReLU()), {"alpha": alpha})

    def _joined(self, a: Signal, b: Signal) -> Signal:
        """x + f(x), a residual block: the later stage comes from the earlier one."""
        x, f = sorted((a, b), key=lambda one: one.stage.place)
        prelu = self._prelu_of(x, f)
        if prelu is not None:
            return prelu
        pairs = [(f.stage, self.settled(f))]
        while pairs[-1][0].place > x.stage.place:
            before = pairs[-1][0].before
            assert before is not None
            pairs.append(before)
            self._file.spend(8)
        *inside, (first, found) = pairs
        own, plain = self.settled(x), Recognized(Identity(), 1.0, 0.0)
        begins = replace(found, activation=Identity())
        if first is not x.stage or (found != own and (own, begins) != (plain, plain)):
            raise self._refuse(
                "it joins two branches; fastnet supports a chain of layers, and sums x + f(x)."
            )
        stage = Stage(label(self.node), x.stage.width or f.stage.width, (x.stage, own))
        stage.inside = tuple(reversed(inside))
        stage.start = Identity() if found == own else found.activation
        stage.depth = 1 + max(place.depth for place, _ in inside)
        if stage.depth > MOST_NESTED:
            raise self._refuse(f"more than {MOST_NESTED} residual blocks are in one another.")
        return Signal(stage, Z)

    # --- arithmetic ------------------------------------------------------------------------

    def _affine(self, signal: Signal, gain: Array | float, bias: Array | float) -> Signal:
        """signal * gain + bias, one number or one per unit."""
        if not isinstance(gain, np.ndarray) and not isinstance(bias, np.ndarray):
            return replace(signal, p=signal.p * gain + bias)
        stage, found = signal.stage, signal.p.line
        foldable = found is not None and (
            stage.before is None
            or stage.weight is not None
            or isinstance(stage.layer, LayerNorm | BatchNorm)
        )
        plain = not isinstance(bias, np.ndarray) and not bias
        if isinstance(gain, np.ndarray) and plain and not foldable and stage.shape is None:
            return self._scaled(signal, gain)
        if stage.shape is not None or found is None or stage.steps >= _MOST_STEPS:
            raise self._refuse(
                "fastnet supports a constant per unit only right after a matrix product, or before "
                "the first."
            )
        size = gain.size if isinstance(gain, np.ndarray) else np.size(bias)
        old = 0.0 if stage.bias is None else stage.bias
        total = (old * found[0] + found[1]) * gain + bias
        unbiased = stage.bias is None and not found[1] and not isinstance(bias, np.ndarray)
        fresh = replace(
            stage,
            width=size,
            gain=stage.gain * found[0] * gain,
            bias=None if unbiased else total,
            algebra=Algebra(),
            steps=stage.steps + 1,
        )
        return Signal(fresh, Z)

    def _beside(self, value: Value, signal: Signal) -> Array | float:
        array = self._constant(value)
        if array.dtype.kind != "f":
            raise self._refuse(f"its constant has dtype {array.dtype}; it must be float.")
        if array.size == 1 and array.ndim <= len(signal.stage.shape or "ab"):
            return self._number(array)
        return self._per_unit(array, signal.stage.width)

    def _sum(self, a: Value, b: Value, sign: float) -> Signal:
        if isinstance(a, Signal) and isinstance(b, Signal):
            if a.stage is not b.stage:
                other = self._signal(b, matrix=True)
                other = replace(other, p=sign * other.p)
                return self._joined(self._signal(a, matrix=True), other)
            one, other = self._same(a, b)
            return replace(one, p=one.p + sign * other.p)
        value, constant = (a, b) if isinstance(a, Signal) else (b, a)
        one = self._signal(value)
        bias = self._beside(constant, one)
        # An array of one number is the bias of one unit, and is kept even if it is 0.
        bare = isinstance(constant, np.ndarray) and constant.ndim == 0
        if one.stage.width == 1 and not bare and one.p.line:
            bias = np.full(1, bias)
        return self._affine(one, *((1.0, sign * bias) if value is a else (sign, bias)))

    def plus(self, a: Value, b: Value) -> Value:
        self._has()
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return self._folded(np.add, a, b)
        return self._sum(a, b, 1.0)

    def minus(self, a: Value, b: Value) -> Value:
        self._has()
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return self._folded(np.subtract, a, b)
        return self._sum(a, b, -1.0)

    def times(self, a: Value, b: Value) -> Value:
        self._has()
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return self._folded(np.multiply, a, b)
        if isinstance(a, Signal) and isinstance(b, Signal):
            one, other = self._same(a, b)
            return replace(one, p=one.p * other.p)
        value, constant = (a, b) if isinstance(a, Signal) else (b, a)
        one = self._signal(value)
        return self._affine(one, self._beside(constant, one), 0.0)

    def divided(self, a: Value, b: Value) -> Value:
        self._has()
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return self._folded(np.divide, a, b)
        if isinstance(b, Signal):
            below = self._signal(b)
            inverse = replace(below, p=below.stage.algebra.apply("Reciprocal", below.p))
            return self.times(a, inverse)
        one = self._signal(a)
        constant = np.asarray(self._beside(b, one))
        if not constant.all():
            raise self._refuse("it divides by zero.")
        return self._affine(one, 1 / constant if constant.ndim else 1 / float(constant), 0.0)

    def negative(self, a: Value) -> Value:
        self._has()
        return self._affine(self._signal(a), -1.0, 0.0)

    def power(self, a: Value, b: Value) -> Value:
        self._has()
        signal, exponent = self._signal(a), self._number(b)
        if exponent not in (2, 3):
            raise self._refuse(f"fastnet supports powers of 2 and 3, not {exponent:g}.")
        square = signal.p * signal.p
        return replace(signal, p=square if exponent == 2 else square * signal.p)

    def scaler(self, a: Value) -> Value:
        offset, scale = self._has(offset=np.empty(0), scale=np.empty(0))
        signal = self._signal(a, matrix=True)
        width = signal.stage.width
        return self._affine(
            self._affine(signal, 1.0, -self._per_unit(offset, width)),
            self._per_unit(scale, width),
            0.0,
        )

    def _same(self, a: Signal, b: Signal) -> tuple[Signal, Signal]:
        one, other = self._signal(a), self._signal(b)
        if one.stage is not other.stage:
            raise self._refuse("it joins two branches; fastnet supports a chain of layers only.")
        return one, other
