"""Where a second thread of the matrix library is faster: the measurement behind `WORTH_SHARING`.

Networks of two hidden layers, trained with one thread and with two, alternately.
"""

import statistics
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from bench.processor import available
from fastnet.contract.lowering import lower
from fastnet_numpy.threads import WORTH_SHARING, wanted

ROWS, EPOCHS, ROUNDS = 8_192, 2, 7

#: Inputs, hidden units and rows of a batch.
SHAPES = [
    (32, 64, 256),
    (128, 128, 128),
    (128, 128, 256),
    (256, 256, 64),
    (784, 128, 64),
    (256, 256, 128),
    (784, 128, 128),
    (512, 512, 64),
    (512, 512, 128),
    (1024, 1024, 32),
]


@pytest.mark.parametrize(("inputs", "hidden", "batch"), SHAPES)
def test_two_threads(
    inputs: int,
    hidden: int,
    batch: int,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Print one thread's time divided by that of two; above 1 the second thread is faster."""
    if available() < 2:
        pytest.skip("this process may use one processor; the benchmark compares two")
    network = fn.Network(inputs, [fn.Dense(hidden, "relu"), fn.Dense(hidden, "relu"), fn.Dense(10)])
    x, y = fn.datasets.synthetic(512 if benchmark.disabled else ROWS, inputs, 10)
    seconds: dict[int, list[float]] = {1: [], 2: []}

    def fit(threads: int) -> None:
        model = fn.Model(network, backend="numpy", seed=1, threads=threads)
        began = time.perf_counter()
        model.fit(x, y, optimizer=fn.SGD(1e-3), epochs=EPOCHS, batch_size=batch)
        seconds[threads].append(time.perf_counter() - began)

    benchmark.pedantic(lambda: fit(2), setup=lambda: fit(1), rounds=ROUNDS, warmup_rounds=1)
    ratio = statistics.median(a / b for a, b in zip(seconds[1], seconds[2], strict=True))
    largest = max(inputs, hidden) * hidden * batch
    default = wanted(lower(network), batch, None)
    benchmark.extra_info["multiply-adds of the largest product"] = largest
    benchmark.extra_info["one thread's time over two threads'"] = ratio
    benchmark.extra_info["threads by default"] = "all" if default is None else default
    with capsys.disabled():
        sharing = largest / WORTH_SHARING
        print(
            f"\n{inputs}-{hidden}-{hidden}-10 x {batch}: {ratio:.2f} at {sharing:.2f} of the limit"
        )
