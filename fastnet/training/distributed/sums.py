"""Weighted sums of the ranks' gradients: the one message of a step.

Each adds up `factor * array` over the ranks, and `factor * loss` beside it. Two of the three do so
in the order of the ranks, so that the same number of ranks gives the same bits.
"""

from typing import Any, Protocol

import numpy as np

from fastnet.arrays.cache_lines import PAIR
from fastnet.arrays.checks import Array
from fastnet.training.distributed.memory import SharedMemory, can_share
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.world import mpi

#: Bytes of all ranks' arrays together up to which each rank gets all of them: one message, where
#: sums of parts take two (a choice: a message of a local network costs as much as some 100 KB).
WHOLE_BYTES = 2**17

#: Up to so many ranks that share memory, each adds up everything: of two ranks' arrays that is as
#: much reading as by parts, with one barrier less.
FEW_RANKS = 3

#: Slots of a rank: two used in turns, and one for the sums of parts.
_MOST_SLOTS = 3

_LOSS = 8  # bytes of a loss


class WeightedSum(Protocol):
    """Adds up the ranks' arrays of one length and dtype."""

    def __call__(self, array: Array, factor: float, loss: float) -> tuple[Array, float]:
        """The sums of `factor * array`, on all ranks, and of `factor * loss` in float64.

        The array holds until the next call.
        """
        ...

    def free(self) -> None:
        """Give back what is shared; all ranks do."""
        ...


def sum_for(ranks: Ranks, entries: int, dtype: np.dtype[Any], deterministic: bool) -> WeightedSum:
    """The fastest sum of arrays of so many entries."""
    bytes_needed = ranks.size * (entries * dtype.itemsize + _LOSS + PAIR) * _MOST_SLOTS
    if can_share(ranks, bytes_needed):
        return InSharedMemory(ranks, entries, dtype)
    return (InOrder if deterministic else InAnyOrder)(ranks, entries, dtype)


class InSharedMemory:
    """The sum of ranks on one machine, through memory that all can read, in their order.

    Each rank writes into its own slot, and reads all. There are two sets of slots, used in turns,
    so that one barrier a sum is enough: who passes it may write the other set while others read.
    """

    def __init__(self, ranks: Ranks, entries: int, dtype: np.dtype[Any]) -> None:
        self.rank, self.size = ranks.rank, ranks.size
        arrays = -(-(entries * dtype.itemsize + _LOSS) // PAIR) * PAIR
        slots = 2 if self.size <= FEW_RANKS else _MOST_SLOTS
        self.shared = SharedMemory(ranks, slots * arrays)
        memory = self.shared.parts
        self.arrays = [
            [np.frombuffer(one, dtype, entries, slot * arrays) for one in memory]
            for slot in range(slots)
        ]
        self.losses = [
            [np.frombuffer(one, np.float64, 1, (slot + 1) * arrays - _LOSS) for one in memory]
            for slot in range(2)
        ]
        part = -(-entries // self.size)
        self.parts = [slice(rank * part, (rank + 1) * part) for rank in range(self.size)]
        self.total = np.empty(entries, dtype)
        self.turn = 0

    def __call__(self, array: Array, factor: float, loss: float) -> tuple[Array, float]:
        """The sums of `factor * array` and of `factor * loss`."""
        arrays, losses = self.arrays[self.turn], self.losses[self.turn]
        self.turn = 1 - self.turn
        # Not a copy and a product: a plain copy of this size may bypass the caches.
        np.multiply(array, factor, out=arrays[self.rank])
        losses[self.rank][0] = factor * loss
        self.shared.barrier()
        total_loss = 0.0
        for one in losses:
            total_loss += float(one[0])
        if self.size <= FEW_RANKS:
            _add_up(arrays, self.total)
            return self.total, total_loss
        sums, mine = self.arrays[2], self.parts[self.rank]
        _add_up([one[mine] for one in arrays], sums[self.rank][mine])
        self.shared.barrier()
        for one, part in zip(sums, self.parts, strict=True):
            self.total[part] = one[part]
        return self.total, total_loss

    def free(self) -> None:
        """Give the memory back."""
        self.arrays, self.losses = [], []
        self.shared.free()


class InOrder:
    """The sum by messages, in the order of the ranks: each adds up a part of the entries."""

    def __init__(self, ranks: Ranks, entries: int, dtype: np.dtype[Any]) -> None:
        self.communicator, size = ranks.communicator, ranks.size
        whole = entries * dtype.itemsize * size <= WHOLE_BYTES
        self.entries = entries
        self.part = entries if whole else -(-entries // size)
        behind = _LOSS // dtype.itemsize
        # A part for each rank, and behind it the bytes of the loss.
        self.scaled = np.zeros(self.part * (1 if whole else size), dtype)
        self.sent = np.zeros((1 if whole else size, self.part + behind), dtype)
        self.received = np.empty((size, self.part + behind), dtype)
        self.sum = np.empty(self.part, dtype)
        self.total = None if whole else np.empty(self.part * size, dtype)

    def free(self) -> None:
        """Nothing is shared."""

    def __call__(self, array: Array, factor: float, loss: float) -> tuple[Array, float]:
        """The sums of `factor * array` and of `factor * loss`."""
        np.multiply(array, factor, out=self.scaled[: self.entries])
        self.sent[:, : self.part] = self.scaled.reshape(-1, self.part)
        self.sent[:, self.part :] = np.array([factor * loss]).view(self.sent.dtype)
        if self.total is None:
            self.communicator.Allgather(self.sent, self.received)
        else:
            self.communicator.Alltoall(self.sent, self.received)
        _add_up(list(self.received[:, : self.part]), self.sum)
        total_loss = 0.0
        for one in self.received[:, self.part :].copy().view(np.float64)[:, 0].tolist():
            total_loss += one
        if self.total is None:
            return self.sum, total_loss
        self.communicator.Allgather(self.sum, self.total)
        return self.total[: self.entries], total_loss


class InAnyOrder:
    """The sum in MPI's own way; the loss has the precision of the array."""

    def __init__(self, ranks: Ranks, entries: int, dtype: np.dtype[Any]) -> None:
        self.communicator = ranks.communicator
        self.numbers = np.empty(entries + 1, dtype)

    def free(self) -> None:
        """Nothing is shared."""

    def __call__(self, array: Array, factor: float, loss: float) -> tuple[Array, float]:
        """The sums of `factor * array` and of `factor * loss`."""
        np.multiply(array, factor, out=self.numbers[:-1])
        self.numbers[-1] = factor * loss
        self.communicator.Allreduce(mpi().IN_PLACE, self.numbers)
        return self.numbers[:-1], float(self.numbers[-1])


def _add_up(arrays: list[Array], total: Array) -> None:
    """Add arrays up in their order, into `total`."""
    np.add(arrays[0], arrays[1], out=total)
    for one in arrays[2:]:
        np.add(total, one, out=total)
