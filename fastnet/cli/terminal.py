"""How the command line speaks: results, remarks, errors, exit codes."""

import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from fastnet.errors import FastnetError

#: The exit code after Ctrl-C.
INTERRUPTED = 130

#: How a user picks who computes.
HOW_TO_CHOOSE = "--backend NAME or FASTNET_BACKEND=NAME chooses; fastnet backends lists them"

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


def how_chosen(option: str | None) -> str:
    """Say by what the backend in use was picked; `option` is that of the command line."""
    if option and option != "auto":
        return "chosen by --backend"
    asked = os.environ.get("FASTNET_BACKEND", "").strip()
    if asked and asked != "auto" and not option:
        return f"chosen by FASTNET_BACKEND={asked}"
    return "chosen automatically"
