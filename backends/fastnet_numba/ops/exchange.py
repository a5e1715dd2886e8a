"""What the workers of a run hand to each other: gradients, and parameters that they have updated.

What another processor has just written is read quickly, because caches fetch lines ahead. But to
write where another processor has read since takes several times as long: the line is in this one's
cache too, so nothing is fetched ahead, and each write waits until the other has dropped it. So two
workers have a copy of the parameters each (`gradients.py` says when), and whoever updates some
writes them into the other's copy past all caches, which waits for nobody. Of gradients, whoever
reads writes there as well, which takes the line away from the other.
"""

from numba.core import types

from fastnet_numba.ops.barrier import barrier
from fastnet_numba.ops.optimizers import update, update_segments
from fastnet_numba.simd.compiled import inlined, part
from fastnet_numba.simd.parts import by_address
from fastnet_numba.simd.vectors import drain, lanes, load, stream

#: Entries of the parameters that are updated at once: with their gradients and the optimizer's
#: memory of them they should stay in the second cache. Whole cache lines; the number is a choice.
AT_ONCE = 4_096


@by_address(types.boolean)
def synchronize(signals, worker, workers, generation):
    """Wait for all workers: see `barrier`."""


@part
def synchronized(signals, worker, workers, generation):
    """See `barrier`."""
    return barrier(signals, worker, workers, generation)


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
def add_parts(g, parts, stride, low, high, both):
    """Add the parts' gradients: see `parts_added`."""


@part
def parts_added(g, parts, stride, low, high, both):
    """Add up the gradients of all parts, `stride` apart, in their order.

    The sum's entries `low` to `high` go to the first part; for `both` to the last one, too.
    """
    add_up(g, parts, stride, low, high, both)


@inlined
def add_up(g, parts, stride, low, high, both):
    """See `parts_added`."""
    for one in range(1, parts):
        add_slice(g, one * stride, low, high, both)


@by_address(types.none)
def update_copies(
    optimizer, constants, p, g, memory, low, high, rate, decay, t,
    by_segments, segments, count, parts, stride, own, copies, other,
):  # fmt: skip
    """Update the parameters `low` to `high` in both copies: see `copies_updated`."""


@part
def copies_updated(
    optimizer, constants, p, g, memory, low, high, rate, decay, t,
    by_segments, segments, count, parts, stride, own, copies, other,
):  # fmt: skip
    """Update the parameters `low` to `high` in this worker's copy `p`, and in the other's, which
    begins at `copies[other]`.

    AT_ONCE at a time. Their gradient stands at `g[own]`; unless `parts` is 0, the parts' gradients
    are added up there first. Where `count` is not 0, each of so many `segments` has a rate of its
    own.
    """
    summed = g[own : own + stride]
    for at in range(low, high, AT_ONCE):
        until = min(at + AT_ONCE, high)
        if parts > 0:
            add_up(g, parts, stride, at, until, True)
        if count > 0:
            update_segments(
                by_segments, optimizer, constants, p, summed, memory, at, until, rate, decay, t,
                segments, count,
            )  # fmt: skip
        else:
            update(optimizer, constants, p, summed, memory, at, until, at, rate, decay, t)
        write_over(p, at, until, copies, other)
    drain()


@inlined
def write_over(p, low, high, copies, at):
    """Write the parameters `low` to `high` into the copy that begins at `copies[at]`.

    Whole vectors: `low` and `high` lie on cache lines (`barrier.bound`, AT_ONCE), so none reaches
    into what another worker updates; behind the last there is room.
    """
    for i in range(low, high, lanes(p)):
        stream(copies, at + i, load(p, i))
