"""What benchmark runs measured, read from their JSON files and checked."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from bench.records import Family, Kind, Record
from bench.report import quantities
from fastnet.errors import DataError

#: The command that writes the files.
COMMAND = "python -m pytest bench --peers --benchmark-json=RESULTS.json"

#: The order of contestants in every table and chart; unknown ones follow.
ORDER = ("numba", "cupy", "numpy", "by hand", "torch", "torch fused", "torch compile", "jax",
         "scikit-learn", "onnxruntime")  # fmt: skip

_STATS = ("median", "q1", "q3", "min", "max")


@dataclass(frozen=True)
class Source:
    """One file: where it is, on which machine and how it was written, and what was not run."""

    path: Path
    processor: str
    system: str
    python: str
    date: str
    commit: str
    command: str
    left_out: Sequence[str]


@dataclass(frozen=True)
class Measurement:
    """One contestant's times at one workload, in seconds per unit."""

    record: Record
    source: Source
    median: float
    q1: float
    q3: float
    min: float
    max: float

    @property
    def ours(self) -> bool:
        """Whether it is one of fastnet's backends."""
        return self.record.family == "fastnet"

    @property
    def name(self) -> str:
        """As in tables and charts."""
        return f"fastnet {self.record.contestant}" if self.ours else self.record.contestant

    @property
    def value(self) -> float:
        """What is compared, lower is better: bytes if the record has them, else seconds."""
        return self.median if self.record.amount is None else self.record.amount

    @property
    def text(self) -> str:
        """The value with its unit."""
        show = quantities.time if self.record.amount is None else quantities.size
        return show(self.value)


@dataclass(frozen=True)
class Case:
    """All measurements of one workload, at least one, in `ORDER`."""

    entries: Sequence[Measurement]

    @property
    def record(self) -> Record:
        """The first record, for what all have in common."""
        return self.entries[0].record

    @property
    def fastest(self) -> Measurement:
        """The lowest value of all."""
        return min(self.entries, key=lambda one: one.value)

    @property
    def numpy(self) -> Measurement | None:
        """fastnet's NumPy backend, which all are compared with."""
        return next((one for one in self.entries if one.name == "fastnet numpy"), None)

    def best(self, family: Family, without: Measurement | None = None) -> Measurement | None:
        """The lowest value of a family, or of the rest of it."""
        found = [one for one in self.entries if one.record.family == family and one is not without]
        return min(found, key=lambda one: one.value, default=None)

    def speed(self, value: float) -> float:
        """How many times as fast as NumPy, which must have been measured, a value is."""
        assert self.numpy is not None, self.record.workload
        return self.numpy.value / value


@dataclass(frozen=True)
class Results:
    """Everything in the files."""

    sources: Sequence[Source]
    entries: Sequence[Measurement]

    def threads(self) -> list[int]:
        """The thread counts with results other than ceilings."""
        return sorted({m.record.threads for m in self.entries if m.record.kind != "ceiling"})

    def cases(self, threads: int, *kinds: Kind) -> list[Case]:
        """The workloads of these kinds, kind by kind, each in the files' order."""
        found: dict[tuple[int, str], list[Measurement]] = {}
        for one in self.entries:
            if one.record.threads == threads and one.record.kind in kinds:
                key = kinds.index(one.record.kind), one.record.workload
                found.setdefault(key, []).append(one)
        return [Case(in_order(found[key])) for key in sorted(found, key=lambda key: key[0])]

    def ceiling(self, of: str, threads: int, source: Source | None = None) -> float | None:
        """The best rate of "matrix product" or "copy" in one file, or in all of them."""
        records = (one.record for one in self.entries if source in (None, one.source))
        rates = (
            r.rate for r in records if (r.kind, r.workload, r.threads) == ("ceiling", of, threads)
        )
        return max((rate for rate in rates if rate), default=None)


def in_order(entries: Iterable[Measurement]) -> list[Measurement]:
    """Sorted as in tables and charts."""
    place = {name: i for i, name in enumerate(ORDER)}
    return sorted(entries, key=lambda one: place.get(one.record.contestant, len(ORDER)))


def contestants(cases: Iterable[Case]) -> list[Measurement]:
    """One measurement of each contestant, in order."""
    return in_order({one.name: one for case in cases for one in case.entries}.values())


def read(paths: Sequence[Path]) -> Results:
    """Read the files of one machine.

    Raises:
        OSError: if one cannot be read.
        DataError: if one is not from the suite, if they are from different machines, or if two
            hold the same measurement.
    """
    entries: list[Measurement] = []
    for path in paths:
        try:
            entries += _read_one(path)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{path} was not written by this suite ({reason}); make one with `{COMMAND}`."
            ) from error
    sources = list(dict.fromkeys(one.source for one in entries))
    if machines := [other for other in sources if other.processor != sources[0].processor]:
        raise DataError(
            f"{sources[0].path} and {machines[0].path} are from different machines "
            f"({sources[0].processor}; {machines[0].processor}): make a report for each."
        )
    seen: dict[tuple[str, str, str, int], Measurement] = {}
    for one in entries:
        r = one.record
        twin = seen.setdefault((r.kind, r.workload, one.name, r.threads), one)
        if twin is not one and r.kind != "ceiling":
            raise DataError(
                f"{r.workload!r} of {one.name} with {quantities.threads(r.threads)} is measured "
                f"twice, in {twin.source.path} and in {one.source.path}: give one of them."
            )
    return Results(sources, entries)


def _read_one(path: Path) -> list[Measurement]:
    """Raises ValueError, KeyError, TypeError or AttributeError if the suite writes no such file."""
    content = json.loads(path.read_bytes())
    machine, suite = content["machine_info"], content.get("fastnet", {})
    cpu, commit = machine["cpu"], content.get("commit_info", {})
    told = str(suite.get("processor") or "").upper()
    short = str(commit.get("id") or "")[:10]
    source = Source(
        path=path,
        processor=f"{cpu.get('brand_raw', 'unknown')}, {cpu.get('count', '?')} processors"
        + (f", every library told that it has {told} only" if told else ""),
        system=" ".join(str(machine[key]) for key in ("system", "machine") if key in machine),
        python=str(machine.get("python_version", "?")),
        date=str(content["datetime"])[:10],
        commit=f"{short}, with changes" if short and commit.get("dirty") else short,
        command=str(suite.get("command", "")),
        left_out=tuple(map(str, suite.get("left_out", ()))),
    )
    stored = [one for one in content["benchmarks"] if "record" in one.get("extra_info", {})]
    if not stored:
        raise ValueError("no benchmark has a record")
    return [_measurement(one, source) for one in stored]


def _measurement(stored: Mapping[str, Any], source: Source) -> Measurement:
    plain = stored["extra_info"]["record"]
    record, stats = Record.from_dict(plain), {name: stored["stats"][name] for name in _STATS}
    optional = {field.name for field in fields(Record) if field.default is None}
    words = {"kind": get_args(Kind), "family": get_args(Family)}
    for name, value in (plain | stats).items():
        if value is None:
            valid = name in optional
        elif name in words:
            valid = value in words[name]
        elif name in ("workload", "contestant", "what", "unit", "axis"):
            valid = isinstance(value, str)
        elif name == "versions":
            valid = isinstance(value, dict)
        else:
            positive = name in _STATS and record.amount is None
            valid = 0 < value < math.inf or (value == 0 and not positive)
        if not valid:
            raise ValueError(f"{name} of {stored.get('name')!r} is {value!r}")
    return Measurement(record=record, source=source, **stats)
