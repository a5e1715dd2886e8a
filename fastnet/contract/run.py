"""Some training steps in a row, and the state that they change."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan
from fastnet.definition.optimizers import SGD, Optimizer
from fastnet.errors import DefinitionError
from fastnet.records import Record


@dataclass(slots=True)
class State:
    """What training changes, as host or device arrays. `train` and `update` change it in place.

    Attributes:
        parameters: the flat vector, `(size,)`.
        memory: the optimizer's, `(slots, trained)`.
        updates: how many updates this memory has seen (Adam's t - 1).
        room: what a backend works in and keeps from run to run, its own.
    """

    parameters: Any
    memory: Any
    updates: int = 0
    room: Any = field(default=None, repr=False, compare=False)


#: What a run may have once for all steps or one for each.
BY_STEP = ("learning_rate", "l2", "weight_decay", "dropout_factor")

#: The optimizer of runs that update nothing; made once, because that takes microseconds.
_NO_UPDATE = SGD()


class Run(Record):
    """Some training steps in a row, with all they need, computed beforehand on the host.

    Step `s` (counted over the whole training) is batch `s % batches` of its epoch, where
    `batches = ceil(rows / batch_size)`; the last batch of an epoch holds the rows that are
    left over. What says "or one per step" is a number, or a `(steps,)` float64 array.

    Attributes:
        first_step: the number of the first step.
        steps: how many steps.
        batch_size: rows of a batch, at most.
        order: `(epochs, rows)` intp: the order of the rows in each epoch that the run touches;
            None: as they come. It is not changed afterwards: a backend may recognize it.
        optimizer: its constants; `canonical()` gives the kind of update. Its own learning rate and
            weight decay are ignored; the run's are used.
        learning_rate: a number, or one per step.
        l1: adds l1 * sum |w| over the weights (not the biases) to each step's loss.
        l2: adds l2 / 2 * sum w^2 likewise: a number, or one per step.
        weight_decay: before its step, p -= r * weight_decay * d * p for every trained parameter,
            with r the learning rate times its piece's `rate_factor`, and d its `decay_factor`: a
            number, or one per step.
        dropout_factor: what every dropout rate is multiplied with, 0 to less than 1 / rate: a
            number, or one per step; 0: no dropout.
        clip_value: each entry of the gradient, penalties included, is then cut to
            [-clip_value, clip_value].
        clip_norm: the gradient is then scaled down to this Euclidean norm, if it is longer. The
            norm is summed up in float64.
        training: whether dropout drops, and batches are normalized by their own statistics; not
            for a loss or a gradient of what a prediction computes.
        seed: the key of the dropout masks; their stream is the step's number.
        reports_penalty: whether the losses that `train` returns include the penalties.
    """

    first_step: int
    steps: int
    batch_size: int
    order: Array | None
    optimizer: Optimizer
    learning_rate: float | Array
    l1: float = 0.0
    l2: float | Array = 0.0
    weight_decay: float | Array = 0.0
    dropout_factor: float | Array = 1.0
    clip_value: float | None = None
    clip_norm: float | None = None
    training: bool = True
    seed: int = 0
    reports_penalty: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise DefinitionError(f"run steps is {self.steps}; it must be at least 1.")
        for name in BY_STEP:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                if value.shape != (self.steps,) or value.dtype != np.float64:
                    raise DefinitionError(
                        f"run {name} is {value.dtype} {value.shape}; it must be a number, or "
                        f"float64 ({self.steps},)."
                    )
                value = value.min()  # NaN if there is one
            if not value >= 0:
                raise DefinitionError(f"run {name} is {value}; it must be 0 or more.")
        if not self.l1 >= 0:
            raise DefinitionError(f"run l1 is {self.l1}; it must be 0 or more.")

    def check(self, plan: Plan, state: State, rows: int) -> None:
        """Make sure that this run fits a plan, a state and so many rows: compiled code trusts it.

        Raises:
            DefinitionError: if the memory or the order has another shape or dtype, dropout would
                drop everything, or batches to be normalized have one row.
        """
        if plan.statistics and min(self.batch_size, rows) < 2:
            raise DefinitionError(
                f"batch_size is {self.batch_size}, of {rows} rows: a batch of one row has no "
                "variance, which BatchNorm needs in training; use a batch_size of 2 or more."
            )
        shape = (self.optimizer.slots, plan.trained)
        if tuple(state.memory.shape) != shape:
            raise DefinitionError(
                f"the memory of {self.optimizer.name} has shape {tuple(state.memory.shape)}; it "
                f"must be {shape}: begin with optimizer.memory({plan.trained}, dtype)."
            )
        if self.order is not None:
            batches = -(-rows // self.batch_size)
            first, last = self.first_step // batches, (self.first_step + self.steps - 1) // batches
            shape = (last - first + 1, rows)
            fits = self.order.shape[0] >= shape[0] and self.order.shape[1:] == shape[1:]
            if not fits or self.order.dtype != np.intp:
                raise DefinitionError(
                    f"run order is {self.order.dtype} {self.order.shape}; it must be intp {shape}."
                )
        if plan.dropout_rate and plan.dropout_rate * np.max(self.dropout_factor) >= 1:
            raise DefinitionError(
                f"run dropout_factor is {np.max(self.dropout_factor):g}; times the rate "
                f"{plan.dropout_rate:g} it must be less than 1."
            )

    @classmethod
    def whole_batch(
        cls, rows: int, *, step: int = 0, seed: int = 0, dropout: bool = False
    ) -> "Run":
        """All rows as the one batch of one step, for a loss or a gradient without an update.

        `dropout`: as in training, with the masks of that step and seed.
        """
        # All rows in one batch make every step the first of its epoch.
        return cls(
            step, 1, rows, None, _NO_UPDATE, 0.0, dropout_factor=float(dropout), training=dropout,
            seed=seed,
        )  # fmt: skip

    def of_step(self, name: str, step: int) -> float:
        """`learning_rate`, `l2`, `weight_decay` or `dropout_factor` at one step of this run."""
        value = getattr(self, name)
        return float(value[step - self.first_step] if isinstance(value, np.ndarray) else value)

    def uses(self, name: str) -> bool:
        """Whether `l2`, `weight_decay` or `dropout_factor` is more than 0 at any step."""
        value = getattr(self, name)
        return bool(value.any() if isinstance(value, np.ndarray) else value)

    def by_step(self, name: str) -> Array:
        """The same for all steps, `(steps,)` float64; it may be read-only."""
        return np.broadcast_to(np.asarray(getattr(self, name), np.float64), self.steps)

    def rows_of(self, step: int, rows: int) -> "slice | Array":
        """Which of `rows` rows a step's batch holds: a slice, or indices in their order."""
        batches = -(-rows // self.batch_size)
        epoch, batch = divmod(step, batches)
        here = slice(batch * self.batch_size, min((batch + 1) * self.batch_size, rows))
        if self.order is None:
            return here
        return self.order[epoch - self.first_step // batches, here]

    def shortened(self, steps: int) -> "Run":
        """The first so many steps of this run."""
        varying = {
            name: getattr(self, name)[:steps]
            for name in BY_STEP
            if isinstance(getattr(self, name), np.ndarray)
        }
        return replace(self, steps=steps, **varying)
