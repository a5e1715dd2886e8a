"""Activations: names, constants, formulas and sources.

How each is computed is the backends' part: `fastnet_numpy` holds the readable version that the
others are tested against. Formulas follow PyTorch's defaults where a constant or a variant is free.

Letters: `z` a pre-activation, `a` an activation.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from fastnet.arrays import checks
from fastnet.definition.named import Named, registry
from fastnet.errors import DefinitionError

# A class without constants needs no decorator.


class Activation(Named):
    """A function of one number, applied to every unit (softmax: to the row of all units)."""

    #: What `init="auto"` means in front of it: the initializer that keeps the signals' variance.
    initializer: ClassVar[str] = "glorot_uniform"


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
    initializer: ClassVar[str] = "he_uniform"


@dataclass(frozen=True, eq=False, repr=False)
class LeakyReLU(Activation):
    """a = z where z > 0, else slope * z (Maas, Hannun and Ng, ICML 2013)."""

    name: ClassVar[str] = "leaky_relu"
    initializer: ClassVar[str] = "he_uniform"
    slope: float = 0.01

    def __post_init__(self) -> None:
        # The slope is read off the sign of `a` on the way back, so it must not turn it round.
        checks.number(self.slope, "leaky_relu slope", least=0)


@dataclass(frozen=True, eq=False, repr=False)
class ELU(Activation):
    """a = z where z > 0, else alpha * (exp(z) - 1) (Clevert et al., ICLR 2016, eq. 15)."""

    name: ClassVar[str] = "elu"
    initializer: ClassVar[str] = "he_uniform"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.alpha, "elu alpha", least=0)

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """As `scale z where z > 0, else curve (exp(z) - 1)`: curve and scale."""
        return self.name, (float(self.alpha), 1.0)


class SELU(Activation):
    """a = SCALE * elu(z; ALPHA) (Klambauer et al., NeurIPS 2017, eq. 2).

    The constants make zero mean and unit variance a fixed point of the layer (appendix A1).
    """

    name: ClassVar[str] = "selu"
    initializer: ClassVar[str] = "lecun_normal"
    kinds: ClassVar[tuple[str, ...]] = ("elu",)
    ALPHA: ClassVar[float] = 1.6732632423543772848170429916717
    SCALE: ClassVar[float] = 1.0507009873554804934193349852946

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        return "elu", (self.SCALE * self.ALPHA, self.SCALE)


class Softplus(Activation):
    """a = log(1 + exp(z))."""

    name: ClassVar[str] = "softplus"
    initializer: ClassVar[str] = "he_uniform"


class SiLU(Activation):
    """a = z * sigmoid(z), also called swish (Elfwing et al. 2018, eq. 3)."""

    name: ClassVar[str] = "silu"
    initializer: ClassVar[str] = "he_uniform"


@dataclass(frozen=True, eq=False, repr=False)
class GELU(Activation):
    """a = z * Phi(z), Phi the standard normal's distribution function (Hendrycks, Gimpel 2016).

    `approximate="tanh"` takes z / 2 * (1 + tanh(SLOPE * (z + CUBIC z^3))) instead, their
    section 2; "none" is exact.
    """

    name: ClassVar[str] = "gelu"
    initializer: ClassVar[str] = "he_uniform"
    kinds: ClassVar[tuple[str, ...]] = ("gelu", "tanh_gelu")
    SLOPE: ClassVar[float] = math.sqrt(2 / math.pi)
    CUBIC: ClassVar[float] = 0.044715
    approximate: str = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise DefinitionError(
                f"gelu approximate is {self.approximate!r}; it must be 'none' or 'tanh'."
            )

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        return (
            ("tanh_gelu", (self.SLOPE, self.CUBIC)) if self.approximate == "tanh" else ("gelu", ())
        )


class Softmax(Activation):
    """a_j = exp(z_j) / sum_k exp(z_k), over the units of the last layer."""

    name: ClassVar[str] = "softmax"


#: For GELU's Phi(z) = erfc(-z / sqrt(2)) / 2, on backends whose library has no erf:
#: log(erfc(x) exp(x^2) / t) by Chebyshev polynomials in 2 t - 1, t = 2 / (2 + x), 0 <= x: the
#: form of Press et al., Numerical Recipes (2007), section 6.2.2, equation 6.2.21. The
#: coefficients were computed anew at 60 digits (tests/test_normal_cdf.py holds the result
#: against math.erfc).
ERFC = (
    -1.3026537197817094,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)


ACTIVATIONS = registry(
    Identity, Sigmoid, Tanh, ReLU, LeakyReLU, ELU, SELU, Softplus, SiLU, GELU, Softmax
)
