"""The JSON files of benchmark runs, checked."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from bench.records import Kind, Record
from bench.report import quantities
from bench.report.measured import Measured, Results, Source, in_order
from fastnet.errors import DataError, FileAccessError

#: What makes a file that can be read here.
COMMAND = "python -m pytest bench --peers --benchmark-json=RESULTS.json"

_REMEDY = f"make one by `{COMMAND}`"
_STATS = {"median": "median", "low": "q1", "high": "q3", "least": "min", "most": "max"}


def read(paths: Sequence[Path]) -> Results:
    """Read the files of one machine.

    Raises:
        FileAccessError: if one cannot be read.
        DataError: if one is not from the suite, if they are from different machines, or if two
            hold the same measurement.
    """
    results = [_read_one(path) for path in paths]
    sources = [source for source, _ in results]
    for other in sources[1:]:
        if other.processor != sources[0].processor:
            raise DataError(
                f"{sources[0].path} and {other.path} are from different machines "
                f"({sources[0].processor}; {other.processor}): make a report for each."
            )
    entries = in_order(one for _, found in results for one in found)
    # The files' order for workloads, the contestants' order within them.
    first: dict[tuple[str, str], int] = {}
    seen: dict[tuple[str, str, str, int], Measured] = {}
    for _, found in results:
        for one in found:
            r = one.record
            first.setdefault((r.kind, r.workload), len(first))
            if r.kind == "ceiling":
                continue
            twin = seen.setdefault((r.kind, r.workload, one.name, r.threads), one)
            if twin is not one:
                count = quantities.threads(r.threads)
                raise DataError(
                    f"{r.workload!r} of {one.name} with {count} is measured twice, "
                    f"in {twin.source.path} and in {one.source.path}: give one of them."
                )
    entries.sort(key=lambda one: first[one.record.kind, one.record.workload])
    return Results(sources, entries)


def _read_one(path: Path) -> tuple[Source, list[Measured]]:
    try:
        whole = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot read {str(path)!r}: {reason}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); {_REMEDY}.") from error
    try:
        machine, benchmarks = whole["machine_info"], whole["benchmarks"]
        commit = whole.get("commit_info") or {}
        short = str(commit.get("id") or "")[:10]
        dirty = ", with changes" if short and commit.get("dirty") else ""
        source = Source(path, machine, str(whole["datetime"])[:10], short + dirty)
        _ = source.processor, source.left_out
        held = [one for one in benchmarks if "record" in (one.get("extra_info") or {})]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} was not written by pytest-benchmark; {_REMEDY}.") from error
    if not held:
        raise DataError(
            f"{path} holds no benchmark with a record, so it is not from this suite; {_REMEDY}."
        )
    return source, [_measured(one, source) for one in held]


def _measured(benchmark: Mapping[str, Any], source: Source) -> Measured:
    """One benchmark's.

    Raises:
        DataError: if something in it is not what the suite writes.
    """
    where = f"{source.path}, benchmark {benchmark.get('name')!r}"
    try:
        plain, stats = benchmark["extra_info"]["record"], benchmark["stats"]
        record = Record.from_dict(plain)
        figures = {name: float(stats[key]) for name, key in _STATS.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where} is not as this suite writes it ({error}); {_REMEDY}.") from error
    wrong = [name for name, fits in _CHECKS.items() if not fits(plain[name])]
    wrong += ["value"] if record.axis is not None and record.value is None else []
    if record.amount is None:
        wrong += [_STATS[name] for name, x in figures.items() if not 0 < x < math.inf]
    if wrong:
        raise DataError(
            f"{where}: {', '.join(wrong)}: no such value is written by this suite; {_REMEDY}."
        )
    return Measured(record=record, source=source, **figures)


def _number(value: Any, above: float = -math.inf) -> bool:
    """Whether it is a number that can be counted with."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and above < value < math.inf
    )


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _positive(value: Any) -> bool:
    return value is None or _number(value, above=0.0)


def _count(value: Any) -> bool:
    return _number(value) and value >= 0


#: What a record's fields must be; None is nothing to `_positive`.
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in get_args(Kind),
    "workload": _text,
    "contestant": _text,
    "family": lambda value: value in ("fastnet", "peer", "hand"),
    "what": _text,
    "unit": _text,
    "threads": lambda value: isinstance(value, int) and value > 0,
    "axis": lambda value: value is None or (_text(value) and value.isidentifier()),
    "value": _positive,
    "flops": _count,
    "bytes": _count,
    "warm_up": lambda value: value is None or _count(value),
    "apart": lambda value: value is None or _count(value),
    "turn": lambda value: _number(value, above=0.0),
    "amount": _positive,
    "rate": _positive,
    "versions": lambda value: isinstance(value, dict),
}
