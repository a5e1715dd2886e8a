"""fit: epochs, batches, validation, early stopping, callbacks, checkpoints.

A `Trainer` asks the backend for runs of steps as long as nobody wants anything in between,
and commits what a run did only when it is known to be good. So whatever ends a fit, the
model is left after a whole step, with finite parameters.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Program, Run, State
from fastnet.definition.optimizers import LBFGS
from fastnet.definition.schedules import ReduceOnPlateau, Schedule, plateau
from fastnet.errors import Diverged
from fastnet.training.fit_state import FitState
from fastnet.training.history import History
from fastnet.training.interrupts import DeferredInterrupt
from fastnet.training.lbfgs import minimize
from fastnet.training.settings import Settings

#: How long a run of steps should take, in seconds: short enough for Ctrl-C and a progress bar,
#: long enough that what happens between runs does not count.
RUN_SECONDS = 0.05

#: Where taking over what a run did takes long, as it does when many parameters come from a GPU,
#: runs are this many times as long, but no longer than so many seconds.
COMMIT_TIMES, LONGEST_RUN_SECONDS = 20, 2.0

#: Entries of row order made ahead for one run: 32 MiB.
ORDER_ENTRIES = 2**22


class Progress(Protocol):
    """Who wants to know how far a fit is."""

    def update(self, done: float, epochs: int, history: History) -> None:
        """`done` epochs of `epochs`, with fractions."""
        ...


class Trainer:
    """One fit.

    Args:
        program: the compiled network.
        flat: the model's parameters on the host, changed in place, always after a whole step.
        data: the training rows, on the host.
        validation: the validation rows, on the host, or None.
        settings: what to do.
        fit_state: where to begin.
        callbacks: called after every epoch; one that returns True ends the fit.
        save: writes a checkpoint, and `due` says when: after so many seconds, or epochs.
        due: seconds and epochs between checkpoints; either may be None.
        progress: told after every run.
    """

    def __init__(
        self,
        program: Program,
        flat: Array,
        data: Data,
        validation: Data | None,
        settings: Settings,
        fit_state: FitState,
        callbacks: Sequence[Callable[[], Any]] = (),
        save: Callable[[], Any] | None = None,
        due: tuple[float | None, int | None] = (None, None),
        progress: Progress | None = None,
    ) -> None:
        self.program = program
        self.flat = flat
        self.rows = len(data.x)
        self.data = program.upload(data)
        self.validation = None if validation is None else program.upload(validation)
        self.settings = settings
        self.fit_state = fit_state
        self.callbacks = callbacks
        self.save, self.due = save, due
        self.progress = progress
        self.batches = -(-self.rows // settings.batch_size)
        self.batch_rows = np.full(self.batches, settings.batch_size)
        self.batch_rows[-1] = self.rows - (self.batches - 1) * settings.batch_size
        self.shuffles = settings.shuffle and self.batches > 1
        self.orders: dict[int, Array] = {}
        self.budget = 1.0
        self.interrupts = DeferredInterrupt()
        self.epoch_began = self.saved_at = time.monotonic()

        # What stopped a fit that is resumed may not hold for this one: more epochs, say.
        fit_state.stopped = self._gave_up()

    def _gave_up(self) -> bool:
        stopping = self.settings.early_stopping
        return (
            stopping is not None
            and self.fit_state.stopping.epochs_without_improvement > stopping.patience
        )

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.fit_state.step // self.batches

    def run(self) -> None:
        """Train until the epochs are done or something ends it.

        Raises:
            Diverged: if the loss or a parameter stops being finite.
            KeyboardInterrupt: after Ctrl-C, once the steps under way are done.
        """
        with self.interrupts:
            try:
                if isinstance(self.settings.optimizer, LBFGS):
                    self._minimize(self.settings.optimizer)
                else:
                    self._steps()
            except KeyboardInterrupt:
                self._save()
                raise
            self._save()
            self._restore_best()

    def _steps(self) -> None:
        state = self._state()
        while self.epoch < self.settings.epochs and not self.fit_state.stopped:
            run = self._run(self._length())
            began = time.monotonic()
            with self.interrupts.allow():
                losses = self.program.train(state, self.data, run)
            took = time.monotonic() - began
            if not self._commit(state, losses):
                self._diverged(run, losses)
            committing = time.monotonic() - began - took
            self._record(losses, run)
            if self.callbacks:
                state = self._state()
            # Grow towards runs of the length wanted, by no more than eightfold at once.
            wanted = max(RUN_SECONDS, min(COMMIT_TIMES * committing, LONGEST_RUN_SECONDS))
            fitting = len(losses) * wanted / max(took, 1e-9)
            self.budget = min(max(fitting, self.budget / 8, 1.0), self.budget * 8)
            self._save_if_due()
            if self.interrupts.seen:
                raise KeyboardInterrupt

    def _state(self) -> State:
        """What is committed, as the backend's own copy."""
        put = self.program.to_device
        fit_state = self.fit_state
        return State(put(self.flat.copy()), put(fit_state.memory.copy()), fit_state.updates)

    def _length(self) -> int:
        """How many steps to ask for: up to where somebody wants something."""
        step, batches = self.fit_state.step, self.batches
        epoch, last = self.epoch, self.settings.epochs
        if self.callbacks or self.validation is not None or self._plateau is not None:
            last = epoch + 1
        elif self.save is not None and self.due[1] is not None:
            last = min(last, (epoch // self.due[1] + 1) * self.due[1])
        if self.shuffles:
            last = min(last, epoch + max(ORDER_ENTRIES // self.rows, 1))
        return max(min(last * batches - step, int(self.budget)), 1)

    def _run(self, steps: int) -> Run:
        settings, fit_state = self.settings, self.fit_state
        assert not isinstance(settings.optimizer, LBFGS)
        rate = settings.optimizer.learning_rate
        if isinstance(rate, Schedule):
            moments = np.arange(fit_state.step, fit_state.step + steps) / self.batches
            rates = rate.rates(moments, float(settings.epochs))
        else:
            rates = np.full(steps, float(rate))
        if self._plateau is not None:
            rates = np.maximum(rates * fit_state.scale, np.minimum(rates, self._plateau.least))
        return Run(
            first_step=fit_state.step,
            steps=steps,
            batch_size=settings.batch_size,
            order=self._order(steps) if self.shuffles else None,
            optimizer=settings.optimizer,
            learning_rate=rates,
            weight_decay=settings.optimizer.decoupled_decay,
            l1=settings.l1,
            l2=settings.l2,
            clip_value=settings.clip_value,
            clip_norm=settings.clip_norm,
            seed=settings.seed,
        )

    def _order(self, steps: int) -> Array:
        first, last = self.epoch, (self.fit_state.step + steps - 1) // self.batches
        seed = self.settings.seed
        self.orders = {
            epoch: self.orders[epoch]
            if epoch in self.orders
            else random.permutation(seed, random.SHUFFLE, epoch, self.rows)
            for epoch in range(first, last + 1)
        }
        if first == last:
            return self.orders[first][None]
        return np.stack([self.orders[epoch] for epoch in range(first, last + 1)])

    @property
    def _plateau(self) -> ReduceOnPlateau | None:
        optimizer = self.settings.optimizer
        return None if isinstance(optimizer, LBFGS) else plateau(optimizer.learning_rate)

    def _commit(self, state: State, losses: Array) -> bool:
        """Take over what a run did, if it is all finite."""
        if not math.isfinite(losses[-1]):
            return False
        get = self.program.to_host
        flat, memory = get(state.parameters), get(state.memory)
        if not _finite(flat, memory):
            return False
        self.flat[...] = flat
        np.copyto(self.fit_state.memory, memory)
        self.fit_state.updates = state.updates
        return True

    def _diverged(self, run: Run, losses: Array) -> None:
        """Do the run again, as far as it went well, and say where it ended."""
        # Steps whose update was made: all, or all before the first bad loss.
        made = len(losses) if math.isfinite(losses[-1]) else len(losses) - 1
        good, bad = 0, made + 1
        while bad - good > 1:  # the last is tried first: mostly the loss alone overflowed
            steps = made if bad == made + 1 else (good + bad) // 2
            state = self._state()
            short = run.shortened(steps)
            self.program.train(state, self.data, short)
            if _finite(*map(self.program.to_host, (state.parameters, state.memory))):
                good = steps
            else:
                bad = steps
        if good:
            short = run.shortened(good)
            state = self._state()
            self.program.train(state, self.data, short)
            self._commit(state, losses[:good])
            self._count(losses[:good], short)
        if math.isfinite(losses[-1]):
            what, place = "a parameter or the optimizer's memory overflowed", good
        else:
            what, place = f"the loss became {losses[-1]}", len(losses) - 1
        at = run.first_step + place
        raise Diverged(
            f"{what} in epoch {at // self.batches + 1}, step {at % self.batches + 1} of "
            f"{self.batches}, at learning rate {run.of_step('learning_rate', at):g}; the model "
            f"keeps its last finite parameters, of step {self.fit_state.step} in all. Try a "
            "smaller learning rate, clip_norm=1.0, or scaled inputs and targets."
        )

    def _record(self, losses: Array, run: Run) -> None:
        """Count the steps of a run that is committed, and do what is wanted after an epoch."""
        before = self.epoch
        self._count(losses, run)
        if self.epoch > before:
            self._epoch_done()
        if self.progress is not None:
            done = self.fit_state.step / self.batches
            self.progress.update(done, self.settings.epochs, self.fit_state.history)

    def _count(self, losses: Array, run: Run) -> None:
        """Add the steps, and the epochs they complete, to the fit state and the history."""
        fit_state, history = self.fit_state, self.fit_state.history
        first = self.epoch
        fit_state.step += len(losses)
        pending = losses
        if len(fit_state.pending):
            pending = np.concatenate((fit_state.pending, losses))
        whole = self.epoch - first
        fit_state.pending = pending[whole * self.batches :].copy()
        if not whole:
            return
        losses_of = pending[: whole * self.batches]
        if self.batches > 1:
            epochs = losses_of.reshape(whole, self.batches)
            losses_of = (epochs * self.batch_rows).sum(axis=1) / self.rows
        end = (first + 1) * self.batches - 1 - run.first_step
        rates = run.by_step("learning_rate")[end :: self.batches][
            :whole
        ].copy()  # not the whole run's
        seconds = (time.monotonic() - self.epoch_began) / whole
        history.extend(first + 1, losses_of, rates, seconds)

    def _minimize(self, rule: LBFGS) -> None:
        """Leave the steps to L-BFGS: one of its iterations is an epoch."""

        def loss_and_gradient(flat: Array) -> tuple[float, Array]:
            parameters = self.program.to_device(flat)
            with self.interrupts.allow():
                return self.program.gradient(parameters, self.data, l2=self.settings.l2)

        def iterated(flat: Array, loss: float) -> bool:
            history = self.fit_state.history
            self.flat[...] = flat
            self.fit_state.step += 1
            history.epoch.append(self.epoch)
            history.loss.append(loss)
            history.learning_rate.append(math.nan)
            history.seconds.append(time.monotonic() - self.epoch_began)
            self._epoch_done()
            if self.progress is not None:
                self.progress.update(float(self.epoch), self.settings.epochs, history)
            if self.interrupts.seen:
                raise KeyboardInterrupt
            return self.fit_state.stopped

        epochs = self.settings.epochs - self.epoch
        if epochs > 0 and not self.fit_state.stopped:
            minimize(rule, self.flat.copy(), epochs, loss_and_gradient, iterated)

    def _epoch_done(self) -> None:
        fit_state, history = self.fit_state, self.fit_state.history
        stopping, rule = self.settings.early_stopping, self._plateau
        watched = math.nan
        if self.validation is not None:
            watched = self.program.loss(self.program.to_device(self.flat), self.validation)
            history.validation_loss.append(watched)
        elif rule is not None:
            watched = history.loss[-1]
        if stopping is not None:
            if fit_state.stopping.improves(watched, stopping.min_delta):
                fit_state.best = self.flat.copy()
            elif self._gave_up():
                fit_state.stopped = True
        if (
            rule is not None
            and not fit_state.plateau.improves(watched, rule.min_delta)
            and fit_state.plateau.epochs_without_improvement > rule.patience
        ):
            fit_state.scale *= rule.factor
            fit_state.plateau.epochs_without_improvement = 0
        if self.validation is not None:
            history.seconds[-1] = time.monotonic() - self.epoch_began
        self.epoch_began = time.monotonic()
        try:
            with self.interrupts.allow():
                self._call_back()
        except Exception:  # a callback's own: the epoch is done all the same
            self._save()
            raise

    def _call_back(self) -> None:
        for callback in self.callbacks:
            answer = callback()
            if isinstance(answer, bool | np.bool_) and answer:
                self.fit_state.stopped = True

    def _save_if_due(self) -> None:
        if self.save is None:
            return
        seconds, epochs = self.due
        late = seconds is not None and time.monotonic() - self.saved_at >= seconds
        at_end = self.fit_state.step % self.batches == 0
        if late or (epochs is not None and at_end and self.epoch % epochs == 0):
            self._save()

    def _save(self) -> None:
        if self.save is not None:
            self.save()
            self.saved_at = time.monotonic()

    def _restore_best(self) -> None:
        stopping = self.settings.early_stopping
        if stopping is not None and stopping.restore_best and self.fit_state.best is not None:
            self.flat[...] = self.fit_state.best


def _finite(parameters: Array, memory: Array) -> bool:
    """Whether both are: an infinite memory would stop all movement."""
    return bool(np.isfinite(parameters).all() and np.isfinite(memory).all())
