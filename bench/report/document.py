"""A Markdown file and the charts beside it."""

import html
from collections.abc import Callable
from pathlib import Path

from bench.report import drawing
from bench.report.palette import THEMES, Theme
from fastnet import files
from fastnet.errors import FileAccessError

#: Where charts are, beside the Markdown file.
FOLDER = "charts"


class Document:
    """Lines of Markdown, and the charts that they show.

    Attributes:
        lines: so far.
        charts: by file name.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.charts: dict[str, bytes] = {}

    def add(self, *lines: str) -> None:
        """A paragraph, a table or a heading."""
        if lines:
            self.lines += [*lines, ""]

    def chart(self, name: str, alt: str, make: Callable[[Theme], drawing.Sheet]) -> None:
        """A chart, light and dark, as GitHub chooses between them."""
        paths = []
        for theme in THEMES:
            file = f"{name}{theme.ending}.svg"
            self.charts[file] = drawing.draw(theme, make)
            paths.append(f"{FOLDER}/{file}")
        light, dark = paths
        self.add(
            "<picture>",
            f'  <source media="(prefers-color-scheme: dark)" srcset="{dark}">',
            f'  <img alt="{html.escape(alt)}" src="{light}" width="{drawing.WIDTH:g}">',
            "</picture>",
        )

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines)

    def write(self, output: Path) -> None:
        """Write the charts, then the Markdown file.

        Raises:
            FileAccessError: if a file cannot be written.
        """
        folder = path = output.parent / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            for name, svg in self.charts.items():
                path = folder / name
                files.replace(path, svg)
            path = output
            files.replace(path, self.text.encode())
        except OSError as error:
            reason = error.strerror or error
            text = f"cannot write {str(path)!r}: {reason}"
            raise FileAccessError(error.errno, text) from error
