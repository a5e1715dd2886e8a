"""Columns and metrics as text: at most 80 characters wide, and short for wide tables."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastnet.cli.terminal import say
from fastnet.tables.reporting import Grid, short

#: A table with more columns is summarized.
MOST_LINES = 40

#: The same where the columns are not all that is shown, and where settings were searched for too:
#: with them, a report on two classes has 40 lines.
FEW_LINES, FEWEST_LINES = 14, 6

Line = tuple[str, str, int, int | None, str]


def columns(lines: Sequence[Line], missing: bool = True, most: int = MOST_LINES) -> None:
    """Print columns: name, kind, inputs, rows without a value, and a remark.

    The columns of a wide table are counted by kind, and only unusual ones are printed.
    """
    shown = list(lines)
    if len(lines) > most:
        for kind in dict.fromkeys(line[1] for line in lines):
            same = [line for line in lines if line[1] == kind]
            inputs = sum(line[2] for line in same)
            made = f", {count(inputs, 'input')}" if inputs else ""
            say(f"{count(len(same), 'column')} {_PHRASES[kind]}{made}")
        notable = [
            line for line in lines if line[1] != "number" or line[3] or (missing and line[4])
        ]
        notable.sort(key=lambda line: _UNUSUAL.index(line[1]))
        shown = notable[:most]
        say()
    rest = len(lines) - len(shown)
    if not shown:
        say("--json lists all of them")
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
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


#: Kinds of columns, those first that are least expected.
_UNUSUAL = ("left out", "dates", "categories", "number")

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


def grid(found: Grid) -> None:
    """Print a grid, with its title."""
    if found.title:
        say(found.title)
    printed = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(found.head):
        printed.add_column(Text(name), justify="right" if place else "left", no_wrap=True)
    for row in found.rows:
        printed.add_row(*map(Text, row))
    Console().print(printed)


def count(number: int, noun: str) -> str:
    """A number of things, such as `3 columns`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
