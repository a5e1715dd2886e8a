"""What `import fastnet` costs beyond `import numpy`, each time in a new process."""

import os
import statistics
import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

_PROGRAM = """
import time
import numpy
began = time.perf_counter()
import fastnet
print(time.perf_counter() - began)
"""


def _seconds() -> float:
    # With bytecode, as after any installation: without it all source is compiled each time.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, check=True, env=env
    )
    return float(done.stdout)


def test_import(benchmark: BenchmarkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Print the milliseconds that fastnet adds; the target is 60."""
    seconds: list[float] = []
    benchmark.pedantic(lambda: seconds.append(_seconds()), rounds=9, warmup_rounds=1)
    added = statistics.median(seconds[1:] or seconds) * 1e3
    benchmark.extra_info["milliseconds_beyond_numpy"] = added
    with capsys.disabled():
        print(f"\nimport fastnet adds {added:.0f} ms to import numpy (target: 60)")
