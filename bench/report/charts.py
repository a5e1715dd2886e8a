"""Charts over many workloads: speed at a glance, and how time grows."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from bench.report import quantities
from bench.report.drawing import EDGE, SMALL, TEXT, TITLE, WIDTH, Sheet, wide, wrapped
from bench.report.measured import Case, Measured, once
from bench.report.palette import Theme, look
from bench.report.scales import Scale, apart, logarithmic, speeds

#: What is written at the axis of a series.
AXES = {
    "width": "units in a hidden layer",
    "depth": "hidden layers",
    "batch": "rows in a batch",
    "rows": "rows in a call",
}

#: What the dashed line is called.
IDEAL = "ideal"

_DOT = 11.0  # pixels between dots that would hide each other
_ABOVE, _BELOW = 32.0, 14.0  # of a row's dots
_LINE = 15.0  # from label to label


def overview(cases: Sequence[Case], title: str, theme: Theme) -> Sheet:
    """A row for each workload, on one logarithmic scale of speed; all cases must have NumPy."""
    against = [_against(case) for case in cases]
    who = {name for name, _, _ in against if name}
    head = f"{who.pop()} against" if len(who) == 1 else "fastest of fastnet against"
    numpy = max(wide(text, TEXT, True) for text in ["numpy", *(text for _, text, _ in against)])
    peer = max(wide(text) for text in ["best peer", *(text for _, _, text in against)])
    column = WIDTH - EDGE - max(numpy + 16 + peer, wide(head, SMALL))
    left, right = EDGE, column - 24.0
    every = [case.speed(one) for case in cases for one in case.entries]
    scale = speeds(every, right - left, 8.0)
    marks = {mark: quantities.tick_times(mark) for mark in scale.marks(62)}

    lanes = [_lanes([scale(case.speed(one)) for one in case.entries]) for case in cases]
    deep = [(_DOT * min(-1, *rows), _DOT * max(1, *rows)) for rows in lanes]
    legend = _legend([one for case in cases for one in case.entries], WIDTH - 2 * EDGE)
    top = 48.0 + 20 * (legend[-1][2] + 1) + 24.0
    tops = [*accumulate((_ABOVE + b - a + _BELOW for a, b in deep), initial=top)]

    sheet = Sheet(tops[-1] + 42.0, theme)
    sheet.text(EDGE, 20, title, size=TITLE, bold=True)
    for one, x, row in legend:
        sheet.marker(EDGE + 5 + x, 48.0 + 20 * row, look(one.record.contestant), one.ours)
        sheet.text(EDGE + 15 + x, 48.0 + 20 * row, one.name, bold=one.ours)
    sheet.text(column, top - 24, head, size=SMALL, color=theme.quiet)
    sheet.text(column + numpy, top - 6, "numpy", color=theme.quiet, align="right")
    sheet.text(column + numpy + 16, top - 6, "best peer", color=theme.quiet)
    sheet.axis(
        scale, left, tops[-1], marks, "speed relative to fastnet numpy (log scale); right is faster"
    )
    for case, rows, (high, low), y, texts in zip(cases, lanes, deep, tops, against, strict=False):
        middle = y + _ABOVE - high
        sheet.text(EDGE, y + 13, case.name, bold=True)
        after = EDGE + wide(case.name, TEXT, True) + 10
        for line in wrapped(case.record.what, WIDTH - EDGE - after)[:1]:
            sheet.text(after, y + 13, line, size=SMALL, color=theme.quiet)
        sheet.text(column + numpy, middle, texts[1], bold=True, align="right")
        sheet.text(column + numpy + 16, middle, texts[2])
        for mark in marks:
            ink, x = theme.quiet if mark == 1 else theme.line, left + scale(mark)
            sheet.line([x, x], [y + 23, middle + low + 10], ink, height=1)
        for one, lane in zip(case.entries, rows, strict=True):
            x, at = left + scale(case.speed(one)), middle + lane * _DOT
            its = look(one.record.contestant)
            if one.ours:
                sheet.line([left + scale(1.0), x], [at, at], its.color(theme), 2.4)
            sheet.marker(x, at, its, one.ours)
    return sheet


def _against(case: Case) -> tuple[str, str, str]:
    """The fastest of fastnet, NumPy aside, and how many times as fast as NumPy and best peer."""
    ours, peer = case.compiled, case.best("peer")
    if ours is None:
        return "", quantities.NOTHING, quantities.NOTHING
    beside = (
        quantities.NOTHING
        if peer is None
        else f"{quantities.times(peer.value / ours.value)} {peer.name}"
    )
    return ours.name, quantities.times(case.speed(ours)), beside


def _lanes(places: Sequence[float]) -> list[int]:
    """For each dot the lane nearest to the middle in which it touches none before it."""
    taken: list[tuple[float, int]] = []
    for x in places:
        lanes = sorted(range(-len(places), len(places) + 1), key=lambda lane: (abs(lane), lane))
        free = (n for n in lanes if all(m != n or abs(x - y) >= _DOT for y, m in taken))
        taken.append((x, next(free)))
    return [lane for _, lane in taken]


def _legend(entries: Sequence[Measured], room: float) -> list[tuple[Measured, float, int]]:
    """Everyone once, and where they stand: pixels from the left, and in which line."""
    places: list[tuple[Measured, float, int]] = []
    x, row = 0.0, 0
    for one in once(entries):
        its = 15 + wide(one.name, TEXT, one.ours)
        if x and x + its > room:
            x, row = 0.0, row + 1
        places.append((one, x, row))
        x += its + 22
    return places


def growth(
    cases: Sequence[Case], ideal: Mapping[float, float], axis: str, title: str, theme: Theme
) -> Sheet:
    """Time by the places of a series, both logarithmic, names at the lines' ends.

    Args:
        cases: of the series.
        ideal: seconds by place: the least that the arithmetic takes on this machine.
        axis: the series' name.
        title: above it all.
        theme: light or dark.
    """
    lines: list[tuple[Measured | None, Sequence[tuple[float, float]]]] = []
    for who in once(one for case in cases for one in case.entries):
        held = [(c.place, one.median) for c in cases for one in c.entries if one.name == who.name]
        lines.append((who, sorted(held)))
    if ideal:
        lines.append((None, sorted(ideal.items())))
    names = [IDEAL if one is None else one.name for one, _ in lines]
    places = sorted({x for _, points in lines for x, _ in points})
    times = [time for _, points in lines for _, time in points]

    left, top = EDGE + 76.0, 48.0
    long = WIDTH - EDGE - left - max(wide(name, TEXT, True) for name in names) - 44
    high = max(240.0, _LINE * len(lines))
    across = logarithmic(places[0], places[-1], long, 14.0)
    up = logarithmic(min(times), max(times), high, 12.0)
    bottom = top + high
    sheet = Sheet(bottom + 46, theme)
    sheet.text(EDGE, 20, title, size=TITLE, bold=True)
    unit = cases[0].record.unit
    sheet.text(EDGE + 6, top + high / 2, f"time of a {unit}", size=SMALL, color=theme.quiet,
               align="center", turn=90)  # fmt: skip
    for mark in up.marks(34):
        y = bottom - up(mark)
        sheet.line([left, left + long], [y, y], theme.line, height=1)
        text = quantities.tick_time(mark)
        sheet.text(left - 8, y, text, size=SMALL, color=theme.quiet, align="right")
    shown = _shown(places, across)
    sheet.axis(across, left, bottom, shown, AXES.get(axis, axis))
    for place in shown:
        sheet.line([left + across(place)] * 2, [top, bottom], theme.line, height=1)

    wanted = [bottom - up(points[-1][1]) for _, points in lines]
    stands = apart(wanted, _LINE, top, bottom)
    for (one, points), name, at, stand in zip(lines, names, wanted, stands, strict=True):
        its = None if one is None else look(one.record.contestant)
        ours, ink = one is not None and one.ours, its.color(theme) if its else theme.quiet
        xs, ys = [left + across(x) for x, _ in points], [bottom - up(time) for _, time in points]
        wide_line, dashes = (2.4 if ours else 1.4), () if its else (4.0, 3.0)
        sheet.line(xs, ys, ink, wide_line, dashes, 4 if ours else 3)
        for x, y in zip(xs, ys, strict=True):
            if its:
                sheet.marker(x, y, its, ours)
        end = left + long + 26
        sheet.line([xs[-1] + 7, end], [at, stand], ink, 1.0, (1.0, 2.0))
        if its:
            sheet.marker(end + 7, stand, its, ours)
        sheet.text(end + 16, stand, name, bold=ours, color=None if its else ink)
    return sheet


def _shown(places: Sequence[float], across: Scale) -> dict[float, str]:
    """The places whose numbers have room, the last one first of all."""
    shown: dict[float, str] = {}
    free = float("inf")
    for place in reversed(places):
        text, x = quantities.tick(place), across(place)
        half = wide(text, SMALL) / 2
        if x + half + 8 <= free:
            shown[place], free = text, x - half
    return shown
