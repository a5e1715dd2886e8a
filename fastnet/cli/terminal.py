"""Output of the command line: results, notes, errors, exit codes; and options in common."""

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

#: The exit code after Ctrl-C.
INTERRUPTED = 130

BackendOption = Annotated[
    str | None,
    typer.Option(
        help="Backend (default: FASTNET_BACKEND, else automatic); `fastnet backends` lists them.",
        show_default=False,
    ),
]

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON, for programs."),
]


def note(text: str, style: str = "") -> None:
    """Print a line to standard error, without wrapping, so that it can be searched and copied."""
    Console(stderr=True).print(Text(text, style), soft_wrap=True)


def say(text: str = "") -> None:
    """Print a line to standard output."""
    Console().print(Text(text), soft_wrap=True)


def document(plain: Any) -> None:
    """Print one JSON document to standard output: exact floats, and null for NaN."""
    text = json.dumps(_finite(plain), indent=2, ensure_ascii=False, allow_nan=False)
    write(text.encode("utf-8", "replace") + b"\n")


def _finite(plain: Any) -> Any:
    """Replace floats that JSON cannot hold by None."""
    if isinstance(plain, dict):
        return {key: _finite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def write(data: bytes) -> None:
    """Write all bytes to standard output.

    Unbuffered (`python -u`), one call may write only a part of them to a disk that is full.
    """
    sys.stdout.flush()
    rest = memoryview(data)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


class Commands(TyperGroup):
    """Prints our errors as one line, and turns Ctrl-C into its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except FastnetError as error:
            _error(str(error))
            raise typer.Exit(1) from error
        except BrokenPipeError as error:  # the reader has closed the pipe, as `| head` does
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
    """Discard what could not be written, so that Python does not try again when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
