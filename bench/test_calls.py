"""The cost of a call: what `Model`'s methods take on so few rows that little is left to compute.

The yardstick is the same done by hand in NumPy, whose time each prints and stores divided by ours:
above 1 we are faster. Whole fits, with all that a fit begins and ends with, are beside JAX's loop,
whose compilation is not timed.
"""

import statistics
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnet as fn
from bench import contestants, handwritten
from bench.workloads import NAMED, TAB
from fastnet.arrays.checks import Array

ROUNDS = 15
XOR = NAMED["xor"]

numba = pytest.param(
    "numba",
    marks=pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed"),
)


def compare(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    what: str,
    ours: Callable[[], Any],
    other: Callable[[], Any],
    calls: int = 200,
) -> None:
    """Print and store the median ratio of the other's time to ours, in rounds of so many calls."""
    ratios: list[float] = []

    def seconds(call: Callable[[], Any]) -> float:
        began = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - began

    def time_round() -> None:
        ratios.append(seconds(other) / seconds(ours))

    time_round()  # compiles, and sets up what later calls find
    del ratios[:]
    benchmark.pedantic(time_round, rounds=1 if benchmark.disabled else ROUNDS)
    ratio = statistics.median(ratios)
    benchmark.extra_info.update(what=what, ratio=ratio)
    with capsys.disabled():
        print(f"\n{what}: {ratio:.2f}")


@cache
def gradient_by_hand() -> Callable[[], list[Array]]:
    """XOR's gradient, as a loop by hand computes it in each step."""
    (w1, b1), (w2, b2) = XOR.initial_layers()
    x, y = XOR.data()

    def gradient() -> list[Array]:
        h = 1 / (1 + np.exp(-(x @ w1 + b1)))
        p = 1 / (1 + np.exp(-(h @ w2 + b2)))
        d2 = (p - y) * (2 / p.size) * p * (1 - p)
        d1 = (d2 @ w2.T) * h * (1 - h)
        return [x.T @ d1, d1.sum(axis=0), h.T @ d2, d2.sum(axis=0)]

    return gradient


def model(backend: str, network: fn.Network = XOR.network) -> fn.Model:
    """A model on one thread."""
    return fn.Model(network, backend=backend, seed=1, threads=1)


@pytest.mark.parametrize("backend", [numba, "numpy"])
def test_gradient(
    backend: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`loss_and_gradient` of XOR."""
    made, (x, y) = model(backend), XOR.data()
    by_hand = gradient_by_hand()
    found = made.loss_and_gradient(x, y)[1]
    np.testing.assert_allclose(found, np.concatenate([g.ravel() for g in by_hand()]), 1e-4, 1e-7)
    what = f"gradient of XOR, {backend}: by hand / ours"
    compare(benchmark, capsys, what, lambda: made.loss_and_gradient(x, y), by_hand)


@pytest.mark.parametrize("backend", [numba, "numpy"])
def test_evaluate(
    backend: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`evaluate` on XOR's rows."""
    made, (x, y) = model(backend), XOR.data()
    what = f"evaluate XOR, {backend}: gradient by hand / ours"
    compare(benchmark, capsys, what, lambda: made.evaluate(x, y), gradient_by_hand())


@pytest.mark.parametrize("backend", [numba, "numpy"])
def test_one_epoch(
    backend: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fit` of one epoch of XOR."""
    made, (x, y) = model(backend), XOR.data()
    what = f"a fit of one epoch of XOR, {backend}: gradient by hand / ours"
    options: dict[str, Any] = {"optimizer": XOR.optimizer, "epochs": 1, "batch_size": 4}
    compare(benchmark, capsys, what, lambda: made.fit(x, y, **options), gradient_by_hand())


@pytest.mark.parametrize("drawn", [False, True], ids=["given", "drawn"])
@pytest.mark.parametrize("backend", [numba, "numpy"])
def test_model(
    backend: str, drawn: bool, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`Model` of XOR, with given and with drawn weights."""
    layers = [fn.Dense(4, "sigmoid"), fn.Dense(1, "sigmoid")]
    network = fn.Network(3, layers) if drawn else XOR.network
    what = f"Model of XOR, {'drawn' if drawn else 'given'}, {backend}: gradient by hand / ours"
    compare(benchmark, capsys, what, lambda: model(backend, network), gradient_by_hand())


@pytest.mark.parametrize("backend", [numba, "numpy"])
@pytest.mark.parametrize("name", ["xor", "tab"])
def test_one_row(
    name: str, backend: str, benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """`predict` of one row."""
    work = XOR if name == "xor" else TAB
    made, x = model(backend, work.network), work.data()[0][:1].copy()
    layers = work.initial_layers()
    weights, biases = [w for w, _ in layers], [b for _, b in layers]
    (w1, *_, w2), (b1, *_, b2) = weights, biases

    def by_hand() -> Array:
        if name == "tab":
            return handwritten.forward_relu(weights, biases, x)[-1]
        h = 1 / (1 + np.exp(-(x @ w1 + b1)))
        return np.asarray(1 / (1 + np.exp(-(h @ w2 + b2))))

    what = f"predict one row of {name}, {backend}: by hand / ours"
    compare(benchmark, capsys, what, lambda: made.predict(x), by_hand, 1_000)


@pytest.mark.parametrize("backend", [numba])
@pytest.mark.parametrize("epochs", [2_000, 20_000])
def test_whole_fit(
    epochs: int,
    backend: str,
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """A fit of so many epochs of XOR, beside JAX's loop over as many steps."""
    if not (request.config.getoption("--peers") or "jax" in request.config.getoption("--peer")):
        pytest.skip("compares with JAX, which --peers or --peer jax asks for")
    if (reason := contestants.missing("jax")) is not None:
        pytest.skip(reason)
    from bench.peers import jax_loop

    other = jax_loop.Trainer(XOR, epochs, 1)
    other.reset()
    made, (x, y) = model(backend), XOR.data()
    options: dict[str, Any] = {"optimizer": XOR.optimizer, "epochs": epochs, "batch_size": 4}
    what = f"a fit of {epochs:,} epochs of XOR, {backend}: JAX / ours"
    compare(benchmark, capsys, what, lambda: made.fit(x, y, **options), other.run, 1)
