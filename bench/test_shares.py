"""Where the time of a call goes: the share of each part, in one run."""

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")

SEED, ROUNDS = 1, 9


def shares(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    what: str,
    whole: Callable[[], object],
    parts: dict[str, Callable[[], object]],
    calls: int,
) -> None:
    """Print and store the median microseconds of a call and the share that each part takes."""
    calls = 10 if benchmark.disabled else calls
    seconds: dict[str, list[float]] = {"": [], **{name: [] for name in parts}}

    def time_round() -> None:
        for name, call in {"": whole, **parts}.items():
            began = time.perf_counter()
            for _ in range(calls):
                call()
            seconds[name].append((time.perf_counter() - began) / calls)

    time_round()
    benchmark.pedantic(time_round, rounds=1 if benchmark.disabled else ROUNDS)
    took = statistics.median(seconds.pop(""))
    found = {name: statistics.median(times) / took for name, times in seconds.items()}
    benchmark.extra_info.update(what=what, microseconds=took * 1e6, shares=found)
    with capsys.disabled():
        text = ", ".join(f"{name} {share:.0%}" for name, share in found.items())
        print(f"\n{what}, {took * 1e6:.3g} us: {text}")


def test_one_row(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """One row of 3-4-1: the shares of Numba's call and of the new output array."""
    from fastnet_numba.program import NumbaProgram

    network = fn.Network(3, [fn.Dense(4, "relu"), fn.Dense(1)])
    model = fn.Model(network, backend="numba", seed=SEED)
    program = model.program
    assert isinstance(program, NumbaProgram)
    flat, x, out = model.parameters.flat, np.ones((1, 3), np.float32), np.empty((1, 1), np.float32)
    assert program.predict_at_once(flat, x) is not None  # it lays out what `compiled` takes

    def compiled() -> bool:
        return program.predict_few(program.few_table, flat, program.few_arena, x, out)

    parts: dict[str, Callable[[], object]] = {
        "the compiled call": compiled,
        "a new array": lambda: np.empty((1, 1), program.dtype),
        "an empty Python call, part of each": lambda: None,
    }
    shares(benchmark, capsys, "predict one row of 3-4-1", lambda: model.predict(x), parts, 20_000)


def test_xor(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """100,000 steps of XOR: the share of the kernel in `fit`."""
    from fastnet.contract.program import Data, Inputs, Run, State
    from fastnet_numba.program import NumbaProgram

    x, y = (array.astype(np.float32) for array in fn.datasets.xor())
    model = fn.Model(fn.datasets.xor_network(True), backend="numba", seed=SEED)
    program, steps = model.program, 100_000
    assert isinstance(program, NumbaProgram)
    state = State(model.parameters.flat.copy(), np.zeros((0, len(model.parameters.flat)), "f4"))
    run = Run(0, steps, 4, None, fn.SGD(0.5), 0.5)
    data = Data(Inputs(x), y)

    def fit() -> None:
        model.fit(x, y, optimizer=fn.SGD(0.5), epochs=steps, batch_size=None)

    parts: dict[str, Callable[[], object]] = {
        "one run of the kernel": lambda: program.train(state, data, run)
    }
    shares(benchmark, capsys, "100,000 steps of xor", fit, parts, 5)
