"""What a new process pays: to import, to a first trained epoch, in memory; and the disk.

Programs are as short as a tutorial has them; everyone trains 32-64-64-1 for an epoch of 256 rows in
batches of 32 (for memory, of 102,400). Processes take turns. A time is that from the start of the
process. Numba and JAX keep what they compile on disk, but where nothing is to be compiled before.
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

#: Processes of each; fewer where all is compiled anew.
ROUNDS, COLD_ROUNDS = 5, 3

#: Rows of the epoch that is timed, and of the one whose memory is looked at.
FEW, MANY = 256, 102_400

#: At the end of each program: when, and the most memory that this process had (VmHWM is its own;
#: `ru_maxrss` would be its parent's, if that had more).
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
    """One thing that is asked of a new process, and what was found.

    Attributes:
        name: of it.
        program: which, see `contestants.program`.
        rows: of the epoch.
        cold: without what was compiled before and kept on disk.
        in_bytes: whether memory counts, not time.
        found: seconds and peak bytes of each process, by contestant.
        problems: of contestants whose program failed.
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
        # With bytecode, as after any installation: without it all source is compiled each time.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        taken = self.found.setdefault(name, [])
        kept = caches / (f"{name} {len(taken)}" if self.cold else "kept")
        env["JAX_COMPILATION_CACHE_DIR"] = str(kept)
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if self.cold:
            env["NUMBA_CACHE_DIR"] = str(kept)
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
        taken.append((end - began, peak))

    def take_turns(self, names: list[str], rounds: int, caches: Path) -> None:
        """Everyone once, for the files to come into memory and what is kept to be compiled; then
        in turns.
        """
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
    """Those that were taken already."""
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
    """Seconds, or bytes, of a new process."""
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
        there = [name for name in names if not contestants.missing(name)]
        rounds = COLD_ROUNDS if taken.cold else ROUNDS
        taken.take_turns(there, rounds if benchmark.enabled else 0, tmp_path)
    if contestant in taken.problems:
        pytest.fail(f"{contestant}, {measure}: {taken.problems[contestant]}")
    seconds, peaks = zip(*taken.found[contestant], strict=True)
    peak = max((each for each in peaks if each is not None), default=None)
    if taken.in_bytes and peak is None:
        pytest.skip("this system does not tell a process's peak memory")
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
    """Bytes on disk, with all that is needed, of what is installed here."""
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
        what="on disk, with all that is required",
        unit="process",
        threads=threads,
        amount=float(size),
        versions=contestants.versions(installed),
    ).to_dict()
