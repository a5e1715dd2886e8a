"""A sheet to draw on, in pixels at the width of a README, and its SVG.

Text becomes outlines: it looks the same, and takes the same room, wherever it is shown.
"""

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from bench.report.palette import Look, Theme
from bench.report.scales import Scale
from fastnet.extras import need

#: Pixels of a README on GitHub, and what stays free at either side.
WIDTH, EDGE = 830.0, 16.0

#: Pixels of letters: titles, what is read, what is looked up.
TITLE, TEXT, SMALL = 14.5, 12.5, 11.5

_FONT = "DejaVu Sans"  # comes with matplotlib
_POINT = 0.75  # of a pixel
_SETTINGS = {
    "font.family": _FONT,
    "svg.fonttype": "path",
    "svg.hashsalt": "fastnet",
    "text.parse_math": False,
    "path.simplify": False,
}


class Sheet:
    """`WIDTH` by `height` pixels; places count from the upper left corner."""

    def __init__(self, height: float, theme: Theme) -> None:
        self.theme = theme
        size = (WIDTH / 96, height / 96)
        self.figure = need("matplotlib.figure", "plot", "drawing charts").Figure(
            figsize=size, dpi=96, facecolor=theme.paper
        )
        self._axes: Any = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        self._axes.set_axis_off()

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = TEXT,
        color: str | None = None,
        bold: bool = False,
        align: str = "left",
        turn: float = 0.0,
    ) -> None:
        """Write, `y` being the middle of the line."""
        self._axes.text(
            x, y, text, fontsize=size * _POINT, fontweight="bold" if bold else "normal",
            color=color or self.theme.ink, ha=align, va="center" if turn else "center_baseline",
            rotation=turn,
        )  # fmt: skip

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        color: str,
        width: float = 1.0,
        dashes: tuple[float, ...] = (),
        height: int = 2,
    ) -> None:
        """From point to point; what has more `height` lies above."""
        style: Any = (0, dashes) if dashes else "-"
        self._axes.plot(
            xs, ys, color=color, linewidth=width * _POINT, linestyle=style, zorder=height,
            solid_capstyle="butt", solid_joinstyle="round",
        )  # fmt: skip

    def bar(self, x1: float, x2: float, y: float, thick: float, look: Look, strong: bool) -> None:
        """A contestant's bar around `y`: paler for those that are not fastnet."""
        color = look.color(self.theme)
        self._axes.fill(
            [x1, x2, x2, x1], [y - thick / 2] * 2 + [y + thick / 2] * 2,
            facecolor=color if strong else mixed(color, self.theme.paper, 0.5),
            edgecolor=color, linewidth=_POINT, zorder=3,
        )  # fmt: skip

    def marker(self, x: float, y: float, look: Look, strong: bool) -> None:
        """A contestant's point: filled for fastnet, hollow for the others."""
        color, paper = look.color(self.theme), self.theme.paper
        self._axes.plot(
            [x], [y], marker=look.marker, linestyle="none", zorder=6 if strong else 5,
            markersize=(10.5 if strong else 8.0) * _POINT, markeredgewidth=1.1,
            markeredgecolor=paper if strong else color,
            markerfacecolor=color if strong else paper,
        )  # fmt: skip

    def axis(
        self, scale: Scale, left: float, y: float, marks: dict[float, str], title: str
    ) -> None:
        """Marks and title of a scale that goes right, below `y`."""
        for mark, text in marks.items():
            x = left + scale(mark)
            self.text(x, y + 13, text, size=SMALL, color=self.theme.quiet, align="center")
        middle = left + scale.pixels / 2
        self.text(middle, y + 31, title, size=SMALL, color=self.theme.quiet, align="center")


def draw(theme: Theme, make: Callable[[Theme], Sheet]) -> bytes:
    """The SVG of what `make` draws: the same bytes for the same data.

    Raises:
        MissingExtra: without matplotlib (`pip install "fastnet[plot]"`).
    """
    matplotlib = need("matplotlib", "plot", "drawing charts")
    file = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        make(theme).figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _shorter(file.getvalue().decode()).encode()


def _shorter(svg: str) -> str:
    """The same picture in half the bytes: most go into the places of single letters."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<!DOCTYPE.*?>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z]+_\d+"', "", svg)
    svg = re.sub(r"scale\(.*?\)|\d+\.\d{3,}", _rounded, svg)
    svg = re.sub(r'transform="translate\(([\d.]+) 0\)"/>', r'x="\1"/>', svg)
    glyphs = dict.fromkeys(re.findall(r' id="(\w+-[-\w]+)"', svg))
    short = {name: f"g{i}" for i, name in enumerate(glyphs)}
    svg = re.sub(r'(id="|href="#)([-\w]+)', lambda m: m[1] + short.get(m[2], m[2]), svg)
    svg = svg.replace(" xlink:href", " href")
    svg = re.sub(r'<defs>\s*</defs>| xmlns:xlink="[^"]*"', "", svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _rounded(found: re.Match[str]) -> str:
    """A place to a hundredth of a point; what glyphs are scaled by stays."""
    return found[0] if found[0].startswith("scale") else f"{float(found[0]):.2f}"


@lru_cache(maxsize=4096)
def wide(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Pixels that a line of text needs."""
    if not text.strip():
        return 0.0
    font = need("matplotlib.font_manager", "plot", "drawing charts").FontProperties(
        family=_FONT, weight="bold" if bold else "normal"
    )
    path = need("matplotlib.textpath", "plot", "drawing charts").TextPath(
        (0, 0), text, size=size, prop=font
    )
    return float(path.get_extents().width)


def wrapped(text: str, room: float, size: float = SMALL) -> list[str]:
    """The text in lines that fit into `room` pixels."""
    if not text:
        return []
    letters = int(room / max(wide(text, size), 1.0) * len(text) * 0.97)
    return textwrap.wrap(text, max(letters, 8))


def mixed(color: str, paper: str, share: float) -> str:
    """`share` of the color, the rest paper."""
    pairs = [(int(color[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)
