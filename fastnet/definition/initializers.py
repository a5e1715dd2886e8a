"""Initializers: how weights and biases start. Drawn once, on the host, in float64."""

import math
from typing import ClassVar

import numpy as np

from fastnet import random
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.activations import Activation
from fastnet.definition.named import Named, registry
from fastnet.errors import DefinitionError


class Initializer(Named):
    """How a layer's weights start. Biases start at zero."""

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        """Draw the weights `(inputs, units)` in float64, from layer's own random stream."""
        raise NotImplementedError

    def bias(self, units: int) -> Array:
        """The bias `(units,)` in float64."""
        return np.zeros(units)


def uniform(seed: int, stream: int, shape: tuple[int, ...], limit: float) -> Array:
    """U(-limit, limit), from a stream of a seed's random numbers for weights, float64."""
    draws = random.uniform(seed, random.WEIGHTS, stream, math.prod(shape))
    return limit * (2 * draws - 1).reshape(shape)


def normal(seed: int, stream: int, shape: tuple[int, ...], scale: float) -> Array:
    """N(0, scale^2), likewise."""
    return scale * random.normal(seed, random.WEIGHTS, stream, math.prod(shape)).reshape(shape)


class GlorotUniform(Initializer):
    """U(-l, l), l = sqrt(6 / (inputs + units)) (Glorot and Bengio 2010, eq. 16)."""

    name: ClassVar[str] = "glorot_uniform"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return uniform(seed, layer, (inputs, units), math.sqrt(6 / (inputs + units)))


class GlorotNormal(Initializer):
    """N(0, 2 / (inputs + units)) (Glorot and Bengio 2010, eq. 12)."""

    name: ClassVar[str] = "glorot_normal"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return normal(seed, layer, (inputs, units), math.sqrt(2 / (inputs + units)))


class HeUniform(Initializer):
    """U(-l, l), l = sqrt(6 / inputs) (He et al. 2015, eq. 10, as a uniform)."""

    name: ClassVar[str] = "he_uniform"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return uniform(seed, layer, (inputs, units), math.sqrt(6 / inputs))


class HeNormal(Initializer):
    """N(0, 2 / inputs) (He et al. 2015, eq. 10)."""

    name: ClassVar[str] = "he_normal"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return normal(seed, layer, (inputs, units), math.sqrt(2 / inputs))


class LecunUniform(Initializer):
    """U(-l, l), l = sqrt(3 / inputs) (LeCun et al. 1998, eq. 16, as a uniform)."""

    name: ClassVar[str] = "lecun_uniform"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return uniform(seed, layer, (inputs, units), math.sqrt(3 / inputs))


class LecunNormal(Initializer):
    """N(0, 1 / inputs) (LeCun et al. 1998, eq. 16)."""

    name: ClassVar[str] = "lecun_normal"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return normal(seed, layer, (inputs, units), math.sqrt(1 / inputs))


class Normal(Initializer):
    """N(0, scale^2).

    Args:
        scale: the standard deviation, above 0.
    """

    name: ClassVar[str] = "normal"
    scale: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.scale, "normal scale", above=0)

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return normal(seed, layer, (inputs, units), self.scale)


class FromData(Initializer):
    """Made to fit rows, which `Model(network, init_rows=x)` is given; `init="data"`.

    Each unit's pre-activations have a standard deviation of 1 over the rows, and its bias lies
    among them: see `fastnet.contract.starting`. The draws that this begins with are N(0, 1 /
    inputs).
    """

    name: ClassVar[str] = "data"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return normal(seed, layer, (inputs, units), math.sqrt(1 / inputs))


class Zeros(Initializer):
    """All zeros. Units that start alike stay alike: of use for a last layer only."""

    name: ClassVar[str] = "zeros"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return np.zeros((inputs, units))


class Arrays(Initializer):
    """Given weights and biases.

    Args:
        weights: `(inputs, units)`, finite.
        biases: `(units,)`, finite; None: zeros.

    Raises:
        DefinitionError: if a shape does not fit.
        DataError: if they are not finite numbers.
    """

    name: ClassVar[str] = "arrays"
    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...] | None

    def __init__(self, weights: object, biases: object = None) -> None:
        w = checks.numbers(weights, "init weights", np.dtype(np.float64))
        if w.ndim != 2 or w.size == 0:
            raise DefinitionError(f"init weights have shape {w.shape}; it must be (inputs, units).")
        checks.finite(w, "init weights")
        object.__setattr__(self, "weights", tuple(map(tuple, w.tolist())))
        object.__setattr__(self, "biases", None)
        if biases is not None:
            b = checks.numbers(biases, "init biases", np.dtype(np.float64))
            if b.shape != (w.shape[1],):
                raise DefinitionError(
                    f"init biases have shape {b.shape}; weights {w.shape} need ({w.shape[1]},)."
                )
            checks.finite(b, "init biases")
            object.__setattr__(self, "biases", tuple(b.tolist()))

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return np.array(self.weights)

    def bias(self, units: int) -> Array:
        return np.zeros(units) if self.biases is None else np.array(self.biases)


INITIALIZERS = registry(
    GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Normal, Zeros,
    FromData, Arrays,
)  # fmt: skip


def default_initializer(activation: Activation) -> Initializer:
    """The initializer that `init="auto"` takes in front of an activation."""
    return INITIALIZERS[activation.initializer]()
