"""What crosses the border between fastnet and a backend: rows, state, runs of steps, programs.

The unit of work is a run of many training steps, not an operation: a border crossed once per
operation is what makes small networks slow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan
from fastnet.definition.optimizers import Optimizer

#: Raised by one whenever something below changes its meaning. Checked on loading, because a
#: checkout's fastnet can meet an installed backend.
CONTRACT = 2


@dataclass
class Data:
    """Rows to learn from, as host or device arrays.

    Attributes:
        x: `(rows, inputs)`.
        y: `(rows, outputs)`, or class indices `(rows,)` of an integer type.
        weight: `(rows,)`, or None where all rows count alike.
    """

    x: Any
    y: Any
    weight: Any = None


@dataclass
class State:
    """What training changes, as host or device arrays. `train` updates it in place.

    Attributes:
        parameters: the flat vector, `(size,)`.
        memory: the optimizer's, `(slots, size)`.
        updates: how many updates this memory has seen (Adam's t - 1).
    """

    parameters: Any
    memory: Any
    updates: int = 0


@dataclass(frozen=True)
class Run:
    """Some training steps in a row, with all they need, computed beforehand.

    Step `s` (counted over the whole training) is batch `s % batches` of its epoch, where
    `batches = ceil(rows / batch_size)`; the last batch of an epoch holds the rows that are
    left over.

    Attributes:
        first_step: the number of the first step.
        learning_rates: `(steps,)` float64, one a step.
        batch_size: rows of a batch, at most.
        order: `(epochs, rows)` intp: the order of the rows in each epoch that the run
            touches; None: as they come. It is not changed afterwards: a backend may know it again.
        optimizer: its constants.
        l1: adds l1 * sum |w| over the weights (not the biases) to each step's loss.
        l2: adds l2 / 2 * sum w^2 likewise: a number; or, for a program with `l2_by_step`,
            `(steps,)` float64, one a step.
        clip_value: each entry of the gradient is then cut to [-clip_value, clip_value].
        clip_norm: the gradient is then scaled down to this Euclidean norm, if it is longer.
        seed: the key of the dropout masks; their stream is the step's number.
    """

    first_step: int
    learning_rates: Array
    batch_size: int
    order: Array | None
    optimizer: Optimizer
    l1: float = 0.0
    l2: float | Array = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
    seed: int = 0


class Program(Protocol):
    """A plan, compiled by a backend for one dtype. May be used from several threads at once.

    Attributes:
        l2_by_step: whether `Run.l2` may be another number at every step. Where it may not, a run
            ends where the number changes, which is slower and comes to the same.
    """

    l2_by_step: bool = False

    def to_device(self, array: Array) -> Any:
        """Hand over a host array; the backend may keep it or copy it."""
        ...

    def to_host(self, array: Any) -> Array:
        """The host's view or copy of an array that the backend holds."""
        ...

    def predict(self, parameters: Any, x: Any) -> Array:
        """Predictions `(rows, outputs)`, a new host array."""
        ...

    def predict_at_once(self, parameters: Any, x: Any) -> Any:
        """Predictions for what a user handed over, if that needs neither a check nor a change.

        For few rows the checks take longer than the network, and rows on a device should stay
        there: a backend that can tell sooner answers here. `parameters` are the host's.

        Returns:
            The same as `predict`, for rows on the backend's device an array there; None where `x`
            has to be looked at first.
        """
        return None

    def loss(self, parameters: Any, data: Data) -> float:
        """The loss over all rows of `data`, without dropout or penalties."""
        ...

    def gradient(
        self,
        parameters: Any,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """The loss with penalties and its gradient, `(size,)`, a new host array.

        `dropout` is the seed and step whose masks are applied; None: no dropout.
        """
        ...

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place.

        Returns:
            `(steps,)` float64: the loss of each step's batch before its update, penalties
            included. At the first loss that is not finite it stops before the update, and
            returns the losses so far, that one last.
        """
        ...


@dataclass(frozen=True)
class Probe:
    """Whether a backend can run here; if not, why, and what to do about it."""

    usable: bool
    reason: str = ""
    remedy: str = ""


class Backend(Protocol):
    """What a backend package offers, as `BACKEND` in its `__init__.py`."""

    name: str
    contract: int
    #: What `Model(precision=...)` may ask of it, beside None.
    precisions: tuple[str, ...]

    def probe(self) -> Probe:
        """Look whether it can run here, without raising."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Facts for a person: "versions", "device", "threads"."""
        ...

    def compile(
        self, plan: Plan, dtype: np.dtype[Any], threads: int | None, precision: str | None
    ) -> Program:
        """Make `plan` runnable.

        Args:
            plan: what.
            dtype: of parameters and data.
            threads: of the processor (None: as the backend thinks best).
            precision: of products, one of `precisions`; None: the dtype's own.
        """
        ...
