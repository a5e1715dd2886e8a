"""The barrier at which the threads of a run wait for each other.

A waiting thread spins for a moment and then yields: pure spinning collapses as soon as another
process wants the processor, and a call of the system takes longer than most waits last.

Where the thread it waits for is on the same processor, it sleeps instead. The system finds a
processor for a thread when that wakes; two that only yield to each other, it leaves together for
tenths of a second, though another processor may be idle. They start together where the matrix
library's threads, which spin for a moment after a product, occupy the other processors.
"""

from fastnet_numba.simd.compiled import kernel
from fastnet_numba.simd.vectors import (
    current_processor,
    observe,
    publish,
    sleep_briefly,
    spin,
    yield_thread,
)

#: How often a thread looks before it yields. Measured on a busy machine (bench/test_choices.py):
#: without spins a barrier takes 1.1 to 2.3 times as long; 30 to 3,000 differ by
#: 6 % at most, except beside a process that computes, where one run and the next disagree.
SPINS = 300

#: Places between two threads' numbers, so that they lie in cache lines (and pairs of them) apart.
CACHE_LINE_STRIDE = 16


@kernel
def barrier(signals, worker, workers, generation):
    """Wait until all workers have reached this generation of the barrier, counted from 1.

    Worker `w` publishes its generation at `signals[w * CACHE_LINE_STRIDE]`, and its processor
    behind it. The place behind the last worker's is not 0 where a worker could not be started: then
    all give up.

    Returns:
        False if they gave up.
    """
    publish(signals, worker * CACHE_LINE_STRIDE + 1, current_processor())
    publish(signals, worker * CACHE_LINE_STRIDE, generation)
    for other in range(workers):
        looks = 0
        while observe(signals, other * CACHE_LINE_STRIDE) < generation:
            if looks < SPINS:
                looks += 1
                spin()
            else:
                if observe(signals, workers * CACHE_LINE_STRIDE) != 0:
                    return False
                if observe(signals, other * CACHE_LINE_STRIDE + 1) == current_processor():
                    sleep_briefly()
                else:
                    yield_thread()
    return True
