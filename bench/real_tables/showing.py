"""The report on real tables."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

OURS = "fastnet"

_WHAT = """\
Each row is a real table, with the mean score of random splits, 80 % of the rows for training and
20 % for the score (accuracy for classes, R² for numbers), its standard deviation, and the
processor's seconds for a fit. All have their default parameters, one thread, and the same splits;
small tables have more of them. Where some have fewer ("5 splits"), the means of a row are of
different splits, and none is bold as the best; the lines below compare splits that both have.
fastnet is there once more with eight networks in place of one (`--members 8`). fastnet's defaults
were chosen on other tables, and on other splits of these. Below, what fastnet is behind by is the
mean over the splits and its standard error. Splits of a table share rows: the error says how far
other splits would move the mean, not how far a new sample of rows would, which is further."""


def report(path: Path) -> list[str]:
    """Markdown lines of a file of measurements: the table, and where fastnet is behind."""
    facts = json.loads(path.read_text())
    scores = facts["scores"]
    names = list(scores)
    shown = [name for name in facts["tables"] if any(scores[who].get(name) for who in names)]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    lines = [
        "# Real tables",
        "",
        *_WHAT.splitlines(),
        "",
        f"- Measured {facts['date']}{_earlier(facts)} on {facts['machine']}",
        f"- Versions: {versions}",
        f"- To repeat it: `python -m bench.real_tables {path.as_posix()}`",
        "",
        f"| table | splits | score | {' | '.join(names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    mean = {
        (who, name): _mean(scores[who][name], "score")
        for who in names
        for name in shown
        if scores[who].get(name)
    }
    for name in shown:
        best = max(round(mean.get((who, name), -np.inf), 3) for who in names)
        counts = {len(scores[who][name]) for who in names if (who, name) in mean}
        splits = max(counts)
        cells = []
        for who in names:
            if (who, name) not in mean:
                cells.append("not measured")
                continue
            spread = np.std([one["score"] for one in scores[who][name]])
            text = f"{mean[who, name]:.3f}"
            if len(counts) == 1 and round(mean[who, name], 3) == best:
                text = f"**{text}**"
            text = f"{text} ± {spread:.3f}, {_mean(scores[who][name], 'seconds'):.2g} s"
            count = len(scores[who][name])
            cells.append(f"{text}, {count} splits" if count < splits else text)
        metric = "accuracy" if facts["tables"][name]["task"] == "classification" else "R²"
        lines.append(f"| {name} | {splits} | {metric} | {' | '.join(cells)} |")
    return [*lines, "", *_behind(scores, names, shown)]


def _earlier(facts: dict[str, Any]) -> str:
    """In brackets, what was measured before the date of the file."""
    tables: dict[tuple[str, str], list[str]] = {}
    for who, days in facts["dates"].items():
        for name, day in days.items():
            if day != facts["date"]:
                tables.setdefault((day, who), []).append(name)
    contestants: dict[tuple[str, str], list[str]] = {}
    for (day, who), on in tables.items():
        contestants.setdefault((day, ", ".join(on)), []).append(who)
    return "".join(f" ({', '.join(who)} on {on}: {day})" for (day, on), who in contestants.items())


def _behind(scores: dict[str, Any], names: list[str], shown: list[str]) -> list[str]:
    """On how many tables fastnet is as good as each of the others, and by how much it loses.

    That is the mean over the splits, and its standard error.
    """
    lines = []
    all_ours = [name for name in names if name.startswith(OURS)]
    for who, ours in product(names, all_ours):
        if who in all_ours:
            continue
        both = [name for name in shown if scores[who].get(name) and scores[ours].get(name)]
        lost = {name: _difference(scores[who][name], scores[ours][name]) for name in both}
        lost = {name: by for name, by in lost.items() if by[0] > 0}
        text = ", ".join(f"{name} by {by:.4f} ± {error:.4f}" for name, (by, error) in lost.items())
        lines.append(
            f"- {who}: {ours}{',' * (',' in ours)} is at or above it on {len(both) - len(lost)} of "
            f"{len(both)}" + (f"; behind on {text}." if lost else ".")
        )
    return lines


def _difference(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> tuple[float, float]:
    """The mean difference of the scores on the splits that both have, and its standard error."""
    apart = [a["score"] - b["score"] for a, b in zip(one, other, strict=False)]
    mean = round(float(np.mean(apart)), 12)  # the same scores in another order are no difference
    return mean, float(np.std(apart, ddof=1) / np.sqrt(len(apart)))


def _mean(measured: list[dict[str, Any]], what: str) -> float:
    return float(np.mean([one[what] for one in measured]))
