"""Activations: names, constants, formulas and sources.

How each is computed is the backends' part: `fastnet_numpy` holds the readable version that the
others are tested against. Formulas follow PyTorch's defaults where a constant or a variant is free.

Letters: `z` a pre-activation, `a` an activation.
"""

import math
from typing import Any, ClassVar

from fastnet.arrays import checks
from fastnet.definition.named import Named, registry, resolve
from fastnet.errors import DefinitionError


class Activation(Named):
    """A function of one number, applied to every unit (softmax: to the row of all units)."""

    #: What `init="auto"` means in front of it: the initializer that keeps the signals' variance.
    initializer: ClassVar[str] = "glorot_uniform"

    @property
    def alpha_start(self) -> float | None:
        """What its parameters alpha, one for each unit, start at; None: it has none."""
        return None


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


class LeakyReLU(Activation):
    """a = z where z > 0, else slope * z (Maas, Hannun and Ng, ICML 2013).

    Args:
        slope: 0 or more.
    """

    name: ClassVar[str] = "leaky_relu"
    initializer: ClassVar[str] = "he_uniform"
    slope: float = 0.01

    def __post_init__(self) -> None:
        # The slope is read off the sign of `a` on the way back, so it must not turn it round.
        checks.number(self.slope, "leaky_relu slope", least=0)


class ELU(Activation):
    """a = z where z > 0, else alpha * (exp(z) - 1) (Clevert et al., ICLR 2016, eq. 15).

    Args:
        alpha: 0 or more.
    """

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


class Mish(Activation):
    """a = z * tanh(softplus(z)) (Misra, BMVC 2020, eq. 1)."""

    name: ClassVar[str] = "mish"
    initializer: ClassVar[str] = "he_uniform"


class Hardswish(Activation):
    """a = z * relu6(z + 3) / 6 (Howard et al., ICCV 2019, section 5.2); slope 0 at -3, 1 at 3."""

    name: ClassVar[str] = "hardswish"
    initializer: ClassVar[str] = "he_uniform"


class ReLU6(Activation):
    """a = min(max(z, 0), 6); slope 0 at 0 and at 6 (Krizhevsky 2010)."""

    name: ClassVar[str] = "relu6"
    initializer: ClassVar[str] = "he_uniform"


class Hardsigmoid(Activation):
    """a = relu6(z + 3) / 6, as PyTorch has it; slope 0 at -3 and at 3."""

    name: ClassVar[str] = "hardsigmoid"


class PReLU(Activation):
    """a = z where z > 0, else alpha_j z, alpha_j learned, one for each unit (He et al., ICCV 2015).

    Args:
        init: what they start at.
    """

    name: ClassVar[str] = "prelu"
    initializer: ClassVar[str] = "he_uniform"
    kinds: ClassVar[tuple[str, ...]] = ("relu",)
    init: float = 0.25

    def __post_init__(self) -> None:
        checks.number(self.init, "prelu init")

    @property
    def alpha_start(self) -> float:
        return float(self.init)

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """The function f of a = alpha_j z + (1 - alpha_j) f(z)."""
        return "relu", ()


class Parametric(Activation):
    """a = z + alpha_j (f(z) - z), alpha_j learned, one for each unit, 1 at the start (Holzmueller
    et al., NeurIPS 2024).

    Args:
        function: f: a name, an instance or its table.
    """

    name: ClassVar[str] = "parametric"
    kinds: ClassVar[tuple[str, ...]] = ()
    function: Any

    def __post_init__(self) -> None:
        function = resolve("activation", ACTIVATIONS, self.function)
        if function.alpha_start is not None or isinstance(function, Identity | Softmax):
            raise DefinitionError(
                f"parametric function is {function.name!r}; it must be an activation of one "
                "number, such as 'mish'."
            )
        object.__setattr__(self, "function", function)

    @property
    def alpha_start(self) -> float:
        return 1.0

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """The function."""
        kind: tuple[str, tuple[float, ...]] = self.function.canonical()
        return kind


class Softmax(Activation):
    """a_j = exp(z_j) / sum_k exp(z_k), over the units of the last layer."""

    name: ClassVar[str] = "softmax"


#: For GELU's Phi(-x) = exp(-x^2 / 2) A(x) / (2 B(x)), 0 <= x: by the size of a dtype, polynomials A
#: and B in ascending powers, and beyond which x the result is 0. One rational approximation, as in
#: Cody, Rational Chebyshev approximations for the error function (1969), but over the whole range;
#: minimax fits of relative error (Remez's algorithm in 50 digits): 6e-9 and 5e-17. No coefficient
#: is negative, so no digits are lost. tests/test_normal_cdf.py holds the results against math.erfc.
NORMAL_TAIL: dict[int, tuple[tuple[float, ...], tuple[float, ...], float]] = {
    4: (
        (
            1.0, 0.8751968, 0.3653855, 0.08088541, 0.008171476,
        ),
        (
            1.0, 1.6730816, 1.2003076, 0.46803185, 0.101381406, 0.0102413045,
        ),
        14.4,
    ),
    8: (
        (
            1.0, 1.5488656809184032, 1.1868012768515972, 0.5777343242664356,
            0.19497683700615528, 0.0471146223647436, 0.008150643165745534,
            0.0009767327442555484, 7.412957947309419e-05, 2.754161271055292e-06,
        ),
        (
            1.0, 2.346750241721262, 2.5592370627816385, 1.712296463497949,
            0.7807184793576495, 0.2543967153131648, 0.06026667201807509,
            0.010308223946287748, 0.0012276047862176123, 9.290764994466885e-05,
            3.4518292574711624e-06,
        ),
        38.6,
    ),
}  # fmt: skip


ACTIVATIONS = registry(
    Identity, Sigmoid, Tanh, ReLU, LeakyReLU, ELU, SELU, Softplus, SiLU, GELU, Mish, Hardswish,
    ReLU6, Hardsigmoid, PReLU, Parametric, Softmax,
)  # fmt: skip
