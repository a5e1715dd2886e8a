"""The matrix libraries that NumPy and SciPy use, and a cap on their threads."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller(with_scipy: bool) -> ThreadpoolController:
    """Looking for the loaded libraries takes milliseconds: once, and once SciPy brings its own."""
    return ThreadpoolController()


def _blas() -> list[Any]:
    """NumPy's and SciPy's matrix libraries, each with its number of threads."""
    libraries = _controller("scipy.linalg" in sys.modules).lib_controllers
    return [lib for lib in libraries if lib.user_api == "blas"]


def library() -> tuple[str, int]:
    """The matrix library's name and version, and its threads."""
    for lib in _blas():
        return f"{lib.internal_api} {lib.version or ''}".strip(), lib.num_threads
    return "unknown matrix library", 1


class _Cap:
    """The cap that is in force, for all Python threads: the library has but one setting.

    The first `with` block to begin remembers the setting, and the last one to end restores it; in
    between, the smallest cap of all is in force. So a large model that is trained beside a small
    one has the small one's cap for that time.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wanted: list[int] = []
        self.before: list[tuple[Any, int]] = []

    def enter(self, threads: int) -> None:
        with self.lock:
            if not self.wanted:
                self.before = [(lib, lib.num_threads) for lib in _blas()]
            self.wanted.append(threads)
            self._set()

    def leave(self, threads: int) -> None:
        with self.lock:
            self.wanted.remove(threads)
            self._set()

    def put_back(self, threads: int) -> None:
        """Cap again, after a `leave` for a while."""
        with self.lock:
            self.wanted.append(threads)
            self._set()

    def _set(self) -> None:
        for lib, most in self.before:
            lib.set_num_threads(min([most, *self.wanted]))


_cap = _Cap()


@contextmanager
def capped(threads: int | None) -> Iterator[None]:
    """Let the matrix library use at most so many threads inside a `with` block."""
    if threads is None:
        yield
        return
    _cap.enter(threads)
    try:
        yield
    finally:
        _cap.leave(threads)


@contextmanager
def lifted(threads: int) -> Iterator[None]:
    """Do without the cap of the `with capped(threads)` block that this stands in."""
    _cap.leave(threads)
    try:
        yield
    finally:
        _cap.put_back(threads)
