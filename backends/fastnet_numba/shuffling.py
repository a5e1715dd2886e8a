"""Orders of the rows: the same bits as `random.permutation` gives.

Each row is paired with a random word, and the pairs are sorted. A pair is one number, with the word
in its high half and the row in its low half. No two are equal, so there is only one order, however
they are sorted. Words are spread evenly, so counting sorts by their high bits do nearly all of it.
Where there are many rows, a first sort puts pairs into buckets, each so small that it fits into a
cache. The last sort puts those of a bucket into places, a few in each; the rank of a pair in its
place is the number of pairs there that are less.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet_numba.ops.philox import LOW, fourth
from fastnet_numba.simd.compiled import entry, inlined
from fastnet_numba.simd.sorting import COMPARED, DRAWN
from fastnet_numba.simd.vectors import count_less, draw_pairs
from fastnet_numba.threads import OCCUPIED, do_jobs

#: Up to 2^AT_ONCE rows need no buckets; of more rows a bucket has about 2^(BUCKET - 1) to 2^BUCKET,
#: or more where there would be more than 2^BUCKETS buckets. Chosen on the processor of
#: bench/results/numba-2026-11-28.md.
AT_ONCE, BUCKET, BUCKETS = 18, 14, 12

#: A place has 2^(PAIRS - 1) to 2^PAIRS pairs, or more where a bucket would have more than 2^PLACES
#: places.
PAIRS, PLACES = 2, 16

#: Rows of all orders together from which several threads draw them (a choice: they take far longer
#: than a thread takes to start).
WORTH_SHARING = 2**17

#: Larger than any pair but itself.
_LARGEST = np.uint64(2**64 - 1)

_PURPOSE, _NO_PART, _ONE = np.uint64(random.SHUFFLE), np.uint64(0), np.uint64(1)


def bits_of(rows: int) -> tuple[int, int]:
    """By how many bits of a word the two sorts go; 0 for the first where it is not needed."""
    needed = max(rows - 1, 1).bit_length()
    first = 0 if needed <= AT_ONCE else min(needed - BUCKET, BUCKETS)
    return first, min(max(needed - first - PAIRS, 1), PLACES)


@inlined
def draw(key, epoch, rows, pairs):
    """Pair each row with its word of the epoch, and a few numbers behind the last row."""
    stream, purpose = epoch & LOW, fourth(_PURPOSE, epoch)
    for row in range(0, rows, DRAWN):
        draw_pairs(pairs, np.uint64(row), stream, _NO_PART, purpose, key[0], key[1])


@inlined
def sort(pairs, begin, end, to_place, last_place, places, target):
    """Put pairs into their places in `target`.

    A pair's place is the pair shifted by `to_place`, of which the bits of `last_place` count.
    Afterwards place n begins at `places[n]`, and ends where the next one begins.
    """
    places[:] = 0
    for at in range(begin, end):
        places[(pairs[at] >> to_place & last_place) + _ONE] += _ONE
    begins = np.uint64(begin)
    for place in range(1, len(places)):
        count = places[place]
        places[place] = begins
        begins += count
    places[0] = np.uint64(begin)
    for at in range(begin, end):
        pair = pairs[at]
        place = (pair >> to_place & last_place) + _ONE
        to = places[place]
        places[place] = to + _ONE
        target[to] = pair


@entry
def shuffle(key, epochs, first, second, pairs, counts, orders):
    """Draw the orders of some epochs.

    Args:
        key: the seed's low and high 32 bits, uint64.
        epochs: their numbers, uint64.
        first, second: see `bits_of`.
        pairs: room for pairs, `(2, rows + DRAWN)` uint64.
        counts: room for `2^first + 2^second + 2` numbers, uint64.
        orders: room for the orders, `(epochs, rows)` uint64.
    """
    rows = orders.shape[1]
    buckets, places = counts[: (1 << first) + 1], counts[(1 << first) + 1 :]
    to_bucket, to_place = np.uint64(64 - first), np.uint64(64 - first - second)
    last_bucket, last_place = np.uint64(len(buckets) - 2), np.uint64(len(places) - 2)
    for e in range(len(epochs)):
        order, given, put = orders[e], pairs[0], pairs[1]
        draw(key, epochs[e], rows, given)
        buckets[0], buckets[1] = np.uint64(0), np.uint64(rows)
        if first > 0:
            sort(given, 0, rows, to_bucket, last_bucket, buckets, put)
            given, put = put, given
        for bucket in range(len(buckets) - 1):
            begin, end = np.int64(buckets[bucket]), np.int64(buckets[bucket + 1])
            sort(given, begin, end, to_place, last_place, places, put)
            put[end : end + COMPARED] = _LARGEST  # no pair behind a bucket's is less
            for at in range(begin, end):
                pair = put[at]
                place = pair >> to_place & last_place
                here, after = places[place], places[place + _ONE]
                rank = here + count_less(put, here, pair)
                while here + np.uint64(COMPARED) < after:
                    here += np.uint64(COMPARED)
                    rank += count_less(put, here, pair)
                order[rank] = pair & LOW


def orders(kernel: Any, seed: int, epochs: range, rows: int, threads: int | None) -> Array:
    """The orders of the rows in some epochs, `(len(epochs), rows)` intp.

    Args:
        kernel: the compiled `shuffle`.
        seed: of the fit.
        epochs: their numbers.
        rows: of the data.
        threads: the most to use; None: as many as have a processor.
    """
    found = np.empty((len(epochs), rows), np.uint64)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint64)
    first, second = bits_of(rows)

    def draw_some(begin: int, end: int) -> None:
        kernel(
            key,
            np.arange(epochs.start + begin, epochs.start + end, dtype=np.uint64),
            first,
            second,
            np.empty((2, rows + DRAWN), np.uint64),
            np.empty(2**first + 2**second + 2, np.uint64),
            found[begin:end],
        )

    count, shares = len(epochs), 1
    if count > 1 and count * rows >= WORTH_SHARING:
        shares = min(count, threads or OCCUPIED.left())
    if shares == 1:
        draw_some(0, count)
    else:
        cuts = [count * n // shares for n in range(shares + 1)]
        with OCCUPIED.by(shares):
            do_jobs([partial(draw_some, *cut) for cut in pairwise(cuts)], shares)
    return found.view(np.intp)
