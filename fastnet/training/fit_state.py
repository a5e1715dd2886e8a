"""How far a fit is: what it needs, beside the parameters, to continue bit for bit."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.definition.optimizers import LBFGS, Optimizer
from fastnet.definition.schedules import plateau
from fastnet.training.history import History


@dataclass
class BestLoss:
    """The best loss so far, and how long ago it was."""

    best: float = math.inf
    epochs_without_improvement: int = 0

    def improves(self, loss: float, min_delta: float) -> bool:
        """Count an epoch's loss; return whether it is the best so far."""
        if loss < self.best - min_delta:
            self.best, self.epochs_without_improvement = loss, 0
            return True
        self.epochs_without_improvement += 1
        return False


@dataclass
class LastFit:
    """What a model keeps of its last fit, for one that goes on from there (`initial_epoch`).

    Attributes:
        rule: the optimizer.
        memory, updates, plateau, rate_factor, fit: as in `FitState`, at the fit's end.
    """

    rule: Optimizer | LBFGS
    memory: Array
    updates: int
    plateau: BestLoss
    rate_factor: float
    fit: int

    def going_on(self, rule: Optimizer, step: int) -> "FitState | None":
        """The state of a fit that goes on with step `step`; None if the optimizer is another.

        `ReduceOnPlateau` goes on too, if it is the same.
        """
        # SGD without momentum has none: with momentum it then begins like the first time.
        if type(rule) is not type(self.rule) or len(self.memory) != rule.slots:
            return None
        new = FitState(step, self.updates, cache_lines.copy(self.memory))
        watched = plateau(rule.learning_rate)
        if watched is not None and watched == plateau(getattr(self.rule, "learning_rate", 0.0)):
            new.plateau, new.rate_factor = replace(self.plateau), self.rate_factor
        return new


@dataclass
class FitState:
    """How far a fit is: with the parameters, all that it needs to continue bit for bit.

    Attributes:
        step: steps done, over the whole training.
        updates: updates that `memory` has seen.
        memory: the optimizer's, `(slots, size)`.
        pending_losses: of the steps done of the current epoch, `(steps,)` float64.
        early_stopping: the best validation loss, for early stopping.
        best_parameters: those of that epoch, `(size,)`, or None.
        plateau: the best loss, for `ReduceOnPlateau`.
        rate_factor: what `ReduceOnPlateau` multiplies the learning rate with by now.
        stopped: whether the fit ended before its last epoch.
        fit: the number of the fit, from 0, of a model that is fitted several times: each time it
            begins anew, shuffles and dropout masks are others.
        history: of the epochs done.
        edited: whether parameters or memory were changed on the host, so that the backend needs a
            new copy before the next step.
    """

    step: int
    updates: int
    memory: Array
    pending_losses: Array = field(default_factory=lambda: np.empty(0))
    early_stopping: BestLoss = field(default_factory=BestLoss)
    best_parameters: Array | None = None
    plateau: BestLoss = field(default_factory=BestLoss)
    rate_factor: float = 1.0
    stopped: bool = False
    fit: int = 0
    history: History = field(default_factory=History)
    edited: bool = False


def beginning(
    rule: Optimizer | LBFGS, step: int, size: int, dtype: np.dtype[Any], last: LastFit | None
) -> FitState:
    """Where a fit begins: with the last one's memory, if it goes on from there.

    Args:
        rule: the optimizer.
        step: the first step, 0 for a fit that begins anew.
        size: how many parameters are trained.
        dtype: of the parameters.
        last: the model's last fit, or None.
    """
    if isinstance(rule, LBFGS):
        found = FitState(step, 0, np.zeros((0, 0), dtype))
    else:
        going_on = last.going_on(rule, step) if step and last is not None else None
        found = going_on or FitState(step, 0, rule.memory(size, dtype))
    if last is not None:
        found.fit = last.fit + (step == 0)
    return found


def ended(rule: Optimizer | LBFGS, fit_state: FitState) -> LastFit:
    """What to keep of a fit that has ended."""
    return LastFit(
        rule,
        fit_state.memory,
        fit_state.updates,
        fit_state.plateau,
        fit_state.rate_factor,
        fit_state.fit,
    )
