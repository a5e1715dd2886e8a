"""Learning rates by step. Durations are in epochs, so they hold for every batch size.

Weight decay and dropout follow schedules too: then `rate` is their value.

A schedule depends on the step alone: it gives the rates of any steps at once, so that whole runs
are planned ahead. Only `ReduceOnPlateau` also depends on the losses.
"""

from typing import Any, ClassVar

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.named import Named, registry, resolve
from fastnet.errors import DefinitionError, unknown


class Schedule(Named):
    """How the learning rate changes while a network is trained."""

    def rates(self, epochs: Array, total: float) -> Array:
        """Compute the learning rates at some times.

        Args:
            epochs: `(steps,)` float64, the epochs done before each step, with fractions.
            total: the epochs of the whole fit.

        Returns:
            `(steps,)` float64.
        """
        raise NotImplementedError


class Constant(Schedule):
    """The same rate throughout.

    Args:
        rate: the learning rate, above 0.
    """

    name: ClassVar[str] = "constant"
    rate: float

    def __post_init__(self) -> None:
        _rate(self.rate)

    def rates(self, epochs: Array, total: float) -> Array:
        return np.full(len(epochs), float(self.rate))


class Step(Schedule):
    """rate * gamma^floor(epoch / step_size).

    Args:
        rate: the first learning rate.
        step_size: epochs between two changes.
        gamma: what the rate is multiplied with at each, above 0.
    """

    name: ClassVar[str] = "step"
    rate: float
    step_size: float
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.step_size, "step step_size (epochs)", above=0)
        checks.number(self.gamma, "step gamma", above=0)

    def rates(self, epochs: Array, total: float) -> Array:
        done = epochs / self.step_size
        # What rounding has left a little below a whole number is one: 0.3 / 0.1 is below 3.
        whole = np.rint(done)
        near = np.abs(done - whole) <= 4 * np.finfo(np.float64).eps * whole
        return self.rate * self.gamma ** np.where(near, whole, np.floor(done))


class Exponential(Schedule):
    """rate * gamma^epoch, smoothly: it changes at every step.

    Args:
        rate: the first learning rate.
        gamma: what the rate is multiplied with in an epoch, above 0.
    """

    name: ClassVar[str] = "exponential"
    rate: float
    gamma: float = 0.95

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.gamma, "exponential gamma", above=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return self.rate * self.gamma**epochs


class InverseScaling(Schedule):
    """rate / (1 + epoch)^power_t.

    Args:
        rate: the first learning rate.
        power_t: the exponent, 0 or more.
    """

    name: ClassVar[str] = "inverse_scaling"
    rate: float
    power_t: float = 0.5

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.power_t, "inverse_scaling power_t", least=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return self.rate / (1 + epochs) ** self.power_t


class Cosine(Schedule):
    """From rate to eta_min along half a cosine (Loshchilov and Hutter 2017, eq. 5), then constant.

    Args:
        rate: the first learning rate.
        eta_min: the last.
        epochs: how long it takes; None: the whole fit.
    """

    name: ClassVar[str] = "cosine"
    rate: float
    eta_min: float = 0.0
    epochs: float | None = None

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.eta_min, "cosine eta_min", least=0)
        _epochs(self.epochs, "cosine epochs")

    def rates(self, epochs: Array, total: float) -> Array:
        done = np.clip(epochs / (self.epochs or _span(total)), 0, 1)
        return self.eta_min + (self.rate - self.eta_min) * (1 + np.cos(np.pi * done)) / 2


class FlatCosine(Schedule):
    """The rate for a while, then from it to eta_min along half a cosine, then constant.

    With the defaults `flat_cos` of Holzmueller et al. 2024 (RealMLP), appendix A.3.

    Args:
        rate: the first value.
        flat: the fraction of the time in which it stays.
        eta_min: the last value.
        epochs: how long it takes; None: the whole fit.
    """

    name: ClassVar[str] = "flat_cosine"
    rate: float
    flat: float = 0.5
    eta_min: float = 0.0
    epochs: float | None = None

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.flat, "flat_cosine flat", least=0, below=1)
        checks.number(self.eta_min, "flat_cosine eta_min", least=0)
        _epochs(self.epochs, "flat_cosine epochs")

    def rates(self, epochs: Array, total: float) -> Array:
        done = epochs / (self.epochs or _span(total))
        falling = np.clip((done - self.flat) / (1 - self.flat), 0, 1)
        return self.eta_min + (self.rate - self.eta_min) * (1 + np.cos(np.pi * falling)) / 2


class CosLog(Schedule):
    """Waves from 0 to the rate and back, each twice as long as the one before.

    rate (1 - cos(2 pi log2(1 + (2^cycles - 1) t))) / 2, t the fraction of the time: with 4 cycles
    `coslog4` of Holzmueller et al. 2024 (RealMLP), section 3.

    Args:
        rate: the highest value.
        cycles: how many waves.
        epochs: how long it takes; None: the whole fit.
    """

    name: ClassVar[str] = "coslog"
    rate: float
    cycles: int = 4
    epochs: float | None = None

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.integer(self.cycles, "coslog cycles")
        checks.number(self.cycles, "coslog cycles", most=50)
        _epochs(self.epochs, "coslog epochs")

    def rates(self, epochs: Array, total: float) -> Array:
        done = np.clip(epochs / (self.epochs or _span(total)), 0, 1)
        waves = np.log2(1 + (2.0**self.cycles - 1) * done)
        return self.rate * (1 - np.cos(2 * np.pi * waves)) / 2


class WarmUp(Schedule):
    """A linear rise to the first rate of another schedule, then that schedule.

    Args:
        epochs: how long the rise takes.
        then: the schedule that follows, whose time begins at the end of the rise; a number is a
            constant rate.
        start_factor: the rise begins at this fraction of the first rate of `then`.
    """

    name: ClassVar[str] = "warm_up"
    epochs: float
    then: Any
    start_factor: float = 0.1

    def __post_init__(self) -> None:
        checks.number(self.epochs, "warm_up epochs", above=0)
        checks.number(self.start_factor, "warm_up start_factor", least=0, below=1)
        then = learning_rate(self.then)
        object.__setattr__(self, "then", then)

    def rates(self, epochs: Array, total: float) -> Array:
        then = as_schedule(self.then)
        after = then.rates(np.maximum(epochs - self.epochs, 0), max(total - self.epochs, 0))
        done = np.minimum(epochs / self.epochs, 1)
        return after * (self.start_factor + (1 - self.start_factor) * done)


class OneCycle(Schedule):
    """Up from a low rate to the highest, then down to the lowest, along half cosines.

    Smith and Topin 2018, with the curve and constants of PyTorch's OneCycleLR, without the
    momentum's cycle. A step has the rate of its beginning, so the last step's is a little above
    the one that the curve ends in.

    Args:
        rate: the highest learning rate.
        pct_start: the fraction of the time in which it rises.
        div_factor: rate / div_factor is the first learning rate.
        final_div_factor: the curve ends in rate / div_factor / final_div_factor.
        epochs: how long it takes; None: the whole fit.
    """

    name: ClassVar[str] = "one_cycle"
    rate: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    epochs: float | None = None

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.pct_start, "one_cycle pct_start", above=0, below=1)
        checks.number(self.div_factor, "one_cycle div_factor", least=1)
        checks.number(self.final_div_factor, "one_cycle final_div_factor", least=1)
        _epochs(self.epochs, "one_cycle epochs")

    def rates(self, epochs: Array, total: float) -> Array:
        done = np.clip(epochs / (self.epochs or _span(total)), 0, 1)
        start = self.pct_start
        first = self.rate / self.div_factor
        last = first / self.final_div_factor
        rise = first + (self.rate - first) * (1 - np.cos(np.pi * done / start)) / 2
        fall = last + (self.rate - last) * (1 + np.cos(np.pi * (done - start) / (1 - start))) / 2
        return np.where(done < start, rise, fall)


class ReduceOnPlateau(Schedule):
    """Multiply the rate with `factor` whenever the loss has not fallen for `patience` epochs.

    The loss is that of the validation rows, or the training loss if there are none. As in PyTorch,
    `patience` epochs without a better loss are tolerated, and the one after lowers the rate.

    Args:
        rate: the first learning rate.
        factor: what the rate is multiplied with.
        patience: epochs without a better loss that are tolerated.
        min_lr: the rate never becomes smaller than this.
        min_delta: how much lower a loss must be to count as better.
    """

    name: ClassVar[str] = "reduce_on_plateau"
    rate: float
    factor: float = 0.1
    patience: int = 10
    min_lr: float = 0.0
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        _rate(self.rate)
        checks.number(self.factor, "reduce_on_plateau factor", above=0, below=1)
        checks.integer(self.patience, "reduce_on_plateau patience", least=0)
        checks.number(self.min_lr, "reduce_on_plateau min_lr", least=0, most=self.rate)
        checks.number(self.min_delta, "reduce_on_plateau min_delta", least=0)

    def rates(self, epochs: Array, total: float) -> Array:
        return np.full(len(epochs), float(self.rate))


SCHEDULES = registry(
    Constant, Step, Exponential, InverseScaling, Cosine, FlatCosine, CosLog, WarmUp, OneCycle,
    ReduceOnPlateau,
)  # fmt: skip


def learning_rate(value: Any) -> float | Schedule:
    """Check a learning rate: a positive number, or a schedule as an instance, name or table.

    Raises:
        DefinitionError: for anything else.
    """
    if isinstance(value, str) and value not in SCHEDULES:
        raise DefinitionError(
            f"learning rate is not a number: {unknown('schedule', value, SCHEDULES)}"
        )
    if isinstance(value, Schedule | dict | str):
        return resolve("schedule", SCHEDULES, value)
    return _rate(value)


def scheduled(value: Any, what: str) -> float | Schedule:
    """Check a number of at least 0, or a schedule that depends on the step alone.

    Raises:
        DefinitionError: for anything else.
    """
    if not isinstance(value, Schedule | dict | str):
        return checks.number(value, what, least=0)
    found = resolve("schedule", SCHEDULES, value)
    if plateau(found) is not None:
        raise DefinitionError(
            f"{what} is {found!r}, which follows the losses; only a learning rate may. Use another "
            "schedule, such as fn.FlatCosine(...)."
        )
    return found


def by_step(
    value: float | Schedule, first: int, steps: int, batches: int, epochs: float
) -> float | Array:
    """The values of some steps: the number, or `(steps,)` float64.

    Args:
        value: a number or a schedule.
        first: the number of the first step.
        steps: how many.
        batches: steps of an epoch.
        epochs: of the whole fit.
    """
    if not isinstance(value, Schedule):
        return float(value)
    return value.rates(np.arange(first, first + steps) / batches, epochs)


def as_schedule(value: float | Schedule) -> Schedule:
    """Turn a number into a schedule that never changes."""
    return value if isinstance(value, Schedule) else Constant(value)


def plateau(value: float | Schedule) -> ReduceOnPlateau | None:
    """Return the part of a schedule that depends on the losses, if there is one."""
    if isinstance(value, WarmUp):
        return plateau(value.then)
    return value if isinstance(value, ReduceOnPlateau) else None


def _rate(value: Any) -> float:
    return checks.number(value, "learning rate", above=0)


def _span(total: float) -> float:
    """A whole fit's epochs, to divide by: 1 if none are left after a warm-up."""
    return total if total > 0 else 1.0


def _epochs(value: Any, what: str) -> None:
    if value is not None:
        checks.number(value, what, above=0)
