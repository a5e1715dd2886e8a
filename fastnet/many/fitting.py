"""A fit of all members: its checked settings and rows, its first states, and its run."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnet import memory
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Program
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError
from fastnet.interrupts import DeferredInterrupt
from fastnet.model import Model
from fastnet.records import Record
from fastnet.training import population_checkpoints
from fastnet.training.checkpoints import Checkpoint, check_resumable
from fastnet.training.fit_state import FitState, LastFit, beginning, ended
from fastnet.training.history import History
from fastnet.training.members import (
    bytes_of_fit,
    settings_of_members,
    split_rows_of_members,
    weigh_classes_of_members,
)
from fastnet.training.metrics import named as metrics_by_name
from fastnet.training.settings import Settings
from fastnet.training.together import Member, Pace, Together, uploader

if TYPE_CHECKING:
    from fastnet.many.population import Population
    from fastnet.training.progress import Bar


class Begun(NamedTuple):
    """What a fit begins with.

    Attributes:
        states: of each member's fit.
        save: writes a checkpoint; None: there is none.
        due: after how many seconds and how many epochs one is written.
    """

    states: list[FitState]
    save: Callable[[], None] | None
    due: tuple[float | None, int | None]


class PreparedFit(Record):
    """What a fit of all members is asked to do, checked; one entry a member each.

    Attributes:
        network: the members'.
        plan: of the network.
        dtype: of the parameters.
        settings: of the fits.
        data: the training rows.
        held_out: the validation rows, or None.
        metrics: of the validation rows.
    """

    network: Network
    plan: Plan
    dtype: np.dtype[Any]
    settings: list[Settings]
    data: list[Data]
    held_out: list[Data | None]
    metrics: list[Any]

    @classmethod
    def of(
        cls,
        network: Network,
        plan: Plan,
        dtype: np.dtype[Any],
        seeds: Sequence[int],
        data: Sequence[Data],
        *,
        rows: Any,
        validation: Any,
        metrics: Any,
        class_weight: Any,
        checkpoint: Checkpoint | None,
        **options: Any,
    ) -> "PreparedFit":
        """Check what `Population.fit` is given, and make sure that there is memory for it.

        Raises:
            DefinitionError: if a setting is invalid, or two do not fit together.
            DataError: if rows or weights are invalid.
            DoesNotFit: if the memory has no room for so many members.
        """
        kept, held_out = split_rows_of_members(network, dtype, seeds, data, rows, validation)
        measured = [metrics_by_name(metrics, one, network) for one in held_out]
        kept, held_out = weigh_classes_of_members(class_weight, network.outputs, kept, held_out)
        settings = settings_of_members(network, kept, seeds, dtype, **options)
        if validation is None and any(one.early_stopping is not None for one in settings):
            raise DefinitionError(
                "early_stopping needs a validation loss; give validation=(x, y), a fraction or "
                '"rest".'
            )
        if checkpoint is not None:
            for one in settings:
                check_resumable(one)
        each = max(bytes_of_fit(plan, dtype, *of) for of in zip(settings, kept, strict=True))
        memory.check_room(len(seeds), each, "a fit")
        return cls(network, plan, dtype, settings, kept, held_out, measured)

    def take(self, members: Array) -> "PreparedFit":
        """The fit of some members, by their numbers."""
        of_each = ("settings", "data", "held_out", "metrics")
        some: Any = {name: [getattr(self, name)[member] for member in members] for name in of_each}
        return replace(self, **some)

    def run(
        self,
        population: "Population",
        pace: Pace,
        first: int,
        callbacks: list[Callable[[Model, History], Any]],
        progress: "bool | Bar",
        checkpoint: Checkpoint | None = None,
        resume: bool = False,
    ) -> None:
        """Train the members, and set the population's histories, `diverged` and `last_fits`.

        Args:
            population: the members.
            pace: how fast they were trained before.
            first: the epoch to begin with.
            callbacks: called with every member's model.
            progress: as for `Model.fit`.
            checkpoint: where to write and how often, or None.
            resume: whether to go on from it.

        Raises:
            DefinitionError, FileAccessError, ModelFileError: for the checkpoint, as `Model.fit`.
        """
        parameters, last = population.parameters, population.last_fits
        begun = self._begin(parameters, first, last, checkpoint, resume)
        population.histories = [state.history for state in begun.states]
        bound = [_bound(callbacks, population, member) for member in range(len(population))]
        bar = bar_of(progress)
        together = self._together(population.program, parameters, begun, bound, bar, pace)
        population.diverged = together.diverged
        try:
            with bar or nullcontext():
                together.run()
        finally:
            population.last_fits = [
                ended(one.optimizer, state)
                for one, state in zip(self.settings, begun.states, strict=True)
            ]

    def _begin(
        self,
        parameters: Array,
        first: int,
        last: Sequence[LastFit | None],
        checkpoint: Checkpoint | None,
        resume: bool,
    ) -> Begun:
        """The states to begin with: those of the checkpoint, where there is one.

        Args:
            parameters: `(members, size)`, which a checkpoint replaces.
            first: the epoch to begin with.
            last: the members' last fits, or None.
            checkpoint: where to write and how often, or None.
            resume: whether to go on from it.

        Raises:
            DefinitionError: if the checkpoint exists and is not to be resumed from.
            FileAccessError: if it cannot be written.
            ModelFileError: if it belongs to another fit.
        """
        batches = [
            -(-len(rows) // one.batch_size)
            for rows, one in zip(self.data, self.settings, strict=True)
        ]
        states = [
            beginning(one.optimizer, first * count, self.plan.trained, self.dtype, before)
            for one, count, before in zip(self.settings, batches, last, strict=True)
        ]
        if checkpoint is None:
            return Begun(states, None, (None, None))
        path = checkpoint.checked(resume)
        same = population_checkpoints.identity(
            self.network, parameters, self.settings, self.data, self.held_out
        )
        if path.exists():
            shapes = [state.memory.shape for state in states]
            states = population_checkpoints.read(path, same, parameters, shapes, batches)
        save = partial(population_checkpoints.write, path, same, parameters, states)
        return Begun(states, save, (checkpoint.seconds, checkpoint.epochs))

    def _together(
        self,
        program: Program,
        parameters: Array,
        begun: Begun,
        callbacks: Sequence[list[Callable[[], Any]]],
        bar: "Bar | None",
        pace: Pace,
    ) -> Together:
        """The fits of all members, which `Together.run` makes at once.

        Args:
            program: the compiled network.
            parameters: `(members, size)`, which are trained in place.
            begun: what `_begin` returned.
            callbacks: of each member.
            bar: shows progress, or None.
            pace: how fast members were trained before.
        """
        interrupts, upload = DeferredInterrupt(), uploader(program)
        fits = [
            Member(
                program,
                flat,
                self.data[n],
                self.held_out[n],
                self.settings[n],
                begun.states[n],
                callbacks=callbacks[n],
                due=begun.due,
                metrics=self.metrics[n],
                interrupts=interrupts,
                upload=upload,
            )
            for n, flat in enumerate(parameters)
        ]
        return Together(
            program, fits, interrupts, save=begun.save, due=begun.due, progress=bar, pace=pace
        )


def _bound(
    callbacks: list[Callable[[Model, History], Any]], population: "Population", member: int
) -> list[Callable[[], Any]]:
    """The callbacks of a member's fit."""
    if not callbacks:
        return []
    model = population[member]
    model.history = population.histories[member]
    return [partial(callback, model, model.history) for callback in callbacks]


def bar_of(progress: "bool | Bar", **options: Any) -> "Bar | None":
    """The progress bar that is asked for: a given one, a new one, or none.

    Args:
        progress: as for `Model.fit`.
        options: of a new one.
    """
    if not progress:
        return None
    from fastnet.training.progress import Bar

    return progress if isinstance(progress, Bar) else Bar(**options)
