"""Threads that work on the same step, and wait for each other.

A waiting thread spins for a moment and then lets others run: pure spinning collapses as soon as
another process wants the processor, and to ask the system at once costs more
than most waits last.
"""

from fastnet_numba.simd.compiled import kernel
from fastnet_numba.simd.vectors import observe, publish, spin, yield_thread

#: How often a thread looks before it gives way.
SPINS = 300

#: Places between two threads' numbers, so that they lie in cache lines (and pairs of them) apart.
CACHE_LINE_STRIDE = 16


@kernel
def barrier(signals, worker, workers, turn):
    """Wait until all workers have come to `turn`, which counts from 1.

    The numbers are at `signals[worker * CACHE_LINE_STRIDE]`; the place behind the last worker's
    tells that somebody could not be started, and all give up.

    Returns:
        whether all have come.
    """
    publish(signals, worker * CACHE_LINE_STRIDE, turn)
    for other in range(workers):
        looks = 0
        while observe(signals, other * CACHE_LINE_STRIDE) < turn:
            if looks < SPINS:
                looks += 1
                spin()
            else:
                if observe(signals, workers * CACHE_LINE_STRIDE) != 0:
                    return False
                yield_thread()
    return True
