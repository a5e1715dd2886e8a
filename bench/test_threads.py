"""Where the matrix library's second thread pays: what `WORTH_SHARING` was chosen by."""

import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from bench.workloads import WORKLOADS
from fastnet.plan import lower
from fastnet_numpy.threads import WORTH_SHARING, wanted


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["tab", "mnist", pytest.param("wide", marks=pytest.mark.slow)])
def test_threads(name: str, threads: int, benchmark: BenchmarkFixture) -> None:
    """Time one fit with so many threads; compare the pairs."""
    if (os.cpu_count() or 1) < threads:
        pytest.skip(f"this machine has {os.cpu_count()} processor, the case needs {threads}")
    w = WORKLOADS[name]
    x, y = w.data()
    model = fn.Model(w.network, backend="numpy", dtype=w.dtype, seed=1, threads=threads)
    default = wanted(lower(w.network), w.batch or w.rows, None)
    benchmark.extra_info["chosen by default"] = "all" if default is None else default
    benchmark.extra_info["WORTH_SHARING"] = WORTH_SHARING
    benchmark.pedantic(
        lambda: model.fit(
            x, y, optimizer=fn.SGD(w.learning_rate), epochs=w.epochs, batch_size=w.batch
        ),
        rounds=7,
        warmup_rounds=1,
    )
