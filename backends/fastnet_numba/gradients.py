"""Where the gradients of a batch's parts stand, and the workers' copies of the parameters."""

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.program import State


def gradient_room(state: State, entries: int) -> Array:
    """Room for so many entries, of any values, which begins at a cache line.

    It stays with the state for its next run: the system takes as long to hand out new memory for a
    large network as a twentieth of a step.
    """
    if state.room is None or len(state.room) < entries:
        state.room = cache_lines.empty(entries, state.parameters.dtype)
    room: Array = state.room[:entries]
    return room
