"""The best matrix product and copy of this machine, in the same run as the other benchmarks."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.records import MATRIX_PRODUCT, Record

ROUNDS = 9

#: Sizes of square matrices. The fastest of a dtype counts, which need not be the largest.
SIZES, DTYPES = (512, 1_024, 2_048), ("float32", "float64")

#: Bytes of a copy, several times the size of any cache.
COPIED = 2**28


def _record(workload: str, what: str, threads: int, **counted: float) -> Record:
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
@pytest.mark.parametrize("dtype", DTYPES)
def test_matrix_product(dtype: str, size: int, threads: int, benchmark: BenchmarkFixture) -> None:
    """NumPy's product of two square matrices."""
    a, b = np.random.default_rng(0).random((2, size, size)).astype(dtype)
    out = np.empty_like(a)
    flops = 2.0 * size**3
    best = _best(benchmark, lambda: np.dot(a, b, out=out))
    assert np.allclose(out[:2], a[:2].astype(np.float64) @ b.astype(np.float64), rtol=1e-4)
    benchmark.group = "ceilings"
    what = f"{size} x {size} x {size}, {dtype}"
    record = _record(MATRIX_PRODUCT[dtype], what, threads, flops=flops, rate=flops / best)
    benchmark.extra_info["record"] = record.to_dict()


def test_copy(threads: int, benchmark: BenchmarkFixture) -> None:
    """NumPy's copy of one array into another, counting the bytes read and written."""
    size = COPIED if benchmark.enabled else 2**20
    source = np.arange(size // 8, dtype=np.int64)
    target = np.zeros_like(source)
    best = _best(benchmark, lambda: np.copyto(target, source))
    assert np.array_equal(target, source)
    benchmark.group = "ceilings"
    record = _record("copy", f"{size >> 20} MiB", threads, bytes=2.0 * size, rate=2 * size / best)
    benchmark.extra_info["record"] = record.to_dict()
