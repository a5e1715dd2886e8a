"""Output of the command line: results, notes, errors, exit codes; and options in common."""

import contextlib
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from fastnet.advice import as_options
from fastnet.contract import loading
from fastnet.errors import DefinitionError, FastnetError, unknown
from fastnet.training.distributed.world import FIRST_SPEAKS_SECONDS, end_all, is_everywhere

#: The exit codes of a mistake in the command, and after Ctrl-C.
MISTAKEN, INTERRUPTED = 2, 130


def _known_backend(name: str | None) -> str | None:
    if name not in (None, "auto") and name.partition(":")[0] not in loading.known():
        raise DefinitionError(unknown("backend", name, loading.known()))
    return name


BackendOption = Annotated[
    str | None,
    typer.Option(
        callback=_known_backend,
        help="Backend (default: FASTNET_BACKEND, else automatic); `fastnet backends` lists them.",
        show_default=False,
    ),
]

SeparatorOption = Annotated[
    str | None,
    typer.Option(
        help="What stands between the columns of CSV: one character, or tab (default: found in "
        "the first lines).",
        show_default=False,
        rich_help_panel="Columns",
    ),
]

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON, for programs."),
]


#: The communicator of the processes that run this command together; None: there is one.
_together: Any = None


def run_together(communicator: Any) -> None:
    """From now on, let rank 0 alone print, but for an error that another rank alone has."""
    global _together
    _together = communicator if communicator.size > 1 else None


def _is_silent() -> bool:
    return _together is not None and _together.rank > 0


def _fail(error: Exception, code: int) -> typer.Exit:
    """Report an error, and what to raise for this exit code.

    One that every rank may have is reported by rank 0; one that a rank alone has ends all ranks.
    """
    if _together is None:
        _error(str(error))
    elif is_everywhere(error):
        if not _is_silent():
            _error(str(error))
    else:
        if _is_silent():
            time.sleep(FIRST_SPEAKS_SECONDS)
        _error(str(error))
        end_all(code)
    return typer.Exit(code)


def note(text: str) -> None:
    """Print a line to standard error."""
    if _is_silent():
        return
    _print(Console(stderr=True), Text(text))


def say(text: str = "") -> None:
    """Print a line to standard output."""
    if _is_silent():
        return
    _print(Console(), Text(text))


def _print(console: Console, text: Text) -> None:
    """Print a line, wrapped at words on a terminal; elsewhere whole, to be searched and copied."""
    console.print(text, soft_wrap=not console.is_terminal)


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

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *_: note(f"warning: {message}")
                return super().main(*args, **options)
        except OSError as error:  # of the help or the version, which are printed before a command
            _unwritten(error)
            sys.exit(1)

    def invoke(self, ctx: Any) -> Any:
        try:
            with as_options():
                done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except FastnetError as error:
            code = MISTAKEN if isinstance(error, DefinitionError) else 1
            raise _fail(error, code) from error
        except OSError as error:
            _unwritten(error)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from error


def prepare_streams() -> None:
    """Make standard output and error usable where they are closed, or in an encoding such as ASCII.

    A closed one is discarded: its number would be given to the next file that is opened.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _error(text: str) -> None:
    _print(Console(stderr=True), Text.assemble(("error: ", "bold red"), text))


def _unwritten(error: OSError) -> None:
    """Say that results could not be written, unless their reader closed the pipe, as `head` does.

    What is left is discarded, so that Python does not try again when it exits.
    """
    if not isinstance(error, BrokenPipeError):
        _error(f"cannot write the results: {error.strerror or error}")
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def phases() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show how many rows of each phase are done, on a terminal while it lasts.

    Yields:
        What is called with the phase, its rows that are done, and all of them; None: not known.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
    )
    off = not console.is_terminal or console.is_dumb_terminal or _is_silent()
    with Progress(
        *columns, console=console, transient=True, auto_refresh=False, disable=off
    ) as bar:
        task, shown = bar.add_task("", visible=False), ""

        def report(phase: str, done: int, rows: int | None) -> None:
            nonlocal shown
            if phase != shown and phase:
                shown = phase
                note(f"{phase} ...")
            bar.update(
                task, description=phase, completed=done, total=rows, visible=True, refresh=True
            )

        yield report
