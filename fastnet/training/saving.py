"""When a checkpoint of a fit is due, and what becomes of one that cannot be written."""

import time
from collections.abc import Callable
from typing import Any

from fastnet import callers
from fastnet.errors import FileAccessError


class Saver:
    """Writes checkpoints.

    Args:
        write: writes one; None: none are asked for.
        due: seconds and epochs between two; either may be None.

    Attributes:
        write, due: as given.
        saved_at: when the last one was written, or failed, or the fit began.
    """

    def __init__(
        self, write: Callable[[], Any] | None, due: tuple[float | None, int | None]
    ) -> None:
        self.write, self.due = write, due
        self.saved_at = time.monotonic()

    @property
    def epochs(self) -> int | None:
        """Epochs between two, or None."""
        return self.due[1]

    def is_late(self) -> bool:
        """Whether the last one is older than asked for."""
        seconds = self.due[0]
        return seconds is not None and time.monotonic() - self.saved_at >= seconds

    def save(self) -> None:
        """Write one.

        Raises:
            FileAccessError: if it cannot be written.
        """
        if self.write is not None:
            self.write()
            self.saved_at = time.monotonic()

    def save_or_warn(self) -> None:
        """Write one; a disk that is full must not cost what is trained."""
        try:
            self.save()
        except FileAccessError as error:
            self.saved_at = time.monotonic()
            self.warn(f"{error}. The fit goes on to its end all the same.")

    def warn(self, text: str) -> None:
        """Warn the user."""
        callers.warn(text)
