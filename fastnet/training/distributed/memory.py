"""Memory that ranks on one machine share."""

import os

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.world import mpi

#: The share of the free shared memory that may be taken: to fill it ends a process (a choice).
_SHARED_MEMORY = "/dev/shm"
_MOST_OF_IT = 0.25


def can_share(ranks: Ranks, bytes_needed: int) -> bool:
    """Whether all ranks are on one machine, with room for so many bytes of shared memory."""
    node = ranks.communicator.Split_type(mpi().COMM_TYPE_SHARED)
    shared = node.size == ranks.size and bytes_needed <= _MOST_OF_IT * _free_shared_memory()
    node.Free()
    return all(ranks.all_of(shared))


def _free_shared_memory() -> float:
    """Bytes; unlimited where MPI does not take it from a file system."""
    if not os.path.isdir(_SHARED_MEMORY):
        return float("inf")
    state = os.statvfs(_SHARED_MEMORY)
    return float(state.f_bavail * state.f_frsize)


class SharedMemory:
    """Bytes that all ranks see; where `can_share` says so.

    Args:
        ranks: those who share them.
        bytes_here: how many this rank contributes.

    Attributes:
        parts: the bytes of each rank, uint8.
    """

    def __init__(self, ranks: Ranks, bytes_here: int) -> None:
        self.communicator = ranks.communicator
        self.window = mpi().Win.Allocate_shared(bytes_here, 1, comm=self.communicator)
        self.parts: list[Array] = [
            np.frombuffer(self.window.Shared_query(rank)[0], np.uint8) for rank in range(ranks.size)
        ]
        self.window.Lock_all()
        self.parts[ranks.rank][:] = 0
        self.barrier()

    def barrier(self) -> None:
        """Wait for all; what each has written before, all can read afterwards."""
        self.window.Sync()
        self.communicator.Barrier()
        self.window.Sync()

    def free(self) -> None:
        """Give the memory back; all ranks do, and keep no view of it."""
        self.parts = []
        self.window.Unlock_all()
        self.window.Free()
