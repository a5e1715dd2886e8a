"""Fit: runs of steps, until the epochs are done or something ends it; checkpoints; L-BFGS.

A `Trainer` asks the backend for runs of steps that are as long as nothing has to be done in
between, and takes over the result of a run only when it is known to be finite. So however a fit
ends, the model is left after a whole step, with finite parameters.

What a fit may do in its own way are four small objects: the order of the rows (`RowOrder`), the
learning rates (`LearningRates`), the penalties and reported losses (`Objective`), and what ends it
early (`EpochObserver`). `Model.fit` uses those of this folder; the scikit-learn estimators bring
theirs.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array, all_finite
from fastnet.contract.program import Data, Program, Run, State
from fastnet.definition.optimizers import LBFGS, Optimizer
from fastnet.definition.schedules import Schedule, by_step
from fastnet.errors import Diverged
from fastnet.interrupts import DeferredInterrupt
from fastnet.random import seed_of_fit
from fastnet.training.blocks import row_order
from fastnet.training.epochs import Epochs
from fastnet.training.fit_state import FitState
from fastnet.training.lbfgs import minimize
from fastnet.training.learning_rates import LearningRates
from fastnet.training.objective import Objective
from fastnet.training.orders import RowOrder
from fastnet.training.pacing import WITH_THE_REST, Pacing
from fastnet.training.saving import Saver
from fastnet.training.settings import Settings
from fastnet.training.stopping import EarlyStopper, EpochObserver

if TYPE_CHECKING:
    from fastnet.training.progress import Progress

#: Entries of row order made ahead for one run: 32 MiB, a bound on memory (a choice, not measured).
ORDER_ENTRIES = 2**22


class Trainer(Epochs):
    """One fit.

    Args:
        program: the compiled network.
        flat: the model's parameters on the host, changed in place, always after a whole step.
        data: the training rows, on the host.
        validation: the validation rows, on the host, or None.
        settings: of the fit.
        fit_state: where to begin.
        callbacks: called after every epoch; one that returns True ends the fit.
        save: writes a checkpoint, as often as `due` says.
        due: seconds and epochs between checkpoints; either may be None.
        progress: updated after every run.
        metrics: of the validation rows' predictions, by name.
        order: of the rows; None: as the settings say.
        learning_rates: None: as the optimizer says.
        objective: None: the network's loss with the settings' penalties.
        observer: called after every epoch; None: early stopping as the settings say.
        pacing: that of the last fit, if its steps were like these; None: counted (`pacing.py`).
        interrupts: what defers Ctrl-C, which fits among others share; None: its own.
        upload: hands rows to the backend, once if fits share them; None: `program.upload`.

    Attributes:
        validation: the validation rows, where the backend has them, or None.
        result: SciPy's `OptimizeResult` after L-BFGS, else None.
    """

    def __init__(
        self,
        program: Program,
        flat: Array,
        data: Data,
        validation: Data | None,
        settings: Settings,
        fit_state: FitState,
        *,
        callbacks: Sequence[Callable[[], Any]] = (),
        save: Callable[[], Any] | None = None,
        due: tuple[float | None, int | None] = (None, None),
        progress: "Progress | None" = None,
        metrics: Mapping[str, Callable[[Array], float]] | None = None,
        order: RowOrder | None = None,
        learning_rates: LearningRates | None = None,
        objective: Objective | None = None,
        observer: EpochObserver | None = None,
        pacing: Pacing | None = None,
        interrupts: DeferredInterrupt | None = None,
        upload: Callable[[Data], Data] | None = None,
    ) -> None:
        self.program = program
        self.flat = flat
        self.rows, self.weight = len(data), data.weight
        upload = upload or program.upload
        self.data = upload(data)
        self.validation = None if validation is None else upload(validation)
        self.settings = settings
        self.fit_state = fit_state
        self.seed = seed_of_fit(settings.seed, fit_state.fit)
        self.callbacks = callbacks
        self.saver = Saver(save, due)
        self.progress = progress
        self.metrics = metrics or {}
        self.batches = -(-self.rows // settings.batch_size)
        if order is None and settings.shuffle and self.batches > 1:
            order = row_order(settings.shuffle, program, self.seed, data)
        self.order = order
        self.drawn = range(0)
        self.orders: Any = None
        if learning_rates is None and isinstance(settings.optimizer, Optimizer):
            rate = settings.optimizer.learning_rate
            learning_rates = LearningRates(rate, fit_state, self.batches, settings.epochs)
        self.learning_rates = learning_rates
        self.objective = objective or Objective(settings.l1, settings.l2)
        if observer is None and settings.early_stopping is not None:
            observer = EarlyStopper(settings.early_stopping, fit_state, flat)
        self.observer = observer
        self.every_epoch = (
            bool(callbacks)
            or validation is not None
            or (learning_rates is not None and learning_rates.plateau is not None)
        )
        if pacing is None or pacing.batch_size != settings.batch_size:
            committed = flat.nbytes + fit_state.memory.nbytes
            pacing = Pacing(settings.batch_size, program.plan.products, committed)
        self.pacing = pacing
        self.result: Any = None
        self.interrupts = interrupts or DeferredInterrupt()
        #: The backend's own copy of what is trained, between runs.
        self.state: State | None = None
        #: Whether the state's memory has still to become that of the fit, and how long that took.
        self.swapped, self.copying = False, 0.0
        #: Entries of row order made ahead for one run.
        self.order_entries = ORDER_ENTRIES
        self.epoch_began = time.monotonic()
        # What stopped a fit that is resumed may not hold for this one: more patience, say.
        fit_state.stopped = observer is not None and observer.has_ended()

    def run(self) -> None:
        """Train until the epochs are done or something ends the fit.

        Raises:
            Diverged: if the loss or a parameter stops being finite.
            KeyboardInterrupt: after Ctrl-C, once the current run of steps is done.
        """
        with self.interrupts:
            try:
                if isinstance(self.settings.optimizer, LBFGS):
                    self._minimize(self.settings.optimizer)
                else:
                    self._train()
            except KeyboardInterrupt:
                self.saver.save()
                raise
            self.saver.save_or_warn()
            self.finish()

    def finish(self) -> None:
        """Do what is due at the end of a fit that was neither interrupted nor ended by an error."""
        if self.observer is not None:
            self.observer.fit_done()

    # --- runs of steps ------------------------------------------------------------------------

    def _train(self) -> None:
        while not self.done:
            state, run = self.next_run(self.pacing.steps)
            began = time.perf_counter()
            with self.interrupts.allow():
                losses = self.program.train(state, self.data, run)
            trained = time.perf_counter()
            reported = self.commit(run, losses)
            committed = time.perf_counter()
            between = committed - trained + self.copying
            self.pacing.measured(self.rows_of(run, losses), trained - began, between)
            self.record(reported, run)
            self._save_if_due()
            self._check_interrupt()

    def _check_interrupt(self) -> None:
        if self.interrupts.seen:
            raise KeyboardInterrupt

    def _save_if_due(self) -> None:
        if self.saver.write is None:
            return
        every = self.saver.epochs
        at_end = self.fit_state.step % self.batches == 0
        if self.saver.is_late() or (every is not None and at_end and self.epoch % every == 0):
            self.saver.save_or_warn()

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.epoch >= self.settings.epochs or self.fit_state.stopped

    def next_run(self, steps: int) -> tuple[State, Run]:
        """The state to train, and the next steps: `steps` of them, or up to where something is due.

        After the run, `commit` and then `record` take over its result.
        """
        if self.state is None or self.fit_state.edited:
            self.state = self._state()
        elif self.swapped:
            began = time.perf_counter()
            np.copyto(self.state.memory, self.fit_state.memory)
            self.copying = time.perf_counter() - began
        self.swapped = False
        return self.state, self._run(self._length(steps))

    def commit(self, run: Run, losses: Array) -> Array:
        """Take over what a run has made of the state, and return what to report of its losses.

        Raises:
            Diverged: if it is not finite; then it takes over the steps before that.
        """
        assert self.state is not None
        reported = self.objective.reported(losses, run, self.flat)
        if not self._commit(self.state, losses):
            self._diverged(run, losses, reported)
        return reported

    def rows_of(self, run: Run, losses: Array) -> int:
        """The rows that a run has trained on."""
        return self._rows(run.first_step + len(losses)) - self._rows(run.first_step)

    def _state(self) -> State:
        """The state on the host, as the backend's own copy."""
        put, fit_state = self.program.to_device, self.fit_state
        fit_state.edited = False
        flat, memory = map(cache_lines.copy, (self.flat, fit_state.memory))
        return State(put(flat), put(memory), fit_state.updates)

    def _length(self, steps: int) -> int:
        """The length of the next run: `steps`, but not past where something is due.

        If only a few more steps are left until then, the run takes them too.
        """
        if self.objective.one_step_runs:
            return 1
        epoch, last = self.epoch, float(self.settings.epochs)
        if self.every_epoch:
            last = epoch + 1
        if (every := self.saver.epochs) is not None:
            last = min(last, (epoch // every + 1) * every)
        if self.observer is not None:
            last = min(last, epoch + self.observer.epochs_ahead())
        if self.order is not None:
            last = min(last, epoch + max(self.order_entries // self.rows, 1))
        left = int(last) * self.batches - self.fit_state.step
        with_rest = WITH_THE_REST * steps if steps > 1 else 1  # not two steps that are long
        return max(left if left <= with_rest else steps, 1)

    def _run(self, steps: int) -> Run:
        settings, first = self.settings, self.fit_state.step
        optimizer = settings.optimizer
        assert isinstance(optimizer, Optimizer)
        assert self.learning_rates is not None
        order, steps = self._order(steps)
        return Run(
            first_step=first,
            steps=steps,
            batch_size=settings.batch_size,
            order=order,
            optimizer=optimizer,
            learning_rate=self.learning_rates.of_steps(first, steps),
            weight_decay=self._by_step(optimizer.decoupled_decay, first, steps),
            dropout_factor=self._by_step(settings.dropout_factor, first, steps),
            l1=self.objective.l1,
            l2=self.objective.l2(first, steps, order),
            clip_value=settings.clip_value,
            clip_norm=settings.clip_norm,
            seed=self.seed,
            reports_penalty=self.objective.reports_penalty,
        )

    def _by_step(self, value: float | Schedule, first: int, steps: int) -> float | Array:
        return by_step(value, first, steps, self.batches, float(self.settings.epochs))

    def _rows(self, steps: int) -> int:
        """How many rows the first so many steps of a training have."""
        epochs, batches = divmod(steps, self.batches)
        return epochs * self.rows + batches * self.settings.batch_size

    def _order(self, steps: int) -> tuple[Any, int]:
        """The order of the rows for the next steps, `(epochs, rows)` or None, and how many of them.

        Orders are drawn for whole epochs, as many as the steps fill, and a run ends where they do:
        so none is drawn twice, copied, or kept for longer than it is used.
        """
        if self.order is None:
            return None, steps
        epoch = self.epoch
        if epoch not in self.drawn:
            self.drawn = range(epoch, epoch + max(steps // self.batches, 1))
            self.orders = self.order.of_epochs(self.drawn)
        steps = min(steps, self.drawn.stop * self.batches - self.fit_state.step)
        if self.batches == 1:  # of all rows: their order does not matter
            return None, steps
        return self.orders[epoch - self.drawn.start :], steps

    def _commit(self, state: State, losses: Array) -> bool:
        """Take over the result of a run, if it is all finite; return whether it is."""
        if not math.isfinite(losses[-1]):
            return False
        get = self.program.to_host
        flat, memory = get(state.parameters), get(state.memory)
        if not _finite(flat, memory):
            return False
        self.flat[...] = flat
        if memory is state.memory:  # `next_run` copies, so after the last run nothing is copied
            self.fit_state.memory, state.memory = memory, self.fit_state.memory
            self.swapped = True
        else:
            np.copyto(self.fit_state.memory, memory)
        self.fit_state.updates = state.updates
        return True

    def _diverged(self, run: Run, losses: Array, reported: Array) -> None:
        """Do the run again, up to its last step with a finite result, and raise."""
        # Steps whose update was made: all, or all before the first bad loss.
        made = len(losses) if math.isfinite(losses[-1]) else len(losses) - 1
        good, bad = 0, made + 1
        while bad - good > 1:  # the last is tried first: mostly the loss alone overflowed
            steps = made if bad == made + 1 else (good + bad) // 2
            state = self._state()
            self.again(state, run.shortened(steps))
            if _finite(*map(self.program.to_host, (state.parameters, state.memory))):
                good = steps
            else:
                bad = steps
        if good:
            state = self._state()
            self.again(state, run.shortened(good))
            self._commit(state, losses[:good])
            self.record(reported[:good], run)
        if good < made:
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

    def again(self, state: State, run: Run) -> None:
        """Do the beginning of a run that diverged once more, with the same bits."""
        self.program.train(state, self.data, run)

    # --- L-BFGS -------------------------------------------------------------------------------

    def _minimize(self, rule: LBFGS) -> None:
        """Leave the steps to L-BFGS: one of its iterations is an epoch."""
        objective, fit_state = self.objective, self.fit_state
        l2 = float(np.max(objective.l2(0, 1, None)))  # of the one batch

        def loss_and_gradient(flat: Array) -> tuple[float, Array]:
            parameters = self.program.to_device(flat)
            with self.interrupts.allow():
                loss, gradient = self.program.gradient(parameters, self.data, l2=l2)
            return objective.loss_and_gradient(loss, gradient, flat)

        def iterated(flat: Array, loss: float) -> bool:
            self.flat[...] = flat
            if not objective.reports_penalty:
                loss -= self.program.penalty(self.program.to_device(self.flat), 0.0, l2)
            fit_state.step += 1
            seconds = time.monotonic() - self.epoch_began
            fit_state.history.extend(self.epoch, np.array([loss]), math.nan, seconds)
            self._epoch_done(loss)
            self.epoch_began = time.monotonic()
            self._show_progress()
            self._check_interrupt()
            return fit_state.stopped

        epochs = self.settings.epochs - self.epoch
        if epochs > 0 and not fit_state.stopped:
            self.result = minimize(rule, self.flat.copy(), epochs, loss_and_gradient, iterated)


def _finite(parameters: Array, memory: Array) -> bool:
    """Whether both are: an infinite memory would stop all movement."""
    return all_finite(parameters) and all_finite(memory)
