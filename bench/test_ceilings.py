"""The best matrix product and copy of this machine, in the same run as the other benchmarks."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.records import Record
from fastnet.arrays.checks import Array

ROUNDS = 9

#: Sizes of square matrices. The fastest counts, which need not be the largest.
SIZES = (512, 1_024, 2_048)

#: Bytes of a copy, several times the size of any cache.
COPIED = 2**28


@pytest.fixture(scope="module")
def matrices() -> dict[int, tuple[Array, Array, Array]]:
    """Two factors and an array for the product, by size."""
    random = np.random.default_rng(0)
    made = {}
    for size in SIZES:
        a, b = (random.random((size, size), dtype=np.float32) for _ in range(2))
        made[size] = a, b, np.empty_like(a)
    return made


def _record(what: str, threads: int, **counted: float) -> Record:
    workload = "copy" if "bytes" in counted else "matrix product"
    versions = {"numpy": np.__version__}
    return Record(
        "ceiling", workload, "numpy", "hand", what, "product" if "flops" in counted else "copy",
        threads, versions=versions, **counted,  # type: ignore[arg-type]
    )  # fmt: skip


def _best(benchmark: BenchmarkFixture, call: Callable[[], object]) -> float:
    """The shortest time, because a ceiling is the best that the machine can do."""
    seconds: list[float] = []

    def timed() -> None:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)

    benchmark.pedantic(timed, rounds=ROUNDS, warmup_rounds=1)
    return min(seconds)


@pytest.mark.parametrize("size", SIZES)
def test_matrix_product(
    size: int,
    matrices: dict[int, tuple[Array, Array, Array]],
    threads: int,
    benchmark: BenchmarkFixture,
) -> None:
    """NumPy's product of two square float32 matrices."""
    a, b, out = matrices[size]
    flops = 2.0 * size**3
    best = _best(benchmark, lambda: np.dot(a, b, out=out))
    assert np.allclose(out[:2], a[:2].astype(np.float64) @ b.astype(np.float64), rtol=1e-4)
    benchmark.group = "ceilings"
    record = _record(f"{size} x {size} x {size}, float32", threads, flops=flops, rate=flops / best)
    benchmark.extra_info["record"] = record.to_dict()


def test_copy(threads: int, benchmark: BenchmarkFixture) -> None:
    """NumPy's copy of one array into another, counting the bytes read and written."""
    size = COPIED if benchmark.enabled else 2**20
    source = np.arange(size // 8, dtype=np.int64)
    target = np.zeros_like(source)
    best = _best(benchmark, lambda: np.copyto(target, source))
    assert np.array_equal(target, source)
    benchmark.group = "ceilings"
    record = _record(f"{size >> 20} MiB", threads, bytes=2.0 * size, rate=2 * size / best)
    benchmark.extra_info["record"] = record.to_dict()
