"""What a fit minimizes: penalties by step, and the losses that its history reports."""

from fastnet.arrays.checks import Array
from fastnet.contract.program import Run


class Objective:
    """The network's loss and constant penalties, reported as they are.

    A subclass may scale what is reported, or vary `l2`: scikit-learn's losses do both.

    Args:
        l1: adds l1 * sum |w| over the weights.
        l2: adds l2 / 2 * sum w^2 likewise.
    """

    #: Whether the losses in the history include the penalties; and whether a batch counts in an
    #: epoch's mean by its rows alone, not by their weights.
    reports_penalty = False
    by_rows = False

    #: Whether `reported` needs the parameters before every step, so that runs are one step long.
    one_step_runs = False

    def __init__(self, l1: float, l2: float) -> None:
        self.l1 = l1
        self._l2 = l2

    def l2(self, first_step: int, steps: int, order: Array | None) -> float | Array:
        """The l2 of some steps: a number, or one per step.

        Args:
            first_step: the number of the first.
            steps: how many.
            order: `(epochs, rows)`, as in `Run`.
        """
        return self._l2

    def reported(self, losses: Array, run: Run, flat: Array) -> Array:
        """What to report for the losses of a run's first steps, `(steps,)`.

        Args:
            losses: what the backend returned, with the penalties if `reports_penalty`.
            run: the steps.
            flat: the parameters before the run, on the host.
        """
        return losses

    def reported_validation(self, loss: float) -> float:
        """What to report for the loss on the validation rows."""
        return loss

    def loss_and_gradient(self, loss: float, gradient: Array, flat: Array) -> tuple[float, Array]:
        """What L-BFGS minimizes, and its gradient `(size,)`.

        Args:
            loss: the network's over all rows, penalties included.
            gradient: its gradient.
            flat: the parameters, on the host.
        """
        return loss, gradient
