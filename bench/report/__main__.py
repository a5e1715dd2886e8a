"""A Markdown report with charts, from the JSON files of benchmark runs on one machine.

    python -m pytest bench --peers --benchmark-json=RESULTS.json
    python -m bench.report RESULTS.json [MORE.json ...] [-o bench/REPORT.md]

Every number in it is in the files, or computed from them. Charts go to the folder `charts` beside
the report, each for light and for dark paper.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.report import charts, panels, quantities, reading, tables
from bench.report.document import FOLDER, Document
from bench.report.measured import Case, Results, Source, once
from bench.report.tables import safe
from fastnet.errors import FastnetError

OUTPUT = Path("bench/REPORT.md")

_WHAT = """\
How fast fastnet trains and predicts dense networks, compared with its own NumPy backend (the
definition that the others are held to), with loops written by hand in NumPy ("by hand"), and with
the libraries that one might take instead. Every number is computed from the files named here."""

_HOW = """\
Everyone starts from the same weights and goes through the same rows in the same order, in the same
dtype, on as many processors: a library that takes fewer threads by itself may. Before any time
counts, results must agree with NumPy's in float64. Then all take turns, so that a machine that
drifts does so for everyone; a figure is the median of the turns. What is compiled or warmed up is
paid before, and told apart below. Speed relative to NumPy means: how many times as fast as
fastnet's NumPy backend."""

_EFFICIENCY = """\
Arithmetic and memory count what a step must compute and move at the least, over its time; the
ceilings are NumPy's best matrix product and the best copy of the same run. More than all of it is
possible: other code can be faster than NumPy's matrix library, and a cache than memory. What
reaches half of a ceiling is said to be bound by it; tiny steps are by neither, but by the time that
one instruction waits for another."""

_WARM_UP = """\
With all that is compiled or loaded for it; imports are done, and what each library keeps on disk is
there from before. It is not in the times above."""

_GROWTH = """\
The dashed line is what the arithmetic alone would take at the ceiling for matrix products."""


def report(results: Results, folder: Path) -> Document:
    """The report on what was measured, as it stands in `folder`.

    Raises:
        MissingExtra: without matplotlib (`pip install "fastnet[plot]"`).
    """
    made = Document()
    made.add("# Benchmarks")
    made.add(_WHAT)
    made.add(*_facts(results, folder))
    made.add("To repeat it:")
    made.add("```sh", *_commands(results.sources), "```")
    made.add(_HOW)
    for threads in results.threads:
        _section(made, results, threads)
    _slower(made, results)
    _warm_up(made, results)
    left_out = dict.fromkeys(line for source in results.sources for line in source.left_out)
    if left_out:
        made.add("## What was not run")
        made.add(*(f"- {safe(line)}" for line in left_out))
    for threads in results.threads:
        made.add(f"## Every measurement with {quantities.threads(threads)}")
        every = results.cases(threads, "training", "prediction", "gradient", "process")
        rows = tables.everything(every)
        made.add("<details><summary>Medians, quartiles, range, rates</summary>", "", *rows, "",
                 "</details>")  # fmt: skip
    return made


def _facts(results: Results, folder: Path) -> list[str]:
    """Machine, ceilings, versions and files."""
    first = results.sources[0]
    machine = first.machine
    system = " ".join(str(machine[key]) for key in ("system", "machine") if machine.get(key))
    facts = [f"- Machine: {safe(first.processor)}; {safe(system)}"]
    for threads in results.threads:
        best: dict[str, float] = {}
        for one in results.entries:
            r = one.record
            if r.kind == "ceiling" and r.threads == threads and r.rate:
                best[r.workload] = max(r.rate, best.get(r.workload, 0.0))
        rates = [
            f"{quantities.rate(best[name], unit)} {words}"
            for name, unit, words in (
                ("matrix product", "FLOP", "in matrix products"), ("copy", "B", "in copies"),
            )
            if name in best
        ]  # fmt: skip
        if rates:
            facts.append(f"- At best, with {quantities.threads(threads)}: {', '.join(rates)}")
    versions: dict[str, dict[str, None]] = {"Python": {}}
    for source in results.sources:
        versions["Python"][str(source.machine.get("python_version", "?"))] = None
    for one in results.entries:
        for name, number in one.record.versions.items():
            versions.setdefault(name, {})[str(number)] = None
    said = (f"{name} {' and '.join(numbers)}" for name, numbers in versions.items())
    facts.append(f"- Versions: {safe(', '.join(said))}")
    apart = [one for one in results.entries if one.record.apart is not None]
    if apart:
        worst = max(apart, key=lambda one: one.record.apart or 0.0)
        facts.append(
            f"- Agreement: within {worst.record.apart:.1e} of the largest number of a run in "
            f"float64 (the farthest: {safe(worst.name)} at {safe(worst.record.workload)})"
        )
    for source in results.sources:
        commit = f", commit {safe(source.commit)}" if source.commit else ""
        facts.append(f"- Measured: {safe(source.date)}{commit}: {_link(source.path, folder)}")
    return facts


def _link(path: Path, folder: Path) -> str:
    """The file's name, a link where it lies below the report."""
    try:
        below = path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return f"`{path.name}`"
    return f"[{path.name}]({below})"


def _commands(sources: Sequence[Source]) -> list[str]:
    """What made the files, and this."""
    given = (s.path.name if s.path.is_absolute() else s.path.as_posix() for s in sources)
    made = dict.fromkeys(source.command for source in sources if source.command)
    return [*made, f"python -m bench.report {shlex.join(given)}"]


def _section(made: Document, results: Results, threads: int) -> None:
    """All that was measured with so many threads."""
    count = quantities.threads(threads)
    slug = count.replace(" ", "-")
    trained = results.cases(threads, "training")
    named = [case for case in trained if case.record.axis is None]
    made.add(f"## With {count}")
    if named:
        _training(made, results, named, count, slug)
    series: dict[str, list[Case]] = {}
    for case in trained:
        if case.record.axis is not None:
            series.setdefault(case.record.axis, []).append(case)
    if series:
        made.add("### How time grows")
        made.add(_GROWTH)
    for axis, cases in series.items():
        _growth(made, results, sorted(cases, key=lambda case: case.place), axis, count, slug)
    predicted = [*results.cases(threads, "prediction"), *results.cases(threads, "gradient")]
    if predicted:
        made.add("### Prediction, and the gradient alone")
        made.add(*tables.values(predicted))
        _bars(made, predicted, f"prediction-{slug}", "time of a call")
    processes = results.cases(threads, "process")
    if processes:
        made.add("### Starting, memory, size")
        made.add(*tables.values(processes, "measure"))
        made.chart(
            f"process-{slug}",
            f"Bars for each contestant, from zero: {_listed(case.name for case in processes)}. "
            "The table above has the numbers.",
            lambda theme: panels.bars(processes, theme, relative=False),
        )


def _training(made: Document, results: Results, named: list[Case], count: str, slug: str) -> None:
    """The named trainings: at a glance, in numbers, in bars."""
    shown = [case for case in named if case.numpy]
    if shown:
        title = f"How fast a training step is, with {count}"
        said = (
            f"{case.name}: "
            + ", ".join(
                f"{one.name} {quantities.times(case.speed(one))}"
                for one in case.entries
                if one.ours or one is case.best("peer")
            )
            for case in shown
        )
        made.chart(
            f"overview-{slug}",
            f"{title}, relative to fastnet numpy. {'; '.join(said)}.",
            lambda theme: charts.overview(shown, title, theme),
        )
    made.add(*_in_short(named))
    made.add("### Time of a training step")
    made.add(*tables.values(named))
    made.add("### fastnet against the others, and against the machine")
    made.add(_EFFICIENCY)
    made.add(*tables.against(results, named))
    made.add("### Each workload")
    _bars(made, named, f"training-{slug}", "time of a step")


def _in_short(named: Sequence[Case]) -> list[str]:
    """For each compiled backend the range of its speeds."""
    said = []
    for who in once(one for case in named for one in case.entries if one.ours):
        over: dict[str, list[float]] = {"NumPy": [], "the best peer": []}
        for case in named:
            one = next((one for one in case.entries if one.name == who.name), None)
            if one is None or one is case.numpy:
                continue
            for name, other in (("NumPy", case.numpy), ("the best peer", case.best("peer"))):
                if other is not None:
                    over[name].append(other.value / one.value)
        ranges = [
            f"{_range(ratios)} times as fast as {name}" for name, ratios in over.items() if ratios
        ]
        if ranges:
            said.append(f"A step of {safe(who.name)} is {' and '.join(ranges)}.")
    return said


def _range(ratios: Sequence[float]) -> str:
    low, high = (quantities.digits(ratio) for ratio in (min(ratios), max(ratios)))
    return low if low == high else f"{low} to {high}"


def _bars(made: Document, cases: Sequence[Case], name: str, of: str) -> None:
    """Bars relative to NumPy, where it took part."""
    shown = [case for case in cases if case.numpy]
    without = [case.name for case in cases if not case.numpy]
    if shown:
        made.chart(
            name,
            f"Bars for each contestant: {of}, and speed relative to fastnet numpy on a "
            f"logarithmic scale, in {_listed(case.name for case in shown)}. "
            "The table above has the times.",
            lambda theme: panels.bars(shown, theme),
        )
    if without:
        made.add(f"Not in the chart, because NumPy took no part: {safe(_listed(without))}.")


def _growth(
    made: Document, results: Results, cases: list[Case], axis: str, count: str, slug: str
) -> None:
    """One series."""
    first, last = cases[0], cases[-1]
    ends = " to ".join(quantities.tick(case.place) for case in (first, last))
    ideal = {
        case.place: case.record.flops / ceiling
        for case in cases
        if case.record.flops and (ceiling := results.ceiling(case.entries[0], "matrix product"))
    }
    title = f"Time of a training step by {axis}, with {count}"
    made.chart(
        f"{axis}-{slug}",
        f"{title}, both axes logarithmic, from {ends}, for "
        f"{_listed(tables.everyone(cases))}{' and the ideal line' if ideal else ''}.",
        lambda theme: charts.growth(cases, ideal, axis, title, theme),
    )
    made.add(f"From {safe(first.record.what)} to {safe(last.record.what)}.")


def _slower(made: Document, results: Results) -> None:
    """What is lost, and to whom."""
    lines = [
        line
        for threads in results.threads
        for line in tables.slower(
            results.cases(threads, "training", "prediction", "gradient", "process"), threads
        )
    ]
    made.add("## Where fastnet is not the first")
    made.add("Everything in which somebody is ahead of the best of fastnet's backends:")
    made.add(*(lines or ["- nothing that was measured"]))


def _warm_up(made: Document, results: Results) -> None:
    """What the first run took, by threads."""
    for threads in results.threads:
        rows = tables.warm_up(results.cases(threads, "training", "prediction", "gradient"))
        if rows:
            made.add(f"## The first run, with {quantities.threads(threads)}")
            made.add(_WARM_UP)
            made.add(*rows)


def _listed(names: Iterable[str]) -> str:
    return "; ".join(names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS.json", help="all from one machine")
    help_ = f"where the report goes (default {OUTPUT})"
    add("-o", "--output", type=Path, default=OUTPUT, metavar="REPORT.md", help=help_)
    given = parser.parse_args(arguments)
    try:
        made = report(reading.read(given.results), given.output.parent)
        made.write(given.output)
    except FastnetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{given.output}, with {len(made.charts)} charts in {given.output.parent / FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
