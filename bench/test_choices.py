"""The measurements behind constants of Numba and NumPy: one path against another, alternately.

Each prints and stores one ratio, the time of the first path divided by that of the second: above 1
the second is faster.
"""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from itertools import pairwise
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

import fastnet as fn
from bench.processor import available
from fastnet.arrays.checks import Array

pytestmark = [
    pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed"),
    pytest.mark.skipif(available() < 2, reason="compares threads, which needs two processors"),
]

ROUNDS = 9

#: The share of the work that is done.
SHARE = 1.0


@pytest.fixture(autouse=True)
def _little_work(benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do little where nothing is timed: it shows that all of it runs."""
    if benchmark.disabled:
        monkeypatch.setattr(sys.modules[__name__], "SHARE", 0.02)


def compare(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    what: str,
    first: Callable[[], float],
    second: Callable[[], float],
) -> None:
    """Print and store the median ratio of seconds, after one call of each to warm up."""
    if benchmark.enabled:
        first(), second()
    ratios: list[float] = []
    times: list[float] = []

    def time_round() -> None:
        a, b = first(), second()
        ratios.append(a / b)
        times.append(b)

    benchmark.pedantic(time_round, rounds=1 if benchmark.disabled else ROUNDS)
    ratio = statistics.median(ratios)
    benchmark.extra_info.update(what=what, ratio=ratio, seconds_of_the_second=min(times))
    with capsys.disabled():
        print(f"\n{what}: {ratio:.2f}")


@cache
def data(rows: int, inputs: int, outputs: int) -> tuple[Array, Array]:
    """Rows, computed in one thread: idle threads of the matrix library would keep spinning."""
    with threadpool_limits(1, "blas"):
        x, y = fn.datasets.synthetic(rows, inputs, outputs)
    return x.astype(np.float32), y.astype(np.float32)


def fit(network: fn.Network, rows: int, batch: int | None, work: float, threads: int = 1) -> float:
    """Seconds of a fit with about `work` multiply-adds, of which `SHARE` is done; not shuffled."""
    x, y = data(rows, network.inputs, network.outputs)
    layers = [layer for layer in network.layers if isinstance(layer, fn.Dense)]
    sizes = [network.inputs, *(layer.units for layer in layers)]
    each = rows * sum(a * b for a, b in pairwise(sizes))
    model = fn.Model(network, backend="numba", seed=1, threads=threads)
    began = time.perf_counter()
    model.fit(
        x, y, optimizer=fn.SGD(1e-5), epochs=max(int(SHARE * work / each), 1), batch_size=batch,
        shuffle=False,
    )  # fmt: skip
    return time.perf_counter() - began


@contextmanager
def constants(module: ModuleType | type, **values: Any) -> Iterator[None]:
    """With other constants of a module or a class, as Python reads them."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def recompiled(kernel: Any, **values: Any) -> Any:
    """A kernel, compiled anew with other constants of its module."""
    import numba

    plain = kernel.py_func
    changed = FunctionType(plain.__code__, {**plain.__globals__, **values}, plain.__name__)
    return numba.njit(nogil=True, error_model="numpy")(changed)


def relu(inputs: int, *units: int) -> fn.Network:
    """A network with ReLU in its hidden layers."""
    *hidden, outputs = units
    return fn.Network(inputs, [*(fn.Dense(n, "relu") for n in hidden), fn.Dense(outputs)])


@pytest.mark.parametrize("rows", [4, 16, 64, 128, 512])
@pytest.mark.parametrize("width", [4, 8])
def test_tiny(
    width: int, rows: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The general path's time divided by that of the tiny path, in registers (`tiny.MOST_ROWS`)."""
    from fastnet_numba import tiny

    network = fn.Network(width, [fn.Dense(width, "sigmoid"), fn.Dense(1)])

    def with_most(most: int) -> float:
        with constants(tiny, MOST_ROWS=dict.fromkeys(tiny.MOST_ROWS, most)):
            return fit(network, rows, None, 5e6)

    what = f"{width}-{width}-1 x {rows}: general over registers"
    compare(benchmark, capsys, what, lambda: with_most(0), lambda: with_most(10**6))


@pytest.mark.parametrize(
    ("sizes", "batch"),
    [
        ((32, 64, 64, 1), 32),
        ((32, 64, 64, 1), 64),
        ((32, 64, 64, 1), 128),
        ((32, 64, 64, 1), 256),
        ((128, 256, 10), 64),
        ((784, 128, 10), 32),
        ((784, 128, 10), 128),
    ],
)
def test_second_thread(
    sizes: tuple[int, ...],
    batch: int,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One thread's time divided by that of two (`threads.WORTH_SHARING`)."""
    network, rows = relu(*sizes), 40 * batch
    work = batch * sum(a * b for a, b in pairwise(sizes))
    what = f"{'-'.join(map(str, sizes))} x {batch}, {work / 1e6:.1f} million multiply-adds: 1T / 2T"
    compare(
        benchmark,
        capsys,
        what,
        lambda: fit(network, rows, batch, 2e9),
        lambda: fit(network, rows, batch, 2e9, threads=2),
    )


@contextmanager
def busy_process(wanted: bool = True) -> Iterator[None]:
    """Beside a process that computes, inside a `with` block; beside none if it is not wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("batch", [32, 256])
def test_beside_a_busy_process(
    batch: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two threads' time divided by one's while another process computes (`threads.LoadMonitor`)."""
    network = relu(32, 64, 64, 1)
    with busy_process():
        compare(
            benchmark,
            capsys,
            f"32-64-64-1 x {batch}, beside a busy process: 2T / 1T",
            lambda: fit(network, 40 * batch, batch, 8e9, threads=2),
            lambda: fit(network, 40 * batch, batch, 8e9),
        )


CHUNKS = [
    {"CHUNK_BYTES": 2**17},
    {"CHUNK_BYTES": 2**18},
    {"CHUNK_BYTES": 2**20},
    {"CHUNK_BYTES": 2**22},
    {"FEWEST_ROWS": 96},
    {"FEWEST_ROWS": 512},
    {"MOST_ROWS": 256},
    {"MOST_ROWS": 4096},
    {"LONG": 2**20},
]


@pytest.mark.parametrize("values", CHUNKS, ids=str)
@pytest.mark.parametrize("sizes", [(8, 16, 1), (32, 64, 64, 1), (784, 512, 512, 10)], ids=str)
def test_chunks(
    sizes: tuple[int, ...],
    values: dict[str, int],
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The time of 8,192 rows in other chunks divided by ours (`layout.CHUNK_BYTES`, ...)."""
    from fastnet_numba import layout, tabulating

    network = relu(*sizes)
    ((name, value),) = values.items()
    room = layout if hasattr(layout, name) else tabulating

    def with_value(value: int) -> float:
        with constants(room, **{name: value}):
            return fit(network, 8_192, None, 1e9)

    ours = getattr(room, name)
    what = f"{'-'.join(map(str, sizes))} x 8192, {name} {value} over {ours}"
    compare(benchmark, capsys, what, lambda: with_value(value), lambda: with_value(ours))


def three_calls(
    threads: int, dtype: str, method: str, sizes: tuple[int, ...]
) -> Callable[[], float]:
    """A function that makes three calls with 4,096 rows and returns their seconds."""
    model = fn.Model(relu(*sizes), backend="numba", dtype=dtype, seed=1, threads=threads)
    given = [a.astype(dtype)[: int(SHARE * 4_096)] for a in data(4_096, sizes[0], sizes[-1])]
    call = partial(getattr(model, method), *given[: 2 if method == "evaluate" else 1])
    call()

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(3):
            call()
        return time.perf_counter() - began

    return seconds


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
def test_prediction_in_two_threads(
    busy: bool, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two threads' time divided by one's, alone and while another process computes.

    No result is stored; times measured by hand are in bench/results/numba-2026-11-28.md.
    """
    one, two = (three_calls(n, "float32", "predict", (512, 512, 512)) for n in (1, 2))
    with busy_process(busy):
        beside = "beside a busy process" if busy else "alone"
        what = f"predict 512-512-512 x 4096, {beside}: 2T / 1T"
        compare(benchmark, capsys, what, two, one)


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("predict", {"PANEL_BYTES": 0}),
        ("predict", {"PANEL_ROWS": 48}),
        ("predict", {"PANEL_ROWS": 256}),
        ("evaluate", {"PANEL_BYTES": 0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panels(
    dtype: str,
    method: str,
    values: dict[str, int],
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The time of 4,096 rows in other ways divided by ours (`layout.PANEL_BYTES`, ...)."""
    from fastnet_numba import layout

    ((name, value),) = values.items()
    ours = getattr(layout, name)

    def with_constant(value: int) -> Callable[[], float]:
        with constants(layout, **{name: value}):
            return three_calls(1, dtype, method, (512, 512, 512))

    what = f"{method} 512-512-512 x 4096, {dtype}, {name} {value} over {ours}"
    compare(benchmark, capsys, what, with_constant(value), with_constant(ours))


@pytest.mark.parametrize("spins", [0, 300, 30_000])
@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
def test_spins(
    busy: bool, spins: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time of two threads' barriers with other spins divided by ours (`barrier.SPINS`)."""
    import numba

    from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE, SPINS, barrier

    times = int(20_000 * SHARE)

    def meeting(spins: int) -> Callable[[], float]:
        wait = recompiled(barrier, SPINS=spins)

        @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
        def barriers(signals: Any, numbers: Any, worker: Any, times: Any) -> None:
            for generation in range(1, times + 1):
                for _ in range(500):  # some work in between
                    numbers[worker * 16] += 1.0
                wait(signals, worker, 2, generation)

        def seconds() -> float:
            signals, numbers = np.zeros(3 * CACHE_LINE_STRIDE, np.int64), np.zeros(32)
            other = threading.Thread(target=barriers, args=(signals, numbers, 1, times))
            began = time.perf_counter()
            other.start()
            barriers(signals, numbers, 0, times)
            other.join()
            return time.perf_counter() - began

        return seconds

    with busy_process(busy):
        beside = "beside a busy process" if busy else "alone"
        what = f"{times:,} barriers {beside}, {spins} spins over {SPINS}"
        compare(benchmark, capsys, what, meeting(spins), meeting(SPINS))


@pytest.mark.parametrize(
    "values",
    [
        {"PATIENCE": (1, 1)},
        {"PATIENCE": (1, 64)},
        {"PATIENCE": (4, 16)},
        {"IN_A_ROW": 1},
        {"IN_A_ROW": 4},
        {"QUIET": 0.5},
        {"QUIET": 0.95},
        {"LEAST": 0.002},
        {"LEAST": 0.02},
    ],
    ids=str,
)
@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
def test_load_monitor(
    busy: bool,
    values: dict[str, Any],
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The time of a fit with another constant of `threads.LoadMonitor` divided by ours."""
    from fastnet_numba.threads import LoadMonitor

    network = relu(32, 64, 64, 1)
    ((name, value),) = values.items()

    def with_value(value: Any) -> float:
        with constants(LoadMonitor, **{name: value}):
            return fit(network, 10_240, 256, 4e9, threads=2)

    ours = getattr(LoadMonitor, name)
    with busy_process(busy):
        beside = "beside a busy process" if busy else "alone"
        what = f"32-64-64-1 x 256 {beside}, {name} {value} over {ours}"
        compare(benchmark, capsys, what, lambda: with_value(value), lambda: with_value(ours))


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ((3, 4, 1), 512),
        ((32, 64, 64, 1), 16),
        ((32, 64, 64, 1), 256),
        ((784, 128, 10), 16),
        ((784, 512, 512, 10), 16),
    ],
)
def test_few_rows(
    sizes: tuple[int, ...],
    rows: int,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The general path's time divided by the short one's (`program.FEW_PRODUCTS`, ...)."""
    from fastnet.contract.program import Inputs

    network = relu(*sizes)
    model = fn.Model(network, backend="numba", seed=1, threads=1)
    program, flat = model.program, model.parameters.flat
    x = data(rows, network.inputs, sizes[-1])[0]
    calls = max(int(2e8 / (rows * sum(a * b for a, b in pairwise(sizes)))), 100)

    def general() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            program.predict(flat, Inputs(x))
        return time.perf_counter() - began

    def at_once() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            assert program.predict_at_once(flat, x) is not None
        return time.perf_counter() - began

    what = f"predict {rows} rows of {'-'.join(map(str, sizes))}: general over at once"
    compare(benchmark, capsys, what, general, at_once)


@pytest.mark.parametrize("sizes", [(32, 64, 64, 1), (784, 512, 512, 10)], ids=str)
def test_kept_layouts(
    sizes: tuple[int, ...], benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time of a loss with a new layout divided by that with a kept one (`workspace.KEPT`)."""
    network = relu(*sizes)
    x, y = data(64, network.inputs, sizes[-1])

    def losses(kept: int) -> float:
        from fastnet_numba import workspace

        with constants(workspace, KEPT=kept):
            model = fn.Model(network, backend="numba", seed=1, threads=1)
            began = time.perf_counter()
            for rows in (60 + n % 4 for n in range(200)):
                model.evaluate(x[:rows], y[:rows])
            return time.perf_counter() - began

    what = f"loss of 60 to 63 rows of {'-'.join(map(str, sizes))}: a new layout over a kept one"
    compare(benchmark, capsys, what, lambda: losses(2), lambda: losses(16))


@pytest.mark.parametrize("rows", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("width", [64, 128, 512, 2048])
def test_weights_as_they_lie(
    width: int, rows: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights transposed for each step, or packed, over weights read as they lie
    (`tabulating.FEW_ROWS`, `FEW_ROWS_OF_LARGE`).
    """
    from fastnet_numba import tabulating

    network = relu(32, width, width, 1)

    def with_few(rows_at_most: int) -> float:
        few = {"FEW_ROWS": rows_at_most, "FEW_ROWS_OF_LARGE": rows_at_most}
        with constants(tabulating, WORTH_SWEEPING=2**62, **few):
            return fit(network, 100 * rows, rows, 3e8)

    what = f"32-{width}-{width}-1 x {rows}: weights transposed over as they lie"
    compare(benchmark, capsys, what, lambda: with_few(0), lambda: with_few(rows))


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("width", [32, 64, 128, 256, 512, 1024, 2048])
def test_sweeping(
    width: int, rows: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights updated after the way back over on it (`tabulating.WORTH_SWEEPING`)."""
    from fastnet_numba import tabulating

    network = relu(32, width, width, 1)

    def with_least(weights: int) -> float:
        with constants(tabulating, WORTH_SWEEPING=weights):
            return fit(network, 200 * rows, rows, 3e8)

    what = f"32-{width}-{width}-1 x {rows}: weights updated after the way back over on it"
    compare(benchmark, capsys, what, lambda: with_least(2**62), lambda: with_least(0))


@pytest.mark.parametrize("rows", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("width", [8, 16, 17, 24, 32, 48, 64])
def test_narrow(
    width: int, rows: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Units in the lanes over rows in the lanes (`layout.NARROW_UNITS`, `NARROW_ROWS`)."""
    from fastnet_numba import layout

    network = relu(16, width, width, 1)

    def with_most(units: int) -> float:
        with constants(layout, NARROW_UNITS=units, NARROW_ROWS=(1, 1, 1)):
            return fit(network, 40 * rows, rows, 3e8)

    what = f"16-{width}-{width}-1 x {rows}: units in the lanes over rows"
    compare(benchmark, capsys, what, lambda: with_most(0), lambda: with_most(64))


@pytest.mark.parametrize("rows", [4, 32, 128, 512])
@pytest.mark.parametrize("sizes", [(8, 32, 32, 1), (64, 64, 10), (32, 64, 64, 1)], ids=str)
def test_stacked(
    sizes: tuple[int, ...],
    rows: int,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """NumPy's time for 16 networks one after another over stacked (`stacked.MOST_PRODUCTS`)."""
    from fastnet_numpy import stacked

    some = fn.Population(relu(*sizes), members=16, seed=1, backend="numpy", threads=1)
    x, y = fn.datasets.synthetic(4 * rows, sizes[0], sizes[-1])

    def with_most(products: int) -> float:
        with constants(stacked, MOST_PRODUCTS=products):
            began = time.perf_counter()
            some.fit(x, y, optimizer="adam", epochs=4, batch_size=rows)
            return time.perf_counter() - began

    what = f"{'-'.join(map(str, sizes))} x {rows}, 16 networks with NumPy: alone over stacked"
    compare(benchmark, capsys, what, lambda: with_most(0), lambda: with_most(2**62))
