"""Counter-based random streams: the same bits on every backend, machine and thread count.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) turns a 128-bit counter and a 64-bit key into four 32-bit words. Nothing is drawn
"next": every number has an address, so a kernel can compute any of them by itself, in any
order. The address of word `i` of a stream is

    key      = the seed's low and high 32 bits
    counter  = (i // 4,  stream's low 32 bits,  part,  purpose + 256 * (stream's high 24 bits))
    word     = i % 4 of the result

`stream` counts what repeats (the layer, the epoch, the training step), `part` distinguishes
what shares a stream (the layer, for dropout), `purpose` is one of the constants below.
"""

from functools import lru_cache

import numpy as np

from fastnet.arrays.checks import Array

WEIGHTS, SHUFFLE, DROPOUT, SPLIT, DATA = 1, 2, 3, 4, 5


def _constant(value: int) -> Array:
    """An array of no dimension, which NumPy takes faster than a number."""
    return np.array(value, np.uint64)


_MULTIPLIERS = (_constant(0xD2511F53), _constant(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW, _HALF = _constant(0xFFFFFFFF), _constant(32)

#: Counters worked on together: six arrays of 8 bytes each stay within a 256 KiB cache.
_BLOCK = 4096


def philox(counter: tuple[Array | int, ...], key: tuple[int, int]) -> Array:
    """Ten rounds of Philox4x32.

    Args:
        counter: four arrays `(n,)` of 32-bit values in uint64; all but the first may be numbers.
        key: two 32-bit values.

    Returns:
        `(n, 4)` uint32.
    """
    # In place, and two words at once where they are treated alike: of a few counters, the number of
    # NumPy's calls is what takes time.
    count = np.size(counter[0])
    even, odd, products = (np.empty(2 * count, np.uint64) for _ in range(3))
    c0, c2, c1, c3 = even[:count], even[count:], odd[:count], odd[count:]
    p1, p0 = products[:count], products[count:]
    c0[:], c1[:], c2[:], c3[:] = counter
    for k0, k1 in _round_keys(key):
        np.multiply(c2, _MULTIPLIERS[1], p1)
        np.multiply(c0, _MULTIPLIERS[0], p0)
        np.right_shift(products, _HALF, even)
        np.bitwise_xor(even, odd, even)
        np.bitwise_xor(c0, k0, c0)
        np.bitwise_xor(c2, k1, c2)
        np.bitwise_and(products, _LOW, odd)
    out = np.empty((count, 4), np.uint32)
    for column, word in enumerate((c0, c1, c2, c3)):
        out[:, column] = word
    return out


@lru_cache(maxsize=64)
def _round_keys(key: tuple[int, int]) -> list[list[Array]]:
    """The two keys of each of the ten rounds."""
    return [
        [_constant((k + cycle * w) & 0xFFFFFFFF) for k, w in zip(key, _WEYL, strict=True)]
        for cycle in range(10)
    ]


def words(seed: int, purpose: int, stream: int, count: int, part: int = 0) -> Array:
    """The first `count` 32-bit words of a stream, `(count,)` uint32."""
    key = (seed & 0xFFFFFFFF, seed >> 32)
    blocks = -(-count // 4)
    out = np.empty((blocks, 4), np.uint32)
    rest = (stream & 0xFFFFFFFF, part, purpose + ((stream >> 32) << 8))
    for start in range(0, blocks, _BLOCK):
        place = np.arange(start, min(start + _BLOCK, blocks), dtype=np.uint64)
        out[start : start + _BLOCK] = philox((place, *rest), key)
    return out.reshape(-1)[:count]


def uniform(seed: int, purpose: int, stream: int, count: int) -> Array:
    """`(count,)` float64, evenly over the open interval (0, 1), 53 bits each."""
    pairs = words(seed, purpose, stream, 2 * count).reshape(-1, 2)
    drawn = ((pairs[:, 0] >> 5) * 2.0**26 + (pairs[:, 1] >> 6) + 0.5) * 2.0**-53
    return np.minimum(drawn, 1 - 2.0**-53)  # the very last one is rounded up to 1


def normal(seed: int, purpose: int, stream: int, count: int) -> Array:
    """`(count,)` float64, standard normal (Box and Muller 1958)."""
    u = uniform(seed, purpose, stream, count + count % 2).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).reshape(-1)[:count]


def permutation(seed: int, purpose: int, stream: int, count: int) -> Array:
    """The numbers 0 to `count` - 1 in random order, `(count,)` intp.

    Each number is paired with a random word and the pairs are sorted. The number sits in the
    low bits, so no two pairs are equal and the order does not depend on how the sort works.
    Two rows that draw the same word (probability 2^-32) keep their order.
    """
    drawn = words(seed, purpose, stream, count).astype(np.uint64)
    pairs = (drawn << _HALF) | np.arange(count, dtype=np.uint64)
    pairs.sort()
    return (pairs & _LOW).astype(np.intp)


def seed_of_fit(seed: int, fit: int) -> int:
    """The seed of a model's shuffles and dropout masks in its fit of this number, from 0.

    The first fit has the model's own seed; the others have what SplitMix64 (Steele, Lea and Flood
    2014) makes of it: whole numbers, so that a short fit does not wait for arrays.
    """
    if fit == 0:
        return seed
    mixed = (seed + fit * 0x9E3779B97F4A7C15) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> shift) * factor % 2**64
    return mixed ^ mixed >> 31


def keep_threshold(rate: float) -> int:
    """Dropout keeps a unit where its word is at least this: round(rate * 2^32)."""
    return min(round(rate * 2**32), 2**32 - 1)


def fresh_seed() -> int:
    """A seed from the operating system, below 2^63."""
    import secrets

    return secrets.randbits(63)
