"""Where an optimizer is, and which of fastnet's does what a solver of scikit-learn's does."""

from typing import Any

import numpy as np

from fastnet.definition.optimizers import SGD, Adam, Optimizer
from fastnet.sklearn.objectives import Objective
from fastnet.training.fit_state import BestLoss


class Stepping:
    """What steps need to go on from the last one, also from one `partial_fit` to the next.

    Args:
        rule: fastnet's optimizer.
        size: the parameters.
        dtype: of the parameters.
        learning_rate: scikit-learn's, at first; None: the rule has its own.

    Attributes:
        learning_rate: scikit-learn's, now.
        memory, updates: see `fastnet.backend.State`; the memory is on the host.
        epochs: done with it.
        scale, watch: of a `ReduceOnPlateau`: what the rate is multiplied with, and the loss.
    """

    def __init__(
        self, rule: Optimizer, size: int, dtype: np.dtype[Any], learning_rate: float | None
    ) -> None:
        self.rule = rule
        self.learning_rate = learning_rate
        self.memory = rule.memory(size, dtype)
        self.updates = 0
        self.epochs = 0
        self.scale = 1.0
        self.watch = BestLoss()

    def slow_down(self, rate: float) -> None:
        """Go on at another rate.

        scikit-learn's velocity has the rate in it, v = momentum * v - rate * g, and fastnet's has
        not: the old rate's share stays in the velocity.
        """
        assert self.learning_rate is not None
        if isinstance(self.rule, SGD):
            self.memory *= self.learning_rate / rate
        self.learning_rate = rate


def rule_of(estimator: Any, objective: Objective) -> tuple[Optimizer, float]:
    """fastnet's optimizer for a solver's parameters, and the rate in scikit-learn's units.

    scikit-learn's gradient is `objective.gradient` times fastnet's. Adam divides by the
    gradient's own size, so that only epsilon has to follow.
    """
    rate = float(estimator.learning_rate_init)
    if estimator.solver == "sgd":
        momentum = float(estimator.momentum)
        nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
        return SGD(rate, momentum, nesterov), rate
    epsilon = float(estimator.epsilon) / objective.gradient
    return Adam(rate, float(estimator.beta_1), float(estimator.beta_2), epsilon), rate
