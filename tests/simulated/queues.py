"""Graphs and events of the simulated device, and copies that come as late as they may."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array


class HostGraph:
    """Work that was recorded, step by step."""

    def __init__(self, steps: list[Callable[[], None]]) -> None:
        self._steps = steps

    def replay(self, times: int) -> None:
        """Do the steps, so many times in a row."""
        for _ in range(times):
            for step in self._steps:
                step()


class HostEvent:
    """A moment; work is done as it is asked for, so there is nothing to wait for."""

    def __init__(self) -> None:
        self.moment = time.perf_counter()

    def wait(self) -> None:
        """Nothing to wait for."""

    def milliseconds_since(self, earlier: Any) -> float:
        """From `earlier` to this."""
        self.wait()
        return float(self.moment - earlier.moment) * 1e3


class LateCopies:
    """Copies beside the device's work, done no sooner than somebody waits for them.

    Until then the target holds NaN, and changes of the source still show: reading the one too
    early or writing the other too early is wrong, and is found out.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[CopyEvent, Array, Array]] = []

    def begin(self, target: Array, source: Array) -> "CopyEvent":
        """Ask for a copy; its event does it."""
        target.reshape(-1).view(np.uint8)[...] = 0xFF
        event = CopyEvent(self)
        self._waiting.append((event, target, source))
        return event

    def finish(self, event: "CopyEvent") -> None:
        """Do the copies that were asked for up to this event's, in their order."""
        if not any(event is other for other, _, _ in self._waiting):
            return
        while self._waiting:
            other, target, source = self._waiting.pop(0)
            target.reshape(-1)[...] = source.reshape(-1)
            other.moment = time.perf_counter()
            if other is event:
                return


class CopyEvent(HostEvent):
    """The end of a late copy."""

    def __init__(self, copies: LateCopies) -> None:
        super().__init__()
        self._copies = copies

    def wait(self) -> None:
        """Copy now."""
        self._copies.finish(self)
