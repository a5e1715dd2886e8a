"""What the workers of a run hand to each other: gradients, and parameters that they have updated.

What another processor has just written is read quickly, because caches fetch lines ahead. But to
write where another processor has read since takes several times as long: the line is in this one's
cache too, so nothing is fetched ahead, and each write waits until the other has dropped it. Whoever
reads here therefore writes there as well, which takes the line away from the other, and does not
read it again. So each worker has a copy of the parameters, and a box for what others update.
"""

from fastnet_numba.simd.compiled import kernel
from fastnet_numba.simd.vectors import every, lanes, load, store


@kernel
def add_slice(g, other, low, high, both):
    """g += another part's gradient, at `g[other]`, which becomes the same sum for `both`.

    It need not where gradients are so large that they stay in no cache.
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


@kernel
def add_parts(g, parts, stride, low, high, own, both):
    """Add up the gradients of all parts, `stride` apart, in their order; `both` as above.

    The sum's entries `low` to `high` go to `g[0]`, or for `both` to `g[own]`, where a part's stand.
    """
    for part in range(1, parts):
        add_slice(g, part * stride, low, high, both)
    if 0 < own < (parts - 1) * stride:
        for i in range(low, high):
            g[own + i] = g[i]


@kernel
def hand_over(p, low, high, boxes, at):
    """Put the parameters `low` to `high` into another worker's box, which begins at `boxes[at]`.

    Whole vectors: behind a box and a copy of the parameters there is room.
    """
    for i in range(low, high, lanes(p)):
        store(boxes, at + i, load(p, i))


@kernel
def take_over(p, low, high, boxes, at):
    """Take the parameters `low` to `high` out of this worker's box, which leaves zeros there."""
    for i in range(low, high, lanes(p)):
        store(p, i, load(boxes, at + i))
        store(boxes, at + i, every(p, 0.0))
