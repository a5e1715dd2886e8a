"""What crosses the border between fastnet and a backend: rows, state, runs, programs.

The unit of work is a run of many training steps, not an operation: a border crossed once per
operation is what makes small networks slow. Still a new backend has to write three methods of
`Program` only (`predict`, `batch_gradient`, `update`). All others have a default in terms of these
three that is slow and right; a fast backend overrides what it can do better.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract.kinds import kinds_of
from fastnet.contract.loading import lacking, load
from fastnet.contract.penalties import add_penalty_gradient, penalty
from fastnet.contract.plan import Plan
from fastnet.contract.rows import Data, Inputs
from fastnet.contract.run import BY_STEP, Run, State
from fastnet.contract.team import Team, TeamRun, TeamWork
from fastnet.errors import BackendUnavailable
from fastnet.records import Record

#: All that a backend has to name stands here, with what is defined in rooms of its own.
__all__ = [
    "BY_STEP",
    "Backend",
    "Data",
    "Inputs",
    "Probe",
    "Program",
    "Run",
    "State",
    "Team",
    "TeamRun",
    "TeamWork",
]


class Program(ABC):
    """A plan, made runnable by a backend for one dtype. May be used from several threads at once.

    Args:
        plan: what is run.
        dtype: of parameters and rows, float32 or float64.
    """

    def __init__(self, plan: Plan, dtype: np.dtype[Any]) -> None:
        self.plan = plan
        self.dtype = dtype

    # --- what a backend must write ---------------------------------------------------------

    @abstractmethod
    def predict(self, parameters: Any, x: Inputs) -> Array:
        """Predictions `(rows, outputs)` for rows where the backend has them, a new host array."""

    @abstractmethod
    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Any]:
        """The loss of one step's batch, with dropout and without penalties, and its gradient.

        Returns:
            The loss, the mean over the batch. Its mass: the batch's rows, or their weights, times
            the terms of a row (`plan.loss.each`): with it, means of parts add up. The gradient
            `(trained,)` by the parameters, where the backend has its arrays; `update` may use
            it up. In a plan with statistics it is `(size,)`, and behind `trained` stand the batch's
            own, toward which `update` moves them; the parameters' own where the run is not
            `training`. A batch of mass 0 has loss 0 and gradient 0.
        """

    @abstractmethod
    def update(self, state: State, gradient: Any, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step; count it in `state`.

        Raises:
            BackendUnavailable: for an optimizer that the backend does not have, by its name.
        """

    # --- what has a default -----------------------------------------------------------------

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place.

        Returns:
            `(steps,)` float64: the loss of each step's batch before its update, with the penalties
            if `run.reports_penalty`. At the first loss that is not finite it stops before the
            update, and returns the losses so far, that one last.
        """
        run.check(self.plan, state, len(data))
        losses = np.empty(run.steps)
        for index in range(run.steps):
            step = run.first_step + index
            loss, _, gradient = self.batch_gradient(state, data, run, step)
            if run.reports_penalty:
                loss += self.penalty(state.parameters, run.l1, run.of_step("l2", step))
            losses[index] = loss
            if not math.isfinite(losses[index]):
                return losses[: index + 1]
            self.update(state, gradient, run, step)
        return losses

    def orders(self, seed: int, epochs: range, rows: int) -> Any:
        """The orders of the rows in some epochs of a shuffled fit.

        They are the same bits on every backend: `fastnet.random.permutation` of the seed, `SHUFFLE`
        and the epoch's number.

        Args:
            seed: 0 to 2^64 - 1.
            epochs: the numbers of the epochs, one behind the other.
            rows: how many.

        Returns:
            `(len(epochs), rows)` intp, for `Run.order`.
        """
        found = np.empty((len(epochs), rows), np.intp)
        for place, epoch in enumerate(epochs):
            found[place] = random.permutation(seed, random.SHUFFLE, epoch, rows)
        return found

    def train_many(
        self, states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
    ) -> list[Array]:
        """Train several networks of this plan, each on its rows and by a run of its own.

        Each comes out with the same bits, whichever others are trained with it.

        Args:
            states: one a network, changed in place as by `train`.
            data: the rows of each; networks may share a part of them, the inputs say.
            runs: of each.

        Returns:
            For each network what `train` returns; these losses may be float32, and lie apart.
        """
        return [self.train(*one) for one in zip(states, data, runs, strict=True)]

    def in_team(self, size: int, slots: int) -> TeamWork | None:
        """How so many processes on one machine do steps together; None: by `batch_gradient`.

        Args:
            size: how many processes; each has a program of the same plan and dtype.
            slots: of the optimizer's memory.
        """
        return None

    def loss(self, parameters: Any, data: Data) -> float:
        """The loss over all rows of `data`, without dropout or penalties."""
        return self._of_all_rows(parameters, data)[0]

    def loss_many(self, parameters: Sequence[Any], data: Sequence[Data]) -> list[float]:
        """The losses of several networks of this plan, each over its own rows, as by `loss`."""
        return [self.loss(*one) for one in zip(parameters, data, strict=True)]

    def gradient(
        self,
        parameters: Any,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """The loss over all rows as one batch, with penalties, and its gradient.

        Args:
            parameters: the flat vector, where the backend has it.
            data: the rows.
            l1: as in `Run`.
            l2: as in `Run`, a number.
            dropout: the seed and the step whose masks are applied; None: no dropout.

        Returns:
            The loss, and the gradient `(size,)`, a new host array; 0 for what is not trained.
        """
        loss, found = self._of_all_rows(parameters, data, dropout)
        gradient = np.zeros(self.plan.size, self.dtype)
        gradient[: self.plan.trained] = self.to_host(found)[: self.plan.trained]
        flat = self.to_host(parameters)
        add_penalty_gradient(self.plan, flat, gradient, l1, l2)
        return loss + penalty(self.plan, flat, l1, l2), gradient

    def _of_all_rows(
        self, parameters: Any, data: Data, dropout: tuple[int, int] | None = None
    ) -> tuple[float, Any]:
        seed, step = dropout or (0, 0)
        run = Run.whole_batch(len(data), step=step, seed=seed, dropout=dropout is not None)
        state = State(parameters, self.to_device(np.zeros((0, self.plan.trained), self.dtype)))
        loss, _, gradient = self.batch_gradient(state, data, run, step)
        return loss, gradient

    def penalty(self, parameters: Any, l1: float, l2: float) -> float:
        """l1 * sum |w| + l2 / 2 * sum w^2 over the weights."""
        return penalty(self.plan, self.to_host(parameters), l1, l2) if l1 or l2 else 0.0

    def input_gradient(self, parameters: Any, x: Inputs, d_output: Array) -> Array:
        """The derivative of sum(d_output * prediction) by the input numbers.

        The default computes it by the NumPy backend, which has to have the plan's kinds.

        Args:
            parameters: the flat vector, where the backend has it.
            x: the rows, where the backend has them.
            d_output: `(rows, outputs)`, on the host.

        Returns:
            `(rows, inputs)`, a new host array.
        """
        rows = Inputs(self.to_host(x.numbers))
        return self._definition.input_gradient(self.to_host(parameters), rows, d_output)

    def loss_slopes(self, outputs: Array, y: Array) -> Array:
        """The derivative of each row's own loss by what the loss is computed from.

        The default computes it by the NumPy backend, as it does `input_gradient`.

        Args:
            outputs: the values that the loss is computed from, `(rows, outputs)`, on the host.
            y: the targets, as in `Data`, on the host.

        Returns:
            `(rows, outputs)`, a new host array.
        """
        return self._definition.loss_slopes(outputs, y)

    def hessian_vector(self, parameters: Any, data: Data, vector: Array) -> Array:
        """The Hessian of the loss over all rows by the parameters, times a vector.

        It is the derivative of the gradient, without dropout and penalties, along the vector:
        exact, not a difference of gradients. The default computes it by the NumPy backend.

        Args:
            parameters: the flat vector, where the backend has it.
            data: the rows, on the host.
            vector: `(size,)`, on the host; 0 for what is not trained.

        Returns:
            `(size,)`, a new host array.

        Raises:
            DefinitionError: naming an activation or a loss that has no second derivative.
            BackendUnavailable: naming an operation whose second derivative nobody has.
        """
        return self._definition.hessian_vector(self.to_host(parameters), data, vector)

    @cached_property
    def _definition(self) -> "Program":
        """The same plan on the NumPy backend."""
        found: Program = load("numpy").compile(self.plan, self.dtype, None, None)
        return found

    def predict_at_once(self, parameters: Any, x: Any) -> Any:
        """Predictions for what a user handed over, if that needs neither a check nor a change.

        For few rows the checks take longer than the network, and rows on a device should stay
        there: a backend that can tell sooner answers here; where a plan embeds, it looks at the
        codes of categories itself. `parameters` are the host's.

        Returns:
            The same as `predict`, for rows on the backend's device an array there; None where `x`
            has to be looked at first.
        """
        return None

    def loss_at_once(self, parameters: Any, x: Any, y: Any) -> float | None:
        """The loss over all rows of what a user handed over: see `gradient_at_once`."""
        return None

    def gradient_at_once(self, parameters: Any, x: Any, y: Any) -> tuple[float, Array] | None:
        """The loss and its gradient for what a user handed over, if that needs no change.

        As `predict_at_once`, but asked only where all values of `y` that are finite may be targets,
        or with rows as in `Data`, checked; whether `x` and `y` are finite the backend looks itself.

        Returns:
            The same as `gradient`; None where the rows have to be looked at first.
        """
        return None

    def data_at_once(self, x: Any, y: Any, bounds: tuple[float, float] | None) -> Data | None:
        """Rows to learn from that a user handed over, if they may stay on the backend's device.

        Args:
            x: the inputs.
            y: the targets, in `bounds`, as many as outputs; where that is None, class indices.
            bounds: the least and the largest target.

        Returns:
            The rows, which the backend has looked at; None where that has to be done on the host.
        """
        return None

    def to_device(self, array: Array) -> Any:
        """Hand over a host array; the backend may keep it or copy it."""
        return array

    def parameters_to_device(self, flat: Array) -> Any:
        """Hand over parameters `(size,)` that are only read: perhaps those of an earlier call."""
        return self.to_device(flat)

    def to_host(self, array: Any) -> Array:
        """The host's view or copy of an array that the backend holds.

        If it is the array itself, the next run's state may hold another NumPy array in its place,
        of the same shape and dtype, which `to_device` has not seen.
        """
        return np.asarray(array)

    def upload(self, data: Data) -> Data:
        """Hand over rows: every part of `data` by `to_device`."""
        put, weight = self.to_device, data.weight
        return Data(
            Inputs(put(data.x.numbers)), put(data.y), None if weight is None else put(weight)
        )


class Probe(Record):
    """Whether a backend can run here; if not, why, and what to do about it."""

    usable: bool
    reason: str = ""
    remedy: str = ""


class Backend(ABC):
    """What a backend package offers, as `BACKEND` in its `__init__.py`.

    Attributes:
        name: what `Model(backend=...)` is given.
        contract: the version of the contract that it was made for, a number: that of this one is
            `fastnet.contract.loading.CONTRACT`.
        kinds: what it has, by table: the kinds of "operation", "activation", "loss" and
            "optimizer" (`fastnet.contract.kinds`); and as "factor" which of "rate" and "decay" may
            differ between pieces of the parameters.
        precisions: what `Model(precision=...)` may ask of it, besides None.
    """

    name: str
    contract: int
    precisions: tuple[str, ...] = ()

    @property
    @abstractmethod
    def kinds(self) -> Mapping[str, Sequence[str]]:
        """The kinds that it has, by the names of their tables."""

    @abstractmethod
    def make_program(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> Program:
        """Make a plan runnable, all kinds of which the backend has; arguments as in `compile`."""

    def compile(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> Program:
        """Make a plan runnable.

        Args:
            plan: what to run.
            dtype: of parameters and data.
            threads: of the processor; None: the backend chooses.
            precision: of products, one of `precisions`; None: the dtype's own.

        Raises:
            BackendUnavailable: if the plan needs a kind that the backend does not have; it names
                the kind and the backends that have it.
        """
        needed = kinds_of(plan)
        for piece in plan.parameters:
            if piece.rate_factor != 1:
                needed.append(("factor", "rate"))
            if piece.decay_factor != 1:
                needed.append(("factor", "decay"))
        kinds = self.kinds
        for table, kind in needed:
            if kind not in kinds.get(table, ()):
                raise self.lacks(table, kind)
        return self.make_program(plan, dtype, threads, precision)

    def lacks(self, table: str, kind: str) -> BackendUnavailable:
        """The error for a kind that this backend does not have."""
        return lacking(self.name, table, kind)

    def probe(self) -> Probe:
        """Look whether it can run here, without raising."""
        return Probe(usable=True)

    def describe(self) -> Mapping[str, str]:
        """Facts for a person: "versions", "device", "threads"."""
        return {"versions": "unknown", "device": "unknown", "threads": "unknown"}

    def variant(self, name: str) -> "Backend":
        """The backend that `NAME:name` asks for, such as `array_api:torch`.

        Raises:
            BackendUnavailable: if there is none; most backends have no variants.
        """
        raise BackendUnavailable(
            f"backend {self.name!r} has no variant {name!r}; use {self.name!r} alone."
        )
