"""Where a fit is: what it needs, beside the parameters, to go on from there bit for bit."""

import math
from dataclasses import dataclass, field

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.training.history import History


@dataclass
class BestLoss:
    """Whether a loss still falls."""

    best: float = math.inf
    epochs_without_improvement: int = 0

    def improves(self, loss: float, min_delta: float) -> bool:
        """Take note of a loss; say whether it is the best so far."""
        if loss < self.best - min_delta:
            self.best, self.epochs_without_improvement = loss, 0
            return True
        self.epochs_without_improvement += 1
        return False


@dataclass
class FitState:
    """Where a fit is: with the parameters, all that is needed to go on from here, bit for bit.

    Attributes:
        step: steps done, over the whole training.
        updates: updates that `memory` has seen.
        memory: the optimizer's, `(slots, size)`.
        pending: the losses of the steps of the epoch that is under way.
        stopping: watched for early stopping; `best` are the parameters of its best epoch.
        plateau: watched for `ReduceOnPlateau`; `scale` is what it multiplied the rate with.
        stopped: the fit came to its end by itself.
        history: of the epochs done.
    """

    step: int
    updates: int
    memory: Array
    pending: Array = field(default_factory=lambda: np.empty(0))
    stopping: BestLoss = field(default_factory=BestLoss)
    best: Array | None = None
    plateau: BestLoss = field(default_factory=BestLoss)
    scale: float = 1.0
    stopped: bool = False
    history: History = field(default_factory=History)
