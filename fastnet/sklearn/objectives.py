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
from fastnet.contract.penalties import penalty
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Run
from fastnet.definition.losses import LOSSES, Loss
from fastnet.definition.named import resolve
from fastnet.errors import DefinitionError
from fastnet.training.objective import Objective


@dataclass(frozen=True)
class EstimatorLoss:
    """A loss of scikit-learn's in terms of fastnet's.

    Attributes:
        loss: fastnet's loss.
        output: the name of the last layer's activation, in fastnet.
        gradient: scikit-learn's gradient is so many times fastnet's.
        value: scikit-learn's loss, without the penalty, is so many times fastnet's.
        deviance: whether y log y - y is added, for each output.
        exponential: whether a prediction is the exponential of the network's output.
    """

    loss: Loss
    output: str
    gradient: float = 1.0
    value: float = 1.0
    deviance: bool = False
    exponential: bool = False

    @property
    def scales_differ(self) -> bool:
        """Whether the penalty and the loss are scaled by different factors."""
        return self.value != self.gradient

    def reported(self, loss: Any, penalty: Any = 0.0) -> Any:
        """scikit-learn's value for fastnet's, in which `penalty` is l2 / 2 * sum W^2."""
        if self.scales_differ:
            return self.value * (loss - penalty) + self.gradient * penalty
        return self.value * loss

    def constants(self, y: Array) -> Array | None:
        """What is added for each row, independent of the prediction, `(rows,)`; None: nothing."""
        if not self.deviance:
            return None
        from scipy.special import xlogy

        y = np.asarray(y, np.float64)
        return np.asarray((xlogy(y, y) - y).sum(axis=1))


class EstimatorObjective(Objective):
    """What an estimator minimizes: its loss over its rows, and scikit-learn's penalty by batch.

    Args:
        loss: the loss.
        alpha: the estimator's.
        plan: of its model.
        data: the training rows, on the host.
        batch_size: rows of a step.
        validation: the validation rows, on the host, or None.
    """

    reports_penalty = True
    by_rows = True

    def __init__(
        self,
        loss: EstimatorLoss,
        alpha: float,
        plan: Plan,
        data: Data,
        batch_size: int,
        validation: Data | None,
    ) -> None:
        super().__init__(l1=0.0, l2=0.0)
        self.loss, self.alpha, self.plan = loss, alpha, plan
        self.rows, self.batch_size = len(data), batch_size
        self.batches = -(-self.rows // batch_size)
        self.batch_rows = np.diff(np.append(np.arange(0, self.rows, batch_size), self.rows))
        self.weight = data.weight
        self.one_step_runs = loss.scales_differ and alpha > 0
        self.weighted_constants = loss.constants(data.y)
        if self.weighted_constants is not None and data.weight is not None:
            self.weighted_constants *= data.weight
        self.validation_constant = 0.0
        constants = None if validation is None else loss.constants(validation.y)
        if validation is not None and constants is not None:
            self.validation_constant = float(np.average(constants, weights=validation.weight))

    def l2(self, first_step: int, steps: int, order: Array | None) -> float | Array:
        """fastnet's l2: alpha over the rows of each batch, or over their weights."""
        masses = self._masses(first_step, steps, order)
        values = np.zeros(steps)
        np.divide(self.alpha / self.loss.gradient, masses, out=values, where=masses > 0)
        return float(values[0]) if (values == values[0]).all() else values

    def reported(self, losses: Array, run: Run, flat: Array) -> Array:
        """scikit-learn's losses of a run's first steps, `(steps,)`."""
        squares = 0.0
        if self.one_step_runs:
            squares = penalty(self.plan, flat, 0.0, run.of_step("l2", run.first_step))
        steps = run.first_step, len(losses), run.order
        return np.asarray(self.loss.reported(losses, squares) + self._constants(*steps))

    def reported_validation(self, loss: float) -> float:
        """scikit-learn's loss on the validation rows."""
        return float(self.loss.reported(loss) + self.validation_constant)

    def loss_and_gradient(self, loss: float, gradient: Array, flat: Array) -> tuple[float, Array]:
        """scikit-learn's loss over all rows, and its gradient `(size,)`, float64."""
        squares = 0.0
        if self.one_step_runs:
            squares = penalty(self.plan, flat, 0.0, float(np.max(self.l2(0, 1, None))))
        value = self.loss.reported(loss, squares) + self._constants(0, 1, None)
        return float(np.max(value)), gradient.astype(np.float64) * self.loss.gradient

    def _constants(self, first_step: int, steps: int, order: Array | None) -> float | Array:
        """What is added to the loss of each batch, independent of the predictions."""
        if self.weighted_constants is None:
            return 0.0
        sums = self._sums(self.weighted_constants, first_step, steps, order)
        masses = self._masses(first_step, steps, order)
        return np.divide(sums, masses, out=np.zeros(steps), where=masses > 0)

    def _masses(self, first_step: int, steps: int, order: Array | None) -> Array:
        """The number of rows, or the sum of their weights, of each batch, `(steps,)`."""
        if self.weight is None:
            return self.batch_rows[(first_step + np.arange(steps)) % self.batches]
        return self._sums(self.weight, first_step, steps, order)

    def _sums(self, values: Array, first_step: int, steps: int, order: Array | None) -> Array:
        """The sum over each batch of one number per row, `(steps,)` float64."""
        # Where each batch begins and the last one ends, in rows since the first one's epoch began.
        at = first_step % self.batches + np.arange(steps + 1)
        starts = at // self.batches * self.rows + at % self.batches * self.batch_size
        if order is None:
            rows = np.arange(starts[0], starts[-1]) % self.rows
        else:
            rows = order.reshape(-1)[starts[0] : starts[-1]]
        return np.add.reduceat(values[rows].astype(np.float64), starts[:-1] - starts[0])


def of_classifier(loss: str | Loss, outputs: int, softmax: bool) -> EstimatorLoss:
    """The loss of a classifier: `softmax` for several classes, else one label per output.

    Raises:
        DefinitionError: for a loss that is not one of probabilities.
    """
    output = "softmax" if softmax else "sigmoid"
    if isinstance(loss, str) and loss == "log_loss":
        if softmax:
            return EstimatorLoss(LOSSES["crossentropy"](), output)
        scale = float(outputs)
        return EstimatorLoss(LOSSES["binary_crossentropy"](), output, scale, scale)
    chosen = resolve("loss", LOSSES, loss)
    if chosen.needs not in (None, output) or chosen.targets == "count":
        raise DefinitionError(
            f"loss {chosen.name!r} does not go with the {output} outputs of this classifier; "
            "use 'log_loss'."
        )
    return EstimatorLoss(chosen, output)


def of_regressor(loss: str | Loss, outputs: int) -> EstimatorLoss:
    """The loss of a regressor.

    Raises:
        DefinitionError: for a loss of classes.
    """
    if isinstance(loss, str) and loss == "squared_error":
        return EstimatorLoss(LOSSES["mse"](), "identity", outputs / 2, 0.5)
    if isinstance(loss, str) and loss == "poisson":
        scale = float(outputs)
        return EstimatorLoss(LOSSES["poisson"](), "identity", scale, scale, True, True)
    chosen = resolve("loss", LOSSES, loss)
    if chosen.targets == "class":
        raise DefinitionError(f"loss {chosen.name!r} is one of classes; use MLPClassifier.")
    if chosen.name == "poisson":
        logarithm = bool(getattr(chosen, "log_input", True))
        output = "identity" if logarithm else "softplus"
        return EstimatorLoss(chosen, output, exponential=logarithm)
    return EstimatorLoss(chosen, chosen.needs or "identity")
