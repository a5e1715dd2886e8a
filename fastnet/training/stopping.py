"""What may end a fit before its last epoch."""

from fastnet.arrays.checks import Array
from fastnet.training.fit_state import FitState
from fastnet.training.settings import EarlyStopping


class EpochObserver:
    """Is called after every epoch, and decides whether the fit ends there."""

    def epochs_ahead(self) -> float:
        """How many epochs may be trained before `epoch_done` has to be called for them.

        None of them but the last may end the fit or change its state.
        """
        return 1

    def epoch_done(self, loss: float, validation_loss: float | None) -> bool:
        """Look at an epoch's losses; return whether the fit ends."""
        return False

    def has_ended(self) -> bool:
        """Whether a fit that is resumed has ended already."""
        return False

    def fit_done(self) -> None:
        """The fit has ended by itself, neither interrupted nor by an error."""


class EarlyStopper(EpochObserver):
    """Ends a fit when the validation loss has stopped falling.

    Args:
        rule: when.
        fit_state: counts, and holds the best parameters.
        flat: the model's parameters.
    """

    def __init__(self, rule: EarlyStopping, fit_state: FitState, flat: Array) -> None:
        self.rule, self.fit_state, self.flat = rule, fit_state, flat

    def epoch_done(self, loss: float, validation_loss: float | None) -> bool:
        """Look at an epoch's validation loss; return whether the fit ends."""
        assert validation_loss is not None, "early stopping without validation rows"
        if self.fit_state.early_stopping.improves(validation_loss, self.rule.min_delta):
            self.fit_state.best_parameters = self.flat.copy()
        return self.has_ended()

    def has_ended(self) -> bool:
        """Whether the patience is at its end."""
        waited = self.fit_state.early_stopping.epochs_without_improvement
        return waited >= max(self.rule.patience, 1)

    def fit_done(self) -> None:
        """Go back to the best parameters, if asked for."""
        if self.rule.restore_best and self.fit_state.best_parameters is not None:
            self.flat[...] = self.fit_state.best_parameters
