"""Costs of a new process: time to import, time to the first epoch, memory; and disk space.

Programs are as short as in a tutorial. All train 32-64-64-1 for one epoch of 256 rows (for memory:
102,400) in batches of 32. Processes are started in rounds. A time counts from the start of the
process. Numba and JAX use their caches on disk, except where these are to be empty.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Literal

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import contestants
from bench.contest import recorded_clock
from bench.records import Record
from bench.sizes import INSTALLED, installed_bytes

pytestmark = pytest.mark.benchmark(timer=recorded_clock)

Program = Literal["import", "epoch"]

#: Processes of each contestant; fewer where everything is compiled each time.
ROUNDS, COLD_ROUNDS = 5, 3

#: Rows of the epoch that is timed, and of the one whose memory is measured.
FEW, MANY = 256, 102_400

#: The end of each program: prints the time and the peak memory of the process (on Linux VmHWM, as
#: `ru_maxrss` would be that of the parent process, if it is larger).
_END = """
import json, sys, time
end = time.time()
if sys.platform == "linux":
    lines = open("/proc/self/status").read().split("\\n")
    peak = 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
elif sys.platform == "win32":
    peak = None
else:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([end, peak]))
"""


@dataclass
class Measure:
    """One measure of a new process, and its results.

    Attributes:
        name: as in reports.
        program: see `contestants.program`.
        rows: of the epoch.
        cold: whether caches of compiled code are empty.
        in_bytes: whether memory is measured, not time.
        found: seconds and peak bytes of each process, by contestant.
        problems: the errors of failed programs, by contestant.
    """

    name: str
    program: Program
    rows: int = FEW
    cold: bool = False
    in_bytes: bool = False
    found: dict[str, list[tuple[float, float | None]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, caches: Path) -> None:
        """Start a contestant's process once."""
        text = contestants.program(name, self.program)
        # With bytecode, as after any installation: otherwise all source is compiled each time.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        runs = self.found.setdefault(name, [])
        cache = caches / (f"{name} {len(runs)}" if self.cold else "shared")
        env["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if self.cold:
            env["NUMBA_CACHE_DIR"] = str(cache)
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-c", f"rows = {self.rows}\n{text}\n{_END}"],
            capture_output=True,
            env=env,
            text=True,
        )
        if done.returncode:
            last = [f"exit status {done.returncode}", *done.stderr.strip().splitlines()][-1]
            self.problems[name] = last
            return
        end, peak = json.loads(done.stdout.splitlines()[-1])
        runs.append((end - began, peak))

    def run_rounds(self, names: list[str], rounds: int, caches: Path) -> None:
        """Start all processes in rounds; a first round fills the caches and does not count."""
        for _ in range(rounds + 1):
            for name in names:
                if name not in self.problems:
                    self.run(name, caches)
        for name in names:
            if rounds and name not in self.problems:
                del self.found[name][0]


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("import", "import"),
        Measure("first epoch", "epoch"),
        Measure("first epoch, nothing compiled before", "epoch", cold=True),
        Measure("peak memory of importing", "import", in_bytes=True),
        Measure("peak memory of training", "epoch", rows=MANY, in_bytes=True),
    )
}


@pytest.fixture(scope="session")
def measured() -> dict[str, Measure]:
    """Measures that were taken already, by name."""
    return {}


def test_process(
    measure: str,
    contestant: str,
    threads: int,
    measured: dict[str, Measure],
    tmp_path: Path,
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
) -> None:
    """Seconds, or peak bytes, of a new process."""
    reason = contestants.missing(contestant)
    if reason is not None:
        pytest.skip(reason)
    taken = measured.get(measure)
    if taken is None:
        taken = measured[measure] = MEASURES[measure]
        names = [
            str(item.callspec.params["contestant"])
            for item in request.session.items
            if isinstance(item, pytest.Function)
            and hasattr(item, "callspec")
            and item.callspec.params.get("measure") == measure
        ]
        available = [name for name in names if not contestants.missing(name)]
        rounds = COLD_ROUNDS if taken.cold else ROUNDS
        taken.run_rounds(available, rounds if benchmark.enabled else 0, tmp_path)
    if contestant in taken.problems:
        pytest.fail(f"{contestant}, {measure}: {taken.problems[contestant]}")
    seconds, peaks = zip(*taken.found[contestant], strict=True)
    peak = max((each for each in peaks if each is not None), default=None)
    if taken.in_bytes and peak is None:
        pytest.skip("this system does not give a process's peak memory")
    benchmark.group = measure
    benchmark.extra_info["record"] = Record(
        kind="process",
        workload=measure,
        contestant=contestant,
        family=contestants.family(contestant),
        what=f"a new process, {taken.rows:,} rows" if taken.program == "epoch" else "a new process",
        unit="process",
        threads=threads,
        amount=peak if taken.in_bytes else None,
        versions=contestants.versions(contestant),
    ).to_dict()
    benchmark.pedantic(recorded_clock.advance, (iter(seconds),), rounds=len(seconds))


@pytest.mark.benchmark(timer=time.perf_counter)
def test_installed_size(installed: str, threads: int, benchmark: BenchmarkFixture) -> None:
    """Bytes on disk of each contestant with its dependencies, as installed here."""
    requirement = INSTALLED[installed]
    try:
        size = benchmark.pedantic(installed_bytes, (requirement,))
    except PackageNotFoundError as error:
        pytest.skip(f"{installed}: {error}")
    assert size > 2**20
    benchmark.group = "installed size"
    benchmark.extra_info["record"] = Record(
        kind="process",
        workload="installed size",
        contestant=installed,
        family=contestants.family(installed),
        what="on disk, with all dependencies",
        unit="process",
        threads=threads,
        amount=float(size),
        versions=contestants.versions(installed),
    ).to_dict()
