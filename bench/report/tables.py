"""The report's tables and lists, in Markdown."""

import html
from collections.abc import Sequence

from bench.report import quantities
from bench.report.measured import Case, Measured, Results, once
from bench.report.quantities import NOTHING


def safe(text: str) -> str:
    """Text from a file in one line, as Markdown shows it within a table too."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Lines of a table; the first `words` columns are words, the others numbers."""
    marks = ["---" if i < words else "---:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]


def everyone(cases: Sequence[Case]) -> list[str]:
    """The names of all that take part, in order."""
    return [one.name for one in once(one for case in cases for one in case.entries)]


def values(cases: Sequence[Case], first: str = "workload") -> list[str]:
    """A row for each workload, a column for each contestant, the best in bold."""
    names, rows = everyone(cases), []
    for case in cases:
        held = {one.name: one for one in case.entries}
        cells = [
            _bold(held[n].text, held[n] is case.fastest) if n in held else NOTHING for n in names
        ]
        rows.append([f"**{safe(case.name)}**<br><sub>{safe(case.record.what)}</sub>", *cells])
    return table([first, *map(safe, names)], rows)


def _bold(text: str, really: bool) -> str:
    return f"**{text}**" if really else text


def against(results: Results, cases: Sequence[Case]) -> list[str]:
    """fastnet's compiled backends, NumPy where there is none: against NumPy, the best peer, and
    what the machine can do at best.
    """
    head = ["workload", "fastnet", "against NumPy", "against the best peer",
            "arithmetic", "of the ceiling", "memory", "of the ceiling", "bound by"]  # fmt: skip
    rows = []
    for case in cases:
        ours = [one for one in case.entries if one.ours]
        for one in [one for one in ours if one is not case.numpy] or ours:
            peer, beside = case.best("peer"), NOTHING
            if peer:
                beside = f"{quantities.times(peer.value / one.value)} ({safe(peer.name)})"
            numpy = case.numpy not in (None, one)
            rows.append([
                _bold(safe(case.name), True), safe(one.record.contestant),
                quantities.times(case.speed(one)) if numpy else NOTHING, beside,
                *_efficiency(results, one),
            ])  # fmt: skip
    return table(head, rows, words=2)


def _efficiency(results: Results, one: Measured) -> list[str]:
    """Operations and bytes a second, the shares of the ceilings, and which is larger."""
    cells, shares = [], {}
    for name, of, amount, unit in (
        ("arithmetic", "matrix product", one.record.flops, "FLOP"),
        ("memory", "copy", one.record.bytes, "B"),
    ):
        rate, ceiling = amount / one.median, results.ceiling(one, of)
        if amount and ceiling:
            shares[name] = rate / ceiling
        cells.append(quantities.rate(rate, unit) if amount else NOTHING)
        cells.append(quantities.percent(shares[name]) if name in shares else NOTHING)
    return [*cells, max(shares, key=lambda name: shares[name], default=NOTHING)]


def slower(cases: Sequence[Case], threads: int) -> list[str]:
    """A line for each case in which somebody is ahead of the best of fastnet's backends."""
    lines = []
    for case in cases:
        ours, best = case.best("fastnet"), case.fastest
        if ours is None or best.ours:
            continue
        verb = "takes" if best.record.amount is None else "needs"
        close = "" if ours.low > best.high or best.record.amount else "; their quartiles overlap"
        lines.append(
            f"- **{safe(case.name)}**, {quantities.threads(threads)}: {safe(ours.name)} {verb} "
            f"{ours.text}, {safe(best.name)} {best.text} "
            f"({quantities.times(ours.value / best.value)}{close})"
        )
    return lines


def warm_up(cases: Sequence[Case]) -> list[str]:
    """The least and the most that each contestant's first run took, and at which workload."""
    rows = []
    for name in everyone(cases):
        held = [
            (one.record.warm_up, case.name)
            for case in cases
            for one in case.entries
            if one.name == name and one.record.warm_up is not None
        ]
        if held:
            ends = (min(held, key=_first), max(held, key=_first))
            rows.append([safe(name), *(f"{quantities.time(s)} ({safe(at)})" for s, at in ends)])
    return table(["contestant", "least", "most"], rows) if rows else []


def _first(pair: tuple[float, str]) -> float:
    return pair[0]


def everything(cases: Sequence[Case]) -> list[str]:
    """Every measurement, with its spread."""
    head = ["workload", "contestant", "median", "quartiles", "range", "per turn",
            "GFLOP/s", "GB/s", "first run", "apart"]  # fmt: skip
    rows = []
    for case in cases:
        for one in case.entries:
            r = one.record
            rows.append([
                safe(case.name), safe(one.name), one.text,
                *(_range(one, *ends) for ends in ((one.low, one.high), (one.least, one.most))),
                f"{r.turn:,}",
                *(_billions(amount / one.median) for amount in (r.flops, r.bytes)),
                NOTHING if r.warm_up is None else quantities.time(r.warm_up),
                NOTHING if r.apart is None else f"{r.apart:.1e}",
            ])  # fmt: skip
    return table(head, rows, words=2)


def _billions(rate: float) -> str:
    return quantities.digits(rate / 1e9) if rate else NOTHING


def _range(one: Measured, low: float, high: float) -> str:
    if one.record.amount is not None:
        return NOTHING
    return f"{quantities.time(low)} to {quantities.time(high)}"
