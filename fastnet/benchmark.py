"""Fair timing on one machine: `fastnet bench` and the project's benchmark suite stand on it.

    from functools import partial
    from fastnet.benchmark import QUICK, Fit, paced, turns

    work = QUICK["tab"]
    makers = {name: partial(Fit, work, name) for name in ("numpy", "numba")}
    there = {name: paced(maker, work.common) for name, maker in makers.items()}
    seconds, problems = turns(there, rounds=5)

All contestants begin with the same parameters and see the same rows in the same order. Each first
does a short run whose result must agree with NumPy's in float64; only then are they timed, in
turns, so that drift of the machine hits all alike. The first run, with all that is compiled in it,
is timed apart.
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

#: Of initial weights and shuffles, everywhere.
SEED = 1

#: What fits here does not go through memory at every step, so its bytes are not counted: the
#: second-level cache of most of today's processors, or their share of the third.
IN_CACHE = 2**20

#: Seconds before each turn, in which the threads of the one before go to sleep.
PAUSE = 0.02

#: Seconds of a turn, about: the clock's own microsecond and a shuffle's fluctuation vanish.
TURN_SECONDS = 0.15

#: How often the length of a turn is corrected: what a call takes by itself, beside its steps, hides
#: the steps of a short one.
MOST_TRIES = 4


@dataclass(frozen=True)
class Workload:
    """A network, and how it is trained.

    Attributes:
        name: as in reports.
        network: what.
        rows: of data; a multiple of `batch`.
        batch: rows of a step.
        optimizer: how.
        common: epochs of the run that all must agree about.
        axis, value: the series that it belongs to, and its place in it; None: none.
        slow: takes many seconds.
    """

    name: str
    network: Network
    rows: int
    batch: int
    optimizer: Optimizer
    common: int = 1
    axis: str | None = None
    value: int | None = None
    slow: bool = False

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch

    @property
    def sizes(self) -> list[int]:
        """Inputs, and the units of every layer."""
        layers = self.network.layers
        return [self.network.inputs, *(each.units for each in layers if isinstance(each, Dense))]

    @property
    def activations(self) -> list[str]:
        """Each layer's."""
        return [each.activation.name for each in self.network.layers if isinstance(each, Dense)]

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))

    @property
    def flops(self) -> float:
        """What a step must multiply and add: forward, the weights' gradient, and the way back,
        which ends before the first layer.
        """
        products = [a * b for a, b in pairwise(self.sizes)]
        return 2.0 * self.batch * (3 * sum(products) - products[0])

    @property
    def bytes(self) -> float:
        """What a step must move through memory: its rows, and parameters and the optimizer's
        memory to and fro. Of either, nothing if all of it stays in the cache.
        """
        sizes = self.sizes
        row = 4 * (sizes[0] + sizes[-1])
        state = 4 * self.parameters * (1 + self.optimizer.slots * (not _plain(self.optimizer)))
        moved = row * self.batch if row * self.rows > IN_CACHE else 0
        return float(moved + (2 * state if state > IN_CACHE else 0))

    def __str__(self) -> str:
        """As in `32-64-64-1, relu, batch 256, SGD`."""
        names = list(dict.fromkeys(name for name in self.activations if name != "identity"))
        shape = "-".join(map(str, self.sizes))
        rule = type(self.optimizer).__name__
        return f"{shape}, {' and '.join(names)}, batch {self.batch:,}, {rule}"

    def data(self) -> tuple[Array, Array]:
        """x `(rows, inputs)` float32 and y `(rows, outputs)` float32, or classes `(rows,)`; new
        arrays, so that no contestant can spoil another's.
        """
        if self.network.inputs == 3 and self.rows == 4:
            x, y = datasets.xor()
            return x.astype(np.float32), y.astype(np.float32)
        classes = self.network.loss.targets == "class"
        x, y = _synthetic(self.rows, self.network.inputs, self.network.outputs, classes)
        return x.copy(), y.copy()

    def orders(self, epochs: int) -> Array | None:
        """The rows of each step, `(steps, batch)` intp; None where a step takes them all."""
        if self.batch == self.rows:
            return None
        found = [random.permutation(SEED, random.SHUFFLE, e, self.rows) for e in range(epochs)]
        return np.concatenate(found).reshape(epochs * self.steps, self.batch)

    def start(self) -> list[tuple[Array, Array]]:
        """Each layer's first weights `(inputs, units)` and bias `(units,)`, new ones."""
        given = model(self, "numpy", None, "float32").parameters
        pairs = [(given[f"{i}.weight"], given[f"{i}.bias"]) for i in range(len(given) // 2)]
        return [(weight.copy(), bias.copy()) for weight, bias in pairs]


def _plain(optimizer: Optimizer) -> bool:
    """Whether it is gradient descent without a memory."""
    return isinstance(optimizer, SGD) and not optimizer.momentum


_synthetic = cache(datasets.synthetic)


def relu(inputs: int, *units: int) -> Network:
    """ReLU in the hidden layers, squared error: the networks that are compared."""
    *hidden, outputs = units
    return Network(inputs, [*(Dense(u, "relu") for u in hidden), Dense(outputs)], loss="mse")


#: From the smallest to one that a matrix library is made for; `fastnet bench` runs them all.
QUICK = {
    work.name: work
    for work in (
        # The tutorial's network and start. After 500 steps float32 has not drifted yet.
        Workload("xor", datasets.xor_network(True), 4, 4, SGD(2.0), common=500),
        Workload("tab32", relu(32, 64, 64, 1), 12_800, 32, SGD(0.05)),
        Workload("tab", relu(32, 64, 64, 1), 12_800, 256, SGD(0.05)),
        Workload("mnist", relu(784, 128, 10), 12_800, 128, SGD(0.05)),
        Workload("large", relu(512, 1024, 1024, 10), 2_048, 256, SGD(0.01)),
    )
}

#: How far float32 results may be from float64's, of the largest number: rounding, grown over the
#: steps of a training, where a ReLU may fall on the other side; and in one pass.
TRAINED_APART, PASS_APART = 1e-3, 1e-5


class Contestant(Protocol):
    """Who can be timed.

    Attributes:
        units: what one `go` does: steps, or calls.
    """

    units: int

    def begin(self) -> None:
        """Go back to the start; this is not timed."""

    def go(self) -> None:
        """Do all of them."""

    def result(self) -> Array:
        """What they came to, in the same layout for everyone."""
        ...


def model(work: Workload, backend: str, threads: int | None, dtype: str) -> Model:
    """The model that everyone begins with: in float64, too, with float32's first weights."""
    made = Model(work.network, backend=backend, seed=SEED, threads=threads, dtype=dtype)
    made.parameters.flat[...] = made.parameters.flat.astype(np.float32)
    return made


class Fit:
    """`model.fit`, with all that it does: checks, shuffles, a loss kept of every step.

    Args:
        work: what is trained.
        backend: by whom.
        epochs: of one `go`.
        threads: how many to use; None: as it pays.
        dtype: of everything.
    """

    def __init__(
        self,
        work: Workload,
        backend: str,
        epochs: int,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        self.work, self.epochs = work, epochs
        self.how: dict[str, Any] = {"backend": backend, "threads": threads, "dtype": dtype}
        self.units = epochs * work.steps
        self.x, self.y = work.data()
        self.begin()

    def begin(self) -> None:
        self.model = model(self.work, **self.how)

    def go(self) -> None:
        self.model.fit(
            self.x,
            self.y,
            optimizer=self.work.optimizer,
            epochs=self.epochs,
            batch_size=self.work.batch,
        )

    def result(self) -> Array:
        return self.model.parameters.flat


class Predict:
    """`model.predict`, called again and again.

    Args:
        work: the network.
        backend: by whom.
        calls: of one `go`.
        rows: of one call.
        threads: how many to use; None: as it pays.
        dtype: of everything.
    """

    def __init__(
        self,
        work: Workload,
        backend: str,
        calls: int,
        rows: int,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        self.model = model(work, backend, threads, dtype)
        self.x, self.units = predicted(work, rows), calls

    def begin(self) -> None:
        pass

    def go(self) -> None:
        predict, x = self.model.predict, self.x
        for _ in range(self.units):
            predict(x)

    def result(self) -> Array:
        return self.model.predict(self.x)


def predicted(work: Workload, rows: int) -> Array:
    """What is predicted: x `(rows, inputs)` float32."""
    return _synthetic(rows, work.network.inputs, work.network.outputs)[0].copy()


@dataclass(frozen=True)
class Timing:
    """What a contestant came to.

    Attributes:
        seconds: of one unit, one a turn.
        units: of a turn.
        warm_up: seconds to make the contestant and for its first run, with all that is compiled or
            loaded for it; what is on disk from before helps.
        apart: how far its result was from that of NumPy in float64, of the largest number.
    """

    seconds: list[float] = field(default_factory=list)
    units: int = 1
    warm_up: float = 0.0
    apart: float = 0.0


class Disagrees(FastnetError):
    """A contestant whose result is not the reference's: its time counts for nothing."""


#: Makes a contestant that does so many epochs, or calls, in one `go`.
Maker = Callable[[int], Contestant]


def contest(
    makers: Mapping[str, Maker], reference: Maker, common: int, trains: bool, rounds: int
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Everyone's first run, and then, of those who came to the right result, their turns.

    Args:
        makers: of the contestants, by name.
        reference: of NumPy's backend in float64, to whose result all must come.
        common: epochs, or calls, of the first run.
        trains: whether results are parameters, which must not be those of the start.
        rounds: turns of each; 0: the first run is all.

    Returns:
        What those came to who were timed, and what is wrong with the others.
    """
    exact = reference(common)
    exact.begin()
    start = exact.result().copy() if trains else None
    exact.go()
    wanted = exact.result().copy()
    met: dict[str, Timing] = {}
    problems: dict[str, str] = {}
    for name, maker in makers.items():
        try:
            met[name] = meet(maker, common, wanted, start)
        except Disagrees as error:
            problems[name] = str(error)
        except Exception as error:  # another library's may be any: the others go on
            problems[name] = f"{type(error).__name__}: {error}"
    if not rounds:
        return met, problems
    there: dict[str, Contestant] = {}
    for name in met:
        try:
            there[name] = paced(makers[name], common)
        except Exception as error:
            problems[name] = f"{type(error).__name__}: {error}"
    found, fallen = turns(there, rounds)
    problems.update(fallen)
    timed = {
        name: replace(met[name], seconds=seconds, units=there[name].units)
        for name, seconds in found.items()
    }
    return timed, problems


def meet(maker: Maker, common: int, reference: Array, start: Array | None) -> Timing:
    """The first run, which has to come to the reference's result.

    Args:
        maker: of the contestant.
        common: epochs, or calls.
        reference: what they must come to.
        start: the parameters at first, which a training must leave; None for what does not train.

    Raises:
        Disagrees: if it does not come there.
    """
    began = time.perf_counter()
    contestant = maker(common)
    contestant.begin()
    contestant.go()
    warm_up = time.perf_counter() - began
    result = contestant.result()
    if result.shape != reference.shape:
        raise Disagrees(f"the result has shape {result.shape}, not {reference.shape}.")
    if start is not None and np.array_equal(result, start.astype(result.dtype)):
        raise Disagrees("nothing was learned: the parameters are those of the start.")
    apart = float(np.abs(result - reference).max() / np.abs(reference).max())
    within = PASS_APART if start is None else TRAINED_APART
    if not apart <= within:  # NaN too
        raise Disagrees(f"the result is off by {apart:.1e} of the largest number, not {within:g}.")
    return Timing([], contestant.units, warm_up, apart)


def paced(maker: Maker, common: int, turn: float = TURN_SECONDS) -> Contestant:
    """The contestant with as many epochs, or calls, as fill about a turn; it has run once.

    Args:
        maker: of the contestant.
        common: epochs, or calls, to begin with.
        turn: seconds.
    """
    times = common
    for _ in range(MOST_TRIES):
        contestant = maker(times)
        contestant.begin()
        contestant.go()  # what has to be compiled for so many, is
        contestant.begin()
        began = time.perf_counter()
        contestant.go()
        took = time.perf_counter() - began
        wanted = max(1, round(times * turn / took))
        if times / 2 <= wanted <= 2 * times:
            break
        times = wanted
    return contestant


def turns(
    contestants: Mapping[str, Contestant], rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of one unit of each contestant, `rounds` of them, taken in turns.

    Each round begins with another contestant, so that none always comes after the same one.

    Returns:
        The times of those who came to finite results in every turn, and what is wrong with others.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    problems: dict[str, str] = {}
    names = list(contestants)
    for turn in range(rounds):
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:
            if name in problems:
                continue
            try:
                found[name].append(_timed(contestants[name]))
            except Exception as error:  # another library's may be any: the others go on
                problems[name] = f"{type(error).__name__}: {error}"
    return {name: times for name, times in found.items() if name not in problems}, problems


def _timed(contestant: Contestant) -> float:
    """Seconds of one unit of one turn."""
    contestant.begin()
    gc.collect()
    time.sleep(PAUSE)
    began = time.perf_counter()
    contestant.go()
    took = (time.perf_counter() - began) / contestant.units
    if not np.isfinite(contestant.result()).all():
        raise Disagrees("the result of a turn is not finite.")
    return took
