"""What benchmark runs measured, and what follows from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.records import Kind, Record
from bench.report import quantities

#: The order of contestants in every table and chart; others follow as they come.
ORDER = (
    "numba", "cupy", "numpy", "by hand",
    "torch", "torch fused", "torch compile", "jax", "scikit-learn", "onnxruntime",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One run's file.

    Attributes:
        path: of the file, as it was given.
        machine: pytest-benchmark's `machine_info`.
        date: when it was written, "2026-11-25".
        commit: what was measured, shortened, or "".
    """

    path: Path
    machine: Mapping[str, Any]
    date: str
    commit: str

    @property
    def command(self) -> str:
        """What made the file, or "" where nobody stored it."""
        return str(self.machine.get("command", ""))

    @property
    def left_out(self) -> list[str]:
        """What was not run, and why."""
        return [str(line) for line in self.machine.get("left_out", ())]

    @property
    def processor(self) -> str:
        """The machine's, with how many it has."""
        cpu = self.machine["cpu"]
        count = cpu.get("count", "unknown number of")
        return f"{cpu.get('brand_raw', 'unknown processor')}, {count} processors"


@dataclass(frozen=True)
class Measured:
    """One contestant's figures at one workload.

    Attributes:
        record: who did what.
        median: seconds of one unit; `low` and `high` are its quartiles, `least` and `most` its
            extremes.
        source: the file.
    """

    record: Record
    median: float
    low: float
    high: float
    least: float
    most: float
    source: Source

    @property
    def name(self) -> str:
        """As in tables and charts: fastnet's backends say whose they are."""
        return f"fastnet {self.record.contestant}" if self.ours else self.record.contestant

    @property
    def value(self) -> float:
        """What is compared, less being better: bytes where they were measured, else seconds."""
        return self.median if self.record.amount is None else self.record.amount

    @property
    def text(self) -> str:
        """The value with its unit."""
        amount = self.record.amount
        return quantities.time(self.median) if amount is None else quantities.size(amount)

    @property
    def ours(self) -> bool:
        """Whether it is one of fastnet's backends."""
        return self.record.family == "fastnet"


@dataclass(frozen=True)
class Case:
    """One workload, and who was measured at it.

    Attributes:
        name: of the workload.
        entries: in the order of tables and charts; at least one.
    """

    name: str
    entries: Sequence[Measured]

    @property
    def record(self) -> Record:
        """The first one's, for what all have in common."""
        return self.entries[0].record

    @property
    def place(self) -> float:
        """In the series that it belongs to."""
        return self.record.value or 0

    @property
    def fastest(self) -> Measured:
        """Of all; of memory and size the least."""
        return min(self.entries, key=lambda one: one.value)

    def best(self, family: str) -> Measured | None:
        """The fastest of a family."""
        held = (one for one in self.entries if one.record.family == family)
        return min(held, key=lambda one: one.value, default=None)

    @property
    def compiled(self) -> Measured | None:
        """The fastest of fastnet's backends, NumPy aside."""
        held = (one for one in self.entries if one.ours and one is not self.numpy)
        return min(held, key=lambda one: one.value, default=None)

    @cached_property
    def numpy(self) -> Measured | None:
        """fastnet's NumPy backend, with which the others are compared."""
        return next((one for one in self.entries if one.name == "fastnet numpy"), None)

    def relative(self, value: float) -> float:
        """NumPy's value over this one; NumPy must be there."""
        assert self.numpy is not None, self.name
        return self.numpy.value / value

    def speed(self, one: Measured) -> float:
        """How many times as fast as NumPy, which must be there."""
        return self.relative(one.value)


@dataclass(frozen=True)
class Results:
    """All that the files hold."""

    sources: Sequence[Source]
    entries: Sequence[Measured]

    @property
    def threads(self) -> list[int]:
        """With how many there are results, ceilings aside."""
        return sorted({m.record.threads for m in self.entries if m.record.kind != "ceiling"})

    def cases(self, threads: int, *kinds: Kind) -> list[Case]:
        """The workloads of these kinds, in the files' order."""
        found: dict[tuple[Kind, str], list[Measured]] = {}
        for one in self.entries:
            if one.record.threads == threads and one.record.kind in kinds:
                found.setdefault((one.record.kind, one.record.workload), []).append(one)
        return [Case(name, entries) for (_, name), entries in found.items()]

    def ceiling(self, one: Measured, of: str) -> float | None:
        """What the machine reached at best in the run of `one`: "matrix product" or "copy"."""
        rates = [
            c.record.rate
            for c in self.entries
            if c.record.kind == "ceiling" and c.record.workload == of and c.record.rate
            and c.source is one.source and c.record.threads == one.record.threads
        ]  # fmt: skip
        return max(rates, default=None)


def once(entries: Iterable[Measured]) -> list[Measured]:
    """One of each contestant's, in order."""
    return in_order({one.name: one for one in entries}.values())


def in_order(entries: Iterable[Measured]) -> list[Measured]:
    """As tables and charts have them."""
    place = {name: i for i, name in enumerate(ORDER)}
    return sorted(entries, key=lambda one: place.get(one.record.contestant, len(ORDER)))
