"""Columns and metrics as text: at most 80 characters wide, and short for wide tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from fastnet.cli.terminal import say

#: A table with more columns is summarized.
MOST_LINES = 40

#: Characters of the name of a column or a class that are shown.
_NAME_LENGTH = 24

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


def short(value: object, length: int = _NAME_LENGTH) -> str:
    """A name or a class on one line, not too long."""
    text = str(value)
    shown = text if text.isprintable() and text.strip() == text != "" else repr(text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def columns(lines: Sequence[Line], missing: bool = True) -> None:
    """Print columns: name, kind, inputs, rows without a value, and a remark.

    The columns of a wide table are counted by kind, and only unusual ones are printed.
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
        say("--json lists all of them")
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("column", no_wrap=True)
    grid.add_column("kind", no_wrap=True)
    grid.add_column("inputs", justify="right", no_wrap=True)
    if missing:
        grid.add_column("missing", justify="right", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name, kind, inputs, gaps, remark in shown:
        cells = [short(name), kind, f"{inputs:,}" if inputs else ""]
        if missing:
            cells.append(f"{gaps:,}" if gaps else "")
        grid.add_row(*(Text(cell) for cell in (*cells, remark)))
    Console().print(grid)
    if rest:
        say(f"and {count(rest, 'more column')}; --json lists all of them")


_PHRASES = {
    "number": "of numbers",
    "categories": "of categories",
    "dates": "of dates",
    "left out": "left out",
}


def categories(column: Any) -> str:
    """The categories of a column; the first ones by name."""
    names = [short(value, 16) for value in column.values[:4]]
    more = len(column.values) - len(names)
    names += [f"{more:,} more"] * (more > 0)
    names += ["other"] * column.other + ["missing"] * (column.missing == "category")
    return ", ".join(names)


def metrics(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows and metrics, a column for each part; an undefined value as a dash."""
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("")
    for name in parts:
        grid.add_column(name, justify="right")
    for key, name in _NAMES.items():
        values = [part.get(key) for part in parts.values()]
        if any(value is not None for value in values):
            grid.add_row(name, *(_format(key, value) for value in values))
    Console().print(grid)


def _format(key: str, value: Any) -> str:
    # The value may come from any file: what is not a number is a dash.
    if key == "rows" and isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float) or not math.isfinite(value):
        return "-"
    if key == "accuracy":
        return f"{value:.2%}"
    return f"{value:.4f}" if key in ("roc_auc", "r2") else f"{value:.4g}"


def confusion(part: str, counts: Any, classes: Sequence[object]) -> None:
    """Print the confusion matrix of a part of the rows, such as "test"."""
    say(f"confusion matrix of the {part} rows; rows: true, columns: predicted")
    room = max((72 - 14) // len(classes) - 2, 3)
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("", no_wrap=True)
    for name in classes:
        grid.add_column(Text(short(name, room)), justify="right", no_wrap=True)
    for name, row in zip(classes, counts, strict=True):
        grid.add_row(Text(short(name, 14)), *(f"{count:,}" for count in row))
    Console().print(grid)


def count(number: int, noun: str) -> str:
    """A number of things, such as `3 columns`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
