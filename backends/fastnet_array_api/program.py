"""A program in the three methods that it must have: the example to begin a backend from.

All others are left to their defaults in `fastnet.contract.program`.

Letters: `x` what goes into an operation, `z` a pre-activation, `a` an activation, `w` weights,
`d` a derivative of the loss, `p` parameters, `y` targets, `g` a gradient.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract import loading
from fastnet.contract.plan import (
    Add,
    Affine,
    BatchNormalize,
    Dropout,
    Elementwise,
    Embed,
    Normalize,
    Operation,
    Parameter,
    Parametric,
    Periodic,
    PiecewiseLinear,
    Plan,
    Scale,
    Softmax,
)
from fastnet.contract.program import Data, Inputs, Program, Run, State
from fastnet.errors import BackendUnavailable
from fastnet_array_api import embedding
from fastnet_array_api.functions import (
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    kept,
    moments,
    normalized,
    normalized_back,
    softmax,
)

#: The operations of `_forward` and `_backward`.
OPERATIONS = (
    "affine",
    "elementwise",
    "softmax",
    "dropout",
    "normalize",
    "scale",
    "add",
    "parametric",
    "batchnormalize",
    "embed",
    "periodic",
    "piecewiselinear",
)

#: Rows whose gradients are summed up in one product.
BLOCK_ROWS = 4096


class ArrayProgram(Program):
    """A plan, run by a library of the standard. Arrays of the standard may be immutable, so a
    state's arrays are replaced by new ones.

    Args:
        name: the backend's, for errors.
        xp: the library's namespace.
        device: as the library names it, or None: its own choice.
        plan, dtype: see `Program`.
    """

    def __init__(self, name: str, xp: Any, device: Any, plan: Plan, dtype: np.dtype[Any]) -> None:
        super().__init__(plan, dtype)
        self.name, self.xp, self.device = name, xp, device

    def to_device(self, array: Array) -> Any:
        """A copy of a host array, as the library's own."""
        try:
            made = self.xp.asarray(np.array(array), device=self.device)
        except TypeError as error:  # PyTorch on Apple's GPUs
            raise BackendUnavailable(
                f"backend {self.name!r} has no {array.dtype} here ({error}); use dtype 'float32'."
            ) from error
        if array.dtype == np.float64 and made.dtype != self.xp.float64:  # JAX, as it comes
            raise BackendUnavailable(
                f"backend {self.name!r} makes {made.dtype} of float64 here; use dtype 'float32', "
                "or for JAX set JAX_ENABLE_X64=1 before Python starts."
            )
        return made

    def to_host(self, array: Any) -> Array:
        """The host's copy of an array."""
        # PyTorch and CuPy hand over nothing by themselves that lies on a GPU.
        for hand_over in ("cpu", "get"):
            if hasattr(array, hand_over):
                array = getattr(array, hand_over)()
        return np.array(np.asarray(array))  # at once, NumPy warns: a tensor's __array__ has no copy

    def predict(self, parameters: Any, x: Inputs) -> Array:
        """Predictions `(rows, outputs)`, a new host array."""
        with np.errstate(all="ignore"):
            values = self._forward(self.plan.for_prediction, parameters, x.numbers, {}, False)
            return self.to_host(values[self.plan.prediction])

    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Any]:
        """The loss of one step's batch, its mass and its gradient."""
        xp, plan = self.xp, self.plan
        rows = run.rows_of(step, len(data))
        x, y = self._rows(data.x.numbers, rows), self._rows(data.y, rows)
        with np.errstate(all="ignore"):
            masks = self._masks(run, step, x.shape[0])
            of_batch = run.training and x.shape[0] > 1
            values = self._forward(plan.for_loss, state.parameters, x, masks, of_batch)
            terms, d = LOSSES[plan.loss.kind](xp, values[plan.loss_source], y, *plan.loss.constants)
            mass = float(x.shape[0] * plan.loss.each)
            if data.weight is None:
                loss, d = float(xp.sum(terms)) / mass, d / mass
            else:
                weight = xp.expand_dims(self._rows(data.weight, rows), axis=1)
                mass = float(xp.sum(weight)) * plan.loss.each
                # Rows of weight 0 do not count, even where their loss is not finite.
                terms = xp.where(weight > 0, weight * terms, xp.zeros_like(terms))
                loss = float(xp.sum(terms)) / mass if mass else 0.0
                d = xp.where(weight > 0, weight * d, xp.zeros_like(d)) / (mass or 1.0)
            return loss, mass, self._backward(state.parameters, values, masks, of_batch, d)

    def update(self, state: State, gradient: Any, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step."""
        xp, (kind, constants) = self.xp, run.optimizer.canonical()
        if kind not in OPTIMIZERS:
            raise loading.lacking(self.name, "optimizer", kind)
        with np.errstate(all="ignore"):
            trained = self.plan.trained
            g = gradient[:trained]
            if run.l1 or run.of_step("l2", step):
                g = self._penalized(state.parameters, g, run.l1, run.of_step("l2", step))
            if run.clip_value is not None:
                limit = run.clip_value * xp.ones_like(g)
                g = xp.where(g > limit, limit, xp.where(g < -limit, -limit, g))
            if run.clip_norm is not None:
                host = self.to_host(g).astype(np.float64)
                peak = float(np.abs(host).max())  # whose square may overflow
                norm = peak * math.sqrt(float(np.square(host / peak).sum())) if peak else 0.0
                g = g * (run.clip_norm / norm) if norm > run.clip_norm else g
            lr: Any = run.of_step("learning_rate", step) * self._factors("rate_factor")
            decay = run.of_step("weight_decay", step)
            p = state.parameters[:trained]
            p = p * (1 - lr * decay * self._factors("decay_factor")) if decay else p
            memory = [state.memory[i, ...] for i in range(state.memory.shape[0])]
            state.updates += 1
            p = kept(xp, p - OPTIMIZERS[kind](xp, g, lr, state.updates, memory, *constants))
            rest = state.parameters[trained:]
            if self.plan.statistics:
                rest = self._moved_statistics(state.parameters, gradient)
            state.parameters = p if trained == self.plan.size else xp.concat((p, rest))
            if memory:
                state.memory = xp.stack(memory)

    def _moved_statistics(self, parameters: Any, gradient: Any) -> Any:
        """The statistics, moved toward those of the batch, which stand in its gradient."""
        pieces, shares = [], {piece.name: share for piece, share in self.plan.statistics}
        for piece in self.plan.parameters:
            if piece.offset >= self.plan.trained:
                mine, found = self._of(piece, parameters), self._of(piece, gradient)
                mine = mine + shares[piece.name] * (found - mine) if piece.name in shares else mine
                pieces.append(self.xp.reshape(mine, (-1,)))
        return self.xp.concat(pieces)

    def _rows(self, array: Any, rows: "slice | Array") -> Any:
        if isinstance(rows, slice):
            return array[rows, ...]
        return self.xp.take(array, self.to_device(rows), axis=0)

    def _of(self, piece: Parameter, flat: Any) -> Any:
        """A piece of a flat vector, in its own shape."""
        return self.xp.reshape(flat[piece.offset : piece.offset + piece.size], piece.shape)

    def _forward(
        self,
        operations: Sequence[Operation],
        parameters: Any,
        x: Any,
        masks: dict[int, Any],
        of_batch: bool,
    ) -> dict[int, Any]:
        """All values, by their numbers; `of_batch`: normalized by the batch's own statistics."""
        values = {0: x}
        for op in operations:
            z = values[op.sources[0]]
            match op:
                case Affine():
                    a = z @ self._of(op.weight, parameters)
                    if op.bias is not None:
                        a = a + self._of(op.bias, parameters)
                case Elementwise():
                    a = ACTIVATIONS[op.kind][0](self.xp, z, *op.constants)
                case Parametric():
                    w = self._weight(op, parameters)
                    a = (1 - w) * z + w * ACTIVATIONS[op.kind][0](self.xp, z, *op.constants)
                case Softmax():
                    a = softmax(self.xp, z)
                case Dropout():
                    a = z * masks[op.target] if op.target in masks else z
                case Normalize():
                    a = normalized(self.xp, z, op.epsilon)[0]
                case BatchNormalize() if of_batch:
                    a = normalized(self.xp, z, op.epsilon, axis=0)[0]
                case BatchNormalize():
                    a = (z - self._of(op.mean, parameters)) / self._deviations(op, parameters)
                case Scale():
                    a = z * self._of(op.scale, parameters)
                    if op.shift is not None:
                        a = a + self._of(op.shift, parameters)
                case Add():
                    a = z + values[op.sources[1]]
                case Embed() | Periodic() | PiecewiseLinear():
                    a = embedding.value(self.xp, op, partial(self._of, flat=parameters), z)
                case _:
                    raise loading.lacking(self.name, "operation", type(op).__name__.lower())
            values[op.target] = a
        return values

    def _backward(
        self,
        parameters: Any,
        values: dict[int, Any],
        masks: dict[int, Any],
        of_batch: bool,
        d: Any,
    ) -> Any:
        """The gradient with the statistics behind it, from the loss's derivative by its source."""
        xp, found = self.xp, {}
        derivatives = {self.plan.loss_source: d}  # by value: the sum of its readers'
        for op in reversed(self.plan.for_loss):
            x, a = values[op.sources[0]], values[op.target]
            if isinstance(op, BatchNormalize):
                mean, variance = self._of(op.mean, parameters), self._of(op.variance, parameters)
                if of_batch:
                    mean, variance = moments(xp, x, axis=0)
                    variance = variance / (1 - 1 / x.shape[0])
                found[op.mean.offset], found[op.variance.offset] = mean, variance
            d = derivatives.pop(op.target, None)
            if d is None:
                continue  # nothing before it has parameters
            if isinstance(op, Affine):
                found[op.weight.offset] = self._over_rows(x, d)
                if op.bias is not None:
                    found[op.bias.offset] = self._over_rows(xp.ones_like(d[:, :1]), d)
            if isinstance(op, Scale):
                found[op.scale.offset] = self._over_rows(xp.ones_like(d[:, :1]), d * x)
                if op.shift is not None:
                    found[op.shift.offset] = self._over_rows(xp.ones_like(d[:, :1]), d)
            if isinstance(op, Parametric):
                f = ACTIVATIONS[op.kind][0](xp, x, *op.constants)
                sign = -1.0 if op.complement else 1.0
                found[op.alpha.offset] = self._over_rows(xp.ones_like(d[:, :1]), sign * d * (f - x))
            if isinstance(op, Embed | Periodic | PiecewiseLinear):
                of = partial(self._of, flat=parameters)
                found |= embedding.gradients(xp, op, of, x, d, self._over_rows)
            if not op.needs_input_gradient:
                continue
            match op:
                case Affine():
                    d = d @ xp.matrix_transpose(self._of(op.weight, parameters))
                case Elementwise():
                    d = d * ACTIVATIONS[op.kind][1](xp, x, a, *op.constants)
                case Parametric():
                    f, w = (
                        ACTIVATIONS[op.kind][0](xp, x, *op.constants),
                        self._weight(op, parameters),
                    )
                    d = d * (1 - w + w * ACTIVATIONS[op.kind][1](xp, x, f, *op.constants))
                case Softmax():
                    d = a * (d - xp.sum(a * d, axis=1, keepdims=True))
                case Dropout():
                    d = d * masks[op.target] if op.target in masks else d
                case Normalize():
                    d = normalized_back(xp, d, *normalized(xp, x, op.epsilon))
                case BatchNormalize() if of_batch:
                    d = normalized_back(xp, d, *normalized(xp, x, op.epsilon, axis=0), axis=0)
                case BatchNormalize():
                    d = d / self._deviations(op, parameters)
                case Scale():
                    d = d * self._of(op.scale, parameters)
                case Embed() | Periodic() | PiecewiseLinear():
                    d = embedding.derivative(xp, op, x, d)
            for source in op.sources:
                derivatives[source] = derivatives[source] + d if source in derivatives else d
        flat = xp.concat([xp.reshape(found[place], (-1,)) for place in sorted(found)])
        return flat if self.plan.statistics else flat[: self.plan.trained]

    def _weight(self, op: Parametric, parameters: Any) -> Any:
        """How much of its function an activation takes, unit by unit."""
        alpha = self._of(op.alpha, parameters)
        return 1 - alpha if op.complement else alpha

    def _deviations(self, op: BatchNormalize, parameters: Any) -> Any:
        """The roots of the variances that predictions divide by."""
        return self.xp.sqrt(self._of(op.variance, parameters) + op.epsilon)

    def _over_rows(self, x: Any, d: Any) -> Any:
        """x' d, summed up in blocks of rows: rounding in a long sum goes the same way each time."""
        xp, whole = self.xp, d.shape[0] // BLOCK_ROWS * BLOCK_ROWS
        if whole == 0:
            return xp.matrix_transpose(x) @ d
        x_blocks, d_blocks = (
            xp.reshape(each[:whole, ...], (-1, BLOCK_ROWS, each.shape[1])) for each in (x, d)
        )
        rest = xp.matrix_transpose(x[whole:, ...]) @ d[whole:, ...]
        return xp.sum(xp.matrix_transpose(x_blocks) @ d_blocks, axis=0) + rest

    def _masks(self, run: Run, step: int, rows: int) -> dict[int, Any]:
        """What dropout multiplies with, by the value it makes; drawn on the host."""
        masks = {}
        for op in self.plan.for_loss:
            if isinstance(op, Dropout) and (factor := run.of_step("dropout_factor", step)):
                rate = op.rate * factor
                words = random.words(run.seed, random.DROPOUT, step, rows * op.units, op.layer)
                stays = words.reshape(rows, op.units) >= random.keep_threshold(rate)
                masks[op.target] = self.to_device((stays / (1 - rate)).astype(self.dtype))
        return masks

    def _penalized(self, parameters: Any, gradient: Any, l1: float, l2: float) -> Any:
        """The gradient, with l1 sign(w) + l2 w added for the weights."""
        pieces = []
        for piece in self.plan.parameters:
            if piece.offset >= self.plan.trained:
                break  # statistics
            here = slice(piece.offset, piece.offset + piece.size)
            w, dw = parameters[here], gradient[here]
            if piece.role == "weight":
                dw = dw + l1 * self.xp.sign(w) + l2 * w
            pieces.append(dw)
        return self.xp.concat(pieces)

    def _factors(self, name: str) -> Any:
        """The pieces' factors `(trained,)`, or 1 where all are 1."""
        pieces = self.plan.parameters
        if all(getattr(piece, name) == 1 for piece in pieces):
            return 1.0
        each = [np.full(piece.size, getattr(piece, name), self.dtype) for piece in pieces]
        return self.to_device(np.concatenate(each)[: self.plan.trained])
