"""Activations and their derivatives.

Each works on a batch `(rows, units)`, in buffers that are given to it: `forward` reads the
pre-activation `z` and writes the activation `a`; `backward` turns `d`, the loss's derivative by
`a`, into its derivative by `z`, in place. `t` is scratch. Where `needs_z` is false, `a` may be
the same buffer as `z`.

Constants stand in arrays of no dimension: to make one of a Python number takes NumPy longer
than the arithmetic of a small layer.

The four that most networks use (relu, tanh, sigmoid, softmax) make no array of a batch's size.
The others make what their formulas need beyond `z`, `a`, `d` and `t` anew at every call: masks,
and the inner terms of softplus and gelu.
"""

import math
from typing import Any, ClassVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.activations import NORMAL_TAIL


class Function:
    """One activation for one dtype, with the constants of its kind."""

    needs_z: ClassVar[bool] = False

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        self.one = np.ones((), dtype)
        self.zero = np.zeros((), dtype)
        self.half = np.full((), 0.5, dtype)

    def forward(self, z: Array, a: Array) -> None:
        """a = f(z)."""
        raise NotImplementedError

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        """d = d * f'(z)."""
        raise NotImplementedError


class Sigmoid(Function):
    """a = 1 / (1 + exp(-z));  a' = a (1 - a). exp overflows to infinity, and 1 / inf is 0."""

    def forward(self, z: Array, a: Array) -> None:
        np.negative(z, a)
        np.exp(a, a)
        np.add(a, self.one, a)
        np.reciprocal(a, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.subtract(self.one, a, t)
        np.multiply(t, a, t)
        np.multiply(d, t, d)


class Tanh(Function):
    """a = tanh(z);  a' = 1 - a^2."""

    def forward(self, z: Array, a: Array) -> None:
        np.tanh(z, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.multiply(a, a, t)
        np.subtract(self.one, t, t)
        np.multiply(d, t, d)


class ReLU(Function):
    """a = max(z, 0);  a' = [a > 0]."""

    def forward(self, z: Array, a: Array) -> None:
        np.maximum(z, self.zero, out=a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.greater(a, self.zero, t, casting="unsafe")
        np.multiply(d, t, d)


class LeakyReLU(Function):
    """a = z where z > 0, else slope z;  a' = 1 or slope."""

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(constants, dtype)
        self.slope = np.full((), constants[0], dtype)

    def forward(self, z: Array, a: Array) -> None:
        np.multiply(z, np.where(z <= self.zero, self.slope, self.one), a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.multiply(d, np.where(a <= self.zero, self.slope, self.one), d)


class ELU(Function):
    """a = scale z where z > 0, else curve (exp(z) - 1);  a' = scale or curve exp(z)."""

    needs_z = True

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(constants, dtype)
        self.curve, self.scale = (np.full((), c, dtype) for c in constants)

    def forward(self, z: Array, a: Array) -> None:
        np.minimum(z, self.zero, out=a)
        np.expm1(a, a)
        np.multiply(a, self.curve, a)
        np.add(a, self.scale * np.maximum(z, self.zero), a)  # one of the two is 0

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.minimum(z, self.zero, out=t)
        np.exp(t, t)
        np.multiply(t, self.curve, t)
        np.multiply(d, np.where(z > self.zero, self.scale, t), d)


class Softplus(Function):
    """a = log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|));  a' = sigmoid(z)."""

    needs_z = True

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(constants, dtype)
        self.sigmoid = Sigmoid((), dtype)

    def forward(self, z: Array, a: Array) -> None:
        softplus(z, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        self.sigmoid.forward(z, t)
        np.multiply(d, t, d)


class SiLU(Function):
    """a = z s, s = sigmoid(z);  a' = s + a (1 - s)."""

    needs_z = True

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(constants, dtype)
        self.sigmoid = Sigmoid((), dtype)

    def forward(self, z: Array, a: Array) -> None:
        # exp(-z) is infinite where z is very negative: z * (1 / inf) = -0, as it should be.
        self.sigmoid.forward(z, a)
        np.multiply(a, z, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        self.sigmoid.forward(z, t)
        np.multiply(d, t + a * (self.one - t), d)


class GELU(Function):
    """a = z Phi(z);  a' = Phi(z) + z phi(z), phi the standard normal's density.

    Phi takes far longer than all else, so on the way back it is a / z, where z is not 0.
    """

    needs_z = True

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(constants, dtype)
        self.peak = np.full((), 1 / math.sqrt(2 * math.pi), dtype)
        self.normal_cdf = NormalCDF(dtype)

    def forward(self, z: Array, a: Array) -> None:
        np.multiply(z, self.normal_cdf(z), a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.multiply(z, z, t)
        np.multiply(t, -self.half, t)
        np.exp(t, t)
        np.multiply(t, self.peak, t)
        np.multiply(t, z, t)
        np.add(t, np.where(z == self.zero, self.half, a / z), t)
        np.multiply(d, t, d)


class TanhGELU(Function):
    """a = z / 2 (1 + h), h = tanh(c (z + k z^3)), c = sqrt(2 / pi), k = 0.044715;
    a' = (1 + h) / 2 + z / 2 (1 - h^2) c (1 + 3 k z^2).
    """

    needs_z = True

    def __init__(self, constants: tuple[float, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(constants, dtype)
        self.c, self.k = constants

    def forward(self, z: Array, a: Array) -> None:
        h = np.tanh(self.c * (z + self.k * z * z * z))
        np.multiply(z * self.half, self.one + h, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        # Beyond 30 h is 1 to the last digit; z^2 could overflow there, and infinity times 0.
        u = np.clip(z, -30, 30)
        np.multiply(u, u, t)
        steep = self.c * (self.one + 3 * self.k * t)
        np.multiply(t, self.k, t)
        np.add(t, self.one, t)
        np.multiply(t, u, t)
        np.multiply(t, self.c, t)
        np.tanh(t, t)
        # (1 + h) / 2 times 1 + u (1 - h) steep
        np.multiply(steep, u, steep)
        np.subtract(self.one, t, u)
        np.multiply(steep, u, steep)
        np.add(steep, self.one, steep)
        np.add(t, self.one, t)
        np.multiply(t, self.half, t)
        np.multiply(t, steep, t)
        np.multiply(d, t, d)


class Mish(Function):
    """a = z tanh(log(1 + e)) = z n / (n + 2), e = exp(z), n = e (e + 2);
    a' = n / (n + 2) + 4 z e (1 + e) / (n + 2)^2.
    """

    needs_z = True

    def forward(self, z: Array, a: Array) -> None:
        _, n = self._terms(z)
        np.multiply(z, n / (n + 2), a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        e, n = self._terms(z)
        np.divide(z * 4 * e * (self.one + e), np.square(n + 2), t)
        np.add(t, n / (n + 2), t)
        np.multiply(d, t, d)

    def _terms(self, z: Array) -> tuple[Array, Array]:
        """e and n; from 20 on n / (n + 2) is 1 to the last digit, and the square does not
        overflow.
        """
        e = np.exp(np.minimum(z, 20))
        return e, e * (e + 2)


class Hardswish(Function):
    """a = z r, r = min(max(z + 3, 0), 6) / 6;  a' = 0 where z <= -3, 1 where z >= 3, else
    z / 3 + 1 / 2.
    """

    needs_z = True

    def forward(self, z: Array, a: Array) -> None:
        np.multiply(z, np.clip(z + 3, 0, 6) / 6, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.divide(z, 3, t)
        np.add(t, self.half, t)
        slope = np.where(z <= -3, self.zero, np.where(z >= 3, self.one, t))
        np.multiply(d, slope, d)


class ReLU6(Function):
    """a = min(max(z, 0), 6);  a' = [0 < a < 6]."""

    def forward(self, z: Array, a: Array) -> None:
        np.clip(z, 0, 6, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.multiply(d, (a > 0) & (a < 6), d)


class Hardsigmoid(Function):
    """a = min(max(z + 3, 0), 6) / 6;  a' = 1 / 6 where -3 < z < 3, else 0."""

    needs_z = True

    def forward(self, z: Array, a: Array) -> None:
        np.add(z, 3, a)
        np.clip(a, 0, 6, a)
        np.divide(a, 6, a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.multiply(d, np.where(np.abs(z) < 3, self.one / 6, self.zero), d)


class Softmax(Function):
    """a_j = exp(z_j - m) / sum_k exp(z_k - m), m = max z;  dz_j = a_j (d_j - sum_k a_k d_k)."""

    def forward(self, z: Array, a: Array) -> None:
        np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), a)
        np.exp(a, a)
        np.divide(a, np.add.reduce(a, axis=1, keepdims=True), a)

    def backward(self, d: Array, z: Array, a: Array, t: Array) -> None:
        np.multiply(a, d, t)
        np.subtract(d, np.add.reduce(t, axis=1, keepdims=True), d)
        np.multiply(d, a, d)


def softplus(z: Array, out: Array) -> None:
    """log(1 + exp(z)) without overflow: max(z, 0) + log1p(exp(-|z|))."""
    np.abs(z, out)
    np.negative(out, out)
    np.exp(out, out)
    np.log1p(out, out)
    np.add(out, np.maximum(z, 0), out)


#: Entries that `normal_cdf` works on together: its scratch stays in a cache, and is so small that
#: the allocator hands out the same memory every time.
_BLOCK = 2048


class NormalCDF:
    """Phi(z), the standard normal's distribution function: see `NORMAL_TAIL`.

    Computed in float64; for float64 the relative error is below 1e-14 for |z| < 6, below 4e-13 in
    the far lower tail.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        above, below, end = NORMAL_TAIL[dtype.itemsize]
        # From the highest power on, and divided by half that of the first, whose own is then 1.
        self.lead, *self.below = (np.array(b / above[-1] * 2) for b in reversed(below))
        self.above = [np.array(a / above[-1]) for a in above[-2::-1]]
        self.end, self.minus_half, self.zero = np.array(end), np.array(-0.5), np.array(0.0)

    def __call__(self, z: Array) -> Array:
        """A new array of z's shape and dtype."""
        flat = z.reshape(-1)
        if len(flat) <= _BLOCK:
            return self._of_block(flat).astype(z.dtype, copy=False).reshape(z.shape)
        out = np.empty(flat.shape, z.dtype)
        for start in range(0, len(flat), _BLOCK):
            here = slice(start, start + _BLOCK)
            out[here] = self._of_block(flat[here])
        return out.reshape(z.shape)

    def _of_block(self, z: Array) -> Array:
        x = z.astype(np.float64)
        positive = np.empty_like(x)
        np.greater(x, self.zero, positive, casting="unsafe")
        np.abs(x, x)
        np.minimum(x, self.end, out=x)
        above = x + self.above[0]
        for coefficient in self.above[1:]:  # Horner's rule
            np.multiply(above, x, above)
            np.add(above, coefficient, above)
        below = self.lead * x
        for coefficient in self.below[:-1]:
            np.add(below, coefficient, below)
            np.multiply(below, x, below)
        np.add(below, self.below[-1], below)
        np.multiply(x, x, x)
        np.multiply(x, self.minus_half, x)
        np.exp(x, x)
        np.multiply(x, above, x)
        np.divide(x, below, x)
        np.subtract(positive, x, x)
        return np.abs(x, x)  # |0 - Phi(-|z|)|, or 1 - Phi(-|z|)


#: The functions of one number that this backend has, by their kinds. To add one is to add a class
#: above and its line here; somebody else's package may add its own.
FUNCTIONS: dict[str, type[Function]] = {
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "softplus": Softplus,
    "silu": SiLU,
    "gelu": GELU,
    "tanh_gelu": TanhGELU,
    "mish": Mish,
    "hardswish": Hardswish,
    "relu6": ReLU6,
    "hardsigmoid": Hardsigmoid,
}
