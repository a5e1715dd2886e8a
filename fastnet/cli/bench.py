"""`fastnet bench`: which backend is the fastest on this machine, for each size."""

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

from fastnet.benchmark import QUICK, FitWorkload, Maker, PredictWorkload, Workload, contest
from fastnet.cli.terminal import JsonOption, document, note, say
from fastnet.contract import choosing as backends
from fastnet.contract import loading
from fastnet.errors import BackendUnavailable, DefinitionError, FastnetError, unknown
from fastnet.version import __version__

#: Timing rounds of each backend at each size.
ROUNDS = 5

#: Rows per call of `predict`, with the network of `tab`.
PREDICTED = {"predict-1": 1, "predict-64": 64, "predict-10000": 10_000}

#: How much faster a backend must be to be recommended: less may be drift of the machine.
NOTABLE = 1.1


@dataclass
class Row:
    """One size.

    Attributes:
        name: of the workload.
        what: the workload in words.
        unit: what one time is for, "step" or "call".
        seconds: per unit and backend, the median of the rounds.
        warm_up: seconds of each backend's first run, including compilation.
        problems: what is wrong with backends whose results differ from NumPy's.
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
            help=f"Sizes to time: {', '.join([*QUICK, *PREDICTED])} (default: all).",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="Time only this backend; can be repeated.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time the backends on this machine and recommend one for each size.

    Takes less than a minute. All backends train the same networks from the same weights on the same
    rows, and must agree on the resulting parameters before a time counts. Close other programs.
    """
    names = _known(sizes or [], [*QUICK, *PREDICTED], "size")
    available, absent = _backends(backend or [])
    if not available:
        raise BackendUnavailable("; ".join(absent.values()))
    rows: list[Row] = []
    with _progress(len(names)) as step:
        for name in names:
            step(name)
            rows.append(_row(name, available))
    if as_json:
        timed = {"machine": _machine(available), "rows": [asdict(row) for row in rows]}
        document({**timed, "not_timed": absent, "advice": _advice(rows)})
    else:
        _show(rows, available, absent)
    wrong = [f"{who} at {row.name}: {why}" for row in rows for who, why in row.problems.items()]
    if wrong:
        raise FastnetError("not timed, as results differ from NumPy's: " + "; ".join(wrong))


def _known(requested: list[str], known: list[str], kind: str) -> list[str]:
    """The known ones of the requested names; a note names the unknown ones."""
    wrong = [unknown(kind, name, known) for name in requested if name not in known]
    found = [name for name in dict.fromkeys(requested) if name in known]
    if wrong and not found:
        raise DefinitionError(" ".join(wrong))
    for remark in wrong:
        note(remark)
    return found or known


def _backends(requested: list[str]) -> tuple[list[str], dict[str, str]]:
    """The backends that work here, and why the others do not."""
    available, absent = [], {}
    known = loading.known()
    variants = [name for name in requested if name.partition(":")[0] in known and ":" in name]
    for name in _known(requested, [*known, *variants], "backend") if requested else known:
        found = backends.probe(name)
        if found.usable:
            available.append(name)
        else:
            absent[name] = f"{name}: {found.reason}. {found.remedy}"
    return available, absent


def _row(name: str, available: list[str]) -> Row:
    """Time one size."""
    if name in PREDICTED:
        rows, work = PREDICTED[name], QUICK["tab"]
        shape = "-".join(map(str, work.sizes))
        row = Row(name, f"{shape}, predict {rows:,} {'row' if rows == 1 else 'rows'}", "call")
        makers: dict[str, Maker] = {who: _predicting(work, who, rows) for who in available}
        exact, count = _predicting(work, "numpy", rows, "float64"), 1
    else:
        work = QUICK[name]
        shape = "-".join(map(str, work.sizes))
        row, count = Row(name, f"{shape}, batch {work.batch}", "step"), work.check_epochs
        makers = {who: partial(FitWorkload, work, who) for who in available}
        exact = partial(FitWorkload, work, "numpy", dtype="float64")
    found, row.problems = contest(makers, exact, count, row.unit == "step", ROUNDS)
    row.seconds = {who: statistics.median(timing.seconds) for who, timing in found.items()}
    row.warm_up = {who: timing.warm_up for who, timing in found.items()}
    return row


def _predicting(work: Workload, backend: str, rows: int, dtype: str = "float32") -> Maker:
    return lambda calls: PredictWorkload(work, backend, calls, rows, dtype=dtype)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Show what is being timed on standard error, if it is a terminal."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        done = iter(range(total))

        def step(name: str) -> None:
            progress.update(task, description=name, completed=next(done))

        yield step


def _machine(available: list[str]) -> dict[str, Any]:
    """The machine and versions that the times belong to."""
    facts = {name: dict(loading.load(name).describe()) for name in available}
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        "fastnet": __version__,
        "numpy": np.__version__,
        "backends": facts,
    }


def _processor() -> str:
    """The processor's name, as far as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _show(rows: list[Row], available: list[str], absent: dict[str, str]) -> None:
    """Print the table and the advice."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("size")
    grid.add_column("network")
    for name in available:
        grid.add_column(name, justify="right", no_wrap=True)
    if len(available) > 1:
        grid.add_column("fastest", no_wrap=True)
    for row in rows:
        cells = [row.name, row.what]
        best = row.fastest if row.seconds else None
        for name in available:
            style = "bold" if name == best and len(available) > 1 else ""
            text = _time(row.seconds[name]) if name in row.seconds else "wrong"
            cells.append(Text(text, style))  # type: ignore[arg-type]
        if len(available) > 1:
            cells.append(_lead(row))
        grid.add_row(*cells)
    say(f"{_processor()}, fastnet {__version__}, NumPy {np.__version__}")
    say("Time per training step, or per call of predict:")
    say()
    Console().print(grid)
    say()
    for line in _advice(rows):
        say(line)
    for remark in absent.values():
        say(f"Not timed: {remark}")


def _lead(row: Row) -> str:
    """The fastest backend, and how many times as fast as the next it is."""
    if len(row.seconds) < 2:
        return row.fastest if row.seconds else ""
    first, second = sorted(row.seconds.values())[:2]
    return f"{row.fastest}, {_short(second / first)} x"


def _advice(rows: list[Row]) -> list[str]:
    """Sentences that say which backend to choose."""
    own = backends.choose("auto").name
    timed = [row for row in rows if len(row.seconds) > 1 and own in row.seconds]
    if not timed:
        return []
    better: dict[str, list[str]] = {}
    for row in timed:
        if row.seconds[own] > NOTABLE * row.seconds[row.fastest]:
            better.setdefault(row.fastest, []).append(row.name)
    lines = [f"By default fastnet uses {own}{'.' if better else ': keep it, it is the fastest.'}"]
    for name, sizes in better.items():
        lines.append(f"For sizes like {', '.join(sizes)}, {name} is faster: FASTNET_BACKEND={name}")
    chosen = os.environ.get("FASTNET_BACKEND", "").strip()
    if chosen and chosen != "auto":
        lines.append(f"FASTNET_BACKEND={chosen} is set, so fastnet uses that.")
    return lines


def _time(seconds: float) -> str:
    """Three digits with a fitting unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / 1e-9)} ns"


def _short(number: float) -> str:
    """Three digits, or all before the decimal point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}".rstrip(".")
