"""Losses: names, constants, formulas and sources.

How each is computed is the backends' part: `fastnet_numpy` holds the readable version that the
others are tested against. Formulas follow PyTorch's defaults where a constant or a variant is free.

Letters: `z` a pre-activation, `y` a target, `p` a prediction.
"""

import itertools
import math
from typing import Any, ClassVar

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

    @property
    def outputs_per_target(self) -> int:
        """How many outputs a target has: outputs stand in blocks, each as long as a row of y."""
        return 1

    @property
    def point_block(self) -> int | None:
        """Which of these blocks predicts the target itself; None: none of them."""
        return 0


class MSE(Loss):
    """(p - y)^2."""

    name: ClassVar[str] = "mse"


class MAE(Loss):
    """|p - y|; slope 0 at 0."""

    name: ClassVar[str] = "mae"


class Huber(Loss):
    """r^2 / 2 where |r| <= delta, else delta * (|r| - delta / 2), r = p - y (Huber 1964).

    Args:
        delta: where the parabola becomes a line, above 0, in the unit of y.
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        checks.number(self.delta, "huber delta", above=0)


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
        checks.flag(self.log_input, "poisson log_input")

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        return ("poisson", ()) if self.log_input else ("poisson_rate", (self.EPSILON,))


class Quantile(Loss):
    """max(q * r, (q - 1) * r), r = y - p: the pinball loss (Koenker and Bassett 1978).

    Its minimum is the q-th quantile; slope 0 at r = 0. With several, `q=(0.05, 0.5, 0.95)`, the
    network has an output for each: first the targets' lowest quantile, then the next, so for y
    `(rows, k)` the prediction is `(rows, 3 * k)`, and `prediction.reshape(rows, 3, k)` has the
    quantiles by row and target. The loss is their mean. Nothing keeps them from crossing where data
    is scarce; `np.sort` of a row's quantiles repairs it.
    """

    name: ClassVar[str] = "quantile"
    kinds: ClassVar[tuple[str, ...]] = ("quantile", "quantiles")
    q: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        several = checks.entries(self.q)
        if several is None:
            checks.number(self.q, "quantile q", above=0, below=1)
            return
        object.__setattr__(self, "q", several)
        for one in several:
            checks.number(one, "quantile q", above=0, below=1)
        if not several or any(a >= b for a, b in itertools.pairwise(several)):
            raise DefinitionError(
                f"quantile q is {self.q!r}; several must be in increasing order, as (0.05, 0.95)."
            )

    @property
    def _several(self) -> tuple[float, ...]:
        return self.q if isinstance(self.q, tuple) else (self.q,)

    @property
    def outputs_per_target(self) -> int:
        return len(self._several)

    @property
    def point_block(self) -> int | None:
        several = self._several
        return 0 if len(several) == 1 else several.index(0.5) if 0.5 in several else None

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        several = self._several
        return ("quantile" if len(several) == 1 else "quantiles"), several


class GaussianNLL(Loss):
    """(log v + (m - y)^2 / v) / 2, v = max(exp(s), epsilon): for each target a mean m and s.

    The negative log likelihood of a normal distribution, without the constant log(2 pi) / 2 (Nix
    and Weigend 1994, eq. 4). s is the logarithm of the variance, so it may be any number: for y
    `(rows, k)` the network has 2 k outputs, first all means, then all s, and
    `np.exp(prediction[:, k:])` are the variances. Value and slopes are those of PyTorch's
    `GaussianNLLLoss()(m, y, s.exp())`; as there, s has a slope below log(epsilon) too, as though v
    were epsilon and still moved with s, so that no row is stuck there.
    """

    name: ClassVar[str] = "gaussian_nll"
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        checks.number(self.epsilon, "gaussian_nll epsilon", above=0)

    @property
    def outputs_per_target(self) -> int:
        return 2

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        """With the logarithm of epsilon: the smallest s that counts."""
        return self.name, (math.log(self.epsilon),)


class BinaryCrossentropy(Loss):
    """-y log p - (1 - y) log(1 - p), p = sigmoid(z); each output a label of its own.

    Computed from the logit: max(z, 0) - z * y + log(1 + exp(-|z|)), with slope p - y. With
    `label_smoothing` e, y is replaced by (1 - e) y + e / 2.
    """

    name: ClassVar[str] = "binary_crossentropy"
    kinds: ClassVar[tuple[str, ...]] = ("binary_crossentropy", "smoothed_binary_crossentropy")
    targets: ClassVar[str] = "probability"
    needs: ClassVar[str | None] = "sigmoid"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        checks.number(self.label_smoothing, f"{self.name} label_smoothing", least=0, below=1)

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        return _smoothed(self.name, self.label_smoothing)

    def spec(self) -> str | dict[str, Any]:
        """The name alone without smoothing."""
        return super().spec() if self.label_smoothing else self.name


class Crossentropy(Loss):
    """-log p_y, p = softmax(z), for class indices; -sum_j y_j log p_j for one-hot rows.

    The mean is over rows. Computed from the logits: log sum_k exp(z_k) - z_y, with slopes
    p - y. With `label_smoothing` e, of K classes, y_j is replaced by (1 - e) y_j + e / K (Szegedy
    et al. 2016, section 7; as in PyTorch).
    """

    name: ClassVar[str] = "crossentropy"
    kinds: ClassVar[tuple[str, ...]] = ("crossentropy", "smoothed_crossentropy")
    targets: ClassVar[str] = "class"
    needs: ClassVar[str | None] = "softmax"
    by_row: ClassVar[bool] = True
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        checks.number(self.label_smoothing, f"{self.name} label_smoothing", least=0, below=1)

    def canonical(self) -> tuple[str, tuple[float, ...]]:
        return _smoothed(self.name, self.label_smoothing)

    def spec(self) -> str | dict[str, Any]:
        """The name alone without smoothing."""
        return super().spec() if self.label_smoothing else self.name


def _smoothed(name: str, label_smoothing: float) -> tuple[str, tuple[float, ...]]:
    return (f"smoothed_{name}", (label_smoothing,)) if label_smoothing else (name, ())


LOSSES = registry(MSE, MAE, Huber, Poisson, Quantile, BinaryCrossentropy, Crossentropy, GaussianNLL)
