"""Memory of large arrays that no longer exist, kept for new ones.

The system clears every page of memory that it hands out, and a virtual machine may have to get it
from its host first. A fit needs several arrays as large as the parameters, perhaps for a few steps
only, so it takes memory that the fits before it have left.
"""

import numpy as np

from fastnet.arrays.checks import Array

#: Bytes of the smallest array that takes part. For smaller ones the C library keeps memory.
LEAST_BYTES = 2**18

#: The most bytes that are kept while no array uses them (a choice: what a fit of 6 million float32
#: parameters needs).
KEPT_BYTES = 2**27

#: Sizes are multiples of it, so that arrays of nearly the same size can take each other's memory.
STEP_BYTES = 2**16

#: An array may take memory up to this many times as large as it needs (a choice).
LARGER = 1.25

#: Memory that no array uses, by its `id`, the longest unused first. Only single operations of a
#: dictionary read and change it, because an array may be freed in any thread, and amid any line.
_unused: dict[int, Array] = {}


class _Loan:
    """Owns an array's memory: it lives as long as the array and all of its views."""

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        if _unused is not None:  # None while the interpreter shuts down
            _give_back(self.memory)


def array(nbytes: int) -> Array:
    """An array of `nbytes` bytes or more, uint8, of any values.

    When it and all its views are gone, its memory serves the next one.
    """
    size = -(-nbytes // STEP_BYTES) * STEP_BYTES
    memory = _take(size)
    if memory is None:
        try:
            memory = np.empty(size, np.uint8)
        except MemoryError:
            _unused.clear()
            memory = np.empty(size, np.uint8)
    return np.asarray(_Loan(memory))


def _take(nbytes: int) -> Array | None:
    for memory in reversed(_unused.copy().values()):  # the last one may still be in the caches
        # Another thread may have taken it in between.
        if nbytes <= memory.nbytes <= LARGER * nbytes and _unused.pop(id(memory), None) is not None:
            return memory
    return None


def _give_back(memory: Array) -> None:
    if memory.nbytes > KEPT_BYTES:  # it would push out all others, and then itself
        return
    _unused[id(memory)] = memory
    unused = _unused.copy().values()
    kept = sum(each.nbytes for each in unused)
    for each in unused:
        if kept <= KEPT_BYTES:
            break
        _unused.pop(id(each), None)
        kept -= each.nbytes
