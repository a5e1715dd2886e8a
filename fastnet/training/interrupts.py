"""Ctrl-C while a fit runs: steps are finished first."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class DeferredInterrupt:
    """Notes Ctrl-C instead of raising it, inside a `with` block, so that steps are finished.

    A second one is raised, but only while the backend computes or a callback is at work, when
    nothing of ours is half changed.
    A program that handles the signal itself is left alone, and so are threads other than the
    main one, which never see it.

    Attributes:
        seen: whether it came.
    """

    def __init__(self) -> None:
        self.seen = False
        self.through = False
        self.ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )

    def __enter__(self) -> "DeferredInterrupt":
        if self.ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.seen and kind is None:  # it came when nobody looked any more
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.seen and self.through:
            raise KeyboardInterrupt
        self.seen = True

    @contextlib.contextmanager
    def allow(self) -> Iterator[None]:
        """Where a second Ctrl-C does no harm."""
        self.through = True
        try:
            yield
        finally:
            self.through = False
