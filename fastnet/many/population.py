"""A population: many networks of one definition, trained at once."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastnet import memory
from fastnet.arguments import explained
from fastnet.arrays import checks, dlpack
from fastnet.arrays.checks import Array
from fastnet.attributes import Compiled, checked
from fastnet.contract import choosing, starting
from fastnet.contract.lowering import lower
from fastnet.contract.program import Data, Inputs, Program
from fastnet.definition.network import Network
from fastnet.errors import DataError, Diverged, FastnetError
from fastnet.many import population_files
from fastnet.many.fitting import PreparedFit
from fastnet.many.population_files import SavedPopulation
from fastnet.many.spreading import begin, ranks_of, spread
from fastnet.model import Model
from fastnet.training.checkpoints import Checkpoint, requested
from fastnet.training.fit_state import LastFit
from fastnet.training.history import History
from fastnet.training.members import rows_of_members, seeds_of_members
from fastnet.training.rows import check_encoded
from fastnet.training.settings import EarlyStopping
from fastnet.training.together import Pace, report_diverged, uploader

if TYPE_CHECKING:
    from fastnet.training.progress import Bar


class Population(Compiled):
    """Many networks of one definition, each with its own parameters, trained at once.

    Member i is what `Model(network, seed=seed + i)` would be, and `population[i]` is that model.
    Members may differ in what is trained: in learning rates and other settings, in rows, weights
    and targets. They share the backend, the dtype and the network.

    Args:
        network: the definition.
        members: how many; None: as many as there are seeds.
        seed: of the first member, and the next numbers for the others; or a list, one a member;
            None: a random one.
        backend: as for `Model`.
        dtype: as for `Model`.
        threads: as for `Model`.
        precision: as for `Model`.
        init_rows: as for `Model`, for all members.

    Attributes:
        network, dtype, precision: as given.
        backend: the name of the backend that runs it.
        seeds: one a member; others may be assigned, as `seed` is given.
        parameters: `(members, size)` of the dtype, each row as `Model.parameters.flat`; writing
            into it changes the members.
        histories: of the last fit, one a member; empty before the first.
        last_fits: what the next fit may go on from, one a member; None before the first.
        diverged: the errors of the members that diverged in the last fit, by their numbers.
        table: how the columns of a table become inputs and outputs, or None.

    Raises:
        DefinitionError: if the number of members, a seed or another argument is invalid.
        BackendUnavailable: as for `Model`.
        DoesNotFit: if the memory has no room for so many members; it says for how many.
    """

    seeds: list[int] = checked("seeds", lambda own, seeds: seeds_of_members(len(own), seeds))

    @explained("fn.Population")
    def __init__(
        self,
        network: Network,
        *,
        members: int | None = None,
        seed: int | Sequence[int] | None = None,
        backend: str | None = None,
        dtype: Any = "float32",
        threads: int | None = None,
        precision: str | None = None,
        init_rows: Any = None,
    ) -> None:
        dtype, lowered, rows = starting.checked(network, dtype, init_rows)
        seeds = seeds_of_members(members, seed)
        each = lowered.size * np.dtype(dtype).itemsize
        memory.check_room(len(seeds), each, "parameters")
        flats = np.empty((len(seeds), lowered.size), dtype)
        with np.errstate(over="ignore"):
            for flat, one in zip(flats, seeds, strict=True):
                flat[...] = starting.parameters_from_rows(network, lowered, one, rows)
        self._set_up(network, flats, dtype, seeds, backend, threads, precision)
        self._check_parameters()

    @classmethod
    def of(
        cls,
        network: Network,
        parameters: Any,
        *,
        seed: int | Sequence[int] | None = None,
        backend: str | None = None,
        dtype: Any = "float32",
        threads: int | None = None,
    ) -> "Population":
        """Make a population with given parameters instead of initial ones.

        Args:
            network: the definition.
            parameters: `(members, size)`, each row as `Model.parameters.flat`.
            seed: as for `Population`.
            backend: as for `Model`.
            dtype: as for `Model`.
            threads: as for `Model`.

        Raises:
            DataError: if they have another shape or are not finite.
        """
        dtype = checks.dtype(dtype).name
        size = lower(network).size
        given = checks.numbers(parameters, "parameters", np.dtype(dtype))
        if given.ndim != 2 or given.shape[1] != size or not len(given):
            raise DataError(f"parameters has shape {given.shape}; it must be (members, {size}).")
        population = cls.__new__(cls)
        seeds = seeds_of_members(len(given), seed)
        population._set_up(network, given.copy(), dtype, seeds, backend, threads)
        population._check_parameters()
        return population

    def _set_up(
        self,
        network: Network,
        flats: Array,
        dtype: str,
        seeds: list[int],
        backend: str | None,
        threads: int | None = None,
        precision: str | None = None,
        table: dict[str, Any] | None = None,
        histories: list[History] | None = None,
        last: list[LastFit | None] | None = None,
        program: Program | None = None,
    ) -> None:
        """The one way to make a population, of checked values."""
        self._network = network
        self._dtype = dtype
        self._seeds = seeds
        self._precision = precision
        self.table = table
        self.parameters = flats
        self.histories = histories or []
        self.diverged: dict[int, Diverged] = {}
        self._threads = threads
        self.last_fits: list[LastFit | None] = last or [None] * len(seeds)
        self._plan = lower(network)
        self._training = threading.Lock()
        self._pace = Pace()
        chosen = choosing.choose(backend)
        self._backend = chosen.name
        self._program = program or choosing.compiled(chosen, self._plan, dtype, threads, precision)

    def _check_parameters(self) -> None:
        checks.finite(
            self.parameters, "parameters", remedy="assign finite numbers, or make new members"
        )

    @property
    def program(self) -> Program:
        """The compiled network, for training loops of your own: `fastnet.contract.program`."""
        return self._program

    def __len__(self) -> int:
        """How many members there are."""
        return len(self.seeds)

    def __getitem__(self, member: int) -> Model:
        """A member, as a model that shares its parameters, and goes on from its last fit."""
        if not isinstance(member, int | np.integer) or isinstance(member, bool):
            raise TypeError(f"population[{member!r}]: a member has a number; see Population.take.")
        if not -len(self) <= member < len(self):
            raise IndexError(f"population[{member}]: there are {len(self)} members.")
        member = int(member) % len(self)
        model = Model.__new__(Model)
        model._set_up(
            self.network,
            self.parameters[member],
            self.dtype,
            self.seeds[member],
            self.backend,
            self._threads,
            self.precision,
            self.table,
            self.histories[member] if self.histories else None,
            self.last_fits[member],
            self._program,
        )
        return model

    def __iter__(self) -> Iterator[Model]:
        """All members, as models."""
        return (self[member] for member in range(len(self)))

    def take(self, members: Any) -> "Population":
        """Some members, as a population of their own that goes on from their last fits.

        Args:
            members: their numbers, `(n,)`; one may be there several times.

        Raises:
            DataError: if there is none, or one that there is not.
        """
        chosen = np.asarray(members)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
            raise DataError(f"members is {members!r}; it must be numbers of members.")
        if chosen.min() < -len(self) or chosen.max() >= len(self):
            raise DataError(f"members is {members!r}; there are {len(self)} members.")
        places = [int(place) % len(self) for place in chosen]
        taken = Population.__new__(Population)
        taken._set_up(
            self.network,
            self.parameters[places],
            self.dtype,
            [self.seeds[place] for place in places],
            self.backend,
            self._threads,
            self.precision,
            self.table,
            [self.histories[place] for place in places] if self.histories else None,
            [self.last_fits[place] for place in places],
            self._program,
        )
        taken.diverged = {
            n: self.diverged[place] for n, place in enumerate(places) if place in self.diverged
        }
        return taken

    def predict(self, x: Any, *, encoded: bool = False) -> Any:
        """Predict outputs for `x` by every member.

        Args:
            x: `(rows, inputs)`, as for `Model.predict`.
            encoded: as for `Model.predict`: required of members trained from a table.

        Returns:
            `(members, rows, outputs)` of the dtype, a NumPy array, or an array like `x`.

        Raises:
            DataError: if `x` has no rows, the wrong number of columns, or is not numeric; if the
                members were trained from a table and `x` is not `encoded`.
        """
        check_encoded(self.table, encoded, "predict")
        rows = self.network.features(x, np.dtype(self.dtype), allow_nan=True)
        put, inputs = self._program.to_device, Inputs(self._program.to_device(rows))
        out = np.empty((len(self), len(rows), self.network.outputs), self.dtype)
        for flat, place in zip(self.parameters, out, strict=True):
            place[...] = self._program.predict(put(flat), inputs)
        return dlpack.like(out, x)

    def evaluate(
        self, x: Any, y: Any, sample_weight: Any = None, *, encoded: bool = False
    ) -> Array:
        """Compute each member's loss over all rows, without dropout and penalties.

        Args:
            x: `(rows, inputs)`.
            y: as for `fit`.
            sample_weight: as for `fit`.
            encoded: as for `predict`.

        Returns:
            `(members,)` float64.

        Raises:
            DataError: if the arrays do not fit.
        """
        check_encoded(self.table, encoded, "evaluate")
        data = self._rows(x, y, sample_weight)
        put, upload = self._program.to_device, uploader(self._program)
        pairs = zip(self.parameters, data, strict=True)
        return np.array([self._program.loss(put(flat), upload(one)) for flat, one in pairs])

    @explained("fn.Population.fit")
    def fit(
        self,
        x: Any,
        y: Any,
        *,
        optimizer: Any = "adam",
        epochs: Any = 100,
        batch_size: int | Literal["auto"] | Sequence[Any] | None = "auto",
        shuffle: bool = True,
        sample_weight: Any = None,
        class_weight: str | Mapping[int, float] | None = None,
        rows: Any = None,
        validation: float | tuple[Any, ...] | Literal["rest"] | None = None,
        early_stopping: int | EarlyStopping | Sequence[Any] | None = None,
        metrics: Iterable[str | Callable[[Array, Array], float]] = (),
        callbacks: Iterable[Callable[[Model, History], Any]] = (),
        progress: "bool | Bar" = False,
        l1: Any = 0.0,
        l2: Any = 0.0,
        clip_norm: Any = None,
        clip_value: Any = None,
        dropout_factor: Any = 1.0,
        initial_epoch: int = 0,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        resume: bool = False,
        encoded: bool = False,
        communicator: Any = None,
    ) -> list[History]:
        """Train all members.

        What is not described here is as for `Model.fit`. `optimizer`, `epochs`, `batch_size`,
        `early_stopping`, `l1`, `l2`, `clip_norm`, `clip_value` and `dropout_factor` may be a list
        or an array with one value a member; so may the constants of an optimizer, its learning
        rate among them: `fn.SGD([0.1, 0.2])`.

        Args:
            x: `(rows, inputs)`.
            y: `(rows,)` or `(rows, outputs)`, classes as indices or one-hot; or, with targets of
                their own for each member, `(members, rows)` or `(members, rows, outputs)`. An array
                that could be either is `(rows, outputs)`.
            optimizer: a name, an instance, or a list of these.
            epochs: as for `Model.fit`.
            batch_size: as for `Model.fit`.
            shuffle: as for `Model.fit`; each member has its own orders, by its seed.
            sample_weight: `(rows,)` or `(members, rows)`.
            class_weight: as for `Model.fit`; "balanced" counts each member's own rows.
            rows: which rows each member is trained on: a list of indices, such as those of a fold
                or a bootstrap sample, or of masks, one a member; None: all have all.
            validation: `(x, y)` or `(x, y, sample_weight)` for all; the fraction of its rows that
                each member holds out, chosen by its seed; or "rest": those that `rows` leaves out.
            early_stopping: as for `Model.fit`: a member that has stopped takes no more time.
            metrics: as for `Model.fit`.
            callbacks: called as `callback(model, history)` after every epoch of every member; one
                that returns True ends that member's fit.
            progress: as for `Model.fit`; the losses are means over the members.
            l1: as for `Model.fit`.
            l2: as for `Model.fit`.
            clip_norm: as for `Model.fit`.
            clip_value: as for `Model.fit`.
            dropout_factor: what every dropout rate is multiplied with, 0 to less than 1 / rate.
            initial_epoch: as for `Model.fit`.
            checkpoint: as for `Model.fit`; one file for all members.
            resume: as for `Model.fit`.
            encoded: as for `predict`.
            communicator: `fn.world()`, or another of mpi4py: its processes divide the members, and
                each has all rows. They begin as rank 0 does, and all end with all members' results.
                Callbacks are called where their member is trained.

        Returns:
            One history a member, also kept as `population.histories`.

        Raises:
            DefinitionError: if a setting is invalid, or two do not fit together.
            DataError: if rows, targets or weights are invalid.
            DoesNotFit: if the memory has no room for so many members; it says for how many.
            Diverged: if all members diverge. One that diverges stops alone and keeps its last
                finite parameters: that is a warning, and `population.diverged` has its error.
            KeyboardInterrupt: after Ctrl-C. Every member is as after its last whole step.
            ModelFileError: as for `Model.fit`.
        """
        check_encoded(self.table, encoded, "fit")
        first = checks.integer(initial_epoch, "initial_epoch", least=0)
        saver = requested(checkpoint, resume)
        called = checks.functions(callbacks, "callbacks")
        self._check_parameters()
        ranks = ranks_of(communicator, saver)
        if ranks is not None:
            begin(self, ranks)
        prepared = PreparedFit.of(
            self.network,
            self._plan,
            np.dtype(self.dtype),
            self.seeds,
            self._rows(x, y, sample_weight),
            rows=rows,
            validation=validation,
            metrics=metrics,
            class_weight=class_weight,
            checkpoint=saver,
            optimizer=optimizer,
            dropout_factor=dropout_factor,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            l1=l1,
            l2=l2,
            clip_norm=clip_norm,
            clip_value=clip_value,
            early_stopping=early_stopping,
        )
        if not self._training.acquire(blocking=False):
            raise FastnetError(
                "this population is already being trained, in another thread or by the fit whose "
                "callback this is; wait for it, or train another one."
            )
        try:
            if ranks is None:
                prepared.run(self, self._pace, first, called, progress, saver, resume)
            else:
                shown = progress if ranks.rank == 0 else False
                spread(
                    self, ranks, prepared,
                    lambda part, own: own.run(part, part._pace, first, called, shown),
                )  # fmt: skip
        finally:
            self._training.release()
        report_diverged(self.diverged, len(self))
        return self.histories

    def _rows(self, x: Any, y: Any, sample_weight: Any) -> list[Data]:
        return rows_of_members(self.network, np.dtype(self.dtype), len(self), x, y, sample_weight)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write network, parameters, dtype and seeds to a safetensors file, whole or not at all.

        `fn.load_population` reads it.

        Raises:
            FileAccessError: if it cannot be written.
        """
        saved = SavedPopulation(self.network, self.parameters, self.dtype, self.seeds, self.table)
        return population_files.write(path, saved)

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: everything but the program, which is made anew."""
        return {
            "network": self.network,
            "flats": self.parameters,
            "dtype": self.dtype,
            "seeds": self.seeds,
            "backend": self.backend,
            "threads": self._threads,
            "precision": self.precision,
            "table": self.table,
            "histories": self.histories,
            "last": self.last_fits,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set_up(**{**state, "flats": state["flats"].copy()})

    def __repr__(self) -> str:
        return (
            f"Population({len(self)} members, {self.network.inputs} -> {self.network.outputs}, "
            f"{self._plan.size:,} parameters each, backend={self.backend!r}, "
            f"dtype={self.dtype!r})"
        )
