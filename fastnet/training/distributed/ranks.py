"""How the processes of a training talk: what they agree on, and errors that all have."""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import FastnetError, FileAccessError
from fastnet.training.distributed.world import end_together, mark_everywhere, mpi

T = TypeVar("T")


class Ranks:
    """The processes of a communicator. All of them call each method, in the same order.

    Attributes:
        communicator: for fastnet's own messages, apart from the user's.
        rank: this process's number.
        size: how many there are.
    """

    def __init__(self, communicator: Any) -> None:
        self.communicator = communicator.Dup()
        self.rank: int = communicator.rank
        self.size: int = communicator.size

    @classmethod
    def of(cls, communicator: Any) -> "Ranks":
        """Those of a communicator of mpi4py, the same as the last time."""
        end_together(communicator)
        found: Ranks | None = communicator.Get_attr(_key())
        if found is None:
            found = cls(communicator)
            communicator.Set_attr(_key(), found)
        return found

    def together(self, local: Callable[[], T]) -> T:
        """What `local` returns here; if it raises on a rank, all raise the first rank's error."""
        value, error = None, None
        try:
            value = local()
        except Exception as caught:
            error = caught
        self._raise_first(error)
        return value  # type: ignore[return-value]

    def on_first(self, action: Callable[[], T]) -> T:
        """What `action` returns on rank 0, which alone does it; its error is raised on all."""
        value, error = None, None
        if self.rank == 0:
            try:
                value = action()
            except Exception as caught:
                error = caught
        value, sent = self.communicator.bcast((value, _portable(error)))
        if sent is not None:
            raise _marked(error or sent)
        return value  # type: ignore[no-any-return]

    def _raise_first(self, error: Exception | None) -> None:
        errors = self.communicator.allgather(_portable(error))
        failed = [rank for rank, found in enumerate(errors) if found is not None]
        if not failed:
            return
        first = failed[0]
        raised = error if first == self.rank and error is not None else errors[first]
        if len({str(found) for found in errors}) > 1:  # not all have the same
            _say_where(raised, f"rank {first} of {self.size}")
        raise _marked(raised)

    def all_of(self, value: T) -> list[T]:
        """The values of all ranks."""
        return self.communicator.allgather(value)  # type: ignore[no-any-return]

    def from_first(self, value: T) -> T:
        """The value of rank 0."""
        return self.communicator.bcast(value)  # type: ignore[no-any-return]

    def copy_first(self, array: Array) -> None:
        """Make an array on all ranks what it is on rank 0."""
        self.communicator.Bcast(array)

    def sum(self, numbers: Array) -> Array:
        """The sum of float64 numbers over the ranks, in their order."""
        everyone = np.empty((self.size, *numbers.shape))
        self.communicator.Allgather(np.ascontiguousarray(numbers, np.float64), everyone)
        total: Array = everyone[0]
        for one in everyone[1:]:
            total += one
        return total

    def largest(self, numbers: Array) -> Array:
        """The largest of integers over the ranks."""
        found = np.empty_like(numbers)
        self.communicator.Allreduce(numbers, found, mpi().MAX)
        return found


_KEYS: list[int] = []


def _key() -> int:
    """Under which a communicator keeps its `Ranks`: it goes when the communicator is freed."""
    if not _KEYS:
        _KEYS.append(mpi().Comm.Create_keyval())
    return _KEYS[0]


def _portable(error: Exception | None) -> Exception | None:
    """An error as another process can get it."""
    if error is None:
        return None
    try:
        copied: Exception = pickle.loads(pickle.dumps(error))
    except Exception:
        return FastnetError(f"{type(error).__name__}: {error}")
    return copied


def _marked(error: Exception) -> Exception:
    mark_everywhere(error)
    return error


def _say_where(error: Exception, place: str) -> None:
    """Begin an error's text with the place where it occurred."""
    if isinstance(error, FileAccessError):
        error.strerror = f"{place}: {error.strerror}"
    elif len(error.args) == 1:
        error.args = (f"{place}: {error.args[0]}",)
    else:
        error.add_note(f"on {place}")
