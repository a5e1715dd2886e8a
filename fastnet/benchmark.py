"""Fair timing on one machine, for `fastnet bench` and the project's benchmark suite.

    from functools import partial
    from fastnet.benchmark import QUICK, FitWorkload, calibrate, time_rounds

    work = QUICK["tab"]
    makers = {name: partial(FitWorkload, work, name) for name in ("numpy", "numba")}
    contestants = {name: calibrate(maker, work.check_epochs) for name, maker in makers.items()}
    seconds, problems = time_rounds(contestants, rounds=5)

All contestants start from the same parameters and see the same rows in the same order. Each first
does a short run, whose result must agree with NumPy's in float64. Only then are they timed, in
rounds, each of them once per round, so that drift of the machine affects all alike. The first run,
including compilation, is timed separately.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from fastnet import datasets, random
from fastnet.arrays.checks import Array
from fastnet.definition.layers import Dense
from fastnet.definition.network import Network
from fastnet.definition.optimizers import SGD, Optimizer
from fastnet.errors import FastnetError
from fastnet.model import Model
from fastnet.records import Record

#: The seed of initial weights and shuffles, everywhere.
SEED = 1

#: Data that fits here stays in the cache from step to step, so its bytes are not counted: the size
#: of the second-level cache of most current processors, or of their share of the third.
CACHE_BYTES = 2**20

#: Seconds before each timed run, in which the threads of the run before it go to sleep: those of
#: OpenBLAS look for work for 2^26 cycles, some 30 milliseconds.
PAUSE = 0.1

#: Approximate seconds of one contestant's run in a round: long enough that the clock's resolution
#: of a microsecond and the variation between shuffles do not matter.
ROUND_SECONDS = 0.15

#: How often the length of a run is corrected: in a short run the cost of the call itself dominates.
MAX_TRIES = 4


class Workload(Record):
    """A network, and how it is trained.

    Attributes:
        name: as in reports.
        network: what is trained.
        rows: number of training rows; a multiple of `batch`.
        batch: rows per step.
        optimizer: of the training.
        check_epochs: epochs of the run in which results must agree.
        axis, value: the series that it belongs to ("width"), and its value in it; None without one.
        slow: whether it takes many seconds.
        dtype: of data and parameters, "float32" or "float64".
    """

    name: str
    network: Network
    rows: int
    batch: int
    optimizer: Optimizer
    check_epochs: int = 1
    axis: str | None = None
    value: int | None = None
    slow: bool = False
    dtype: str = "float32"

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.rows // self.batch

    @property
    def sizes(self) -> list[int]:
        """The inputs and the units of every layer."""
        layers = self.network.layers
        return [self.network.inputs, *(each.units for each in layers if isinstance(each, Dense))]

    @property
    def activations(self) -> list[str]:
        """The name of each layer's activation."""
        return [each.activation.name for each in self.network.layers if isinstance(each, Dense)]

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))

    @property
    def flops(self) -> float:
        """Multiplications and additions of a step: forward, gradients of weights, and gradients of
        inputs, except for the first layer's.
        """
        products = [a * b for a, b in pairwise(self.sizes)]
        return 2.0 * self.batch * (3 * sum(products) - products[0])

    @property
    def bytes(self) -> float:
        """Bytes that a step reads and writes in memory: its rows, the parameters and the
        optimizer's state. Rows, or parameters and state, count as zero if they fit in the cache.
        """
        sizes, size = self.sizes, np.dtype(self.dtype).itemsize
        row = size * (sizes[0] + sizes[-1])
        state = size * self.parameters * (1 + self.optimizer.slots)
        moved = row * self.batch if row * self.rows > CACHE_BYTES else 0
        return float(moved + (2 * state if state > CACHE_BYTES else 0))

    def __str__(self) -> str:
        """For example `32-64-64-1, relu, batch 256, SGD, float32`."""
        names = list(dict.fromkeys(name for name in self.activations if name != "identity"))
        shape = "-".join(map(str, self.sizes))
        rule = type(self.optimizer).__name__
        return ", ".join([
            shape, *([" and ".join(names)] if names else []), f"batch {self.batch:,}", rule,
            self.dtype,
        ])  # fmt: skip

    def data(self) -> tuple[Array, Array]:
        """Inputs `(rows, inputs)` and targets `(rows, outputs)` in the workload's dtype, or classes
        `(rows,)`; new arrays, so that no contestant can change another's.
        """
        classes = self.network.loss.targets == "class"
        if self.network.inputs == 3 and self.rows == 4:
            x, y = datasets.xor()
        else:
            x, y = _synthetic(self.rows, self.network.inputs, self.network.outputs, classes)
        return x.astype(self.dtype), y.copy() if classes else y.astype(self.dtype)

    def orders(self, epochs: int) -> Array | None:
        """The rows of each step, `(steps, batch)` intp; None where a step uses all rows."""
        if self.batch == self.rows:
            return None
        found = [random.permutation(SEED, random.SHUFFLE, e, self.rows) for e in range(epochs)]
        return np.concatenate(found).reshape(epochs * self.steps, self.batch)

    def initial_layers(self) -> list[tuple[Array, Array]]:
        """Each layer's initial weights `(inputs, units)` and bias `(units,)`, as new arrays."""
        given = new_model(self, "numpy", None, self.dtype).parameters
        pairs = [(given[f"{i}.weight"], given[f"{i}.bias"]) for i in range(len(given) // 2)]
        return [(weight.copy(), bias.copy()) for weight, bias in pairs]


_synthetic = cache(datasets.synthetic)


def relu_network(inputs: int, *units: int) -> Network:
    """A network with ReLU in its hidden layers and mean squared error."""
    *hidden, outputs = units
    return Network(inputs, [*(Dense(u, "relu") for u in hidden), Dense(outputs)], loss="mse")


#: The workloads of `fastnet bench`, from the smallest to one dominated by large matrix products.
QUICK = {
    work.name: work
    for work in (
        # The tutorial's network and weights. After 500 steps float32 is still close to float64.
        Workload("xor", datasets.xor_network(True), 4, 4, SGD(2.0), check_epochs=500),
        Workload("tab32", relu_network(32, 64, 64, 1), 12_800, 32, SGD(0.05)),
        Workload("tab", relu_network(32, 64, 64, 1), 12_800, 256, SGD(0.05)),
        Workload("mnist", relu_network(784, 128, 10), 12_800, 128, SGD(0.05)),
        Workload("large", relu_network(512, 1024, 1024, 10), 2_048, 256, SGD(0.01)),
    )
}

#: The allowed difference between results and NumPy's in float64, divided by the largest absolute
#: value: after training, where rounding accumulates and can switch a ReLU, and in a single pass.
TRAINING_TOLERANCE = {"float32": 1e-3, "float64": 1e-9}
PASS_TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


class Contestant(Protocol):
    """A backend or library at one workload.

    Attributes:
        units: steps or calls of one `run`.
    """

    units: int

    def reset(self) -> None:
        """Go back to the initial state; not timed."""

    def run(self) -> None:
        """Do all steps or calls."""

    def result(self) -> Array:
        """Parameters, predictions or a gradient, in the same layout for all contestants."""
        ...


def new_model(work: Workload, backend: str, threads: int | None, dtype: str) -> Model:
    """A model with the initial weights of all contestants: float32's, in float64 too."""
    made = Model(work.network, backend=backend, seed=SEED, threads=threads, dtype=dtype)
    made.parameters.flat[...] = made.parameters.flat.astype(np.float32)
    return made


class FitWorkload:
    """`Model.fit`, including its checks, shuffles and the loss that it records for every step.

    Args:
        work: what is trained.
        backend: its name.
        epochs: of one `run`.
        threads: the number to use; None lets the backend choose.
        dtype: of data and parameters; None: the workload's.
    """

    def __init__(
        self,
        work: Workload,
        backend: str,
        epochs: int,
        threads: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self.work, self.epochs = work, epochs
        dtype = dtype or work.dtype
        self.options: dict[str, Any] = {"backend": backend, "threads": threads, "dtype": dtype}
        self.units = epochs * work.steps
        self.x, self.y = work.data()
        self.reset()

    def reset(self) -> None:
        self.model = new_model(self.work, **self.options)

    def run(self) -> None:
        self.model.fit(
            self.x,
            self.y,
            optimizer=self.work.optimizer,
            epochs=self.epochs,
            batch_size=self.work.batch,
        )

    def result(self) -> Array:
        return self.model.parameters.flat


class PredictWorkload:
    """Repeated calls of `Model.predict`.

    Args:
        work: gives the network.
        backend: its name.
        calls: of one `run`.
        rows: per call.
        threads: the number to use; None lets the backend choose.
        dtype: of data and parameters; None: the workload's.
    """

    def __init__(
        self,
        work: Workload,
        backend: str,
        calls: int,
        rows: int,
        threads: int | None = None,
        dtype: str | None = None,
    ) -> None:
        self.model = new_model(work, backend, threads, dtype or work.dtype)
        self.x, self.units = prediction_inputs(work, rows), calls

    def reset(self) -> None:
        pass

    def run(self) -> None:
        predict, x = self.model.predict, self.x
        for _ in range(self.units):
            predict(x)

    def result(self) -> Array:
        return self.model.predict(self.x)


def prediction_inputs(work: Workload, rows: int) -> Array:
    """Inputs `(rows, inputs)` in the workload's dtype to predict for."""
    return _synthetic(rows, work.network.inputs, work.network.outputs)[0].astype(work.dtype)


@dataclass(frozen=True)
class Timing:
    """A contestant's times.

    Attributes:
        seconds: per unit, one entry per round.
        units: per round.
        warm_up: seconds to create the contestant and to run it once, including compilation; what
            is cached on disk helps.
        difference: the largest deviation of its result from NumPy's in float64, divided by the
            largest absolute value of that.
    """

    seconds: list[float] = field(default_factory=list)
    units: int = 1
    warm_up: float = 0.0
    difference: float = 0.0


class Disagreement(FastnetError):
    """A contestant's result is not the reference's, so its time does not count."""


#: Makes a contestant that does this number of epochs, or calls, in one `run`.
Maker = Callable[[int], Contestant]


def contest(
    makers: Mapping[str, Maker],
    reference: Maker,
    count: int,
    trains: bool,
    rounds: int,
    dtype: str = "float32",
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Run each contestant once, then time those whose results agree with the reference.

    Args:
        makers: of the contestants, by name.
        reference: of the NumPy backend in float64, whose result all others must match.
        count: epochs, or calls, of the first run.
        trains: whether results are parameters, which must differ from the initial ones.
        rounds: of timing; 0 to stop after the first run.
        dtype: of the contestants' results, which says how near they must be.

    Returns:
        The times of the contestants that agree, and what is wrong with the others, by name.
    """
    exact = reference(count)
    exact.reset()
    start = exact.result().copy() if trains else None
    exact.run()
    expected = exact.result().copy()
    checked: dict[str, Timing] = {}
    problems: dict[str, str] = {}
    for name, maker in makers.items():
        try:
            checked[name] = check_agreement(maker, count, expected, start, dtype)
        except Disagreement as error:
            problems[name] = str(error)
        except Exception as error:  # another library may raise anything: continue with the others
            problems[name] = f"{type(error).__name__}: {error}"
    if not rounds:
        return checked, problems
    contestants: dict[str, Contestant] = {}
    for name in checked:
        try:
            contestants[name] = calibrate(makers[name], count)
        except Exception as error:
            problems[name] = f"{type(error).__name__}: {error}"
    found, failed = time_rounds(contestants, rounds)
    problems.update(failed)
    timed = {
        name: replace(checked[name], seconds=seconds, units=contestants[name].units)
        for name, seconds in found.items()
    }
    return timed, problems


def check_agreement(
    maker: Maker, count: int, reference: Array, start: Array | None, dtype: str = "float32"
) -> Timing:
    """Run a contestant for the first time and compare its result with the reference's.

    Args:
        maker: of the contestant.
        count: epochs, or calls.
        reference: the expected result.
        start: the initial parameters, which training must change; None without training.
        dtype: in which it computes, which says how near it must be.

    Raises:
        Disagreement: if the result differs.
    """
    began = time.perf_counter()
    contestant = maker(count)
    contestant.reset()
    contestant.run()
    warm_up = time.perf_counter() - began
    result = contestant.result()
    if result.shape != reference.shape:
        raise Disagreement(f"the result has shape {result.shape}, not {reference.shape}.")
    if start is not None and np.array_equal(result, start.astype(result.dtype)):
        raise Disagreement("nothing was learned: the parameters are still the initial ones.")
    difference = float(np.abs(result - reference).max() / np.abs(reference).max())
    allowed = (PASS_TOLERANCE if start is None else TRAINING_TOLERANCE)[dtype]
    if not difference <= allowed:  # NaN too
        raise Disagreement(
            f"the result is off by {difference:.1e} of the largest value; {allowed:g} is allowed."
        )
    return Timing([], contestant.units, warm_up, difference)


def calibrate(maker: Maker, count: int, seconds: float = ROUND_SECONDS) -> Contestant:
    """Make a contestant whose `run` takes about so long; it has run once.

    Args:
        maker: of the contestant.
        count: epochs, or calls, to begin with.
        seconds: of one `run`.
    """
    for _ in range(MAX_TRIES):
        contestant = maker(count)
        contestant.reset()
        contestant.run()  # compiles, if this count needs it
        contestant.reset()
        began = time.perf_counter()
        contestant.run()
        took = time.perf_counter() - began
        wanted = max(1, round(count * seconds / took))
        if count / 2 <= wanted <= 2 * count:
            break
        count = wanted
    return contestant


def time_rounds(
    contestants: Mapping[str, Contestant], rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Time every contestant once per round.

    Each round begins with another contestant, so that none always follows the same one.

    Args:
        contestants: by name, each with a run of about `ROUND_SECONDS`: see `calibrate`.
        rounds: how many.

    Returns:
        By name, the seconds per unit in each round of the contestants with finite results, and what
        is wrong with the others.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    problems: dict[str, str] = {}
    names = list(contestants)
    gc.collect()
    gc.freeze()  # else the collection before each run visits all objects of all libraries
    try:
        for number in range(rounds):
            first = number % max(len(names), 1)
            for name in names[first:] + names[:first]:
                if name in problems:
                    continue
                try:
                    found[name].append(_timed(contestants[name]))
                except Exception as error:  # another library may raise anything
                    problems[name] = f"{type(error).__name__}: {error}"
    finally:
        gc.unfreeze()
    return {name: times for name, times in found.items() if name not in problems}, problems


def _timed(contestant: Contestant) -> float:
    """Seconds per unit of one run."""
    contestant.reset()
    gc.collect()
    time.sleep(PAUSE)
    began = time.perf_counter()
    contestant.run()
    took = (time.perf_counter() - began) / contestant.units
    if not np.isfinite(contestant.result()).all():
        raise Disagreement("the result of a timed run is not finite.")
    return took
