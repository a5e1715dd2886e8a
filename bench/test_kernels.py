"""The Numba backend against itself and against memory: the cost of a function or an update.

Each prints and stores one ratio with its limit. Exceeding the limit is no failure, because it
happens on a busy machine.
"""

import statistics
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from bench.workloads import NAMED
from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.benchmark import SEED, Contestant, FitWorkload, calibrate, check_agreement, time_rounds

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")

ROUNDS = 9


@dataclass(frozen=True)
class Limit:
    """A comparison: our time should be at most `most` times the other's."""

    what: str
    against: str
    most: float


def compare(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    limit: Limit,
    ours: Contestant,
    other: Contestant,
) -> None:
    """Time both in rounds, print and store the median ratio."""
    found: dict[str, list[float]] = {"ours": [], "other": []}

    def time_round() -> None:
        for name, seconds in time_rounds({"ours": ours, "other": other}, 1)[0].items():
            found[name] += seconds

    benchmark.pedantic(time_round, rounds=1 if benchmark.disabled else ROUNDS, warmup_rounds=1)
    if benchmark.disabled:  # each has run once, and results agree
        return
    pairs = zip(found["ours"][1:], found["other"][1:], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    benchmark.extra_info.update(
        what=limit.what,
        against=limit.against,
        ratio=ratio,
        at_most=limit.most,
        microseconds=statistics.median(found["ours"]) * 1e6,
    )
    with capsys.disabled():
        print(f"\n{limit.what} against {limit.against}: {ratio:.3g} x ({limit.most:g} at most)")


#: The limit for other functions, in times of ReLU and squared error; and the number of classes.
FUNCTION_LIMIT, CLASSES = 1.3, 10


@pytest.mark.parametrize("function", ["tanh", "sigmoid", "gelu", "crossentropy"])
@pytest.mark.parametrize("name", ["tab", "mnist"])
def test_other_functions(
    name: str, function: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step with another activation, or another loss, against one with ReLU and MSE."""
    work = NAMED[name]
    inputs, *hidden, outputs = work.sizes
    classes = function == "crossentropy"

    def with_functions(activation: str, last: str, loss: str) -> Any:
        layers = [fn.Dense(count, activation) for count in hidden]
        layers.append(fn.Dense(CLASSES if classes else outputs, last))
        return replace(work, network=fn.Network(inputs, layers, loss))

    plain = with_functions("relu", "identity", "mse")
    changed = with_functions(
        *(("relu", "softmax", "crossentropy") if classes else (function, "identity", "mse"))
    )
    numpy = FitWorkload(changed, "numpy", 1, 1, "float64")
    start = numpy.result().copy()
    numpy.run()
    maker = partial(FitWorkload, changed, "numba", threads=1)
    check_agreement(maker, 1, numpy.result(), start)
    ours: Contestant = FitWorkload(changed, "numba", 1, 1)
    other: Contestant = FitWorkload(plain, "numba", 1, 1)
    if benchmark.enabled:
        ours, other = (
            calibrate(maker, 1),
            calibrate(partial(FitWorkload, plain, "numba", threads=1), 1),
        )
    what = f"{name} with {function}, one thread"
    limit = Limit(what, "the same with ReLU and MSE", FUNCTION_LIMIT)
    compare(benchmark, capsys, limit, ours, other)


class Updates:
    """The Numba backend's Adam update of `size` parameters, on one thread."""

    def __init__(self, size: int, updates: int) -> None:
        self.units = updates
        self.constants, self.p, self.g, self.memory = _adam_arrays(size)
        self.kernel = _update_kernel()

    def reset(self) -> None:
        pass

    def run(self) -> None:
        self.kernel(self.constants, self.p, self.g, self.memory, self.units)

    def result(self) -> Array:
        return self.p


class Stream:
    """A loop that reads and writes the same arrays as Adam and only adds: the speed of memory."""

    def __init__(self, size: int, updates: int) -> None:
        self.units = updates
        _, self.p, self.g, self.memory = _adam_arrays(size)
        self.kernel = _stream_kernel()

    def reset(self) -> None:
        pass

    def run(self) -> None:
        self.kernel(self.p, self.g, self.memory, self.units)

    def result(self) -> Array:
        return self.p


def _adam_arrays(size: int) -> tuple[Array, Array, Array, Array]:
    """The constants, parameters, gradient and state."""
    p, g = (random.uniform(SEED, random.DATA, s, size).astype(np.float32) for s in range(2))
    constants = np.array(fn.Adam().canonical()[1])
    return constants, p, g, np.zeros((2, size), np.float32)


@cache
def _update_kernel() -> Any:
    from fastnet_numba.ops.optimizers import adam
    from fastnet_numba.simd.compiled import entry

    @entry
    def updates(constants: Any, p: Any, g: Any, memory: Any, times: Any) -> None:
        for t in range(times):
            adam(constants, p, g, memory, 0, len(p), 0, 1e-3, 0.0, t + 1)

    return updates


@cache
def _stream_kernel() -> Any:
    from fastnet_numba.simd.compiled import entry

    @entry
    def stream(p_: Any, g_: Any, memory: Any, times: Any) -> None:
        p, g, m, v = p_[:], g_[:], memory[0], memory[1]
        for _ in range(times):
            for i in range(len(p)):
                p[i] += g[i]
                m[i] += g[i]
                v[i] += g[i]

    return stream


#: The limit for Adam, in times of that loop; and the parameters updated in a round.
ADAM_LIMIT, ADAM_ENTRIES = 1.1, 200_000_000


@pytest.mark.parametrize("size", [100_000, 1_000_000, 6_300_000])
def test_adam(size: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """The update alone, against a loop that moves the same bytes and only adds."""
    updates = 1 if benchmark.disabled else ADAM_ENTRIES // size
    ours, other = Updates(size, updates), Stream(size, updates)
    for one in (ours, other):
        one.run()
    assert np.isfinite(ours.p).all()
    what = f"Adam's update of {size:,} parameters, one thread"
    limit = Limit(what, "a loop that moves the same bytes", ADAM_LIMIT)
    compare(benchmark, capsys, limit, ours, other)
