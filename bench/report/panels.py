"""Bars: a panel for every workload, a bar for every contestant."""

from collections.abc import Sequence
from itertools import accumulate

from bench.report import quantities
from bench.report.drawing import EDGE, SMALL, TEXT, TITLE, WIDTH, Sheet, wide, wrapped
from bench.report.measured import Case, Measured
from bench.report.palette import Theme, look
from bench.report.scales import Scale, speeds

_PITCH, _BAR = 18.0, 11.0  # pixels from bar to bar, and of a bar
_FOOT = 48.0  # below the bars
_LEAST = 4.0  # of a bar that would not be seen


def bars(cases: Sequence[Case], theme: Theme, relative: bool = True) -> Sheet:
    """A panel for each case, a bar for each contestant, with its name and what was measured.

    Args:
        cases: what is shown; with `relative` all must have NumPy.
        theme: light or dark.
        relative: speed relative to NumPy on a logarithmic scale; otherwise what was measured, from
            zero.
    """
    label = max(wide(one.name, TEXT, one.ours) for case in cases for one in case.entries)
    columns = 2 if len(cases) > 1 and label < 150 else 1
    room = (WIDTH - EDGE) / columns - EDGE
    below = [wrapped(case.record.what, room) for case in cases]
    rows = [range(i, min(i + columns, len(cases))) for i in range(0, len(cases), columns)]
    heads = [26.0 + 16.0 * max(len(below[i]) for i in row) for row in rows]
    deep = [_PITCH * max(len(cases[i].entries) for i in row) for row in rows]
    tops = [*accumulate((a + b + _FOOT for a, b in zip(heads, deep, strict=True)), initial=8.0)]
    sheet = Sheet(tops[-1], theme)
    for row, top, head in zip(rows, tops, heads, strict=False):
        for column, i in enumerate(row):
            left = EDGE + column * (room + EDGE)
            sheet.text(left, top + 13, cases[i].name, size=TITLE, bold=True)
            for k, line in enumerate(below[i]):
                sheet.text(left, top + 31 + 16 * k, line, size=SMALL, color=theme.quiet)
            _panel(sheet, cases[i], left, top + head, room, label, relative)
    return sheet


def _panel(
    sheet: Sheet, case: Case, left: float, top: float, room: float, label: float, relative: bool
) -> None:
    theme, entries = sheet.theme, case.entries
    values = [one.text for one in entries]
    ratios = [quantities.times(case.speed(one)) if relative else "" for one in entries]
    first, second = (max(wide(t, TEXT, True) for t in texts) for texts in (values, ratios))
    start = left + label + 12
    end = left + room - first - second - (30 if relative else 14)
    bottom = top + _PITCH * len(entries)
    if relative:
        base, unit, title = 1.0, 1.0, "speed relative to fastnet numpy"
        scale = speeds([case.speed(one) for one in entries], end - start, 4.0)
        marks = {mark: quantities.tick_times(mark) for mark in scale.marks(44)}
    else:
        unit, name = _unit(entries)
        base, title = 0.0, f"{'size' if name == 'MB' else 'time'} ({name})"
        most = max(one.value for one in entries) / unit
        scale = Scale(0.0, most * 1.04, end - start, log=False)
        marks = {mark: quantities.tick(mark) for mark in scale.marks(44)}
    sheet.axis(scale, start, bottom, marks, title)
    for mark in marks:
        ink = theme.quiet if mark == base else theme.line
        sheet.line([start + scale(mark)] * 2, [top, bottom], ink, height=1)
    zero = start + scale(base)
    for k, one in enumerate(entries):
        y = top + _PITCH * (k + 0.5)
        spread = (one.value, one.low, one.high) if one.record.amount is None else (one.value,)
        x, *ends = (start + scale(case.relative(v) if relative else v / unit) for v in spread)
        if abs(x - zero) < _LEAST:
            around = (zero - _LEAST / 2, zero + _LEAST / 2) if relative else (zero, zero + _LEAST)
        else:
            around = zero, x
        sheet.bar(*around, y, _BAR, look(one.record.contestant), one.ours)
        sheet.line(ends, [y] * len(ends), theme.ink, height=4)
        best = one is case.fastest
        sheet.text(start - 12, y, one.name, bold=one.ours, align="right")
        sheet.text(end + 14 + first, y, values[k], bold=best, align="right")
        sheet.text(left + room, y, ratios[k], bold=best, align="right", color=theme.quiet)


def _unit(entries: Sequence[Measured]) -> tuple[float, str]:
    """What the axis counts in."""
    if entries[0].record.amount is not None:
        return 1e6, "MB"
    most = max(one.value for one in entries)
    return next(
        (unit for unit in reversed(quantities.TIMES) if most >= unit[0]), quantities.TIMES[0]
    )
