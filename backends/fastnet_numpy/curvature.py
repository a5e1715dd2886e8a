"""The Hessian times a vector: the derivative of the gradient along a direction.

By Pearlmutter's R-operator ("Fast exact multiplication by the Hessian", 1994): beside every number
of a gradient's computation stands its derivative along the direction, and rules say what an
operation makes of both. It is exact, at about twice the arithmetic of a gradient.

Letters as in `layers.py`; `rx` is the derivative of x along the direction, and so on. `v` is the
direction's part for a parameter.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract import loading, plan
from fastnet.errors import DefinitionError
from fastnet_numpy import embedding_curvature
from fastnet_numpy.activations import FUNCTIONS, Softmax, softplus
from fastnet_numpy.losses import LOSSES
from fastnet_numpy.normalizing import (
    RULES,
    deviations,
    function_and_weight,
    normalized,
    normalized_back,
    scaled,
)

#: A value, and its derivative along the direction.
Pair = tuple[Array, Array]


def _sigmoid(z: Array) -> Any:
    return 1 / (1 + np.exp(-z))


def _of_sigmoid(z: Array) -> Any:
    s = _sigmoid(z)
    return s * (1 - s) * (1 - 2 * s)


def _of_tanh(z: Array) -> Any:
    a = np.tanh(z)
    return -2 * a * (1 - a * a)


def _of_softplus(z: Array) -> Any:
    s = _sigmoid(z)
    return s * (1 - s)


def _of_silu(z: Array) -> Any:
    s = _sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


def _of_mish(z: Array) -> Any:
    """a = z t, t = tanh(softplus(z)): a'' = 2 t' + z t''."""
    s, t = _sigmoid(z), np.empty_like(z)
    softplus(z, t)
    np.tanh(t, t)
    slope = (1 - t * t) * s
    return 2 * slope + z * slope * ((1 - s) - 2 * t * s)


def _of_gelu(z: Array) -> Any:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (2 - z * z)


def _of_tanh_gelu(z: Array, c: float, k: float) -> Any:
    """a = z / 2 (1 + h), h = tanh(u), u = c (z + k z^3): a'' = h' + z / 2 h''."""
    z = np.clip(z, -30, 30)  # beyond, h does not change, and powers of z could overflow
    h, by_z, twice = np.tanh(c * (z + k * z**3)), c * (1 + 3 * k * z * z), 6 * c * k * z
    steep = 1 - h * h
    return steep * by_z + z / 2 * steep * (twice - 2 * h * by_z * by_z)


#: f''(z), by the kinds of activations that have it everywhere.
SECOND: dict[str, Callable[..., Array]] = {
    "sigmoid": _of_sigmoid,
    "tanh": _of_tanh,
    "softplus": _of_softplus,
    "silu": _of_silu,
    "mish": _of_mish,
    "gelu": _of_gelu,
    "tanh_gelu": _of_tanh_gelu,
}


def _cross(z: Array, y: Array, rz: Array, *e: float) -> Any:
    p = np.empty_like(z)
    Softmax((), z.dtype).forward(z, p)
    weight = 1.0 if y.ndim == 1 else y.sum(axis=1, keepdims=True)
    return weight * p * (rz - (p * rz).sum(axis=1, keepdims=True))


def _binary(z: Array, y: Array, rz: Array, *e: float) -> Any:
    return _of_softplus(z) * rz


def _gaussian(p: Array, y: Array, rp: Array, least: float) -> Array:
    k = p.shape[1] // 2
    r, s, rm, rs = p[:, :k] - y[:, :k], p[:, k:], rp[:, :k], rp[:, k:]
    c = np.maximum(s, least)
    rc = rs * (s > least)
    precision, shrink = np.exp(-c), np.exp(s - c)
    square = r * r * precision
    by_mean = precision * (rm - r * rc)
    by_s = shrink / 2 * (square * rc - 2 * r * precision * rm + (1 - square) * (rs - rc))
    return np.hstack((by_mean, by_s))


#: By the kinds of losses that are smooth, the derivative of their slopes by p along a direction rp.
LOSS_CURVATURES: dict[str, Callable[..., Any]] = {
    "mse": lambda p, y, rp: 2 * rp,
    "poisson": lambda p, y, rp: np.exp(p) * rp,
    "poisson_rate": lambda p, y, rp, e: y / (p + e) ** 2 * rp,
    "binary_crossentropy": _binary,
    "smoothed_binary_crossentropy": _binary,
    "crossentropy": _cross,
    "smoothed_crossentropy": _cross,
    "gaussian_nll": _gaussian,
}


class LossCurvature(NamedTuple):
    """The slopes of a loss, and their derivatives along a direction.

    Attributes:
        loss: the loss.
        y: the targets of some rows, as in `Data`.
        weight: `(rows,)`, or None.
        mass: of all rows: what the sum of terms is divided by.
    """

    loss: plan.LossFunction
    y: Array
    weight: Array | None
    mass: float

    def __call__(self, p: Array, rp: Array) -> Pair:
        """Both, for what the loss is computed from and its derivative along the direction."""
        kind, constants = self.loss.kind, self.loss.constants
        t, d = np.empty_like(p), np.empty_like(p)
        LOSSES[kind](p, self.y, t, d, *constants)
        rd = LOSS_CURVATURES[kind](p, self.y, rp, *constants)
        if self.weight is None:
            return d / self.mass, rd / self.mass
        share = (self.weight / self.mass)[:, None]
        # Rows of weight 0 do not count, even where their loss is not finite.
        return np.where(share > 0, d * share, 0), np.where(share > 0, rd * share, 0)


def hessian_vector(
    lowered: plan.Plan, parameters: Array, x: Array, curvature: LossCurvature, vector: Array
) -> Array:
    """The Hessian of a loss by the parameters, times a vector, `(size,)`.

    Batches are normalized by the statistics, as in the gradient that this is the derivative of.

    Args:
        lowered: the network.
        parameters: `(size,)`.
        x: `(rows, inputs)`.
        curvature: the loss's, of these rows.
        vector: `(size,)`, 0 for what is not trained.

    Raises:
        DefinitionError: naming an activation or a loss that has no second derivative everywhere.
        BackendUnavailable: naming an operation whose second derivative is not here.
    """
    _check_smooth(lowered)
    values, tangents = {0: x}, {0: np.zeros_like(x)}
    for op in lowered.for_loss:
        sources = [(values[source], tangents[source]) for source in op.sources]
        values[op.target], tangents[op.target] = _forward(op, parameters, vector, *sources)
    source = lowered.loss_source
    derivatives: dict[int, Any] = {source: curvature(values[source], tangents[source])}
    found = np.zeros_like(parameters)
    for op in reversed(lowered.for_loss):
        sources = [(values[source], tangents[source]) for source in op.sources]
        out, both = (values[op.target], tangents[op.target]), derivatives.pop(op.target)
        if isinstance(op, embedding_curvature.EMBEDDINGS):
            x = values[op.sources[0]]
            embedding_curvature.collect(op, found, parameters, vector, x, *both)
            back = embedding_curvature.backward(op, x, *both)
        else:
            _collect(op, found, parameters, *sources[0], *both)
            back = _backward(op, parameters, vector, *sources[0], *out, *both)
        for source in op.sources:  # of a sum, each has the same
            d, rd = derivatives.get(source, (0.0, 0.0))
            derivatives[source] = d + back[0], rd + back[1]
    return found


def _forward(
    op: plan.Operation, parameters: Array, vector: Array, first: Pair, *others: Pair
) -> Pair:
    """What comes out of an operation, and its derivative along the direction."""
    x, rx = first
    match op:
        case plan.Affine():
            w, v = op.weight.of(parameters), op.weight.of(vector)
            z, rz = x @ w, rx @ w + x @ v
            if op.bias is not None:
                z, rz = z + op.bias.of(parameters), rz + op.bias.of(vector)
            return z, rz
        case plan.Elementwise():
            a = np.empty_like(x)
            FUNCTIONS[op.kind](op.constants, x.dtype).forward(x, a)
            return a, _slope(op, x, a) * rx
        case plan.Softmax():
            a = np.empty_like(x)
            Softmax((), x.dtype).forward(x, a)
            return a, a * (rx - (a * rx).sum(axis=1, keepdims=True))
        case plan.Dropout():
            return x, rx
        case plan.Normalize():
            a, s = normalized(x, op.epsilon)
            return a, _normalized_along(a, s, rx)[0]
        case plan.BatchNormalize():
            return RULES[type(op)].value(op, parameters, x), rx / deviations(op, parameters)
        case plan.Parametric():
            f, w = function_and_weight(op, parameters, x)
            bent = _slope(op, x, f) - 1
            a = RULES[type(op)].value(op, parameters, x)
            return a, (1 + w * bent) * rx + (f - x) * _weight_along(op, vector)
        case plan.Scale():
            return scaled(op, parameters, x), rx * op.scale.of(parameters) + scaled(op, vector, x)
        case plan.Add():
            ((f, rf),) = others
            return x + f, rx + rf
        case plan.Embed() | plan.Periodic() | plan.PiecewiseLinear():
            return embedding_curvature.forward(op, parameters, vector, x, rx)
    raise loading.lacking("numpy", "second derivative of operation", type(op).__name__.lower())


def _collect(
    op: plan.Operation, found: Array, parameters: Array, x: Array, rx: Array, d: Array, rd: Array
) -> None:
    """Write the part of the result that is of an operation's own parameters."""
    match op:
        case plan.Parametric():
            f, _ = function_and_weight(op, parameters, x)
            bent = _slope(op, x, f) - 1
            by_w = (rd * (f - x) + d * bent * rx).sum(axis=0)
            op.alpha.of(found)[...] = -by_w if op.complement else by_w
        case plan.Affine():
            op.weight.of(found)[...] = rx.T @ d + x.T @ rd
            if op.bias is not None:
                op.bias.of(found)[...] = rd.sum(axis=0)
        case plan.Scale():
            op.scale.of(found)[...] = (rd * x + d * rx).sum(axis=0)
            if op.shift is not None:
                op.shift.of(found)[...] = rd.sum(axis=0)


def _backward(
    op: plan.Operation, parameters: Array, vector: Array,
    x: Array, rx: Array, a: Array, ra: Array, d: Array, rd: Array,
) -> Pair:  # fmt: skip
    """The loss's derivative by what went in, and its derivative along the direction."""
    match op:
        case plan.Affine():
            w, v = op.weight.of(parameters), op.weight.of(vector)
            return d @ w.T, rd @ w.T + d @ v.T
        case plan.Elementwise():
            slope = _slope(op, x, a)
            return d * slope, rd * slope + d * SECOND[op.kind](x, *op.constants) * rx
        case plan.Softmax():
            apart = d - (a * d).sum(axis=1, keepdims=True)
            changed = rd - (ra * d + a * rd).sum(axis=1, keepdims=True)
            return a * apart, ra * apart + a * changed
        case plan.Normalize():
            _, s = normalized(x, op.epsilon)
            _, rs = _normalized_along(a, s, rx)
            dx = normalized_back(d, a, s, axis=1)
            rdx = normalized_back(rd, a, s, axis=1) - dx * rs / s
            along = (d * a).mean(axis=1, keepdims=True)
            return dx, rdx - (ra * along + a * (d * ra).mean(axis=1, keepdims=True)) / s
        case plan.BatchNormalize():
            s = deviations(op, parameters)
            return d / s, rd / s
        case plan.Parametric():
            f, w = function_and_weight(op, parameters, x)
            bent = _slope(op, x, f) - 1
            rbent = SECOND[op.kind](x, *op.constants) * rx
            turned = _weight_along(op, vector) * bent + w * rbent
            return d * (1 + w * bent), rd * (1 + w * bent) + d * turned
        case plan.Scale():
            scale, v = op.scale.of(parameters), op.scale.of(vector)
            return d * scale, rd * scale + d * v
    return d, rd


def _normalized_along(a: Array, s: Array, rx: Array) -> Pair:
    """The derivatives of a and s of `Normalize` along the direction."""
    centered = rx - rx.mean(axis=1, keepdims=True)
    rs: Array = (a * centered).mean(axis=1, keepdims=True)
    return (centered - a * rs) / s, rs


def _weight_along(op: plan.Parametric, vector: Array) -> Array:
    """The derivative of w of `Parametric` along the direction."""
    v = op.alpha.of(vector)
    return -v if op.complement else v


def _slope(op: plan.Elementwise | plan.Parametric, z: Array, a: Array) -> Array:
    """f'(z)."""
    slope = np.ones_like(z)
    FUNCTIONS[op.kind](op.constants, z.dtype).backward(slope, z, a, np.empty_like(z))
    return slope


def _check_smooth(lowered: plan.Plan) -> None:
    kinds = [("activation", op.kind, SECOND) for op in lowered.for_loss
             if isinstance(op, plan.Elementwise | plan.Parametric)]  # fmt: skip
    for table, kind, known in [*kinds, ("loss", lowered.loss.kind, LOSS_CURVATURES)]:
        if kind not in known:
            raise DefinitionError(
                f"{table} {kind!r} has no second derivative everywhere, so there is no Hessian; "
                f"those with one are {', '.join(sorted(known))}."
            )
