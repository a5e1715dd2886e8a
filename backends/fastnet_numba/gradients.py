"""Where the gradients of a batch's parts stand, and the workers' copies of the parameters."""

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.program import State

#: Bytes of parameters up to which each worker has a copy of them. Measured with two threads
#: (bench/results/numba-2026-11-28.md): where processors take long to read from each other, a step
#: takes 0.74 to 0.81 times as long; where they do not, the same up to 512 units, and 1.04 to 1.06
#: times with 724 and 1,024 (8.7 MB), because more does not stay in the caches anyway.
COPIED_BYTES = 2**22


def gradient_room(state: State, entries: int) -> Array:
    """Room for so many entries, of any values, which begins at a cache line.

    It stays with the state for its next run: the system takes long to hand out new memory for a
    large network.
    """
    if state.room is None or len(state.room) < entries:
        state.room = cache_lines.empty(entries, state.parameters.dtype)
    room: Array = state.room[:entries]
    return room
