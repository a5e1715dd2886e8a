"""How columns and figures are shown: legible in 80 columns, and short for wide tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fastnet.cli.terminal import say

#: A table with more columns is summed up.
MOST_LINES = 40

#: Letters of a column's or a class's name that are shown.
_LETTERS = 24

_NAMES = {
    "rows": "rows",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
}

Line = tuple[str, str, int, int | None, str]


def word(value: object, letters: int = _LETTERS) -> str:
    """A name or a class on one line, not too long."""
    text = str(value)
    shown = text if text.isprintable() and text.strip() == text != "" else repr(text)
    return shown if len(shown) <= letters else shown[: letters - 1] + "…"


def columns(lines: Sequence[Line], missing: bool = True) -> None:
    """Show columns: name, kind, inputs, rows without a value, and a remark.

    Of a wide table those are counted by kind, and only the ones that stand out are shown.
    """
    shown = list(lines)
    if len(lines) > MOST_LINES:
        for kind in dict.fromkeys(line[1] for line in lines):
            same = [line for line in lines if line[1] == kind]
            inputs = sum(line[2] for line in same)
            say(f"{count(len(same), 'column')} {_PHRASES[kind]}, {count(inputs, 'input')}")
        notable = [
            line for line in lines if line[1] != "number" or line[3] or (missing and line[4])
        ]
        shown = notable[:MOST_LINES]
        say()
    rest = len(lines) - len(shown)
    if not shown:
        say("--json has all of them")
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("column", no_wrap=True)
    grid.add_column("kind", no_wrap=True)
    grid.add_column("inputs", justify="right", no_wrap=True)
    if missing:
        grid.add_column("missing", justify="right", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name, kind, inputs, gaps, remark in shown:
        cells = [word(name), kind, f"{inputs:,}" if inputs else ""]
        if missing:
            cells.append(f"{gaps:,}" if gaps else "")
        grid.add_row(*(Text(cell) for cell in (*cells, remark)))
    Console().print(grid)
    if rest:
        say(f"and {count(rest, 'more column')}; --json has all of them")


_PHRASES = {"number": "of numbers", "categories": "of categories", "left out": "left out"}


def categories(column: Any) -> str:
    """The categories of a column, the first ones by name."""
    names = [word(value, 16) for value in column.values[:4]]
    more = len(column.values) - len(names)
    names += [f"{more:,} more"] * (more > 0)
    names += ["other"] * column.other + ["missing"] * (column.missing == "category")
    return ", ".join(names)


def figures(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Show rows and metrics, a column for each part; an undefined one as a dash."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("")
    for name in parts:
        grid.add_column(name, justify="right")
    for key, name in _NAMES.items():
        values = [part.get(key) for part in parts.values()]
        if any(value is not None for value in values):
            grid.add_row(name, *(_figure(key, value) for value in values))
    Console().print(grid)


def _figure(key: str, value: Any) -> str:
    # Whoever wrote the file: what is no figure is a dash.
    if key == "rows" and isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float) or not math.isfinite(value):
        return "-"
    if key == "accuracy":
        return f"{value:.2%}"
    return f"{value:.4f}" if key in ("roc_auc", "r2") else f"{value:.4g}"


def confusion(counts: Any, classes: Sequence[object]) -> None:
    """Show how many rows of each class were predicted as which."""
    say("rows held out, by their class (down) and by what was predicted (across)")
    room = max((72 - 14) // len(classes) - 2, 3)
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("", no_wrap=True)
    for name in classes:
        grid.add_column(Text(word(name, room)), justify="right", no_wrap=True)
    for name, row in zip(classes, counts, strict=True):
        grid.add_row(Text(word(name, 14)), *(f"{count:,}" for count in row))
    Console().print(grid)


def count(number: int, what: str) -> str:
    """How many, as `3 columns`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
