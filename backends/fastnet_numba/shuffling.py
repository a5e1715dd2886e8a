"""Orders of the rows: the same bits as `random.permutation` gives.

Each row is paired with a random word, and the pairs are sorted. Words are spread evenly, so two
counting sorts do nearly all of it: the first by so many bits that what has these in common, a
bucket, fits into a cache; the second, within a bucket, by as many as it takes to leave few rows in
a place. Insertions sort those. A pair is one number, the word above the row, and no two are equal:
whatever sorts them, there is one order.
"""

import numpy as np

from fastnet import random
from fastnet_numba.ops.philox import HALF, LOW, fourth, philox
from fastnet_numba.simd.compiled import entry, inlined

#: Rows of a bucket are about 2^BUCKET to 2^(BUCKET + 1), while there are at most 2^BUCKETS buckets
#: (a choice: a bucket of pairs stays in a first cache, and so do the places where buckets end).
BUCKET, BUCKETS = 9, 12

#: The second sort has twice as many places as a bucket has rows, and at most 2^PLACES.
PLACES = 16

_PURPOSE, _NO_PART = np.uint64(random.SHUFFLE), np.uint64(0)


def bits_of(rows: int) -> tuple[int, int]:
    """The bits of a word by which the two sorts go."""
    needed = max(rows - 1, 1).bit_length()
    first = min(max(needed - BUCKET - 1, 0), BUCKETS)
    return first, min(needed - first + 1, PLACES)


@inlined
def begin_places(counts, first):
    """Turn the counts of pairs in each place into where the place begins."""
    for place in range(len(counts)):
        count = counts[place]
        counts[place] = first
        first += count


@inlined
def put(pair, counts, place, target):
    """Put a pair behind the last one of its place."""
    at = counts[place]
    counts[place] = at + 1
    target[at] = pair


@entry
def shuffle(key, epochs, first, second, words, pairs, counts, orders):
    """Draw the orders of some epochs.

    Args:
        key: the seed's low and high 32 bits, uint64.
        epochs: their numbers, uint64.
        first, second: the bits by which the two sorts go.
        words: room for `rows + 3` words, uint32.
        pairs: room for `rows` pairs, uint64.
        counts: room for `2^first + 2^second` numbers, int64.
        orders: room for the orders, `(epochs, rows)` uint64.
    """
    rows = len(pairs)
    buckets, places = counts[: 1 << first], counts[1 << first :]
    to_bucket, to_place = np.uint64(32 - first), np.uint64(64 - first - second)
    last_place = np.uint64(len(places) - 1)
    for e in range(len(epochs)):
        order = orders[e]
        stream, purpose = epochs[e] & LOW, fourth(_PURPOSE, epochs[e])
        for block in range((rows + 3) // 4):
            w0, w1, w2, w3 = philox(np.uint64(block), stream, _NO_PART, purpose, key[0], key[1])
            words[4 * block] = w0
            words[4 * block + 1] = w1
            words[4 * block + 2] = w2
            words[4 * block + 3] = w3

        buckets[:] = 0
        for row in range(rows):
            buckets[np.uint64(words[row]) >> to_bucket] += 1
        begin_places(buckets, 0)
        for row in range(rows):
            word = np.uint64(words[row])
            put(word << HALF | np.uint64(row), buckets, word >> to_bucket, pairs)

        begin = 0
        for bucket in range(len(buckets)):
            end = buckets[bucket]  # where the next one began, before pairs were put there
            places[:] = 0
            for at in range(begin, end):
                places[pairs[at] >> to_place & last_place] += 1
            begin_places(places, begin)
            for at in range(begin, end):
                put(pairs[at], places, pairs[at] >> to_place & last_place, order)
            for at in range(begin + 1, end):
                pair = order[at]
                while at > begin and order[at - 1] > pair:
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = pair
            for at in range(begin, end):
                order[at] &= LOW
            begin = end
