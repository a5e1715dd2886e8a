"""Where the gradients of a batch's parts stand, and the workers' copies of the parameters."""

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.program import State

#: Bytes of parameters up to which two workers have a copy each. Measured
#: (bench/results/numba-2026-11-28.md): up to 4.5 MB a step takes 0.75 to 0.9 times as long where
#: processors take long to read from each other, and 0.9 to 1.06 times where they do not; of 8 MB
#: 0.73 to 1.02 times; of 25 MB it gains nothing.
COPIED_BYTES = 2**23


def copies_of(nbytes: int, workers: int) -> int:
    """How many copies of so many bytes of parameters a run has: 2 for two workers, or 0.

    More workers have none: each would send its share through the memory to all others at each
    step, which by calculation takes longer than it saves (in the same file).
    """
    return 2 if workers == 2 and nbytes <= COPIED_BYTES else 0


def gradient_room(state: State, entries: int) -> Array:
    """Room for so many entries, of any values, which begins at a cache line.

    It stays with the state for its next run: the system takes long to hand out new memory for a
    large network.
    """
    if state.room is None or len(state.room) < entries:
        state.room = cache_lines.empty(entries, state.parameters.dtype)
    room: Array = state.room[:entries]
    return room
