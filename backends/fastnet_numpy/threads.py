"""The matrix library's threads, capped by the size of the problem.

A small product split over threads waits for them longer than it computes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from fastnet.plan import Affine, Plan

#: Multiply-adds in a plan's largest product from which all threads are used: 8 million.
#: Training whole networks on two cores (bench/test_threads.py, whose figures are in
#: bench/results/), one thread's time over two threads' was 1.0 at 1 million, 1.1 to 1.3 from 2
#: to 6 million, and 1.4 to 1.6 from here on, on a quiet machine. On a busy one the second
#: thread costs more than it brings, the more so the smaller the products are.
WORTH_SHARING = 2**23


@cache
def _controller() -> ThreadpoolController:
    """Looking for the loaded libraries takes milliseconds, so it is done once."""
    return ThreadpoolController()


def _blas() -> list[Any]:
    """NumPy's and SciPy's matrix libraries, each with its number of threads."""
    return [lib for lib in _controller().lib_controllers if lib.user_api == "blas"]


def library() -> tuple[str, int]:
    """The matrix library's name and version, and its threads."""
    for lib in _blas():
        return f"{lib.internal_api} {lib.version or ''}".strip(), lib.num_threads
    return "unknown matrix library", 1


def wanted(plan: Plan, rows: int, asked: int | None) -> int | None:
    """The threads for batches of `rows` rows; None: as many as the library has."""
    if asked is not None:
        return asked
    largest = max(op.inputs * op.units for op in plan.operations if isinstance(op, Affine))
    return None if largest * rows >= WORTH_SHARING else 1


class _Cap:
    """The cap that is in force, for all Python threads: the library has but one setting.

    The first to come remembers the setting, the last to go puts it back; in between the
    smallest that anybody wants holds. So a large model that is trained beside a small one
    shares its cap for that time.
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
