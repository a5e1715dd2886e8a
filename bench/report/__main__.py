"""A Markdown report with charts, from the JSON files of benchmark runs on one machine.

    python -m pytest bench --peers --benchmark-json=RESULTS.json
    python -m bench.report RESULTS.json [MORE.json ...] [-o bench/REPORT.md]

`python -m bench` does both. Every number in it is in the files, or computed from them. Beside the
report, TABLES.md has the numbers behind the charts, and the folder `charts` has each chart for
light and for dark pages.
"""

import argparse
import html
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.records import MATRIX_PRODUCT
from bench.report import quantities, tables
from bench.report.results import Case, Results, contestants, read
from bench.report.tables import safe
from fastnet import files
from fastnet.errors import FastnetError
from fastnet.extras import need

OUTPUT = Path("bench/REPORT.md")

#: The workloads of the first chart, which is the README's; all others have a chart of their own.
FIRST = ("xor", "narrow", "tab32", "tab", "real256", "real512", "mnist", "wide")

_WHAT = """\
Speed of fastnet in training and predicting dense networks, compared with its own NumPy backend,
with loops written by hand in NumPy ("by hand"), and with other libraries ("peers"). "2\u00d7" means
twice as fast. [TABLES.md](TABLES.md) has all numbers."""

_HOW = """\
All contestants start from the same weights and process the same rows in the same order, in the same
dtype, on the same number of processors; a library may choose to use fewer threads. Results must
agree with NumPy's in float64 before a time counts. The contestants are timed in rounds, each of
them once per round, so that drift of the machine affects all alike; a time is the median of the
rounds. Compilation and the first run are not in the times; TABLES.md has them."""

_EFFICIENCY = """\
Arithmetic and memory are the operations and bytes that a step needs at least, divided by its time;
the ceilings are NumPy's best matrix product and the best copy of the same run. More than 100 % is
possible: other code can be faster than NumPy's matrix library, and a cache faster than memory. Tiny
steps reach neither ceiling: the latency of single instructions limits them."""

_PUBLISHED = """\
Times of a step that other libraries publish, on other machines: a scale, not a comparison."""

_EVERYTHING = """\
The first run is the time to create a contestant and to run it once, including compilation; imports,
and what a library caches on disk, are done before. The difference is that of the results from
NumPy's in float64, divided by the largest absolute value of these."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS.json", help="all from one machine")
    help_ = f"where to write the report (default {OUTPUT})"
    add("-o", "--output", type=Path, default=OUTPUT, metavar="REPORT.md", help=help_)
    given = parser.parse_args(arguments)
    folder = given.output.parent
    try:
        written = report(read(given.results), folder)
        (folder / "charts").mkdir(exist_ok=True)
        for name, content in written.items():
            files.replace(given.output if name == "REPORT.md" else folder / name, content)
    except (FastnetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{given.output}, with TABLES.md and {len(written) - 2} charts beside it")
    return 0


def report(results: Results, folder: Path) -> dict[str, bytes]:
    """Contents of REPORT.md, TABLES.md and the charts, by path within `folder`.

    Raises:
        MissingExtra: without matplotlib.
    """
    need("matplotlib", "plot", "drawing charts")
    from bench.report import charts

    written: dict[str, bytes] = {}
    page = ["# Benchmarks", _WHAT, "\n".join(_facts(results, folder)), _HOW]
    data = ["# Benchmarks: the numbers", "[REPORT.md](REPORT.md) has the machine and the commands."]
    lost: list[str] = []
    for threads in results.threads():
        count = quantities.threads(threads)
        trained = results.cases(threads, "training")
        named = [case for case in trained if case.record.axis is None]
        first = [case for case in named if case.record.workload in FIRST]
        others = [case for case in named if case.record.workload not in FIRST]
        mapped = [case for case in trained if str(case.record.axis).startswith("map ")]
        series = [case for case in trained if case.record.axis and case not in mapped]
        predicted = results.cases(threads, "prediction", "gradient")
        processes = results.cases(threads, "process")
        every = [*trained, *predicted, *processes]
        lost += tables.losses(every)
        page += [f"## With {count}", *_summary(named)]
        for name, heading, cases, draw in (
            ("overview", "Speed of a training step", first, charts.speeds),
            ("map", "Widths and batches", mapped, partial(charts.grid, results)),
            ("others", "Speed of a training step, other workloads", others, charts.speeds),
            ("growth", "Time of a training step", series, partial(charts.growth, results)),
            ("prediction", "Speed of predictions and gradients", predicted, charts.speeds),
            ("process", "Starting, memory and size", processes, charts.bars),
        ):
            if draw is charts.speeds:
                without = [case.record.workload for case in cases if not case.numpy]
                cases = [case for case in cases if case.numpy]
                if without:
                    page.append(
                        f"Not shown, as NumPy was not measured: {safe(', '.join(without))}."
                    )
            if not cases:
                continue
            title = f"{heading}, with {count}"
            told = _alt_map(charts.map_cells(results, cases)) if name == "map" else _alt(cases)
            alt = html.escape(f"{title}: {told}. TABLES.md has all numbers.")
            light, dark = (
                f"charts/{name}-{count.replace(' ', '-')}{theme.ending}.svg"
                for theme in charts.THEMES
            )
            for file, theme in zip((light, dark), charts.THEMES, strict=True):
                written[file] = charts.svg(partial(draw, cases), title, alt, theme)
            page.append(
                f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
                f'  <img alt="{alt}" src="{light}" width="{charts.WIDTH}">\n</picture>'
            )
        for heading, text, rows in (
            ("Time of a training step", "", tables.values(named)),
            ("fastnet, peers and the machine", _EFFICIENCY, tables.ratios(results, named)),
            ("Predictions and gradients", "", tables.values(predicted)),
            ("Starting, memory and size", "", tables.values(processes)),
            ("Every measurement", _EVERYTHING, tables.everything(every)),
        ):
            if rows:
                data += [f"## {heading}, with {count}", *([text] if text else []), "\n".join(rows)]
    if published := tables.published(results.cases(max(results.threads()), "training")):
        page += ["## Published elsewhere", _PUBLISHED, "\n".join(published)]
    page += [
        "## Where fastnet is not the fastest",
        "Everything in which another contestant beats the best of fastnet's backends:",
        "\n".join(lost or ["- nothing that was measured"]),
    ]
    if left_out := dict.fromkeys(line for source in results.sources for line in source.left_out):
        page += ["## What was not run", "\n".join(f"- {safe(line)}" for line in left_out)]
    page += ["## To repeat it", "\n".join(["```sh", *_commands(results), "```"])]
    written["TABLES.md"], written["REPORT.md"] = (
        ("\n\n".join(parts) + "\n").encode() for parts in (data, page)
    )
    return written


def _facts(results: Results, folder: Path) -> list[str]:
    """Machine, ceilings, versions, agreement and files."""
    first = results.sources[0]
    facts = [f"- Machine: {safe(first.processor)}; {safe(first.system)}"]
    for threads in results.threads():
        single, double, copies = (
            results.ceiling(of, threads) for of in (*MATRIX_PRODUCT.values(), "copy")
        )
        if single and copies:
            also = f" ({quantities.rate(double, 'FLOP')} in float64)" if double else ""
            facts.append(
                f"- Ceilings with {quantities.threads(threads)}: "
                f"{quantities.rate(single, 'FLOP')} in matrix products{also}, "
                f"{quantities.rate(copies, 'B')} in copies"
            )
    versions = {"Python": dict.fromkeys(source.python for source in results.sources)}
    for one in results.entries:
        for name, number in one.record.versions.items():
            versions.setdefault(name, {})[str(number)] = None
    texts = (f"{name} {' and '.join(numbers)}" for name, numbers in versions.items())
    facts.append(f"- Versions: {safe(', '.join(texts))}")
    compared = [one for one in results.entries if one.record.difference is not None]
    if compared:
        worst = max(compared, key=lambda one: one.record.difference or 0.0)
        facts.append(
            f"- Agreement with NumPy in float64: within {worst.record.difference:.1e} of the "
            f"largest value (the farthest: {safe(worst.name)} at {safe(worst.record.workload)})"
        )
    for source in results.sources:
        commit = f", commit {safe(source.commit)}" if source.commit else ""
        path = source.path.resolve()
        link = f"`{path.name}`"
        if path.is_relative_to(folder.resolve().parent):
            link = f"[{path.name}]({Path(os.path.relpath(path, folder)).as_posix()})"
        facts.append(f"- Measured {safe(source.date)}{commit}: {link}")
    return facts


def _commands(results: Results) -> list[str]:
    """Commands that measure the same and write a report of it."""
    wrote = list(dict.fromkeys(s.command for s in results.sources if s.command))
    files = [f"RESULTS-{number}.json" for number in range(1, len(wrote) + 1)]
    measuring = [
        command.replace("RESULTS.json", file) for command, file in zip(wrote, files, strict=True)
    ]
    return [*measuring, f"python -m bench.report {' '.join(files)}"]


def _alt(cases: Sequence[Case]) -> str:
    """The best of fastnet's backends, its NumPy backend and the best peer at each workload."""
    texts = []
    for case in cases:
        shown = (case.best("fastnet"), case.numpy, case.best("peer"))
        values = dict.fromkeys(f"{one.name} {one.text}" for one in shown if one)
        texts.append(f"{case.record.workload}: {', '.join(values)}")
    return "; ".join(texts)


def _alt_map(cells: Mapping[tuple[int, int], tuple[float | None, float | None]]) -> str:
    """The ranges of the map's two panels."""
    texts = []
    for which, what in enumerate(("of the ceiling", "times as fast as the best peer")):
        values = [cell[which] for cell in cells.values()]
        known = [value for value in values if value is not None]
        if known:
            show = quantities.digits if which else quantities.percent
            texts.append(f"{show(min(known))} to {show(max(known))} {what}")
    return f"{len(cells)} networks, {' and '.join(texts)}"


def _summary(cases: Sequence[Case]) -> list[str]:
    """The range of each compiled backend's speed."""
    lines = []
    for name in [one.name for one in contestants(cases) if one.ours]:
        ranges = []
        for other in ("NumPy", "the best peer"):
            ratios = [
                best.value / one.value
                for case in cases
                for one in case.entries
                if one.name == name != "fastnet numpy"
                and (best := case.numpy if other == "NumPy" else case.best("peer"))
            ]
            if ratios:
                ends = dict.fromkeys(map(quantities.digits, (min(ratios), max(ratios))))
                ranges.append(f"{' to '.join(ends)} times as fast as {other}")
        if ranges:
            lines.append(f"A step of {safe(name)} is {' and '.join(ranges)}.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
