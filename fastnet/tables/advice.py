"""How errors name the settings that they recommend: as options of a command, or as in Python."""

import contextlib
import shlex
from collections.abc import Iterator
from contextvars import ContextVar

#: Settings that are lists of columns.
LISTS = ("drop", "categorical", "date")

#: Settings that are a mark, which is always quoted, to be seen.
_MARKS = ("decimal", "thousands")

_IN_PYTHON = ContextVar("in_python", default=False)


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Name settings as parameters for as long as the context lasts."""
    before = _IN_PYTHON.set(True)
    try:
        yield
    finally:
        _IN_PYTHON.reset(before)


def setting(name: str, value: str) -> str:
    """A setting and its value: `--date day`, as a shell takes it, or `date=['day']`."""
    if _IN_PYTHON.get():
        return f"{name}={[value] if name in LISTS else value!r}"
    return f"--{name} " + (f'"{value}"' if name in _MARKS else shlex.quote(value))
