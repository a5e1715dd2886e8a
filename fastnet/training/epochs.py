"""The epochs of a fit: their losses, and what is done after each."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array, all_finite
from fastnet.contract.program import Data, Program, Run
from fastnet.errors import Diverged
from fastnet.interrupts import DeferredInterrupt
from fastnet.training.fit_state import FitState
from fastnet.training.learning_rates import LearningRates
from fastnet.training.objective import Objective
from fastnet.training.rows import rows_of_batches
from fastnet.training.saving import Saver
from fastnet.training.settings import Settings
from fastnet.training.stopping import EpochObserver

if TYPE_CHECKING:
    from fastnet.training.progress import Progress


class Epochs:
    """The part of a `Trainer` that does what is due after epochs; `Trainer` sets the attributes.

    Attributes:
        rows: the number of training rows; `weight` holds their weights, or None.
        batches: steps of an epoch.
        every_epoch: whether something is due after every epoch.
        epoch_began: when the current epoch began, by `time.monotonic`.
    """

    program: Program
    flat: Array
    rows: int
    weight: Array | None
    batches: int
    validation: Data | None
    settings: Settings
    fit_state: FitState
    callbacks: Sequence[Callable[[], Any]]
    saver: Saver
    progress: "Progress | None"
    metrics: Mapping[str, Callable[[Array], float]]
    learning_rates: LearningRates | None
    objective: Objective
    observer: EpochObserver | None
    interrupts: DeferredInterrupt
    every_epoch: bool
    epoch_began: float
    #: What a callback raised: it may be the `Diverged` of another fit, which is not this one's.
    callback_error: Exception | None = None

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.fit_state.step // self.batches

    def record(self, reported: Array, run: Run) -> None:
        """Count the committed steps of a run, and do what is due after the epochs they complete."""
        losses = self._count(reported, run)
        if len(losses):
            if self.every_epoch or self.observer is not None:
                for loss in losses.tolist():
                    self._epoch_done(loss)
            self.epoch_began = time.monotonic()
        self._show_progress()

    def _count(self, reported: Array, run: Run) -> Array:
        """Add steps to the fit state, and the epochs they complete to the history.

        Returns:
            The losses of these epochs, `(epochs,)`.
        """
        fit_state, first = self.fit_state, self.epoch
        fit_state.step += len(reported)
        pending = reported
        if len(fit_state.pending_losses):
            pending = np.concatenate((fit_state.pending_losses, reported))
        whole = self.epoch - first
        losses = pending[: whole * self.batches]
        fit_state.pending_losses = pending[whole * self.batches :].copy()
        if not whole:
            return losses
        if self.batches > 1:
            masses = self._masses(run, whole)
            losses = np.add.reduce(losses.reshape(whole, self.batches) * masses, axis=1)
            losses /= np.add.reduce(masses, axis=-1)
        rate = run.learning_rate
        if isinstance(rate, np.ndarray):
            end = (first + 1) * self.batches - 1 - run.first_step
            # A copy: the history shall not keep those of all steps.
            rate = rate[end :: self.batches][:whole].copy()
        seconds = (time.monotonic() - self.epoch_began) / whole
        fit_state.history.extend(first + 1, losses, rate, seconds)
        return losses

    def _masses(self, run: Run, epochs: int) -> Array:
        """The share of each batch in an epoch's mean loss, `(batches,)` or `(epochs, batches)`.

        Its rows, or the sum of their weights, in the first so many epochs of a run.
        """
        weight = self.weight
        if weight is None or self.objective.by_rows:
            return rows_of_batches(self.rows, self.settings.batch_size)
        by_epoch = weight[None]
        if run.order is not None:
            by_epoch = weight[self.program.to_host(run.order)[:epochs]]
        starts = np.arange(0, self.rows, self.settings.batch_size)
        return np.asarray(np.add.reduceat(by_epoch, starts, axis=1, dtype=np.float64))

    def _epoch_done(self, loss: float) -> None:
        fit_state, history = self.fit_state, self.fit_state.history
        validation_loss = None
        if self.validation is not None:
            flat = self.program.to_device(self.flat)
            validation_loss = self.objective.reported_validation(self._validation_loss(flat))
            history.validation_loss.append(validation_loss)
            if self.metrics:
                self._measure(self._validation_predictions(flat))
            history.seconds[-1] = time.monotonic() - self.epoch_began
        if self.learning_rates is not None:
            self.learning_rates.epoch_done(loss if validation_loss is None else validation_loss)
        if self.observer is not None and self.observer.epoch_done(loss, validation_loss):
            fit_state.stopped = True
        try:
            with self.interrupts.allow():
                self._call_back()
        except Exception:  # a callback's own: the epoch is done all the same
            self.saver.save_or_warn()
            raise

    def _measure(self, predicted: Array) -> None:
        """Add the metrics to the history: NaN for a function that raises and for those after it."""
        values = dict.fromkeys(self.metrics, math.nan)
        try:
            for name, metric in self.metrics.items():
                values[name] = metric(predicted)
        finally:
            self.fit_state.history.add_metrics(values)

    def _validation_loss(self, flat: Any) -> float:
        assert self.validation is not None
        return self.program.loss(flat, self.validation)

    def _validation_predictions(self, flat: Any) -> Array:
        assert self.validation is not None
        return self.program.predict(flat, self.validation.x)

    def _call_back(self) -> None:
        if not self.callbacks:
            return
        before = self.flat.copy()
        try:
            for callback in self.callbacks:
                self.fit_state.edited = True
                answer = callback()
                if isinstance(answer, bool | np.bool_) and answer:
                    self.fit_state.stopped = True
        except Exception as error:
            self.callback_error = error
            raise
        finally:  # also where one raises: a checkpoint may be written after that
            if spoiled := not all_finite(self.flat):
                self.flat[...] = before
        if spoiled:
            raise Diverged(
                f"a callback made a parameter infinite or NaN after epoch {self.epoch}; the model "
                "keeps the parameters from before. Assign finite numbers."
            )

    def _show_progress(self) -> None:
        if self.progress is not None:
            done = self.fit_state.step / self.batches
            self.progress.update(done, self.settings.epochs, self.fit_state.history)
