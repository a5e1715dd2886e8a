"""Fits of many networks of one plan, trained together: run by run, all that are not done.

Each is a `Trainer`, which decides what its next run is and what becomes of the result; here the
runs of all are handed to the backend at once. So whatever a fit can do alone, it can do among
others, and a fit that is done costs nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastnet import callers
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Program, Run, State
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import Diverged
from fastnet.interrupts import DeferredInterrupt
from fastnet.training.history import History
from fastnet.training.pacing import LONGEST_RUN_SECONDS, Pacing, seconds_of_run
from fastnet.training.saving import Saver
from fastnet.training.trainer import ORDER_ENTRIES, Trainer

if TYPE_CHECKING:
    from fastnet.training.progress import Progress


class Member(Trainer):
    """The fit of one network among others."""

    #: The loss on the validation rows, if it is known already.
    known: float | None = None

    def again(self, state: State, run: Run) -> None:
        """Do the beginning of a run that diverged once more, the way it was done among others."""
        self.program.train_many([state], [self.data], [run])

    def steps_of(self, rows: int) -> int:
        """The steps of a run of about so many rows: up to where an epoch ends, if that is near.

        What is done for a fit between two runs takes as long as many steps of a small network, so
        an epoch is better not cut in two.
        """
        epochs = round(rows / self.rows)
        if epochs:
            return epochs * self.batches - self.fit_state.step % self.batches
        return max(rows // self.settings.batch_size, 1)

    def ends_epoch(self, run: Run, reported: Array) -> bool:
        """Whether an epoch ends with so much of a run."""
        return (run.first_step + len(reported)) % self.batches == 0

    def _validation_loss(self, flat: Any) -> float:
        found, self.known = self.known, None
        return super()._validation_loss(flat) if found is None else found

    def minimize(self) -> None:
        """Leave all steps to L-BFGS, which asks for losses and gradients, not for runs."""
        assert isinstance(self.settings.optimizer, LBFGS)
        self._minimize(self.settings.optimizer)


def uploader(program: Program) -> Callable[[Data], Data]:
    """What hands rows to the backend: those that members share once."""
    made: dict[int, tuple[Data, Data]] = {}

    def upload(data: Data) -> Data:
        if id(data) not in made:
            made[id(data)] = data, program.upload(data)  # kept, so that no other has its number
        return made[id(data)][1]

    return upload


#: About how many seconds a round takes, at the least: a few in a second are enough for progress and
#: for Ctrl-C, and at the end of each, threads wait for the last one (a choice).
ROUND_SECONDS = 0.2

#: Members of the first round, by which the pace of the others is found.
FIRST = 16


class Pace:
    """How long the runs of a round are, by what the rounds before took.

    As for one fit (`pacing.py`): a round takes about ROUND_SECONDS, and where there are so many
    members that what is done for each in between takes long, more.
    """

    def __init__(self) -> None:
        self.seconds_of_row: float | None = None
        self.seconds_of_member = 0.0

    def rows(self, members: int, batch_size: int, products: int) -> int:
        """How many rows each of so many members should be trained on in the next round."""
        if self.seconds_of_row is None:
            return Pacing(batch_size, products).rows // members
        between = self.seconds_of_member * members
        wanted = seconds_of_run(between, LONGEST_RUN_SECONDS, ROUND_SECONDS)
        return int(wanted / self.seconds_of_row / members)

    def measured(self, members: int, rows: int, seconds: float, between: float) -> None:
        """Learn from a round of so many rows in all, and what was done between the runs."""
        self.seconds_of_row = max(seconds, 1e-9) / rows
        self.seconds_of_member = between / members


class Together:
    """The fits of many networks.

    Args:
        program: the compiled network of all.
        fits: one a network.
        interrupts: that the fits have too.
        save: writes a checkpoint of all, as often as `due` says.
        due: seconds and epochs between checkpoints; either may be None.
        progress: updated after every run, with the mean losses.
        pace: that of the last fit, if its steps were like these; None: the first round finds it.

    Attributes:
        diverged: the errors of those that have diverged, by their places.
    """

    def __init__(
        self,
        program: Program,
        fits: Sequence[Member],
        interrupts: DeferredInterrupt,
        *,
        save: Callable[[], Any] | None = None,
        due: tuple[float | None, int | None] = (None, None),
        progress: "Progress | None" = None,
        pace: Pace | None = None,
    ) -> None:
        self.program = program
        self.fits = fits
        self.interrupts = interrupts
        self.saver = Saver(save, due)
        self.progress = progress
        self.pace = pace or Pace()
        self.diverged: dict[int, Diverged] = {}
        self.losses = [float("nan")] * len(fits)
        for fit in fits:
            fit.order_entries = ORDER_ENTRIES // len(fits)

    def run(self) -> None:
        """Train until all are done.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the current run of steps is done.
        """
        with self.interrupts:
            try:
                self._train()
            except KeyboardInterrupt:
                self.saver.save()
                raise
            except Exception:  # a callback's own: what is done is done all the same
                self.saver.save_or_warn()
                raise
            self.saver.save_or_warn()
            for place, fit in enumerate(self.fits):
                if place not in self.diverged:
                    fit.finish()

    def _train(self) -> None:
        places = range(len(self.fits))
        by_itself = [n for n in places if isinstance(self.fits[n].settings.optimizer, LBFGS)]
        for place in by_itself:
            try:
                self.fits[place].minimize()
            except Diverged as error:
                if error is self.fits[place].callback_error:
                    raise
                self.diverged[place] = error
        left = self._left([n for n in places if n not in by_itself])
        saved = self._least_epoch(left)
        while left:
            known = self.pace.seconds_of_row is not None
            self._round(left if known else left[:FIRST])
            left = self._left(left)
            self._show_progress()
            least = self._least_epoch(left)
            if left and self._is_due(saved, least):
                self.saver.save_or_warn()
                saved = least
            if self.interrupts.seen:
                raise KeyboardInterrupt

    def _left(self, places: Sequence[int]) -> list[int]:
        """Those of some fits that are neither done nor diverged."""
        return [n for n in places if n not in self.diverged and not self.fits[n].done]

    def _least_epoch(self, places: Sequence[int]) -> int:
        return min((self.fits[n].epoch for n in places), default=0)

    def _round(self, places: Sequence[int]) -> None:
        """A run of each of some fits."""
        began = time.perf_counter()
        fits = [self.fits[n] for n in places]
        rows = self.pace.rows(len(fits), fits[0].settings.batch_size, self.program.plan.products)
        asked = [fit.next_run(fit.steps_of(rows)) for fit in fits]
        states, runs = [state for state, _ in asked], [run for _, run in asked]
        ready = time.perf_counter()
        with self.interrupts.allow():
            losses = self.program.train_many(states, [fit.data for fit in fits], runs)
        trained = time.perf_counter()
        done: list[tuple[int, Member, Array, Run]] = []
        for place, fit, run, found in zip(places, fits, runs, losses, strict=True):
            try:
                done.append((place, fit, fit.commit(run, found), run))
                self.losses[place] = float(found[-1])
            except Diverged as error:
                self.diverged[place] = error
        each = zip(fits, runs, losses, strict=True)
        made = sum(fit.rows_of(run, found) for fit, run, found in each)
        between = ready - began + time.perf_counter() - trained
        self.pace.measured(len(fits), made, trained - ready, between)
        self._validate([fit for _, fit, reported, run in done if fit.ends_epoch(run, reported)])
        failed: BaseException | None = None
        for place, fit, reported, run in done:
            try:
                fit.record(reported, run)
            except BaseException as error:
                if isinstance(error, Diverged) and error is not fit.callback_error:
                    self.diverged[place] = error  # by what its callback did
                else:  # a callback's own error: the others' steps are made all the same
                    failed = failed or error
        if failed is not None:
            raise failed

    def _validate(self, fits: Sequence[Member]) -> None:
        """Compute the validation losses of those that have them due, all at once."""
        rows = [fit.validation for fit in fits if fit.validation is not None]
        if len(rows) < len(fits) or not fits:
            return  # each of its own accord
        put = self.program.to_device
        with self.interrupts.allow():
            found = self.program.loss_many([put(fit.flat) for fit in fits], rows)
        for fit, loss in zip(fits, found, strict=True):
            fit.known = loss

    def _show_progress(self) -> None:
        if self.progress is None:
            return
        going = [n for n in range(len(self.fits)) if n not in self.diverged]
        epochs = max(fit.settings.epochs for fit in self.fits)
        share = sum(
            1.0 if fit.fit_state.stopped or n in self.diverged
            else min(fit.fit_state.step / fit.batches / fit.settings.epochs, 1.0)
            for n, fit in enumerate(self.fits)
        ) / len(self.fits)  # fmt: skip
        done = share * epochs
        losses = [self.losses[n] for n in going]
        validation = [
            self.fits[n].fit_state.history.validation_loss[-1]
            for n in going
            if self.fits[n].validation is not None and self.fits[n].epoch > 0
        ]
        mean = History(
            [max(int(done), 1)],
            [sum(losses) / len(losses)] if losses else [],
            [sum(validation) / len(validation)] if validation else [],
        )
        self.progress.update(done, epochs, mean)

    def _is_due(self, saved: int, least: int) -> bool:
        """Whether a checkpoint is; `least` epochs are done by all, `saved` were at the last one."""
        if self.saver.write is None:
            return False
        every = self.saver.epochs
        return self.saver.is_late() or (every is not None and least // every > saved // every)


def report_diverged(diverged: Mapping[int, Diverged], members: int) -> None:
    """Warn of the members that have diverged.

    Args:
        diverged: their errors, by their numbers.
        members: how many there are.

    Raises:
        Diverged: if all have.
    """
    if not diverged:
        return
    places = sorted(diverged)
    shown = ", ".join(map(str, places[:8])) + (", ..." if len(places) > 8 else "")
    text = (
        f"{len(places)} of {members} members diverged ({shown}); member {places[0]}: "
        f"{diverged[places[0]]}"
    )
    if len(places) == members:
        raise Diverged(text)
    callers.warn(text, RuntimeWarning)
