"""Learning rates by step. Durations are in epochs, so a new batch size keeps their meaning.

A schedule is a function of the step alone: it gives the rates of any steps at once, so that
whole runs are planned ahead. `ReduceOnPlateau` alone also looks at the loss, after an epoch.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.named import Named, registry, resolve
from fastnet.errors import DefinitionError, unknown


class Schedule(Named):
    """How the learning rate changes while a network is trained."""

    def rates(self, epochs: Array, total: float) -> Array:
        """The learning rates at some moments.

        Args:
            epochs: `(steps,)` float64, the epochs done before each step, with fractions.
            total: the epochs of the whole fit.

        Returns:
            `(steps,)` float64.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False, repr=False)
class Constant(Schedule):
    """The same rate throughout."""

    name: ClassVar[str] = "constant"
    rate: float

    def __post_init__(self) -> None:
        _rate(self.rate)

    def rates(self, epochs: Array, total: float) -> Array:
        return np.full(len(epochs), float(self.rate))


@dataclass(frozen=True, eq=False, repr=False)
class Step(Schedule):
    """rate * factor^floor(epoch / every)."""

    name: ClassVar[str] = "step"
    rate: float
    every: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.every, "step every (epochs)", above=0)
        checks.number(self.factor, "step factor", above=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return self.rate * self.factor ** np.floor(epochs / self.every)


@dataclass(frozen=True, eq=False, repr=False)
class Exponential(Schedule):
    """rate * factor^epoch, smoothly."""

    name: ClassVar[str] = "exponential"
    rate: float
    factor: float = 0.95

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.factor, "exponential factor", above=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return self.rate * self.factor**epochs


@dataclass(frozen=True, eq=False, repr=False)
class InverseScaling(Schedule):
    """rate / (1 + epoch)^power."""

    name: ClassVar[str] = "inverse_scaling"
    rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.power, "inverse_scaling power", least=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return self.rate / (1 + epochs) ** self.power


@dataclass(frozen=True, eq=False, repr=False)
class Cosine(Schedule):
    """From rate to end along half a cosine (Loshchilov and Hutter 2017, eq. 5), then end.

    Args:
        rate: where it starts.
        end: where it stops.
        epochs: how long it takes; None: the whole fit.
    """

    name: ClassVar[str] = "cosine"
    rate: float
    end: float = 0.0
    epochs: float | None = None

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.end, "cosine end", least=0)
        _epochs(self.epochs, "cosine epochs")

    def rates(self, epochs: Array, total: float) -> Array:
        done = np.clip(epochs / (self.epochs or _span(total)), 0, 1)
        return self.end + (self.rate - self.end) * (1 + np.cos(np.pi * done)) / 2


@dataclass(frozen=True, eq=False, repr=False)
class WarmUp(Schedule):
    """A straight line from `start` times the first rate of `then` up to it, then `then`.

    Args:
        epochs: how long the line is.
        then: the schedule that follows; its own time begins where the line ends. A number
            is a constant rate.
        start: the fraction of that rate at which the line begins.
    """

    name: ClassVar[str] = "warm_up"
    epochs: float
    then: Any
    start: float = 0.1

    def __post_init__(self) -> None:
        checks.number(self.epochs, "warm_up epochs", above=0)
        checks.number(self.start, "warm_up start", least=0, below=1)
        then = learning_rate(self.then)
        object.__setattr__(self, "then", then)

    def rates(self, epochs: Array, total: float) -> Array:
        then = as_schedule(self.then)
        after = then.rates(np.maximum(epochs - self.epochs, 0), max(total - self.epochs, 0))
        done = np.minimum(epochs / self.epochs, 1)
        return after * (self.start + (1 - self.start) * done)


@dataclass(frozen=True, eq=False, repr=False)
class OneCycle(Schedule):
    """Up from rate / divide to rate, then down to rate / final, along half cosines.

    Smith and Topin 2018, with the curve and constants of PyTorch's OneCycleLR, without the
    momentum's cycle. A step has the rate of the moment when it begins, so the lowest rate is
    that of the end of the last step.

    Args:
        rate: the highest.
        up: the share of the time that goes up.
        divide: rate / divide is the first rate.
        final: rate / divide / final is the last.
        epochs: how long it takes; None: the whole fit.
    """

    name: ClassVar[str] = "one_cycle"
    rate: float
    up: float = 0.3
    divide: float = 25.0
    final: float = 1e4
    epochs: float | None = None

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.up, "one_cycle up", above=0, below=1)
        checks.number(self.divide, "one_cycle divide", least=1)
        checks.number(self.final, "one_cycle final", least=1)
        _epochs(self.epochs, "one_cycle epochs")

    def rates(self, epochs: Array, total: float) -> Array:
        done = np.clip(epochs / (self.epochs or _span(total)), 0, 1)
        first = self.rate / self.divide
        last = first / self.final
        rise = first + (self.rate - first) * (1 - np.cos(np.pi * done / self.up)) / 2
        fall = last + (self.rate - last) * (
            1 + np.cos(np.pi * (done - self.up) / (1 - self.up))
        ) / 2  # fmt: skip
        return np.where(done < self.up, rise, fall)


@dataclass(frozen=True, eq=False, repr=False)
class ReduceOnPlateau(Schedule):
    """Times `factor` whenever the loss has not fallen for `patience` epochs.

    Watched is the validation loss, or the training loss where there is no validation.

    Args:
        rate: where it starts.
        factor: what the rate is multiplied with.
        patience: epochs without a better loss that are let pass.
        least: the rate is never made smaller than this.
        min_delta: how much lower a loss must be to count as better.
    """

    name: ClassVar[str] = "reduce_on_plateau"
    rate: float
    factor: float = 0.1
    patience: int = 10
    least: float = 0.0
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.factor, "reduce_on_plateau factor", above=0, below=1)
        checks.integer(self.patience, "reduce_on_plateau patience", least=0)
        checks.number(self.least, "reduce_on_plateau least", least=0, most=self.rate)
        checks.number(self.min_delta, "reduce_on_plateau min_delta", least=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return np.full(len(epochs), float(self.rate))


SCHEDULES = registry(
    Constant, Step, Exponential, InverseScaling, Cosine, WarmUp, OneCycle, ReduceOnPlateau
)


def learning_rate(value: Any) -> float | Schedule:
    """A positive number, or a schedule from its instance, table or JSON form.

    Raises:
        DefinitionError: for anything else.
    """
    if isinstance(value, str) and value not in SCHEDULES:
        raise DefinitionError(
            f"learning rate is no number: {unknown('schedule', value, SCHEDULES)}"
        )
    if isinstance(value, Schedule | dict | str):
        return resolve("schedule", SCHEDULES, value)
    return _rate(value)


def as_schedule(value: float | Schedule) -> Schedule:
    """A number as the schedule that never changes."""
    return value if isinstance(value, Schedule) else Constant(value)


def plateau(value: float | Schedule) -> ReduceOnPlateau | None:
    """The part of a schedule that looks at the loss, if there is one."""
    if isinstance(value, WarmUp):
        return plateau(value.then)
    return value if isinstance(value, ReduceOnPlateau) else None


def _rate(value: Any) -> float:
    return checks.number(value, "learning rate", above=0)


def _span(total: float) -> float:
    """A whole fit's epochs, to divide by: 1 where none are left after a warm-up."""
    return total if total > 0 else 1.0


def _epochs(value: Any, what: str) -> None:
    if value is not None:
        checks.number(value, what, above=0)
