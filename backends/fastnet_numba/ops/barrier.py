"""What the threads of a run share: the barrier at which they wait for each other, their parts.

A waiting thread spins for a moment and then sleeps: pure spinning collapses as soon as another
process wants the processor, and a call of the system takes longer than most waits last. It does
not yield, where it can sleep: the system would give its processor to any other thread, however
unimportant, for milliseconds, but gives it back at once to one that is woken.
"""

from fastnet.arrays.cache_lines import PAIR
from fastnet_numba.simd.compiled import inlined, kernel
from fastnet_numba.simd.vectors import doze, observe, publish, spin, wake

#: How often a thread looks before it sleeps: for some 30 microseconds on the machine where it was
#: chosen, about what it took to be woken.
SPINS = 3_000

#: Places between two threads' numbers, of 8 bytes each.
CACHE_LINE_STRIDE = PAIR // 8

#: Where, behind a thread's number, the generation stands for which others sleep.
AWAITED = 1


@kernel
def barrier(signals, worker, workers, generation):
    """Wait until all workers have reached this generation of the barrier, counted from 1.

    Worker `w` publishes its generation at `signals[w * CACHE_LINE_STRIDE]`. The place behind the
    last worker's is not 0 where a worker could not be started: then all give up.

    Returns:
        False if they gave up.
    """
    own = worker * CACHE_LINE_STRIDE
    publish(signals, own, generation)
    if observe(signals, own + AWAITED) >= generation:
        wake(signals, own)
    for other in range(workers):
        place = other * CACHE_LINE_STRIDE
        looks = 0
        seen = observe(signals, place)
        while seen < generation:
            if looks < SPINS:
                looks += 1
                spin()
            else:
                if observe(signals, workers * CACHE_LINE_STRIDE) != 0:
                    return False
                # Of three threads the last to come may put a smaller one there: then others, who
                # are not woken, sleep for a millisecond at most.
                publish(signals, place + AWAITED, generation)
                doze(signals, place, seen)
            seen = observe(signals, place)
    return True


@inlined
def bound(size, part, parts):
    """Where a part of the flat vector begins, on a cache line: no two workers write to one."""
    return size if part == parts else size * part // parts // CACHE_LINE_STRIDE * CACHE_LINE_STRIDE


@inlined
def gathered(shared, parts, column):
    """The sum of what the parts have found."""
    summed = 0.0
    for part in range(parts):
        summed += shared[part * CACHE_LINE_STRIDE + column]
    return summed
