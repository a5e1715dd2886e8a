"""A fit on several ranks: what has to be decided, all decide alike."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Program, Run, State
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import DefinitionError, Diverged
from fastnet.random import seed_of_fit
from fastnet.training.blocks import row_order
from fastnet.training.distributed.program import DistributedProgram, steps_to_average
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.shares import Shard, Shares
from fastnet.training.distributed.world import Distributed, mark_everywhere
from fastnet.training.fit_state import FitState
from fastnet.training.saving import Saver
from fastnet.training.settings import Settings
from fastnet.training.trainer import Trainer

#: More steps than any fit has.
ALL_STEPS = 2**53


class DistributedTrainer(Trainer):
    """One fit on this rank's rows, with all others.

    Losses and parameters are the same on all ranks, and so is all that follows from them. What
    differs - clocks, Ctrl-C, what callbacks answer - is agreed on between two runs of steps.

    Args:
        ranks: the processes.
        options: how they train together.
        program: the backend's.
        flat, data, validation, settings, fit_state, rest: as for `Trainer`; `data` is this rank's
            own rows, as a `Shard` or a `StoredShard`.
    """

    def __init__(
        self,
        ranks: Ranks,
        options: Distributed,
        program: Program,
        flat: Array,
        data: Any,
        validation: Any,
        settings: Settings,
        fit_state: FitState,
        *,
        metrics: Mapping[str, Callable[[Array], float]] | None = None,
        **rest: Any,
    ) -> None:
        if program.plan.size != program.plan.trained:
            raise DefinitionError(
                "communicator: networks with statistics of batches, which every rank would have of "
                "its own rows, cannot be trained by several processes."
            )
        if options.average_every > 1 and isinstance(settings.optimizer, LBFGS):
            raise DefinitionError("optimizer 'lbfgs' needs all gradients; leave out average_every.")
        self.ranks, self.options = ranks, options
        self.shares = Shares(ranks, len(data.own), settings.batch_size)
        self.together = DistributedProgram(program, ranks, self.shares, options)
        if isinstance(data, Shard) and settings.shuffle and self.shares.batches > 1:
            seed = self.together.own_seed(seed_of_fit(settings.seed, fit_state.fit))
            rest["order"] = row_order(settings.shuffle, program, seed, data.own)
        super().__init__(
            self.together, flat, data, validation, settings, fit_state,
            metrics={name: self._of_all(one) for name, one in (metrics or {}).items()}, **rest,
        )  # fmt: skip
        self.saver = _SharedSaver(self)
        self.any_callbacks = any(ranks.all_of(bool(self.callbacks)))
        self.every_epoch = self.every_epoch or self.any_callbacks
        self.interrupted = self.late = False
        #: Of the next run: how many to ask for, and the most; not agreed on yet.
        self.steps = self.most = 0

    def run(self) -> None:
        """Train until the epochs are done or something ends the fit, on all ranks.

        Raises:
            Diverged: if the loss or a parameter stops being finite, on all ranks.
            KeyboardInterrupt: after Ctrl-C, on all ranks, once the current run of steps is done.
        """
        try:
            super().run()
        except Exception as error:
            if isinstance(error, Diverged):
                mark_everywhere(error)
            raise
        except KeyboardInterrupt as error:
            if self.interrupted:
                mark_everywhere(error)
            raise
        # On machines of several kinds, their arithmetic may differ by rounding.
        self.ranks.copy_first(self.flat)
        self.ranks.copy_first(self.fit_state.memory)
        history = self.fit_state.history
        history.seconds[:] = self.ranks.from_first(history.seconds)
        self.together.free()

    def _of_all(self, metric: Callable[[Array], float]) -> Callable[[Array], float]:
        """A metric of all ranks' predictions, which rank 0 computes."""

        def compute(predicted: Array) -> float:
            everyone = self.ranks.communicator.gather(predicted)
            return self.ranks.on_first(lambda: metric(np.concatenate(everyone)))

        return compute

    # --- what the ranks agree on ----------------------------------------------------------------

    def _agree(self) -> None:
        """Find out who was interrupted, whether a checkpoint is due, and how long a run may be."""
        late = self.ranks.rank == 0 and Saver.is_late(self.saver)  # by its own clock
        mine = [self.interrupts.seen, late, -self.pacing.steps, -self._steps_here()]
        interrupted, due, steps, most = self.ranks.largest(np.array(mine, np.int64)).tolist()
        self.interrupted, self.late = bool(interrupted), bool(due)
        self.steps, self.most = -steps, -most

    def _steps_here(self) -> int:
        """For how many steps this rank has rows in memory, from the next one on."""
        return ALL_STEPS

    def _order(self, steps: int) -> tuple[Any, int]:
        order, steps = super()._order(steps)
        return order, min(steps, self.most)

    def next_run(self, steps: int) -> tuple[State, Run]:
        """The state to train, and the next steps, as many as all ranks have agreed on."""
        if not self.steps:
            self._agree()
        return super().next_run(self.steps)

    def _check_interrupt(self) -> None:
        self._agree()
        if self.interrupted:
            raise KeyboardInterrupt

    def _length(self, steps: int) -> int:
        """How many of so many steps to ask for: up to where parameters are averaged."""
        every, batches = self.options.average_every, self.batches
        steps = super()._length(steps)
        if every == 1:
            return steps
        last = self.fit_state.step + steps - 1
        return steps - 1 + steps_to_average(last, batches, every)

    def _masses(self, run: Run, epochs: int) -> Array:
        """The share of each batch in an epoch's mean loss: of all ranks' rows."""
        if self.weight is None:
            return self.shares.all_rows
        assert isinstance(self.data, Shard)
        batches = self.batches
        first = run.first_step // batches
        whole = Run(
            first * batches, epochs * batches, run.batch_size, run.order, run.optimizer, 0.0
        )
        return self.together.masses(self.data, whole)[1].reshape(epochs, batches)

    # --- after an epoch -------------------------------------------------------------------------

    def _call_back(self) -> None:
        """Call each rank's own callbacks; one answer that ends the fit ends it for all."""
        if not self.any_callbacks:
            return
        self.ranks.together(super()._call_back)
        self.fit_state.stopped = any(self.ranks.all_of(self.fit_state.stopped))
        self.fit_state.edited = True
        self.ranks.copy_first(self.flat)  # which they may have changed


class _SharedSaver(Saver):
    """Writes checkpoints of a fit on several ranks, when all have agreed on it; rank 0 warns."""

    def __init__(self, trainer: DistributedTrainer) -> None:
        super().__init__(trainer.saver.write, trainer.saver.due)
        self.trainer = trainer

    def is_late(self) -> bool:
        """Whether all have agreed that it is."""
        return self.trainer.late

    def save(self) -> None:
        """Write one, on all ranks."""
        # Only a second Ctrl-C interrupts a rank alone, and others would not take part.
        if sys.exc_info()[0] is KeyboardInterrupt and not self.trainer.interrupted:
            return
        super().save()

    def warn(self, text: str) -> None:
        """Warn the user, once."""
        if self.trainer.ranks.rank == 0:
            super().warn(text)
