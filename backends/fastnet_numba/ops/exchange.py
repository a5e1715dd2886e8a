"""What the workers of a run hand to each other: gradients, and parameters that they have updated.

What another processor has just written is read quickly, because caches fetch lines ahead. But to
write where another processor has read since takes several times as long: the line is in this one's
cache too, so nothing is fetched ahead, and each write waits until the other has dropped it. Whoever
reads here therefore writes there as well, which takes the line away from the other, and does not
read it again. So each worker has a copy of the parameters, and a box for what others update, where
they are few enough to stay in the caches (`COPIED_BYTES`).
"""

import numpy as np
from numba.core import types

from fastnet_numba.ops.barrier import barrier
from fastnet_numba.simd.compiled import inlined, part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.vectors import every, lanes, load, store


@by_address(types.boolean)
def synchronize(signals, worker, workers, generation):
    """Wait for all workers: see `barrier`."""


@part
def synchronized(signals, worker, workers, generation):
    """See `barrier`."""
    return barrier(signals, worker, workers, generation)


@by_address(types.boolean)
def exchange(p, size, low, high, copies, stride, signals, worker, workers, generation):
    """Hand over what this worker has updated, and take what others have; False if they gave up."""


@part
def exchanged(p, size, low, high, copies, stride, signals, worker, workers, generation):
    """`p` is this worker's copy, of `size`; copies, and boxes behind them, are `stride` apart."""
    for other in range(workers):
        if other != worker:
            hand_over(p, low, high, copies, (workers + other) * stride)
    if not barrier(signals, worker, workers, generation):
        return False
    box = (workers + worker) * stride
    take_over(p, np.int64(0), low, copies, box)
    take_over(p, high, size, copies, box)
    return True


@inlined
def add_slice(g, other, low, high, both):
    """g += another part's gradient, at `g[other]`; for `both`, that becomes the same sum.

    Not where gradients are so large that they stay in no cache: it would only be written once more.
    """
    ours, theirs = g[low:high], g[other + low : other + high]
    if not both:
        for i in range(len(ours)):
            ours[i] += theirs[i]
        return
    for i in range(len(ours)):
        total = ours[i] + theirs[i]
        ours[i] = total
        theirs[i] = total


@by_address(types.none)
def add_parts(g, parts, stride, low, high, own, both):
    """Add the parts' gradients: see `parts_added`."""


@part
def parts_added(g, parts, stride, low, high, own, both):
    """Add up the gradients of all parts, `stride` apart, in their order; `both`: see `add_slice`.

    The sum's entries `low` to `high` go to `g[0]`, or for `both` to `g[own]`, where a part's stand.
    """
    for one in range(1, parts):
        add_slice(g, one * stride, low, high, both)
    if 0 < own < (parts - 1) * stride:
        for i in range(low, high):
            g[own + i] = g[i]


@inlined
def hand_over(p, low, high, boxes, at):
    """Put the parameters `low` to `high` into another worker's box, which begins at `boxes[at]`.

    Whole vectors: behind a box and a copy of the parameters there is room.
    """
    for i in range(low, high, lanes(p)):
        store(boxes, at + i, load(p, i))


@inlined
def take_over(p, low, high, boxes, at):
    """Take the parameters `low` to `high` out of this worker's box, which leaves zeros there."""
    for i in range(low, high, lanes(p)):
        store(p, i, load(boxes, at + i))
        store(boxes, at + i, every(p, 0.0))
