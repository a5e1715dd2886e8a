"""How long a new process takes: to import fastnet, and to train on Numba for the first time."""

import os
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

_PROGRAM = """
import time
import numpy
began = time.perf_counter()
import fastnet
print(time.perf_counter() - began)
"""


#: One epoch of eight steps; the moment it ends is printed.
_FIRST_FIT = """
import time
import fastnet as fn
x, y = fn.datasets.synthetic(256, 32)
network = fn.Network(32, [fn.Dense(64, "relu"), fn.Dense(64, "relu"), fn.Dense(1)])
model = fn.Model(network, backend="numba", seed=1)
model.fit(x, y, optimizer=fn.SGD(0.05), epochs=1, batch_size=32)
print(time.time())
"""

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")


def _printed(program: str, **variables: str) -> float:
    """The number that a new process prints."""
    # With bytecode, as after any installation: without it all source is compiled each time.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env={**env, **variables}
    )
    return float(done.stdout)


def _first_fit(**variables: str) -> float:
    """Seconds from the start of a new process to the end of its first fit."""
    began = time.time()
    return _printed(_FIRST_FIT, **variables) - began


def test_import(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the milliseconds that fastnet adds; the target is 60."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(_printed(_PROGRAM)), rounds=9, warmup_rounds=1)
    added = statistics.median(seconds[1:] or seconds) * 1e3
    benchmark.extra_info["milliseconds_beyond_numpy"] = added
    with capsys.disabled():
        print(f"\nimport fastnet adds {added:.0f} ms to import numpy (target: 60)")


def _record(
    benchmark: BenchmarkFixture,
    capsys: pytest.CaptureFixture[str],
    what: str,
    seconds: list[float],
    target: float,
) -> None:
    """Print and store the seconds, and what is asked: a busy machine may miss it."""
    took = statistics.median(seconds)
    benchmark.extra_info.update(
        what=what,
        seconds=took,
        bound="at most",
        target=target,
        reached=took <= target,
        versions={name: version(name) for name in ("numpy", "numba")},
    )
    with capsys.disabled():
        print(f"\n{what}: {took:.2f} s (target: {target:g})")


@needs_numba
def test_first_fit(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the seconds until a network is trained, from the start; the target is 0.8."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(_first_fit()), rounds=9, warmup_rounds=1)
    what = "a new process to its first trained epoch, kernels cached"
    _record(benchmark, capsys, what, seconds[1:] or seconds, 0.8)


@needs_numba
@pytest.mark.slow
def test_first_fit_on_a_machine(
    benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The same where no kernel has been compiled yet; the target is 6."""
    seconds: list[float] = []

    def compiled() -> None:
        seconds.append(_first_fit(NUMBA_CACHE_DIR=str(tmp_path / f"{len(seconds)}")))

    benchmark.pedantic(compiled, rounds=5, warmup_rounds=1)
    what = "a new process to its first trained epoch, kernels compiled"
    _record(benchmark, capsys, what, seconds[1:] or seconds, 6)
