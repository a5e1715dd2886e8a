"""Copies from the host by way of pinned memory, which a GPU reads while the processor goes on.

From any other memory CUDA may first wait for all that a stream still has to do (CUDA Runtime API,
"API synchronization behavior"): a run's settings would then wait for the run before.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array

#: Bytes of each of the two pieces: over PCIe 5.0 x16, 64 GB/s, they take 60 us, beside which the
#: start of a copy does not matter, and they stay in the processor's cache meanwhile.
PIECE_BYTES = 2**22

#: Copies begin at cache lines.
_LINE = 64


class Pinned:
    """Two pieces of pinned memory: one is filled while the device reads the other.

    Args:
        pinned: makes a host array that the device reads by itself, of a shape and a dtype.
        send: begins to copy a part of such an array to an address, behind the device's work so far.
        mark: makes an event of what the device has been asked for so far.
    """

    def __init__(
        self,
        pinned: Callable[[tuple[int, ...], Any], Array],
        send: Callable[[int, Array], None],
        mark: Callable[[], Any],
    ) -> None:
        self._send, self._mark = send, mark
        self._pieces = [pinned((PIECE_BYTES,), np.uint8) for _ in range(2)]
        #: When the device has read each piece.
        self._read: list[Any] = [None, None]
        self._at = self._used = 0

    def copy(self, target: int, source: Array) -> None:
        """Begin to copy a contiguous host array, not empty, to a device's address.

        The host array may be changed as soon as this returns.
        """
        whole = source.reshape(-1).view(np.uint8)
        for first in range(0, len(whole), PIECE_BYTES):
            part = whole[first : first + PIECE_BYTES]
            room = self._room(len(part))
            room[...] = part
            self._send(target + first, room)

    def _room(self, bytes_: int) -> Array:
        """Pinned memory that the device does not read any more."""
        if self._used + bytes_ > PIECE_BYTES:
            self._read[self._at] = self._mark()
            other = 1 - self._at
            if self._read[other] is not None:
                self._read[other].wait()  # before they change places: Ctrl-C may end it
            self._at, self._used = other, 0
        first = self._used
        self._used += -(-bytes_ // _LINE) * _LINE
        return self._pieces[self._at][first : first + bytes_]
