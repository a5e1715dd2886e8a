"""scikit-learn's losses in terms of fastnet's.

Letters: `n` the rows of a batch (or the sum of their weights), `k` the outputs, `W` the weights.
scikit-learn adds alpha / (2 n) * sum W^2 to the loss of a batch and divides gradients by n alone:

    squared_error       value 1/(2 n k) sum (p - y)^2,  gradient of 1/(2 n) sum (p - y)^2
    log_loss, sigmoid   sums over the outputs, fastnet's binary cross-entropy takes the mean
    log_loss, softmax   the same
    poisson             sums over the outputs, and adds y log y - y, so that 0 is the least

(`sklearn/neural_network/_base.py`). fastnet's losses are means over rows and outputs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.plan import lower
from fastnet.definition.losses import LOSSES, Loss
from fastnet.definition.named import resolve
from fastnet.errors import DefinitionError
from fastnet.model import Model


@dataclass(frozen=True)
class Objective:
    """What an estimator makes small.

    Attributes:
        loss: fastnet's loss.
        output: the name of the last layer's activation, in fastnet.
        gradient: scikit-learn's gradient is so many times fastnet's.
        value: scikit-learn's loss, without the penalty, is so many times fastnet's.
        deviance: whether y log y - y is added, for each output.
        exponential: whether a prediction is the exponential of what the network says.
    """

    loss: Loss
    output: str
    gradient: float = 1.0
    value: float = 1.0
    deviance: bool = False
    exponential: bool = False

    @property
    def apart(self) -> bool:
        """Whether the penalty and the loss are not scaled alike, and are told apart."""
        return self.value != self.gradient

    def l2(self, alpha: float, mass: Array) -> Array:
        """fastnet's `l2` for batches whose rows, or weights, sum to `mass`."""
        mass = np.asarray(mass, np.float64)
        wanted = np.zeros_like(mass)
        return np.divide(alpha / self.gradient, mass, out=wanted, where=mass > 0)

    def reported(self, loss: Any, penalty: Any = 0.0) -> Any:
        """scikit-learn's value for fastnet's, in which `penalty` is l2 / 2 * sum W^2."""
        return self.value * (loss - penalty) + self.gradient * penalty if self.apart else (
            self.value * loss
        )  # fmt: skip

    def constant(self, y: Array) -> Array | None:
        """What is added for each row whatever the prediction, `(rows,)`; None: nothing."""
        if not self.deviance:
            return None
        from scipy.special import xlogy

        y = np.asarray(y, np.float64)
        return np.asarray((xlogy(y, y) - y).sum(axis=1))


def square_sum(model: Model, flat: Array) -> float:
    """The sum of the squares of all weights in `flat`, without the biases."""
    weights = (piece.of(flat).reshape(-1) for piece in lower(model.network).weights)
    return sum(float(weight @ weight) for weight in weights)


def of_classifier(loss: str | Loss, outputs: int, softmax: bool) -> Objective:
    """What a classifier makes small: `softmax` for several classes, else labels by themselves.

    Raises:
        DefinitionError: for a loss that is not one of probabilities.
    """
    output = "softmax" if softmax else "sigmoid"
    if isinstance(loss, str) and loss == "log_loss":
        if softmax:
            return Objective(LOSSES["crossentropy"](), output)
        scale = float(outputs)
        return Objective(LOSSES["binary_crossentropy"](), output, scale, scale)
    chosen = resolve("loss", LOSSES, loss)
    if chosen.needs not in (None, output) or chosen.targets == "count":
        raise DefinitionError(
            f"loss {chosen.name!r} does not go with the {output} outputs of this classifier; "
            "use 'log_loss'."
        )
    return Objective(chosen, output)


def of_regressor(loss: str | Loss, outputs: int) -> Objective:
    """What a regressor makes small.

    Raises:
        DefinitionError: for a loss of classes.
    """
    if isinstance(loss, str) and loss == "squared_error":
        return Objective(LOSSES["mse"](), "identity", outputs / 2, 0.5)
    if isinstance(loss, str) and loss == "poisson":
        scale = float(outputs)
        return Objective(LOSSES["poisson"](), "identity", scale, scale, True, True)
    chosen = resolve("loss", LOSSES, loss)
    if chosen.targets == "class":
        raise DefinitionError(f"loss {chosen.name!r} is one of classes; use MLPClassifier.")
    if chosen.name == "poisson":
        logarithm = bool(getattr(chosen, "log_input", True))
        output = "identity" if logarithm else "softplus"
        return Objective(chosen, output, exponential=logarithm)
    return Objective(chosen, chosen.needs or "identity")
