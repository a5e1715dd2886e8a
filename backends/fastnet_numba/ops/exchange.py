"""What the workers of a run hand to each other: gradients, and parameters that they have updated.

What another processor has just written is read quickly, because caches fetch lines ahead. But to
write where another processor has read since takes several times as long: the line is in this one's
cache too, so nothing is fetched ahead, and each write waits until the other has dropped it. Whoever
reads here therefore writes as well, which takes the line away from the other. And each worker has a
copy of the parameters that nobody else reads.
"""

from fastnet_numba.simd.compiled import kernel
from fastnet_numba.simd.vectors import claim, lanes, load, store


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
def hand_over(p, low, high, copies, at):
    """Write the parameters `low` to `high` to another worker's copy, which begins at `copies[at]`.

    Whole vectors: behind a copy there is room.
    """
    for i in range(low, high, lanes(p)):
        store(copies, at + i, load(p, i))


@kernel
def claim_slice(p, low, high):
    """Take the parameters `low` to `high`, which others have written, away from their caches."""
    for i in range(low, high, lanes(p)):
        claim(p, i)
