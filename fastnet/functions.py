"""The named functions of a network: activations, losses and initialisers.

Here stands what each one *is*: its name, constants, formula and source. How it is computed
is each backend's affair; `fastnet_numpy` holds the readable version that the others are
tested against. Formulas follow PyTorch's defaults where a constant or a variant is free.

Letters: `z` a pre-activation, `a` an activation, `y` a target, `p` a prediction.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastnet import checks, random
from fastnet.checks import Array
from fastnet.errors import DefinitionError
from fastnet.named import Named, registry

# --- activations ---------------------------------------------------------------------------


# A class without constants needs no decorator.


class Activation(Named):
    """A function of one number, applied to every unit (softmax: to the row of all units)."""


class Identity(Activation):
    """a = z."""

    name: ClassVar[str] = "identity"


class Sigmoid(Activation):
    """a = 1 / (1 + exp(-z)), the logistic function."""

    name: ClassVar[str] = "sigmoid"


class Tanh(Activation):
    """a = tanh(z)."""

    name: ClassVar[str] = "tanh"


class ReLU(Activation):
    """a = max(z, 0); slope 0 at 0 (Nair and Hinton, ICML 2010)."""

    name: ClassVar[str] = "relu"


@dataclass(frozen=True, eq=False, repr=False)
class LeakyReLU(Activation):
    """a = z where z > 0, else slope * z (Maas, Hannun and Ng, ICML 2013)."""

    name: ClassVar[str] = "leaky_relu"
    slope: float = 0.01

    def __post_init__(self) -> None:
        # The slope is read off the sign of `a` on the way back, so it must not turn it round.
        checks.number(self.slope, "leaky_relu slope", least=0)


@dataclass(frozen=True, eq=False, repr=False)
class ELU(Activation):
    """a = z where z > 0, else alpha * (exp(z) - 1) (Clevert et al., ICLR 2016, eq. 15)."""

    name: ClassVar[str] = "elu"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.alpha, "elu alpha", least=0)


class SELU(Activation):
    """a = SCALE * elu(z; ALPHA) (Klambauer et al., NeurIPS 2017, eq. 2).

    The constants make zero mean and unit variance a fixed point of the layer (appendix A1).
    """

    name: ClassVar[str] = "selu"
    ALPHA: ClassVar[float] = 1.6732632423543772848170429916717
    SCALE: ClassVar[float] = 1.0507009873554804934193349852946


class Softplus(Activation):
    """a = log(1 + exp(z))."""

    name: ClassVar[str] = "softplus"


class SiLU(Activation):
    """a = z * sigmoid(z), also called swish (Elfwing et al. 2018, eq. 3)."""

    name: ClassVar[str] = "silu"


@dataclass(frozen=True, eq=False, repr=False)
class GELU(Activation):
    """a = z * Phi(z), Phi the standard normal's distribution function (Hendrycks, Gimpel 2016).

    `approximate="tanh"` takes z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 z^3))) instead,
    their section 2; "none" is exact.
    """

    name: ClassVar[str] = "gelu"
    approximate: str = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise DefinitionError(
                f"gelu approximate is {self.approximate!r}; it must be 'none' or 'tanh'."
            )


class Softmax(Activation):
    """a_j = exp(z_j) / sum_k exp(z_k), over the units of the last layer."""

    name: ClassVar[str] = "softmax"


ACTIVATIONS = registry(
    Identity, Sigmoid, Tanh, ReLU, LeakyReLU, ELU, SELU, Softplus, SiLU, GELU, Softmax
)

# --- losses --------------------------------------------------------------------------------


class Loss(Named):
    """What training makes small: the mean over rows and outputs of one term each.

    With sample weights the mean is weighted, and divided by the batch's sum of weights; a
    batch whose weights are all zero has loss 0 and gradient 0.
    """

    #: What targets may be: "real", "count" (0 or more), "probability" ([0, 1]) or "class".
    targets: ClassVar[str] = "real"
    #: The output activation this loss is computed together with, from the logits.
    needs: ClassVar[str | None] = None


class MSE(Loss):
    """(p - y)^2."""

    name: ClassVar[str] = "mse"


class MAE(Loss):
    """|p - y|; slope 0 at 0."""

    name: ClassVar[str] = "mae"


@dataclass(frozen=True, eq=False, repr=False)
class Huber(Loss):
    """r^2 / 2 where |r| <= delta, else delta * (|r| - delta / 2), r = p - y (Huber 1964)."""

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.delta, "huber delta", above=0)


@dataclass(frozen=True, eq=False, repr=False)
class Poisson(Loss):
    """exp(p) - y * p, for counts y: the network says the logarithm of the rate.

    The Poisson deviance's half, up to a term of y alone. With `log_input=False` the network
    says the rate itself, and the term is p - y * log(p + 1e-8); give it an output that is
    positive, such as softplus. Both as in PyTorch's PoissonNLLLoss.
    """

    name: ClassVar[str] = "poisson"
    targets: ClassVar[str] = "count"
    EPSILON: ClassVar[float] = 1e-8
    log_input: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.log_input, bool):
            raise DefinitionError(
                f"poisson log_input is {self.log_input!r}; it must be True or False."
            )


@dataclass(frozen=True, eq=False, repr=False)
class Quantile(Loss):
    """max(q * r, (q - 1) * r), r = y - p: the pinball loss (Koenker and Bassett 1978).

    Its minimum is the q-th quantile; slope 0 at r = 0.
    """

    name: ClassVar[str] = "quantile"
    q: float = 0.5

    def __post_init__(self) -> None:
        checks.number(self.q, "quantile q", above=0, below=1)


class BinaryCrossentropy(Loss):
    """-y log p - (1 - y) log(1 - p), p = sigmoid(z); each output a label of its own.

    Computed from the logit: max(z, 0) - z * y + log(1 + exp(-|z|)), with slope p - y.
    """

    name: ClassVar[str] = "binary_crossentropy"
    targets: ClassVar[str] = "probability"
    needs: ClassVar[str | None] = "sigmoid"


class Crossentropy(Loss):
    """-log p_y, p = softmax(z), for class indices; -sum_j y_j log p_j for one-hot rows.

    The mean is over rows. Computed from the logits: log sum_k exp(z_k) - z_y, with slopes
    p - y.
    """

    name: ClassVar[str] = "crossentropy"
    targets: ClassVar[str] = "class"
    needs: ClassVar[str | None] = "softmax"


LOSSES = registry(MSE, MAE, Huber, Poisson, Quantile, BinaryCrossentropy, Crossentropy)

# --- initialisers --------------------------------------------------------------------------


class Initialiser(Named):
    """How a layer's weights start. Biases start at zero."""

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        """Draw the weights `(inputs, units)` in float64, from layer's own random stream."""
        raise NotImplementedError

    def bias(self, units: int) -> Array:
        """The bias `(units,)` in float64."""
        return np.zeros(units)


def _uniform(seed: int, layer: int, inputs: int, units: int, limit: float) -> Array:
    draws = random.uniform(seed, random.WEIGHTS, layer, inputs * units)
    return limit * (2 * draws - 1).reshape(inputs, units)


def _normal(seed: int, layer: int, inputs: int, units: int, scale: float) -> Array:
    return scale * random.normal(seed, random.WEIGHTS, layer, inputs * units).reshape(inputs, units)


class GlorotUniform(Initialiser):
    """U(-l, l), l = sqrt(6 / (inputs + units)) (Glorot and Bengio 2010, eq. 16)."""

    name: ClassVar[str] = "glorot_uniform"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _uniform(seed, layer, inputs, units, math.sqrt(6 / (inputs + units)))


class GlorotNormal(Initialiser):
    """N(0, 2 / (inputs + units)) (Glorot and Bengio 2010, eq. 12)."""

    name: ClassVar[str] = "glorot_normal"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _normal(seed, layer, inputs, units, math.sqrt(2 / (inputs + units)))


class HeUniform(Initialiser):
    """U(-l, l), l = sqrt(6 / inputs) (He et al. 2015, eq. 10, as a uniform)."""

    name: ClassVar[str] = "he_uniform"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _uniform(seed, layer, inputs, units, math.sqrt(6 / inputs))


class HeNormal(Initialiser):
    """N(0, 2 / inputs) (He et al. 2015, eq. 10)."""

    name: ClassVar[str] = "he_normal"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _normal(seed, layer, inputs, units, math.sqrt(2 / inputs))


class LecunUniform(Initialiser):
    """U(-l, l), l = sqrt(3 / inputs) (LeCun et al. 1998, eq. 16, as a uniform)."""

    name: ClassVar[str] = "lecun_uniform"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _uniform(seed, layer, inputs, units, math.sqrt(3 / inputs))


class LecunNormal(Initialiser):
    """N(0, 1 / inputs) (LeCun et al. 1998, eq. 16)."""

    name: ClassVar[str] = "lecun_normal"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _normal(seed, layer, inputs, units, math.sqrt(1 / inputs))


@dataclass(frozen=True, eq=False, repr=False)
class Normal(Initialiser):
    """N(0, scale^2)."""

    name: ClassVar[str] = "normal"
    scale: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.scale, "normal scale", above=0)

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return _normal(seed, layer, inputs, units, self.scale)


class Zeros(Initialiser):
    """All zeros. Units that start alike stay alike: of use for a last layer only."""

    name: ClassVar[str] = "zeros"

    def weight(self, seed: int, layer: int, inputs: int, units: int) -> Array:
        return np.zeros((inputs, units))


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Arrays(Initialiser):
    """Given weights `(inputs, units)` and bias `(units,)`; a missing bias is zero."""

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


INITIALISERS = registry(
    GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Normal, Zeros,
    Arrays,
)  # fmt: skip

#: What `init="auto"` means after each activation; any other starts as Glorot and Bengio say.
_SUITED: dict[str, type[Initialiser]] = {
    "relu": HeUniform, "leaky_relu": HeUniform, "elu": HeUniform, "softplus": HeUniform,
    "silu": HeUniform, "gelu": HeUniform, "selu": LecunNormal,
}  # fmt: skip


def suited(activation: Activation) -> Initialiser:
    """The initialiser that keeps the variance of signals through `activation`."""
    return _SUITED.get(activation.name, GlorotUniform)()
