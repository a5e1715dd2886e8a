"""A backend in the functions of the array-API standard alone (data-apis.org/array-api).

`backend="array_api:torch"` runs on PyTorch, on the device that `FASTNET_DEVICE` names ("cpu",
"cuda", "mps", "xpu"); `array_api:cupy` and `array_api:jax.numpy` on these libraries; `array_api`
alone on NumPy. It writes the three methods that a program must have, and leaves the others to their
defaults: the example to begin a backend from, and a way to run wherever such a library runs.

Letters: `x` what goes into an operation, `z` a pre-activation, `a` an activation, `w` weights,
`b` bias, `d` a derivative of the loss, `p` a prediction or its logits, `y` targets, `g` a gradient.
"""

import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract import loading
from fastnet.contract.plan import Affine, Dropout, Elementwise, Operation, Parameter, Plan, Softmax
from fastnet.contract.program import Backend, Data, Inputs, Probe, Program, Run, State
from fastnet.definition.activations import ERFC
from fastnet.errors import BackendUnavailable
from fastnet.extras import REQUIREMENTS, pip_install


def _sigmoid(xp: Any, z: Any) -> Any:
    return 1 / (1 + xp.exp(-z))


def _positive(xp: Any, z: Any) -> Any:
    """max(z, 0)."""
    return xp.where(z > 0, z, xp.zeros_like(z))


def _normal_cdf(xp: Any, z: Any) -> Any:
    """The standard normal's distribution function: see `fastnet_numpy.activations.normal_cdf`."""
    # The standard has no erf. In float64, which Apple's GPUs do not have.
    wide = z.dtype if "mps" in str(z.device) else xp.float64
    x = xp.abs(xp.astype(z, wide)) * math.sqrt(0.5)
    t = 2 / (2 + x)
    u = 2 * (2 * t - 1)
    d = dd = xp.zeros_like(t)
    for coefficient in ERFC[:0:-1]:
        d, dd = u * d - dd + coefficient, d
    tail = 0.5 * t * xp.exp(-x * x + 0.5 * (ERFC[0] + u * d) - dd)
    return xp.astype(xp.where(z > 0, 1 - tail, tail), z.dtype)


def _gelu_slope(xp: Any, z: Any, a: Any) -> Any:
    return _normal_cdf(xp, z) + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _tanh_gelu_slope(xp: Any, z: Any, a: Any, c: float, k: float) -> Any:
    # Beyond 30 the tanh is 1 to the last digit; z^2 could overflow there, and infinity times 0.
    z = xp.where(xp.abs(z) < 30, z, 30 * xp.sign(z))
    h = xp.tanh(c * (z + k * z * z * z))
    return (1 + h) / 2 + z / 2 * (1 - h * h) * c * (1 + 3 * k * z * z)


#: By kind, f(z) and f'(z); the slope may be told from `a` too. Constants come last.
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sigmoid": (_sigmoid, lambda xp, z, a: a * (1 - a)),
    "tanh": (lambda xp, z: xp.tanh(z), lambda xp, z, a: 1 - a * a),
    "relu": (
        # NaN stays NaN: of a comparison it would become 0.
        lambda xp, z: xp.where(z <= 0, xp.zeros_like(z), z),
        lambda xp, z, a: xp.where(a > 0, xp.ones_like(a), xp.zeros_like(a)),
    ),
    "leaky_relu": (
        lambda xp, z, slope: xp.where(z <= 0, slope * z, z),
        lambda xp, z, a, slope: xp.where(z <= 0, slope * xp.ones_like(z), xp.ones_like(z)),
    ),
    "elu": (
        lambda xp, z, curve, scale: xp.where(
            z > 0, scale * z, curve * xp.expm1(xp.where(z > 0, xp.zeros_like(z), z))
        ),
        lambda xp, z, a, curve, scale: xp.where(
            z > 0, scale * xp.ones_like(z), curve * xp.exp(xp.where(z > 0, xp.zeros_like(z), z))
        ),
    ),
    "softplus": (
        lambda xp, z: _positive(xp, z) + xp.log1p(xp.exp(-xp.abs(z))),
        lambda xp, z, a: _sigmoid(xp, z),
    ),
    "silu": (
        lambda xp, z: z * _sigmoid(xp, z),
        lambda xp, z, a: (s := _sigmoid(xp, z)) + a * (1 - s),
    ),
    "gelu": (lambda xp, z: z * _normal_cdf(xp, z), _gelu_slope),
    "tanh_gelu": (
        lambda xp, z, c, k: z / 2 * (1 + xp.tanh(c * (z + k * z * z * z))),
        _tanh_gelu_slope,
    ),
}


def _softmax(xp: Any, z: Any) -> Any:
    e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def _huber(xp: Any, p: Any, y: Any, delta: float) -> tuple[Any, Any]:
    r = p - y
    c = xp.where(xp.abs(r) <= delta, r, delta * xp.sign(r))
    return c * (r - c / 2), c


def _quantile(xp: Any, p: Any, y: Any, q: float) -> tuple[Any, Any]:
    r, zero = y - p, xp.zeros_like(p)
    slope = xp.where(r > 0, zero - q, xp.where(r < 0, zero + (1 - q), zero))
    return -slope * r, slope


def _binary_crossentropy(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    # In this order: where the answer is sure and right, the first two cancel exactly.
    return xp.log1p(xp.exp(-xp.abs(z))) + (_positive(xp, z) - z * y), _sigmoid(xp, z) - y


def _crossentropy(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    shifted = z - xp.max(z, axis=1, keepdims=True)
    if y.ndim == 1:  # class indices
        classes = xp.arange(z.shape[1], dtype=y.dtype, device=y.device)
        y = xp.astype(xp.expand_dims(y, axis=1) == xp.expand_dims(classes, axis=0), z.dtype)
    weight = xp.sum(y, axis=1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    picked = xp.sum(xp.where(y > 0, y * shifted, xp.zeros_like(z)), axis=1, keepdims=True)
    return weight * total - picked, weight * _softmax(xp, z) - y


#: By kind, each entry's loss and its derivative by `p`; constants come last.
LOSSES: dict[str, Callable[..., tuple[Any, Any]]] = {
    "mse": lambda xp, p, y: ((p - y) ** 2, 2 * (p - y)),
    "mae": lambda xp, p, y: (xp.abs(p - y), xp.sign(p - y)),
    "huber": _huber,
    "poisson": lambda xp, p, y: (xp.exp(p) - y * p, xp.exp(p) - y),
    "poisson_rate": lambda xp, p, y, e: (p - y * xp.log(p + e), 1 - y / (p + e)),
    "quantile": _quantile,
    "binary_crossentropy": _binary_crossentropy,
    "crossentropy": _crossentropy,
}


def _nesterov(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], momentum: float) -> Any:
    memory[0] = momentum * memory[0] + g
    return lr * (g + momentum * memory[0])


def _momentum(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], momentum: float) -> Any:
    memory[0] = momentum * memory[0] + g
    return lr * memory[0]


def _adam(
    xp: Any, g: Any, lr: Any, t: int, memory: list[Any], beta1: float, beta2: float, epsilon: float
) -> Any:
    m = memory[0] = beta1 * memory[0] + (1 - beta1) * g
    v = memory[1] = beta2 * memory[1] + (1 - beta2) * (g * g)
    return lr / (1 - beta1**t) * (m / (xp.sqrt(v) / math.sqrt(1 - beta2**t) + epsilon))


def _rmsprop(
    xp: Any,
    g: Any,
    lr: Any,
    t: int,
    memory: list[Any],
    alpha: float,
    epsilon: float,
    momentum: float,
) -> Any:
    v = memory[0] = alpha * memory[0] + (1 - alpha) * (g * g)
    step = g / (xp.sqrt(v) + epsilon)
    if not momentum:
        return lr * step
    memory[1] = momentum * memory[1] + step
    return lr * memory[1]


def _adagrad(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], epsilon: float) -> Any:
    memory[0] = memory[0] + g * g
    return lr * (g / (xp.sqrt(memory[0]) + epsilon))


def _rprop(
    xp: Any, g: Any, lr: Any, t: int, memory: list[Any],
    grow: float, shrink: float, smallest: float, largest: float,
) -> Any:  # fmt: skip
    last, step = memory
    kept = xp.sign(last) * xp.sign(g)
    step = xp.where(kept > 0, step * grow, xp.where(kept < 0, step * shrink, step))
    step = xp.where(step > largest, largest * xp.ones_like(step), step)
    step = xp.where(step < smallest, smallest * xp.ones_like(step), step)
    g = xp.where(kept < 0, xp.zeros_like(g), g)
    memory[:] = g, step
    return xp.sign(g) * step


def _lion(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], beta1: float, beta2: float) -> Any:
    m = memory[0]
    memory[0] = beta2 * m + (1 - beta2) * g
    return lr * xp.sign(beta1 * m + (1 - beta1) * g)


#: By kind, what is taken from the parameters; the vectors of `memory` are replaced by new ones.
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda xp, g, lr, t, memory: lr * g,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adam": _adam,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "rprop": _rprop,
    "lion": _lion,
}


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
            values = self._forward(self.plan.for_prediction, parameters, x.numbers, {})
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
            values = self._forward(plan.for_loss, state.parameters, x, masks)
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
            return loss, mass, self._backward(state.parameters, values, masks, d)

    def update(self, state: State, gradient: Any, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step."""
        xp, (kind, constants) = self.xp, run.optimizer.canonical()
        if kind not in OPTIMIZERS:
            raise loading.lacking(self.name, "optimizer", kind)
        with np.errstate(all="ignore"):
            g = gradient
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
            trained = self.plan.trained
            p = state.parameters[:trained]
            p = p * (1 - lr * decay * self._factors("decay_factor")) if decay else p
            memory = [state.memory[i, ...] for i in range(state.memory.shape[0])]
            state.updates += 1
            p = p - OPTIMIZERS[kind](xp, g, lr, state.updates, memory, *constants)
            rest = state.parameters[trained:]
            state.parameters = p if trained == self.plan.size else xp.concat((p, rest))
            if memory:
                state.memory = xp.stack(memory)

    def _rows(self, array: Any, rows: "slice | Array") -> Any:
        if isinstance(rows, slice):
            return array[rows, ...]
        return self.xp.take(array, self.to_device(rows), axis=0)

    def _of(self, piece: Parameter, flat: Any) -> Any:
        """A piece of a flat vector, in its own shape."""
        return self.xp.reshape(flat[piece.offset : piece.offset + piece.size], piece.shape)

    def _forward(
        self, operations: Sequence[Operation], parameters: Any, x: Any, masks: dict[int, Any]
    ) -> dict[int, Any]:
        """All values, by their numbers."""
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
                case Softmax():
                    a = _softmax(self.xp, z)
                case Dropout():
                    a = z * masks[op.target] if op.target in masks else z
                case _:
                    raise loading.lacking(self.name, "operation", type(op).__name__.lower())
            values[op.target] = a
        return values

    def _backward(
        self, parameters: Any, values: dict[int, Any], masks: dict[int, Any], d: Any
    ) -> Any:
        """The gradient `(trained,)`, from the loss's derivative by its source."""
        xp, found = self.xp, {}
        for op in reversed(self.plan.for_loss):
            x, a = values[op.sources[0]], values[op.target]
            if isinstance(op, Affine):
                found[op.weight.offset] = xp.matrix_transpose(x) @ d
                if op.bias is not None:
                    found[op.bias.offset] = xp.sum(d, axis=0)
            if not op.needs_input_gradient:
                break
            match op:
                case Affine():
                    d = d @ xp.matrix_transpose(self._of(op.weight, parameters))
                case Elementwise():
                    d = d * ACTIVATIONS[op.kind][1](xp, x, a, *op.constants)
                case Softmax():
                    d = a * (d - xp.sum(a * d, axis=1, keepdims=True))
                case Dropout():
                    d = d * masks[op.target] if op.target in masks else d
        return xp.concat([xp.reshape(found[place], (-1,)) for place in sorted(found)])

    def _masks(self, run: Run, step: int, rows: int) -> dict[int, Any]:
        """What dropout multiplies with, by the value it makes; drawn on the host."""
        masks = {}
        for op in self.plan.for_loss:
            if isinstance(op, Dropout) and (factor := run.of_step("dropout_factor", step)):
                rate = op.rate * factor
                words = random.words(run.seed, random.DROPOUT, step, rows * op.units, op.layer)
                kept = words.reshape(rows, op.units) >= random.keep_threshold(rate)
                masks[op.target] = self.to_device((kept / (1 - rate)).astype(self.dtype))
        return masks

    def _penalized(self, parameters: Any, gradient: Any, l1: float, l2: float) -> Any:
        """The gradient, with l1 sign(w) + l2 w added for the weights."""
        pieces = []
        for piece in self.plan.parameters:
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


#: Libraries that have been tried.
LIBRARIES = ("numpy", "torch", "cupy", "jax.numpy", "array_api_strict")


class ArrayBackend(Backend):
    """Runs on one library of the standard."""

    contract = 3

    def __init__(self, library: str | None = None) -> None:
        self.library = library or "numpy"
        self.name = "array_api" if library is None else f"array_api:{library}"

    @property
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """What stands in the tables above."""
        return {
            "operation": ["affine", "elementwise", "softmax", "dropout"],  # in _forward, _backward
            "activation": list(ACTIVATIONS),
            "loss": list(LOSSES),
            "optimizer": list(OPTIMIZERS),
            "factor": ["rate", "decay"],
        }

    def variant(self, name: str) -> "ArrayBackend":
        """The backend on another library: `array_api:torch`."""
        return ArrayBackend(name)

    def namespace(self) -> Any:
        """The library's functions, as the standard has them.

        Raises:
            BackendUnavailable: if the library, or what adapts it to the standard, is not there.
        """
        try:
            library = importlib.import_module(self.library)
        except Exception as error:  # a library may raise anything, a name may be no name
            raise BackendUnavailable(
                f"backend {self.name!r} cannot import {self.library!r} ({error}); install it, or "
                f"use one of {', '.join(LIBRARIES)}."
            ) from error
        if not hasattr(library, "__array_api_version__") or self.library == "numpy":
            try:
                library = importlib.import_module(f"array_api_compat.{self.library}")
            except ImportError as error:
                if importlib.util.find_spec("array_api_compat") is None:
                    remedy = f"install what adapts it: {pip_install(*REQUIREMENTS['array_api'])}"
                else:
                    remedy = f"use one of {', '.join(LIBRARIES)}"
                raise BackendUnavailable(
                    f"backend {self.name!r} needs a library of the array-API standard, which "
                    f"{self.library!r} is not by itself; {remedy}"
                ) from error
        if not all(hasattr(library, name) for name in ("asarray", "matmul", "float64")):
            raise BackendUnavailable(
                f"backend {self.name!r} needs a library of the array-API standard, which "
                f"{self.library!r} is not; use one of {', '.join(LIBRARIES)}."
            )
        return library

    def probe(self) -> Probe:
        """Whether the library is here, and the device that `FASTNET_DEVICE` names."""
        try:
            self._device(self.namespace())
        except BackendUnavailable as error:
            reason, _, remedy = str(error).removeprefix(f"backend {self.name!r}").partition("; ")
            reason = reason.strip(": ")
            return Probe(False, f"it {reason}", remedy[:1].upper() + remedy[1:])
        return Probe(usable=True)

    def describe(self) -> Mapping[str, str]:
        """The library's version and the device asked for."""
        package = importlib.import_module(self.library.partition(".")[0])
        version = getattr(package, "__version__", "")
        device = os.environ.get("FASTNET_DEVICE") or "the library's default"
        return {
            "versions": f"{self.library} {version}".strip(),
            "device": device,
            "threads": "the library's own",
        }

    def make_program(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> ArrayProgram:
        """Nothing is compiled: the plan is followed step by step."""
        xp = self.namespace()
        program = ArrayProgram(self.name, xp, self._device(xp), plan, dtype)
        program.to_device(np.zeros(1, dtype))  # here, not in the first step, it may be refused
        return program

    def _device(self, xp: Any) -> Any:
        """What `FASTNET_DEVICE` names, as the library takes it; None: its own choice."""
        device: Any = os.environ.get("FASTNET_DEVICE", "").strip() or None
        try:
            if device is not None and self.library == "jax.numpy":
                device = importlib.import_module("jax").devices(device)[0]
            float(xp.sum(xp.asarray([0.0], dtype=xp.float32, device=device)))
        except Exception as error:  # each library has errors of its own
            if device is None:
                raise BackendUnavailable(
                    f"backend {self.name!r} cannot compute on {self.library}'s default device "
                    f"({error}); set FASTNET_DEVICE to another."
                ) from error
            raise BackendUnavailable(
                f"backend {self.name!r} cannot compute on FASTNET_DEVICE={str(device)!r} "
                f"({error}); set it to another device, or unset it."
            ) from error
        return device


BACKEND = ArrayBackend()
