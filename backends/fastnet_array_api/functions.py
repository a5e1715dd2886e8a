"""Activations, losses and optimizers in the functions of the array-API standard.

`xp` is the library's namespace, as the standard calls it.

Letters: `z` a pre-activation, `a` an activation, `p` a prediction or its logits, `y` targets, `g` a
gradient, `lr` the learning rate of a step, `t` the number of the update.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.definition.activations import NORMAL_TAIL
from fastnet.definition.optimizers import Negligible, negligible


def _sigmoid(xp: Any, z: Any) -> Any:
    return 1 / (1 + xp.exp(-z))


def _positive(xp: Any, z: Any) -> Any:
    """max(z, 0)."""
    return xp.where(z > 0, z, xp.zeros_like(z))


def _normal_cdf(xp: Any, z: Any) -> Any:
    """The standard normal's distribution function: see `NORMAL_TAIL`."""
    # The standard has no erf. In float64, which Apple's GPUs do not have.
    wide = z.dtype if "mps" in str(z.device) else xp.float64
    above, below, end = NORMAL_TAIL[8]
    x = xp.abs(xp.astype(z, wide))
    x = xp.where(x > end, end * xp.ones_like(x), x)
    tail = 0.5 * xp.exp(-0.5 * x * x) * _polynomial(xp, x, above) / _polynomial(xp, x, below)
    return xp.astype(xp.where(z > 0, 1 - tail, tail), z.dtype)


def _polynomial(xp: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    y = coefficients[-1] * xp.ones_like(x)
    for coefficient in coefficients[-2::-1]:
        y = y * x + coefficient
    return y


def _gelu_slope(xp: Any, z: Any, a: Any) -> Any:
    return _normal_cdf(xp, z) + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _tanh_gelu_slope(xp: Any, z: Any, a: Any, c: float, k: float) -> Any:
    # Beyond 30 the tanh is 1 to the last digit; z^2 could overflow there, and infinity times 0.
    z = xp.where(xp.abs(z) < 30, z, 30 * xp.sign(z))
    h = xp.tanh(c * (z + k * z * z * z))
    return (1 + h) / 2 + z / 2 * (1 - h * h) * c * (1 + 3 * k * z * z)


def _mish_terms(xp: Any, z: Any) -> tuple[Any, Any]:
    """e = exp(z), n = e (e + 2); from 20 on n / (n + 2) is 1 to the last digit."""
    e = xp.exp(xp.where(z > 20, 20 * xp.ones_like(z), z))
    return e, e * (e + 2)


def _mish(xp: Any, z: Any) -> Any:
    _, n = _mish_terms(xp, z)
    return z * (n / (n + 2))


def _mish_slope(xp: Any, z: Any, a: Any) -> Any:
    e, n = _mish_terms(xp, z)
    return n / (n + 2) + z * 4 * e * (1 + e) / ((n + 2) * (n + 2))


def _relu6(xp: Any, z: Any) -> Any:
    z = xp.where(z <= 0, xp.zeros_like(z), z)
    return xp.where(z > 6, 6 * xp.ones_like(z), z)


def _hardswish_slope(xp: Any, z: Any, a: Any) -> Any:
    one = xp.ones_like(z)
    return xp.where(z <= -3, 0 * one, xp.where(z >= 3, one, z / 3 + 0.5))


def _inside(xp: Any, z: Any, low: float, high: float) -> Any:
    """1 where low < z < high, else 0."""
    return xp.astype(xp.logical_and(z > low, z < high), z.dtype)


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
    "mish": (_mish, _mish_slope),
    "hardswish": (lambda xp, z: z * (_relu6(xp, z + 3) / 6), _hardswish_slope),
    "relu6": (_relu6, lambda xp, z, a: _inside(xp, z, 0, 6)),
    "hardsigmoid": (
        lambda xp, z: _relu6(xp, z + 3) / 6,
        lambda xp, z, a: _inside(xp, z, -3, 3) / 6,
    ),
}


def softmax(xp: Any, z: Any) -> Any:
    """a_j = exp(z_j) / sum_k exp(z_k), row by row."""
    e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def normalized(xp: Any, x: Any, epsilon: float, axis: int = 1) -> tuple[Any, Any]:
    """a = (x - m) / s, and s, over the units of each row, or over the rows."""
    m, variance = moments(xp, x, axis)
    s = xp.sqrt(variance + epsilon)
    return (x - m) / s, s


def moments(xp: Any, x: Any, axis: int) -> tuple[Any, Any]:
    """The mean and the variance along an axis, which is kept."""
    m = xp.mean(x, axis=axis, keepdims=True)
    centered = x - m
    return m, xp.mean(centered * centered, axis=axis, keepdims=True)


def normalized_back(xp: Any, d: Any, a: Any, s: Any, axis: int = 1) -> Any:
    """dx = (d - mean(d) - a mean(d a)) / s."""
    along = xp.mean(d * a, axis=axis, keepdims=True)
    return (d - xp.mean(d, axis=axis, keepdims=True) - a * along) / s


def _huber(xp: Any, p: Any, y: Any, delta: float) -> tuple[Any, Any]:
    r = p - y
    c = xp.where(xp.abs(r) <= delta, r, delta * xp.sign(r))
    return c * (r - c / 2), c


def _quantile(xp: Any, p: Any, y: Any, q: Any) -> tuple[Any, Any]:
    r, zero = y - p, xp.zeros_like(p)
    slope = xp.where(r > 0, zero - q, xp.where(r < 0, zero + (1 - q), zero))
    return -slope * r, slope


def _quantiles(xp: Any, p: Any, y: Any, *q: float) -> tuple[Any, Any]:
    return _quantile(xp, p, y, xp.asarray(q, dtype=p.dtype, device=p.device))


def _gaussian_nll(xp: Any, p: Any, y: Any, least: float) -> tuple[Any, Any]:
    k = p.shape[1] // 2
    r, s = p[:, :k] - y[:, :k], p[:, k:]
    c = xp.where(s < least, xp.full_like(s, least), s)
    by_mean = r * xp.exp(-c)
    square = r * by_mean
    by_variance = (1 - square) / 2 * xp.exp(s - c)
    return (c + square) / 2, xp.concat((by_mean, by_variance), axis=1)


def _binary_crossentropy(xp: Any, z: Any, y: Any, e: float = 0.0) -> tuple[Any, Any]:
    y = y + e * (0.5 - y)
    # In this order: where the answer is sure and right, the first two cancel exactly.
    return xp.log1p(xp.exp(-xp.abs(z))) + (_positive(xp, z) - z * y), _sigmoid(xp, z) - y


def _crossentropy(xp: Any, z: Any, y: Any, e: float = 0.0) -> tuple[Any, Any]:
    shifted = z - xp.max(z, axis=1, keepdims=True)
    if y.ndim == 1:  # class indices
        classes = xp.arange(z.shape[1], dtype=y.dtype, device=y.device)
        y = xp.astype(xp.expand_dims(y, axis=1) == xp.expand_dims(classes, axis=0), z.dtype)
    weight = xp.sum(y, axis=1, keepdims=True)
    if e:
        y = (1 - e) * y + e / z.shape[1] * weight
    total = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    picked = xp.sum(xp.where(y > 0, y * shifted, xp.zeros_like(z)), axis=1, keepdims=True)
    return weight * total - picked, weight * softmax(xp, z) - y


#: By kind, each entry's loss and its derivative by `p`; constants come last.
LOSSES: dict[str, Callable[..., tuple[Any, Any]]] = {
    "mse": lambda xp, p, y: ((p - y) ** 2, 2 * (p - y)),
    "mae": lambda xp, p, y: (xp.abs(p - y), xp.sign(p - y)),
    "huber": _huber,
    "poisson": lambda xp, p, y: (xp.exp(p) - y * p, xp.exp(p) - y),
    "poisson_rate": lambda xp, p, y, e: (p - y * xp.log(p + e), 1 - y / (p + e)),
    "quantile": _quantile,
    "quantiles": _quantiles,
    "gaussian_nll": _gaussian_nll,
    "binary_crossentropy": _binary_crossentropy,
    "smoothed_binary_crossentropy": _binary_crossentropy,
    "crossentropy": _crossentropy,
    "smoothed_crossentropy": _crossentropy,
}


def _cleared(xp: Any, v: Any, least: float) -> Any:
    """0 where the magnitude is less than `least`; NaN stays."""
    return xp.where(xp.abs(v) < least, xp.zeros_like(v), v)


def _squared(xp: Any, g: Any) -> Any:
    """g^2, with |g| at least the root of what is negligible."""
    size, root = xp.abs(g), _bounds(xp, g).root * xp.ones_like(g)
    size = xp.where(size < root, root, size)
    return size * size


def _bounds(xp: Any, v: Any) -> Negligible:
    return negligible(np.float32 if v.dtype == xp.float32 else np.float64)


def _remembered(xp: Any, v: Any) -> Any:
    """The memory of gradients, 0 where it is negligible."""
    return _cleared(xp, v, _bounds(xp, v).memory)


def kept(xp: Any, p: Any) -> Any:
    """Parameters, 0 where they are negligible."""
    return _cleared(xp, p, _bounds(xp, p).parameter)


def _nesterov(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], momentum: float) -> Any:
    memory[0] = _remembered(xp, momentum * memory[0] + g)
    return lr * (g + momentum * memory[0])


def _momentum(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], momentum: float) -> Any:
    memory[0] = _remembered(xp, momentum * memory[0] + g)
    return lr * memory[0]


def _adam(
    xp: Any, g: Any, lr: Any, t: int, memory: list[Any],
    beta1: float, beta2: float, epsilon: float, before: float,
) -> Any:  # fmt: skip
    epsilon = epsilon / math.sqrt(1 - before * beta2**t)
    m = memory[0] = _remembered(xp, beta1 * memory[0] + (1 - beta1) * g)
    v = memory[1] = beta2 * memory[1] + (1 - beta2) * _squared(xp, g)
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
    v = memory[0] = alpha * memory[0] + (1 - alpha) * _squared(xp, g)
    step = g / (xp.sqrt(v) + epsilon)
    if not momentum:
        return lr * step
    memory[1] = _remembered(xp, momentum * memory[1] + step)
    return lr * memory[1]


def _adagrad(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], epsilon: float) -> Any:
    memory[0] = memory[0] + _squared(xp, g)
    return lr * (g / (xp.sqrt(memory[0]) + epsilon))


def _rprop(
    xp: Any, g: Any, lr: Any, t: int, memory: list[Any],
    grow: float, shrink: float, smallest: float, largest: float,
) -> Any:  # fmt: skip
    last, step = memory
    g = _remembered(xp, g)
    same = xp.sign(last) * xp.sign(g)
    step = xp.where(same > 0, step * grow, xp.where(same < 0, step * shrink, step))
    step = xp.where(step > largest, largest * xp.ones_like(step), step)
    step = xp.where(step < smallest, smallest * xp.ones_like(step), step)
    g = xp.where(same < 0, xp.zeros_like(g), g)
    memory[:] = g, step
    return xp.sign(g) * step


def _lion(xp: Any, g: Any, lr: Any, t: int, memory: list[Any], beta1: float, beta2: float) -> Any:
    m = memory[0]
    memory[0] = _remembered(xp, beta2 * m + (1 - beta2) * g)
    return lr * xp.sign(_remembered(xp, beta1 * m + (1 - beta1) * g))


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
