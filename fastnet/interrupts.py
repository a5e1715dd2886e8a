"""Ctrl-C during a fit, which finishes its current run of steps first, and in work that must not
stop half done, which it waits for.

SIGTERM is treated alike in a program that gives it `signal.default_int_handler`, as the command
`fastnet` does.
"""

import signal
import threading

# What `signal` wraps: the enums that it makes of handlers take longer than the steps of a tiny fit.
from _signal import getsignal  # type: ignore[import-not-found]
from _signal import signal as set_handler
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))


class HeldSignals:
    """Keeps Ctrl-C and SIGTERM waiting in a `with` block whose work must not stop half done.

    Whatever handles them, a fit's `DeferredInterrupt` too, is called at the block's end, or where
    the block calls `deliver`. In threads other than the main one, which never receive signals,
    nothing changes.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._waiting: list[int] = []

    def __enter__(self) -> "HeldSignals":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    set_handler(number, self._receive)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._handlers.items():
            set_handler(number, handler)
        self.deliver()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._waiting.append(number)

    def deliver(self) -> None:
        """Handle now what waits: call it where the work may stop."""
        while self._waiting:
            number = self._waiting.pop()
            self._handlers[number](number, None)


class DeferredInterrupt:
    """Delays Ctrl-C inside a `with` block until the block's end, or until `seen` is checked.

    A second Ctrl-C is raised at once, but only inside `allow`, where no state is half changed.
    Nothing is delayed if the program handles the signal itself, nor in threads other than the main
    one, which never receive it.

    Attributes:
        seen: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.seen = False
        self.allowed = False
        main = threading.current_thread() is threading.main_thread()
        self.ours = [
            number
            for number in _SIGNALS
            if main and getsignal(number) is signal.default_int_handler
        ]

    def __enter__(self) -> "DeferredInterrupt":
        for number in self.ours:
            set_handler(number, self._receive)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number in self.ours:
            set_handler(number, signal.default_int_handler)
        if self.seen and kind is None:  # after the last check of `seen`
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.seen and self.allowed:
            raise KeyboardInterrupt
        self.seen = True

    def allow(self) -> "_Allowing":
        """Let a second Ctrl-C through, while the backend computes or a callback runs."""
        return _Allowing(self)


class _Allowing:
    """The block in which a second Ctrl-C is let through."""

    def __init__(self, interrupt: DeferredInterrupt) -> None:
        self.interrupt = interrupt

    def __enter__(self) -> None:
        self.interrupt.allowed = True

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.interrupt.allowed = False
