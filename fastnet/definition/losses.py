"""Losses: names, constants, formulas and sources.

How each is computed is the backends' part: `fastnet_numpy` holds the readable version that the
others are tested against. Formulas follow PyTorch's defaults where a constant or a variant is free.

Letters: `z` a pre-activation, `y` a target, `p` a prediction.
"""

from dataclasses import dataclass
from typing import ClassVar

from fastnet.arrays import checks
from fastnet.definition.named import Named, registry
from fastnet.errors import DefinitionError


class Loss(Named):
    """What training minimizes: the mean over rows and outputs of one term each.

    With sample weights the mean is weighted, and divided by the batch's sum of weights; a
    batch whose weights are all zero has loss 0 and gradient 0.
    """

    #: What targets may be: "real", "count" (0 or more), "probability" ([0, 1]) or "class".
    targets: ClassVar[str] = "real"
    #: The output activation this loss is computed together with, from the logits.
    needs: ClassVar[str | None] = None
    #: Whether a row has one term for all outputs together, not one for each.
    by_row: ClassVar[bool] = False


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
    """exp(p) - y * p, for counts y: the network predicts the logarithm of the rate.

    Half the Poisson deviance, up to a term of y alone. With `log_input=False` the network predicts
    the rate itself, and the term is p - y * log(p + 1e-8); the output must then be positive, as
    softplus is. Both as in PyTorch's PoissonNLLLoss.
    """

    name: ClassVar[str] = "poisson"
    targets: ClassVar[str] = "count"
    kinds: ClassVar[tuple[str, ...]] = ("poisson", "poisson_rate")
    EPSILON: ClassVar[float] = 1e-8
    log_input: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.log_input, bool):
            raise DefinitionError(
                f"poisson log_input is {self.log_input!r}; it must be True or False."
            )

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        return ("poisson", ()) if self.log_input else ("poisson_rate", (self.EPSILON,))


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
    by_row: ClassVar[bool] = True


LOSSES = registry(MSE, MAE, Huber, Poisson, Quantile, BinaryCrossentropy, Crossentropy)
