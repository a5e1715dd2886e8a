"""Ctrl-C during a fit: the current run of steps is finished first.

So is it at SIGTERM, in a program that gives it `signal.default_int_handler`, as the command does.
"""

import signal
import threading
from types import FrameType


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
            for number in (signal.SIGINT, signal.SIGTERM)
            if main and signal.getsignal(number) is signal.default_int_handler
        ]

    def __enter__(self) -> "DeferredInterrupt":
        for number in self.ours:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number in self.ours:
            signal.signal(number, signal.default_int_handler)
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
