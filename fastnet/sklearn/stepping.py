"""scikit-learn's steps in the trainer's terms: its optimizers, learning rates and row orders."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.optimizers import SGD, Adam, Optimizer
from fastnet.sklearn.objectives import EstimatorLoss
from fastnet.training.fit_state import FitState
from fastnet.training.history import History
from fastnet.training.learning_rates import LearningRates


class OptimizerState:
    """An estimator's optimizer, kept from one `partial_fit` to the next.

    Args:
        rule: fastnet's optimizer.
        size: the number of parameters.
        dtype: of the parameters.
        learning_rate: scikit-learn's, at first; None: the rule has its own.

    Attributes:
        learning_rate: scikit-learn's, now.
        epochs: done with it.
        fit_state: of the last fit, with the optimizer's memory.
    """

    def __init__(
        self, rule: Optimizer, size: int, dtype: np.dtype[Any], learning_rate: float | None
    ) -> None:
        self.rule = rule
        self.learning_rate = learning_rate
        self.epochs = 0
        self.fit_state = FitState(0, 0, rule.memory(size, dtype))

    def begin(self, batches: int) -> FitState:
        """Begin another fit, with so many batches in an epoch, which continues from the last."""
        self.fit_state = replace(
            self.fit_state,
            step=self.epochs * batches,
            pending_losses=np.empty(0),
            stopped=False,
            history=History(),
        )
        return self.fit_state

    def change_rate(self, rate: float) -> None:
        """Continue with another learning rate.

        scikit-learn's velocity has the rate in it, v = momentum * v - rate * g, and fastnet's has
        not: the old rate's share stays in the velocity.
        """
        assert self.learning_rate is not None
        if isinstance(self.rule, SGD):
            self.fit_state.memory *= self.learning_rate / rate
            self.fit_state.edited = True
        self.learning_rate = rate


class SolverRates(LearningRates):
    """The learning rates of an estimator's optimizer, in fastnet's terms.

    Args:
        state: the optimizer.
        batches: steps per epoch.
        epochs: for schedules that span a whole fit.
        gradient: scikit-learn's gradient is so many times fastnet's.
    """

    def __init__(self, state: OptimizerState, batches: int, epochs: int, gradient: float) -> None:
        super().__init__(state.rule.learning_rate, state.fit_state, batches, epochs)
        self.state = state
        self.factor = gradient if isinstance(state.rule, SGD) else 1.0

    def of_steps(self, first: int, steps: int) -> float | Array:
        """The learning rates of some steps: a number, or `(steps,)` float64."""
        if self.state.learning_rate is None:
            return super().of_steps(first, steps)
        return float(self.state.learning_rate * self.factor)


class RandomStateOrder:
    """Orders of the rows drawn as `sklearn.utils.shuffle` draws them, each from the last one.

    Args:
        random_state: the generator.
        rows: how many.
    """

    def __init__(self, random_state: np.random.RandomState, rows: int) -> None:
        self.random_state = random_state
        self.order = np.arange(rows)

    def of_epochs(self, epochs: range) -> Array:
        """The orders of the rows in some epochs, `(len(epochs), rows)` intp."""
        found = np.empty((len(epochs), len(self.order)), np.intp)
        for order in found:
            drawn = np.arange(len(self.order))
            self.random_state.shuffle(drawn)
            order[...] = self.order = self.order[drawn]
        return found


class SolverAdam(Adam):
    """scikit-learn's, which adds epsilon to sqrt(v) before the correction."""

    epsilon_before_correction: ClassVar[bool] = True


def rule_of(estimator: Any, loss: EstimatorLoss) -> Optimizer:
    """fastnet's optimizer for a solver's parameters.

    scikit-learn's gradient is `loss.gradient` times fastnet's. Adam divides by the gradient's own
    size, so that only epsilon has to follow.
    """
    rate = float(estimator.learning_rate_init)
    if estimator.solver == "sgd":
        momentum = float(estimator.momentum)
        nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
        return SGD(rate, momentum, nesterov)
    epsilon = float(estimator.epsilon) / loss.gradient
    return SolverAdam(rate, float(estimator.beta_1), float(estimator.beta_2), epsilon)
