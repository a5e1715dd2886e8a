"""The measurements behind the Numba backend's constants: one path against another, alternately.

Each prints and stores one ratio, the time of the first path divided by that of the second: above 1
the second is faster.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

import fastnet as fn
from bench.conftest import processors
from fastnet.arrays.checks import Array

pytestmark = [
    pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed"),
    pytest.mark.skipif(processors() < 2, reason="compares threads, which needs two processors"),
]

ROUNDS = 9


def compare(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    what: str,
    first: Callable[[], float],
    second: Callable[[], float],
) -> None:
    """Print and store the median ratio of seconds, after one call of each to warm up."""
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
    """Seconds of a fit with about `work` multiply-adds, without shuffling."""
    x, y = data(rows, network.inputs, network.outputs)
    layers = [layer for layer in network.layers if isinstance(layer, fn.Dense)]
    sizes = [network.inputs, *(layer.units for layer in layers)]
    each = rows * sum(a * b for a, b in pairwise(sizes))
    model = fn.Model(network, backend="numba", seed=1, threads=threads)
    began = time.perf_counter()
    model.fit(
        x, y, optimizer=fn.SGD(1e-3), epochs=max(int(work / each), 1), batch_size=batch,
        shuffle=False,
    )  # fmt: skip
    return time.perf_counter() - began


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
        before, tiny.MOST_ROWS = tiny.MOST_ROWS, dict.fromkeys(tiny.MOST_ROWS, most)
        try:
            return fit(network, rows, None, 5e6)
        finally:
            tiny.MOST_ROWS = before

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


@pytest.mark.parametrize("batch", [32, 256])
def test_beside_a_busy_process(
    batch: int, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two threads' time divided by one's while another process computes (`threads.LoadMonitor`)."""
    network = relu(32, 64, 64, 1)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        compare(
            benchmark,
            capsys,
            f"32-64-64-1 x {batch}, beside a busy process: 2T / 1T",
            lambda: fit(network, 40 * batch, batch, 8e9, threads=2),
            lambda: fit(network, 40 * batch, batch, 8e9),
        )
    finally:
        busy.kill()
        busy.wait()


def _products() -> tuple[Any, Any, int]:
    """Compiled matrix products without and with packed panels, and the tiles' address."""
    import numba

    from fastnet_numba.kernels import load
    from fastnet_numba.ops.products import multiply_packed
    from fastnet_numba.simd.vectors import product

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def plain(
        tiles: Any, c: Any, a: Any, b: Any, m: Any, rows: Any, columns: Any, depth: Any, times: Any
    ) -> None:
        zero: Any = np.int64(0)
        one: Any = np.int64(1)
        for _ in range(times):
            product(
                tiles, c, zero, columns, a, zero, depth, one, b, zero, columns,
                rows, columns, depth, zero, zero, c, zero, zero,
            )  # fmt: skip

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def packed(
        tiles: Any, c: Any, a: Any, b: Any, m: Any, rows: Any, columns: Any, depth: Any, times: Any
    ) -> None:
        zero: Any = np.int64(0)
        one: Any = np.int64(1)
        for _ in range(times):
            multiply_packed(
                tiles, c, zero, columns, a, zero, depth, one, b, zero, columns, zero,
                rows, columns, depth, zero, zero, c, zero, zero, m, zero,
            )  # fmt: skip

    return plain, packed, load(np.dtype(np.float32)).tiles_for(np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("rows", "columns", "depth"),
    [
        (128, 128, 784),
        (128, 512, 512),
        (128, 768, 768),
        (128, 1024, 1024),
        (512, 2048, 2048),
        (8, 1024, 1024),
        (16, 1024, 1024),
        (32, 1024, 1024),
        (64, 1024, 1024),
    ],
)
def test_packing(
    rows: int,
    columns: int,
    depth: int,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A plain product's time divided by a packed one's (`panels.LARGE_BYTES`, `WORTH_PACKING`)."""
    from fastnet_numba.ops.panels import PANEL, PANEL_DEPTH

    plain, packed, tiles = _products()
    random = np.random.default_rng(0)
    a, b = (random.random(n, dtype=np.float32) for n in (rows * depth, depth * columns))
    c, m = np.zeros(rows * columns, np.float32), np.zeros(PANEL * 16 * PANEL_DEPTH + 64, np.float32)
    times = max(int(2e8 / (rows * columns * depth)), 1)

    def timed(kernel: Any) -> float:
        began = time.perf_counter()
        kernel(tiles, c, a, b, m, rows, columns, depth, times)
        took = time.perf_counter() - began
        with threadpool_limits(1, "blas"):
            wanted = a.reshape(rows, depth) @ b.reshape(depth, columns)
        assert np.allclose(c.reshape(rows, columns), wanted, rtol=1e-4)
        return took

    what = f"{rows} x {depth} x {columns}, B of {columns * depth * 4 >> 10} KiB: plain over packed"
    compare(benchmark, capsys, what, lambda: timed(plain), lambda: timed(packed))
