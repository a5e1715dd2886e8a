"""A contest: all chosen contestants of one workload, timed in rounds.

pytest-benchmark times one function after another. Here drift of the machine must affect all alike,
so the first test of a workload times all contestants, in rounds. Each test then passes its own
times to pytest-benchmark through `recorded_clock`, a clock that advances by recorded times.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bench import contestants
from bench.contestants import Kind
from bench.workloads import TAB, Workload
from fastnet.benchmark import CACHE_BYTES, Maker, Timing, contest

#: Rounds of each cell of the map, at most.
MAP_ROUNDS = 3


class RecordedClock:
    """A clock that advances only by the times it is given."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def __repr__(self) -> str:
        return "time.perf_counter, in rounds"

    def advance(self, seconds: Iterator[float]) -> None:
        """Advance by the next of the times."""
        self.now += next(seconds, 0.0)  # a profiler calls once more


recorded_clock = RecordedClock()


@dataclass(frozen=True)
class Task:
    """What is timed in one contest.

    Attributes:
        kind: training, gradient or prediction.
        work: the network and its training.
        rows: of one prediction, else 0.
    """

    kind: Kind
    work: Workload
    rows: int = 0

    @property
    def name(self) -> str:
        """As in reports."""
        if self.kind == "prediction":
            return f"predict {self.rows if self.work == TAB else self.work.name}"
        return "gradient" if self.kind == "gradient" else self.work.name

    @property
    def group(self) -> str:
        """What `--workload` chooses it by, beside its name: "named", a series, "map", "calls"."""
        if self.kind != "training":
            return "calls"
        return "named" if self.work.axis is None else self.work.axis.partition(" ")[0]

    @property
    def description(self) -> str:
        """The workload in words."""
        if self.kind == "prediction":
            shape = "-".join(map(str, self.work.sizes))
            rows = f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}"
            return f"{shape}, {rows}, {self.work.dtype}"
        return str(self.work)

    @property
    def flops(self) -> float:
        """Multiplications and additions of one unit."""
        if self.kind != "prediction":
            return self.work.flops
        return 2.0 * self.rows * sum(a * b for a, b in pairwise(self.work.sizes))

    @property
    def bytes(self) -> float:
        """Bytes that one unit reads and writes in memory."""
        if self.kind == "gradient":
            return 0.0
        if self.kind == "training":
            return self.work.bytes
        sizes = self.work.sizes
        moved = float(np.dtype(self.work.dtype).itemsize) * self.rows * (sizes[0] + sizes[-1])
        return moved if moved > CACHE_BYTES else 0.0


@dataclass
class Contest:
    """A task and its results.

    Attributes:
        task: what is timed.
        timings: of the contestants whose results agree with NumPy's.
        problems: what is wrong with the others.
    """

    task: Task
    timings: dict[str, Timing] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def run(self, names: list[str], threads: int, rounds: int) -> None:
        """Run every contestant once, then time them in `rounds` rounds."""
        task = self.task
        trains = task.kind == "training"

        for name in names:
            contestants.import_libraries(name)

        def maker(name: str, dtype: str | None = None) -> Maker:
            return contestants.maker(name, task.kind, task.work, threads, task.rows, dtype)

        self.timings, self.problems = contest(
            {name: maker(name) for name in names},
            maker("numpy", "float64"),
            task.work.check_epochs if trains else 1,
            trains,
            min(rounds, MAP_ROUNDS) if task.group == "map" else rounds,
            task.work.dtype,
        )
