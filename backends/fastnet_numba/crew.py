"""Threads that work on the same step, and wait for each other.

A waiting thread spins for a moment and then lets others run: pure spinning collapses as soon as
another process wants the processor, and to ask the system at once costs more
than most waits last.
"""

from fastnet_numba.compiled import kernel
from fastnet_numba.vectors import give_way, observe, publish, spin

#: How often a thread looks before it gives way.
SPINS = 300

#: Places between two threads' numbers, so that they lie in cache lines (and pairs of them) apart.
APART = 16


@kernel
def meet(signals, worker, workers, turn):
    """Wait until all workers have come to `turn`, which counts from 1.

    The numbers are at `signals[worker * APART]`; the place behind the last worker's tells that
    somebody could not be started, and all give up.

    Returns:
        whether all have come.
    """
    publish(signals, worker * APART, turn)
    for other in range(workers):
        looks = 0
        while observe(signals, other * APART) < turn:
            if looks < SPINS:
                looks += 1
                spin()
            else:
                if observe(signals, workers * APART) != 0:
                    return False
                give_way()
    return True
