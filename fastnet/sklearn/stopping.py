"""scikit-learn's rule for ending a fit, and the attributes that it keeps up to date."""

from collections.abc import Callable
from typing import Any

from fastnet.sklearn.stepping import OptimizerState
from fastnet.training.stopping import EpochObserver

#: scikit-learn's "adaptive" divides the learning rate by this, until it is as small as that.
ADAPTIVE_DIVISOR, ADAPTIVE_LEAST = 5.0, 1e-6


class SolverObserver(EpochObserver):
    """Ends a fit, or lowers the rate, after `n_iter_no_change` epochs that were no better.

    scikit-learn looks at the loss after every epoch. But up to the first epoch at which that can
    happen, epochs may be trained ahead: nothing is done that would have to be undone.

    Args:
        estimator: its attributes are kept up to date.
        optimizer: whose learning rate may change.
        rows: seen in an epoch.
        score: computes the score on the validation rows; None: stop by the training loss.
    """

    def __init__(
        self,
        estimator: Any,
        optimizer: OptimizerState,
        rows: int,
        score: Callable[[], float] | None,
    ) -> None:
        self.estimator, self.optimizer = estimator, optimizer
        self.rows, self.score = rows, score
        of_solver = estimator.optimizer is None and estimator.solver == "sgd"
        self.inverse_scaling = of_solver and estimator.learning_rate == "invscaling"
        self.adaptive = of_solver and estimator.learning_rate == "adaptive"

    def epochs_ahead(self) -> float:
        """How many epochs may be trained before `epoch_done` has to be called for them."""
        if self.inverse_scaling:
            return 1
        estimator = self.estimator
        left = estimator.n_iter_no_change + 1 - estimator._no_improvement_count
        return float(max(left, 1))

    def epoch_done(self, loss: float, validation_loss: float | None) -> bool:
        """Count an epoch; return whether the fit ends."""
        estimator = self.estimator
        self.optimizer.epochs += 1
        estimator.n_iter_ += 1
        estimator.t_ += self.rows
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        if validation_loss is not None:
            estimator.validation_loss_curve_.append(validation_loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self.score is None:
            worse = loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, loss)
        else:
            worse = self._is_worse(self.score())
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
        if self.inverse_scaling:
            rate = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
            self.optimizer.change_rate(rate)
        return estimator._no_improvement_count > estimator.n_iter_no_change and self._give_up()

    def _is_worse(self, score: float) -> bool:
        estimator = self.estimator
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        worse = score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best = estimator.model_.parameters.flat.copy()
        return bool(worse)

    def _give_up(self) -> bool:
        """Stop, or continue more slowly; return whether to stop."""
        estimator, optimizer = self.estimator, self.optimizer
        what = "Training loss" if self.score is None else "Validation score"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        rate = optimizer.learning_rate
        if not self.adaptive or rate is None:
            end = " Stopping."
        elif rate <= ADAPTIVE_LEAST:
            end = " Learning rate too small. Stopping."
        else:
            optimizer.change_rate(rate / ADAPTIVE_DIVISOR)
            end = f" Setting learning rate to {optimizer.learning_rate:f}"
            estimator._no_improvement_count = 0
        if estimator.verbose:
            print(message + end)
        return end.endswith("Stopping.")
