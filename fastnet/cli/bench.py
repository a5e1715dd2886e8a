"""`fastnet bench`: which backend is the fastest here, for which size."""

import os
import platform
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fastnet.benchmark import QUICK, Fit, Maker, Predict, Workload, contest
from fastnet.cli.terminal import JsonOption, document, note, say
from fastnet.contract import choosing as backends
from fastnet.contract import loading
from fastnet.errors import BackendUnavailable, DefinitionError, FastnetError, unknown
from fastnet.version import __version__

#: Turns of each backend at each size.
ROUNDS = 5

#: Rows of one call of `predict`, on tab's network.
PREDICTED = {"predict-1": 1, "predict-64": 64, "predict-10000": 10_000}

#: How much faster a backend must be for it to be said: less is the machine's drift.
NOTABLE = 1.1


@dataclass
class Row:
    """One size.

    Attributes:
        name: of the workload.
        what: in words.
        unit: what one time is of, "step" or "call".
        seconds: of one unit by backend, the median of the turns.
        warm_up: seconds of the first run by backend, with all that is compiled in it.
        problems: of backends whose result was not NumPy's.
    """

    name: str
    what: str
    unit: str
    seconds: dict[str, float] = field(default_factory=dict)
    warm_up: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def fastest(self) -> str:
        return min(self.seconds, key=self.seconds.__getitem__)


def command(
    sizes: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Which to try: {', '.join([*QUICK, *PREDICTED])} (default all).",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="Time this backend only; may be given several times.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the backends on this machine: which is the fastest for which size, and what to set.

    Takes less than a minute. Everyone trains the same networks from the same weights on the same
    rows, and must come to the same parameters before a time counts. Close what else is at work.
    """
    names = _known(sizes or [], [*QUICK, *PREDICTED], "size")
    there, absent = _backends(backend or [])
    if not there:
        raise BackendUnavailable("; ".join(absent.values()))
    rows: list[Row] = []
    with _progress(len(names)) as step:
        for name in names:
            step(name)
            rows.append(_row(name, there))
    if as_json:
        timed = {"machine": _machine(there), "rows": [asdict(row) for row in rows]}
        document({**timed, "not_timed": absent, "advice": _advice(rows)})
    else:
        _show(rows, there, absent)
    wrong = [f"{who} at {row.name}: {why}" for row in rows for who, why in row.problems.items()]
    if wrong:
        raise FastnetError("results were not NumPy's, so they were not timed: " + "; ".join(wrong))


def _known(asked: list[str], known: list[str], kind: str) -> list[str]:
    """Those of the names that are known; of the others it is said, and the rest runs."""
    wrong = [unknown(kind, name, known) for name in asked if name not in known]
    found = [name for name in dict.fromkeys(asked) if name in known]
    if wrong and not found:
        raise DefinitionError(" ".join(wrong))
    for remark in wrong:
        note(remark)
    return found or known


def _backends(asked: list[str]) -> tuple[list[str], dict[str, str]]:
    """Who can compute here, and why others cannot."""
    there, absent = [], {}
    for name in _known(asked, loading.known(), "backend"):
        found = backends.probe(name)
        if found.usable:
            there.append(name)
        else:
            absent[name] = f"{name}: {found.reason}. {found.remedy}"
    return there, absent


def _row(name: str, there: list[str]) -> Row:
    """Time one size."""
    if name in PREDICTED:
        count, work = PREDICTED[name], QUICK["tab"]
        shape = "-".join(map(str, work.sizes))
        row = Row(name, f"{shape}, predict {count:,} {'row' if count == 1 else 'rows'}", "call")
        makers: dict[str, Maker] = {who: _predicting(work, who, count) for who in there}
        exact, common = _predicting(work, "numpy", count, "float64"), 1
    else:
        work = QUICK[name]
        shape = "-".join(map(str, work.sizes))
        row, common = Row(name, f"{shape}, batch {work.batch}", "step"), work.common
        makers = {who: partial(Fit, work, who) for who in there}
        exact = partial(Fit, work, "numpy", dtype="float64")
    found, row.problems = contest(makers, exact, common, row.unit == "step", ROUNDS)
    row.seconds = {who: statistics.median(timing.seconds) for who, timing in found.items()}
    row.warm_up = {who: timing.warm_up for who, timing in found.items()}
    return row


def _predicting(work: Workload, backend: str, rows: int, dtype: str = "float32") -> Maker:
    return lambda calls: Predict(work, backend, calls, rows, dtype=dtype)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Says on standard error, if it is a terminal, what is timed now."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        done = iter(range(total))

        def step(name: str) -> None:
            progress.update(task, description=name, completed=next(done))

        yield step


def _machine(there: list[str]) -> dict[str, Any]:
    """What the figures hold for."""
    facts = {name: dict(loading.load(name).describe()) for name in there}
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "fastnet": __version__,
        "numpy": np.__version__,
        "backends": facts,
    }


def _processor() -> str:
    """Its name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _show(rows: list[Row], there: list[str], absent: dict[str, str]) -> None:
    """The table, and what to make of it."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("size")
    grid.add_column("network")
    for name in there:
        grid.add_column(name, justify="right", no_wrap=True)
    if len(there) > 1:
        grid.add_column("fastest", no_wrap=True)
    for row in rows:
        cells = [row.name, row.what]
        best = row.fastest if row.seconds else None
        for name in there:
            style = "bold" if name == best and len(there) > 1 else ""
            text = _time(row.seconds[name]) if name in row.seconds else "wrong"
            cells.append(Text(text, style))  # type: ignore[arg-type]
        if len(there) > 1:
            cells.append(_lead(row))
        grid.add_row(*cells)
    say(f"{_processor()}, fastnet {__version__}, NumPy {np.__version__}")
    say("Time of one training step, or of one call of predict:")
    say()
    Console().print(grid)
    say()
    for line in _advice(rows):
        say(line)
    for remark in absent.values():
        say(f"Not timed: {remark}")


def _lead(row: Row) -> str:
    """The fastest backend, and how far it is before the next."""
    if len(row.seconds) < 2:
        return row.fastest if row.seconds else ""
    first, second = sorted(row.seconds.values())[:2]
    return f"{row.fastest}, {_short(second / first)} x"


def _advice(rows: list[Row]) -> list[str]:
    """What to set, in sentences."""
    own = backends.choose("auto").name
    timed = [row for row in rows if len(row.seconds) > 1 and own in row.seconds]
    if not timed:
        return []
    better: dict[str, list[str]] = {}
    for row in timed:
        if row.seconds[own] > NOTABLE * row.seconds[row.fastest]:
            better.setdefault(row.fastest, []).append(row.name)
    lines = [f"Left alone, fastnet takes {own}, as fast as any that was timed: nothing to set."]
    if better:
        lines = [f"Left alone, fastnet takes {own}."]
    for name, sizes in better.items():
        lines.append(f"For sizes like {', '.join(sizes)}, {name} is faster: FASTNET_BACKEND={name}")
    asked = os.environ.get("FASTNET_BACKEND", "").strip()
    if asked and asked != "auto":
        lines.append(f"FASTNET_BACKEND={asked} is set now, so fastnet takes that.")
    return lines


def _time(seconds: float) -> str:
    """Three digits, with a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / 1e-9)} ns"


def _short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}".rstrip(".")
