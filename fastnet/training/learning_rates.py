"""The learning rate of every step of a fit."""

from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.schedules import by_step, plateau
from fastnet.training.fit_state import FitState


class LearningRates:
    """Learning rates by the optimizer's schedule.

    Args:
        rate: the optimizer's, a number or a schedule.
        fit_state: counts for `ReduceOnPlateau`.
        batches: steps per epoch.
        epochs: of the whole fit, for schedules that span it.
    """

    def __init__(self, rate: Any, fit_state: FitState, batches: int, epochs: int) -> None:
        self.rate = rate
        self.fit_state = fit_state
        self.batches = batches
        self.epochs = float(epochs)
        self.plateau = plateau(rate)

    def of_steps(self, first: int, steps: int) -> float | Array:
        """The learning rates of some steps: a number, or `(steps,)` float64."""
        rates = by_step(self.rate, first, steps, self.batches, self.epochs)
        if self.plateau is not None:
            least = np.minimum(rates, self.plateau.min_lr)
            rates = np.maximum(rates * self.fit_state.rate_factor, least)
        return rates

    def epoch_done(self, loss: float) -> None:
        """Lower the rate if the loss, of the validation rows if there are any, has stopped falling.

        It does nothing without a `ReduceOnPlateau`.
        """
        rule, fit_state = self.plateau, self.fit_state
        if (
            rule is not None
            and not fit_state.plateau.improves(loss, rule.min_delta)
            and fit_state.plateau.epochs_without_improvement > rule.patience
        ):
            fit_state.rate_factor *= rule.factor
            fit_state.plateau.epochs_without_improvement = 0
