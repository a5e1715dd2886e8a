"""The report's tables and lists, in Markdown."""

import html
from collections.abc import Sequence

from bench.records import MATRIX_PRODUCT
from bench.report import quantities
from bench.report.quantities import NOTHING
from bench.report.results import Case, Measurement, Results, contestants

#: By workload, the seconds of a step that a library without Python publishes, and where. (The
#: same page of August 2022 has 210 µs on this processor.)
PUBLISHED = {
    "chain": (
        164e-6,
        "by [SimpleChains.jl](https://pumasai.github.io/SimpleChains.jl/stable/examples/smallmlp/) "
        "on four cores of an Intel i7-1165G7",
    )
}


def safe(text: str) -> str:
    """Text from a file on one line, escaped for Markdown and its tables."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Lines of a table, none without rows; the first `words` columns are text, others numbers."""
    rule = ["---" if i < words else "---:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows) if rows]


def values(cases: Sequence[Case]) -> list[str]:
    """A row for each workload, a column for each contestant, the best in bold."""
    names = [one.name for one in contestants(cases)]
    rows = []
    for case in cases:
        texts = {one.name: one.text for one in case.entries}
        texts[case.fastest.name] = f"**{case.fastest.text}**"
        label = f"**{safe(case.record.workload)}**<br><sub>{safe(case.record.what)}</sub>"
        rows.append([label, *(texts.get(name, NOTHING) for name in names)])
    return _table(["", *map(safe, names)], rows)


def ratios(results: Results, cases: Sequence[Case]) -> list[str]:
    """fastnet's compiled backends against NumPy, the best peer and the machine's ceilings; NumPy
    itself only where no other backend was measured.
    """
    head = ["workload", "fastnet", "vs. NumPy", "vs. best peer", "arithmetic", "of ceiling",
            "memory", "of ceiling"]  # fmt: skip
    rows = []
    for case in cases:
        ours, peer = [one for one in case.entries if one.ours], case.best("peer")
        for one in [one for one in ours if one is not case.numpy] or ours:
            cells = [f"**{safe(case.record.workload)}**", safe(one.record.contestant)]
            numpy = case.numpy not in (None, one)
            cells.append(quantities.times(case.speed(one.value)) if numpy else NOTHING)
            ratio = quantities.times(peer.value / one.value) if peer else NOTHING
            cells.append(f"{ratio} ({safe(peer.name)})" if peer else ratio)
            rows.append([*cells, *_efficiency(results, one)])
    return _table(head, rows, words=2)


def _efficiency(results: Results, one: Measurement) -> list[str]:
    """Rates of arithmetic and memory, each with its share of the ceiling."""
    cells = []
    product = MATRIX_PRODUCT[one.record.what.rpartition(", ")[2]]
    counted = (one.record.flops, "FLOP", product), (one.record.bytes, "B", "copy")
    for amount, unit, of in counted:
        rate, ceiling = amount / one.median, results.ceiling(of, one.record.threads, one.source)
        cells.append(quantities.rate(rate, unit) if rate else NOTHING)
        cells.append(quantities.percent(rate / ceiling) if rate and ceiling else NOTHING)
    return cells


def published(cases: Sequence[Case]) -> list[str]:
    """A line for each case with a time that a library publishes and that is not measured here."""
    lines = []
    for case in cases:
        given, ours = PUBLISHED.get(case.record.workload), case.best("fastnet")
        if given and ours:
            seconds, where = given
            lines.append(
                f"- **{safe(case.record.workload)}**, {quantities.threads(case.record.threads)}: "
                f"{safe(ours.name)} {ours.text}; published: {quantities.time(seconds)}, {where}"
            )
    return lines


def losses(cases: Sequence[Case]) -> list[str]:
    """A line for each case in which another contestant beats the best of fastnet's backends."""
    lines = []
    for case in cases:
        ours, best, r = case.best("fastnet"), case.fastest, case.record
        if ours is None or best.ours:
            continue
        close = "; their quartiles overlap" if r.amount is None and ours.q1 <= best.q3 else ""
        lines.append(
            f"- **{safe(r.workload)}**, {quantities.threads(r.threads)}: {safe(ours.name)} "
            f"{ours.text}, {safe(best.name)} {best.text} "
            f"({quantities.times(ours.value / best.value)}{close})"
        )
    return lines


def everything(cases: Sequence[Case]) -> list[str]:
    """Every measurement, with its spread."""
    head = ["workload", "contestant", "median", "quartiles", "range", "units per round",
            "first run", "difference"]  # fmt: skip
    rows = []
    for one in [one for case in cases for one in case.entries]:
        r, spread = one.record, [NOTHING, NOTHING]
        if r.amount is None:
            pairs = (one.q1, one.q3), (one.min, one.max)
            spread = [" to ".join(map(quantities.time, pair)) for pair in pairs]
        first = NOTHING if r.warm_up is None else quantities.time(r.warm_up)
        difference = NOTHING if r.difference is None else f"{r.difference:.1e}"
        count = f"{r.units_per_round:,}"
        names = safe(r.workload), safe(one.name)
        rows.append([*names, one.text, *spread, count, first, difference])
    return _table(head, rows, words=2)
