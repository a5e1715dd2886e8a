"""How errors and remarks name a setting: as in Python, or as an option of the command line."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

#: Settings whose value is a single character: it is always quoted, so that it can be seen.
_MARKS = ("decimal", "thousands")

_AS_OPTIONS = ContextVar("as_options", default=False)


@contextlib.contextmanager
def as_options() -> Iterator[None]:
    """Name settings as options of the command line for as long as the context lasts."""
    before = _AS_OPTIONS.set(True)
    try:
        yield
    finally:
        _AS_OPTIONS.reset(before)


def setting(name: str, value: Any = ...) -> str:
    """A setting and its value: `date=['day']`, or `--date day`, as a shell takes it.

    Args:
        name: as in Python.
        value: a text, a number, True, or a list of columns; `...`: any.
    """
    if not _AS_OPTIONS.get():
        return f"{name}={'...' if value is ... else repr(value)}"
    option = f"--{name.replace('_', '-')}"
    if value is ... or value is True:
        return option
    if name in _MARKS:
        return f'{option} "{value}"'
    import shlex  # slow to import, and needed for errors only

    text = ",".join(value) if isinstance(value, list) else str(value)
    return f"{option} {shlex.quote(text)}"
