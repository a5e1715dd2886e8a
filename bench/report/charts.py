"""The report's charts, drawn by matplotlib as SVG, each for a light and a dark page.

Text stays text: files are small, and are laid out for DejaVu Sans, which is wider than the fonts
that replace it elsewhere. The same results give the same bytes.
"""

import io
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.report import quantities
from bench.report.quantities import NOTHING, tick
from bench.report.results import Case, Measurement, Results, contestants

#: Pixels of a README on GitHub.
WIDTH = 830

#: A contestant's color on a light and on a dark page, and its marker. fastnet's backends have the
#: strong colors of Okabe and Ito (2008), peers quieter ones.
LOOKS = {
    "numba": ("#D55E00", "#F0772B", "D"),
    "cupy": ("#009E73", "#1FC795", "s"),
    "numpy": ("#0072B2", "#3D9FE0", "o"),
    "by hand": ("#6B6969", "#817F7E", "X"),
    "torch": ("#8D5983", "#DDB8FA", "^"),
    "torch fused": ("#6B3F75", "#976297", "v"),
    "torch compile": ("#9D7E95", "#B48DAB", ">"),
    "jax": ("#8D4F11", "#EBBC3B", "P"),
    "scikit-learn": ("#365343", "#689872", "p"),
    "onnxruntime": ("#868EC7", "#B3CACF", "h"),
}
_OTHER = ("#767676", "#A0A0A0", "*")

#: Pixels between dots that would cover each other.
_DOT = 12.0

_AXES = {"width": "units in a hidden layer", "depth": "hidden layers", "batch": "rows in a batch"}


class Theme(NamedTuple):
    """Ending of a file's name, and colors: page, text, less important text, grid."""

    ending: str
    page: str
    ink: str
    quiet: str
    grid: str

    def color(self, one: Measurement) -> str:
        """A contestant's color on this page."""
        return LOOKS.get(one.record.contestant, _OTHER)[1 if self.ending else 0]

    def marker(self, one: Measurement) -> dict[str, Any]:
        """Arguments of `plot`: filled and larger for fastnet, hollow for the others."""
        color = self.color(one)
        face, edge = (color, self.page) if one.ours else (self.page, color)
        return {
            "color": color, "marker": LOOKS.get(one.record.contestant, _OTHER)[2],
            "markerfacecolor": face, "markeredgecolor": edge,
            "markersize": 5.5 + 1.5 * one.ours, "zorder": 3 + one.ours,
        }  # fmt: skip


#: GitHub's pages.
LIGHT = Theme("", "#ffffff", "#1f2328", "#59636e", "#d8dee4")
DARK = Theme("-dark", "#0d1117", "#f0f6fc", "#9aa4af", "#2b323b")
THEMES = (LIGHT, DARK)


def svg(draw: Callable[[str, Theme], Figure], title: str, alt: str, theme: Theme) -> bytes:
    """The chart that `draw` makes, with title and (escaped) description for screen readers."""
    with matplotlib.rc_context({
        "font.size": 9, "font.sans-serif": ["DejaVu Sans"], "text.parse_math": False,
        "svg.fonttype": "none", "svg.hashsalt": "fastnet", "legend.frameon": False,
        "axes.labelsize": 8.5, "axes.axisbelow": True, "axes.spines.top": False,
        "axes.spines.right": False, "xtick.labelsize": 8.5, "ytick.major.size": 0,
        "figure.facecolor": theme.page, "axes.facecolor": theme.page,
        "text.color": theme.ink, "ytick.color": theme.ink, "xtick.color": theme.quiet,
        "axes.labelcolor": theme.quiet, "grid.color": theme.grid, "axes.edgecolor": theme.grid,
    }):  # fmt: skip
        file = io.StringIO()
        metadata = {"Title": title, "Date": None, "Creator": None}
        draw(title, theme).savefig(file, format="svg", metadata=metadata)
    return file.getvalue().replace("</title>", f"</title>\n <desc>{alt}</desc>", 1).encode()


def speeds(cases: Sequence[Case], title: str, theme: Theme) -> Figure:
    """A row for each workload on one logarithmic scale of speed; all cases must have NumPy."""
    every = [case.speed(one.value) for case in cases for one in case.entries]
    low, high = min(0.5, *every) / 1.2, max(2.0, *every) * 1.2
    near = math.log(high / low) * _DOT / (0.7 * WIDTH)
    lanes = [_lanes([case.speed(one.value) for one in case.entries], near) for case in cases]
    heights = (44 + _DOT * (max(rows) - min(rows)) for rows in lanes)
    tops = [*accumulate(heights, initial=24.0)]
    figure = _figure(tops[-1] + 40)
    axes = figure.add_subplot(xscale="log", xlim=(low, high), ylim=(tops[-1], 0), yticks=[])
    axes.set_xlabel("speed relative to fastnet numpy (logarithmic scale, with quartiles)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 100 else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: quantities.times(x, tick)))
    axes.grid(visible=True, axis="x")
    axes.axvline(1, color=theme.quiet, linewidth=1)
    axes.spines["left"].set_visible(False)
    ours = [case.best("fastnet", without=case.numpy) for case in cases]
    names = dict.fromkeys(one.record.contestant for one in ours if one)
    _beside(axes, 10, [f"{'/'.join(names)} vs. numpy", "vs. best peer"], theme.quiet)
    blank = {"facecolor": theme.page, "edgecolor": "none", "pad": 1.0}  # hides the grid
    for case, best, rows, top in zip(cases, ours, lanes, tops, strict=False):
        middle = top + 26 - _DOT * min(rows)
        name = axes.annotate(case.record.workload, (0, top + 5), va="center", weight="bold",
                             xycoords=("axes fraction", "data"))  # fmt: skip
        axes.annotate(case.record.what, (1, 0.5), (8, 0), xycoords=name, size=8, va="center",
                      textcoords="offset points", color=theme.quiet, bbox=blank)  # fmt: skip
        if best:
            peer = case.best("peer")
            against = (
                f"{quantities.times(peer.value / best.value)} {peer.name}" if peer else NOTHING
            )
            _beside(axes, middle, [quantities.times(case.speed(best.value)), against], theme.ink)
        for one, lane in zip(case.entries, rows, strict=True):
            x, y = case.speed(one.value), middle + _DOT * lane
            if one.ours:
                axes.plot([1, x], [y, y], color=theme.color(one), linewidth=2)
            axes.plot([case.speed(one.q1), case.speed(one.q3)], [y, y], color=theme.color(one))
            axes.plot(x, y, linestyle="", **theme.marker(one))
    _legend(figure, cases, title, theme)
    return figure


def _lanes(speeds: Sequence[float], near: float) -> list[int]:
    """For each dot the lane closest to the middle where no earlier dot is `near` (logarithms)."""
    taken: list[tuple[int, float]] = []
    for x in map(math.log, speeds):
        lanes = sorted(range(-len(speeds), len(speeds) + 1), key=abs)
        covered = {lane for lane, y in taken if abs(x - y) < near}
        taken.append((next(lane for lane in lanes if lane not in covered), x))
    return [lane for lane, _ in taken]


def bars(cases: Sequence[Case], title: str, theme: Theme) -> Figure:
    """A panel for each workload, a bar for each contestant, from zero."""
    rows = -(-len(cases) // 2)
    figure = _figure(30 + rows * (90 + 17 * max(len(case.entries) for case in cases)))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
    panels = figure.subplots(rows, 2, squeeze=False).flat
    for axes, case in zip(panels, cases, strict=False):
        axes.set_title(case.record.workload, loc="left", weight="bold", size=10, pad=16)
        axes.annotate(case.record.what, (0, 1), (0, 5), xycoords="axes fraction", size=8,
                      textcoords="offset points", color=theme.quiet)  # fmt: skip
        show = quantities.time if case.record.amount is None else quantities.size
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _, show=show: show(x, tick)))
        axes.grid(visible=True, axis="x")
        axes.set_yticks(range(len(case.entries)), [one.name for one in case.entries])
        axes.invert_yaxis()
        for y, one in enumerate(case.entries):
            color = theme.color(one)
            axes.barh(y, one.value, 0.62, color=(color, 1 if one.ours else 0.5), edgecolor=color)
            if one.record.amount is None:
                axes.plot([one.q1, one.q3], [y, y], color=theme.ink, linewidth=1)
            _beside(axes, y, [one.text], theme.ink, bold=one is case.fastest)
    for axes in panels:
        axes.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
    return figure


def growth(results: Results, cases: Sequence[Case], title: str, theme: Theme) -> Figure:
    """Time of a training step along each series, both axes logarithmic."""
    figure = _figure(380)
    series = dict.fromkeys(str(case.record.axis) for case in cases)
    panels = figure.subplots(1, len(series), sharey=True, squeeze=False)[0]
    for axes, axis in zip(panels, series, strict=True):
        along = [case for case in cases if case.record.axis == axis]
        along.sort(key=lambda case: case.record.value or 0)
        places = [case.record.value for case in along]
        axes.set(xscale="log", yscale="log", xlabel=_AXES.get(axis, axis))
        axes.grid(visible=True)
        axes.set_xticks(places, [f"{place:,}" for place in places])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: quantities.time(y, tick)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        for who in contestants(along):
            held = [{one.name: one.median for one in case.entries} for case in along]
            times = [each.get(who.name, math.nan) for each in held]
            axes.plot(places, times, linewidth=1.0 + who.ours, **theme.marker(who))
        first = along[0].entries[0]
        ceiling = results.ceiling("matrix product", first.record.threads, first.source)
        if ceiling:
            ideal = [(case.record.flops or math.nan) / ceiling for case in along]
            axes.plot(places, ideal, "--", color=theme.quiet, linewidth=1)
    panels[0].set_ylabel("time of a step; dashed: arithmetic alone, at the ceiling")
    _legend(figure, cases, title, theme)
    return figure


def grid(results: Results, cases: Sequence[Case], title: str, theme: Theme) -> Figure:
    """The map: in each cell fastnet's share of the ceiling, and below its speed relative to the
    best peer.
    """
    cells = map_cells(results, cases)
    widths, batches = (sorted(set(places)) for places in zip(*cells, strict=True))
    figure = _figure(30 + 2 * (75 + 34 * len(batches)))
    panels = figure.subplots(2, 1, squeeze=False)[:, 0]
    red, blue = (LOOKS[name][1 if theme.ending else 0] for name in ("numba", "numpy"))
    for axes, which, heading, colors, ends in (
        (panels[0], 0, "share of the ceiling of matrix products, in % (blank: not measured)",
         [theme.page, blue], (0, 1)),
        (panels[1], 1, "speed relative to the best peer (red: the peer is faster)",
         [red, theme.page, blue], (-2, 2)),
    ):  # fmt: skip
        shown = LinearSegmentedColormap.from_list("", colors)
        axes.set(xlim=(0, len(widths)), ylim=(0, len(batches)), ylabel=_AXES["batch"])
        axes.set_xticks([i + 0.5 for i in range(len(widths))], [f"{n:,}" for n in widths])
        axes.set_yticks([i + 0.5 for i in range(len(batches))], [f"{n:,}" for n in batches])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(heading, loc="left", size=9, color=theme.ink)
        for (width, batch), values in cells.items():
            x, y, value = widths.index(width), batches.index(batch), values[which]
            if value is None:
                continue
            # Shares linearly; twice as fast is as far from equal as half as fast.
            place = value if which == 0 else math.log2(value)
            color = shown((min(max(place, ends[0]), ends[1]) - ends[0]) / (ends[1] - ends[0]))
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor=theme.page))
            text = f"{100 * value:.0f}" if which == 0 else quantities.times(value, _short)
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", size=9.5,
                      color=_on(color))  # fmt: skip
    panels[1].set_xlabel(_AXES["width"])
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=11)
    return figure


def map_cells(
    results: Results, cases: Sequence[Case]
) -> dict[tuple[int, int], tuple[float | None, float | None]]:
    """By width and batch, the share of the ceiling of the best of fastnet's backends, and its speed
    relative to the best peer; None where one was not measured.
    """
    found: dict[tuple[int, int], tuple[float | None, float | None]] = {}
    for case in cases:
        ours, peer, r = case.best("fastnet"), case.best("peer"), case.record
        if ours is None:
            continue
        ceiling = results.ceiling("matrix product", r.threads, ours.source)
        batch = int(str(r.axis).partition(" ")[2])
        found[int(r.value or 0), batch] = (
            r.flops / ours.median / ceiling if ceiling else None,
            peer.median / ours.median if peer else None,
        )
    return found


def _short(ratio: float) -> str:
    """Two significant digits, and about 1, where they tell who is ahead, hundredths."""
    return f"{ratio:.2f}" if ratio < 1.095 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def _on(color: tuple[float, ...]) -> str:
    """Black or white, whichever can be read on a color (its luminance as in WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if light > 0.179 else "#ffffff"


def _figure(height: float = 400) -> Figure:
    """`WIDTH` by `height` pixels."""
    return Figure((WIDTH / 96, height / 96), dpi=96, layout="constrained")


def _beside(axes: Axes, y: float, texts: Sequence[str], color: str, bold: bool = False) -> None:
    """Texts right of the axes: the first ends where the second begins."""
    for x, align, text in zip((74, 86), ("right", "left"), texts, strict=False):
        axes.annotate(text, (1, y), (x, 0), xycoords=("axes fraction", "data"), ha=align,
                      va="center", textcoords="offset points", color=color,
                      weight="bold" if bold else "normal")  # fmt: skip


def _legend(figure: Figure, cases: Sequence[Case], title: str, theme: Theme) -> None:
    """Title and contestants above the axes: the figure grows by what they need."""
    shown = contestants(cases)
    handles = [Line2D([], [], linestyle="", label=one.name, **theme.marker(one)) for one in shown]
    columns = max(1, min(5, WIDTH // (7 * max(len(one.name) for one in shown) + 40)))
    legend = figure.legend(handles=handles, title=title, ncols=columns, loc="outside upper left",
                           alignment="left", handletextpad=0.2)  # fmt: skip
    legend.get_title().set(weight="bold", size=11)
    figure.set_figheight(figure.get_figheight() + (30 + 18 * -(-len(shown) // columns)) / 96)
