"""How the command line speaks: results, remarks, errors, exit codes."""

import contextlib
import json
import math
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from fastnet.errors import FastnetError

#: How a backend was picked that nobody asked for.
AUTOMATIC = "chosen automatically"

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

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON document, for programs."),
]


def note(text: str, style: str = "") -> None:
    """A line on standard error; never broken, so that it can be searched and copied."""
    Console(stderr=True).print(Text(text, style), soft_wrap=True)


def say(text: str = "") -> None:
    """A line on standard output."""
    Console().print(Text(text), soft_wrap=True)


def document(plain: Any) -> None:
    """One JSON document on standard output: floats with every bit, and null for NaN."""
    text = json.dumps(_finite(plain), indent=2, ensure_ascii=False, allow_nan=False)
    write(text.encode("utf-8", "replace") + b"\n")


def _finite(plain: Any) -> Any:
    """With None for what JSON cannot hold."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def write(whole: bytes) -> None:
    """Bytes on standard output, to the last: where Python is told not to buffer it, a disk that
    fills up takes a part of them, and nobody says so.
    """
    sys.stdout.flush()
    left = memoryview(whole)
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.buffer.flush()


class Commands(TyperGroup):
    """Turns our errors into one line, and Ctrl-C into its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except FastnetError as error:
            _error(str(error))
            raise typer.Exit(1) from error
        except BrokenPipeError as error:  # `| head` has seen enough
            _discard_output()
            raise typer.Exit(1) from error
        except OSError as error:
            _error(f"cannot write the results: {error.strerror or error}")
            _discard_output()
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from error


def _error(text: str) -> None:
    line = Text.assemble(("error: ", "bold red"), text)
    Console(stderr=True).print(line, soft_wrap=True)


def _discard_output() -> None:
    """Let what could not be written go, so that the interpreter does not try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def how_chosen(option: str | None) -> str:
    """Say by what the backend in use was picked; `option` is that of the command line."""
    if option and option != "auto":
        return "chosen by --backend"
    asked = os.environ.get("FASTNET_BACKEND", "").strip()
    if asked and asked != "auto" and not option:
        return f"chosen by FASTNET_BACKEND={asked}"
    return AUTOMATIC
