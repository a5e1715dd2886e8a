"""Memory of large arrays that are gone, kept for the next ones.

The system clears every page of memory that it hands out, and a virtual machine may have to get it
from its host first. A fit needs several arrays as large as the parameters, perhaps for a few steps
only, so it takes memory that the fits before it have left.
"""

import numpy as np

from fastnet.arrays.checks import Array

#: Bytes of the smallest array that takes part. For smaller ones the C library keeps memory.
LEAST_BYTES = 2**18

#: Bytes that are kept at most while no array uses them (a choice: a fit of 6 million parameters in
#: float32 takes so many).
KEPT_BYTES = 2**27

#: Sizes are multiples of it, so that arrays of nearly the same size can take each other's memory.
STEP_BYTES = 2**16

#: An array may take memory that is so many times as large as it needs (a choice).
LARGER = 1.25

#: Memory that no array uses, the longest unused first, by its `id`. Single operations of a
#: dictionary read and change it, because an array may end in any thread, and amid any line below.
_unused: dict[int, Array] = {}


class _Loan:
    """Owns an array's memory: it lives as long as the array and all of its views."""

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        if _unused is not None:  # as it is when the interpreter ends
            _give_back(self.memory)


def array(nbytes: int) -> Array:
    """An array of `nbytes` bytes or more, uint8, of any values.

    When it and all its views are gone, its memory serves the next one.
    """
    size = -(-nbytes // STEP_BYTES) * STEP_BYTES
    memory = _take(size)
    if memory is None:
        memory = np.empty(size, np.uint8)
    return np.asarray(_Loan(memory))


def _take(nbytes: int) -> Array | None:
    for memory in reversed(_unused.copy().values()):  # the last one may still be in the caches
        # Another thread may have taken it in between.
        if nbytes <= memory.nbytes <= LARGER * nbytes and _unused.pop(id(memory), None) is not None:
            return memory
    return None


def _give_back(memory: Array) -> None:
    _unused[id(memory)] = memory
    unused = _unused.copy().values()
    kept = sum(each.nbytes for each in unused)
    for each in unused:
        if kept <= KEPT_BYTES:
            break
        _unused.pop(id(each), None)
        kept -= each.nbytes
