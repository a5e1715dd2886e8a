"""How the command line speaks: results, remarks, errors, exit codes."""

import errno
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from fastnet.errors import FastnetError, FileAccessError

#: The exit code after Ctrl-C.
INTERRUPTED = 130

BackendOption = Annotated[
    str | None,
    typer.Option(
        help="Who computes: numpy, numba, cupy or another that `fastnet backends` lists. "
        "Without it FASTNET_BACKEND is asked, then the fastest that runs here is taken.",
        show_default=False,
    ),
]


def note(text: str, style: str = "") -> None:
    """A line on standard error; never broken, so that it can be searched and copied."""
    Console(stderr=True).print(Text(text, style), soft_wrap=True)


def say(text: str = "") -> None:
    """A line on standard output."""
    Console().print(Text(text), soft_wrap=True)


class Commands(TyperGroup):
    """Turns our errors into one line, and Ctrl-C into its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FastnetError as error:
            line = Text.assemble(("error: ", "bold red"), str(error))
            Console(stderr=True).print(line, soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from error


def check_writable(path: Path, what: str) -> None:
    """Make sure that a file could be written.

    Raises:
        FileAccessError: if it is a folder, or its folder is missing or closed.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise FileAccessError(errno.EISDIR, f"{what} {str(path)!r} is a folder; give a file in it")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileAccessError(
            error.errno,
            f"{what} {str(path)!r} cannot be written: {error.strerror} ({str(folder)!r})",
        ) from error
