"""`Model.fit`: what a user gave, checked and brought together, and what one fit leaves to the next.

A fit of a tiny network takes less time than its preparation. So what the last fit has found out and
still holds is kept: its settings, where the same are given again, and how fast its steps were.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Program
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError, FastnetError
from fastnet.parameters import Parameters
from fastnet.training.fit_state import LastFit, beginning, ended
from fastnet.training.history import History
from fastnet.training.metrics import named as metrics_by_name
from fastnet.training.pacing import Pacing
from fastnet.training.processes import OneProcess, joined
from fastnet.training.rows import split
from fastnet.training.settings import Settings, make_settings
from fastnet.training.stored_rows import StoredRows, rows_of
from fastnet.training.trainer import Trainer

if TYPE_CHECKING:
    from fastnet.training.checkpoints import Checkpoint
    from fastnet.training.progress import Bar


class Trained(Protocol):
    """What a fit needs of a model."""

    network: Network
    dtype: str
    seed: int
    history: History | None

    @property
    def parameters(self) -> Parameters:
        """Changed in place."""

    @property
    def program(self) -> Program:
        """The compiled network."""


class Fits:
    """The fits of one model, one after the other.

    Args:
        last: what the last one has left, of a model that was pickled; None: there was none.

    Attributes:
        last: what the last one has left.
        pacing: how long its runs were.
    """

    def __init__(self, last: LastFit | None = None) -> None:
        self.last = last
        self._training = threading.Lock()
        self.pacing: Pacing | None = None
        self._given: tuple[Any, ...] = ()
        self._settings: Settings | None = None

    def fit(
        self,
        model: Trained,
        x: Any,
        y: Any,
        *,
        sample_weight: Any,
        class_weight: Any,
        validation: Any,
        metrics: Any,
        callbacks: Any,
        progress: "bool | Bar",
        initial_epoch: Any,
        checkpoint: Any,
        resume: bool,
        communicator: Any,
        **of_settings: Any,
    ) -> History:
        """Train a model: arguments and errors as of `Model.fit`.

        `of_settings` are those of `make_settings`, always in the same order.
        """
        first = checks.integer(initial_epoch, "initial_epoch", least=0)
        saver = None
        if checkpoint is not None or resume:
            from fastnet.training import checkpoints

            saver = checkpoints.requested(checkpoint, resume)
        called = checks.functions(callbacks, "callbacks")
        if of_settings["early_stopping"] is not None and validation is None:
            raise DefinitionError(
                "early_stopping needs a validation loss; give validation=(x, y) or a fraction."
            )
        model.parameters.check()
        processes = joined(communicator)
        model.seed = processes.begin(model.seed, model.parameters.flat)
        network, dtype = model.network, np.dtype(model.dtype)
        # Whatever else looks at rows does so on the host: then none stay on a backend's device.
        alone = communicator is None and saver is None and class_weight is None
        given = validation is None or isinstance(validation, tuple | list)
        stay = alone and given and isinstance(metrics, tuple | list) and not metrics
        checked = partial(rows_of, network, dtype, program=model.program if stay else None)

        def rows() -> Any:
            found = checked(x, y, sample_weight, of_settings["shuffle"])
            return split(found, validation, model.seed, checked)

        data, held_out = processes.rows(x, y, rows)
        measured = metrics_by_name(metrics, processes.targets(held_out), network)
        data, held_out = processes.weighed(class_weight, network.outputs, data, held_out)
        settings = self._settings_of(network, len(data), model.seed, dtype, of_settings)
        processes.agree(
            lambda: {
                "network": network,
                **vars(settings),
                "initial_epoch": first,
                "class_weight": class_weight,
                "metrics": list(measured),
                "checkpoint": saver is not None,
                "resume": resume,
            }
        )
        if saver is not None:
            checkpoints.check_resumable(settings)
        if not self._training.acquire(blocking=False):
            raise FastnetError(
                "this model is already being trained, in another thread or by the fit whose "
                "callback this is; wait for it, or train another model."
            )
        try:
            with_whom = processes, settings, data, held_out
            return self._fit(model, *with_whom, first, called, measured, progress, saver, resume)
        finally:
            self._training.release()

    def _settings_of(
        self,
        network: Network,
        rows: int,
        seed: int,
        dtype: np.dtype[Any],
        of_settings: dict[str, Any],
    ) -> Settings:
        """The settings: those of the last fit, if the same objects that cannot change are given."""
        given = (rows, seed, *of_settings.values())
        last = self._given
        if last[:2] == given[:2] and all(map(is_, last[2:], given[2:])):
            assert self._settings is not None
            return self._settings
        found = make_settings(network, rows, seed, dtype, **of_settings)
        may_change = any(isinstance(value, Mapping) for value in given)
        self._given, self._settings = () if may_change else given, found
        return found

    def _fit(
        self,
        model: Trained,
        processes: OneProcess,
        settings: Settings,
        data: Data | StoredRows,
        held_out: Data | StoredRows | None,
        first: int,
        callbacks: list[Callable[[Any, History], Any]],
        metrics: Mapping[str, Callable[[Array], float]],
        progress: "bool | Bar",
        saver: "Checkpoint | None",
        resume: bool,
    ) -> History:
        flat, program = model.parameters.flat, model.program
        batches = -(-len(data) // settings.batch_size)
        fit_state = beginning(
            settings.optimizer, first * batches, program.plan.trained, flat.dtype, self.last
        )
        save: Callable[[], None] | None = None
        due: tuple[float | None, int | None] = (None, None)
        if saver is not None:
            from fastnet.training import checkpoints

            due = saver.seconds, saver.epochs
            path = processes.on_first(partial(saver.checked, resume))
            same = checkpoints.identity(model.network, flat, settings, data, held_out)
            processes.recognize(same, data, held_out)
            if processes.on_first(path.exists):
                shape = fit_state.memory.shape
                read = partial(checkpoints.read, path, same, flat, shape, batches)
                fit_state = processes.resumed(read, flat)
            write = partial(checkpoints.write, path, same, flat, fit_state)
            save = partial(processes.on_first, write)
        model.history = fit_state.history
        bar = None
        if progress and processes.first:
            from fastnet.training.progress import Bar

            bar = progress if isinstance(progress, Bar) else Bar()
        trainer = processes.trainer(_trainer_of(data, held_out))(
            program,
            flat,
            data,
            held_out,
            settings,
            fit_state,
            callbacks=[partial(callback, model, fit_state.history) for callback in callbacks],
            save=save,
            due=due,
            progress=bar,
            metrics=metrics,
            pacing=self.pacing,
        )
        self.pacing = trainer.pacing
        try:
            if bar is None:
                trainer.run()
            else:
                with bar:
                    trainer.run()
        finally:
            self.last = ended(settings.optimizer, fit_state)
        return fit_state.history


def _trainer_of(data: Data | StoredRows, held_out: Data | StoredRows | None) -> type[Trainer]:
    """The trainer for rows in memory, or for those in files."""
    if isinstance(data, StoredRows) or isinstance(held_out, StoredRows):
        from fastnet.training.streaming import StreamingTrainer

        return StreamingTrainer
    return Trainer
