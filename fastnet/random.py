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

WEIGHTS, SHUFFLE, DROPOUT, SPLIT, DATA, BOOTSTRAP, INIT = 1, 2, 3, 4, 5, 6, 7


def _constant(value: int) -> Array:
    """An array of no dimension, which NumPy takes faster than a number."""
    return np.array(value, np.uint64)


_MULTIPLIERS = (_constant(0xD2511F53), _constant(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW, _HALF = _constant(0xFFFFFFFF), _constant(32)

#: Of the functions below: in ascending powers.
_LOG = (
    0.6666666666666735, 0.3999999999940942, 0.2857142874366239, 0.22222198432149784,
    0.1818357216161805, 0.15313837699209373, 0.14798198605116586,
)  # fmt: skip
_COS = (
    1.0, -1.2337005501361697, 0.25366950790104803, -0.02086348076335296, 0.0009192602748394266,
    -2.5202042373060607e-05, 4.710874778818172e-07, -6.386603083791852e-09, 6.565963114979473e-11,
)  # fmt: skip
_SIN = (
    1.5707963267948966, -0.6459640975062463, 0.07969262624616705, -0.004681754135318688,
    0.00016044118478735983, -3.598843235212085e-06, 5.692172921967927e-08, -6.688035109811468e-10,
    6.0669357311061955e-12,
)  # fmt: skip

#: Counters worked on together: six arrays of 8 bytes each stay within a 256 KiB cache.
_BLOCK = 4096

#: Counters up to which Python's own whole numbers take less time than arrays do.
_FEW = 32


def philox(counter: tuple[Array | int, ...], key: tuple[int, int]) -> Array:
    """Ten rounds of Philox4x32.

    Args:
        counter: four arrays `(n,)` of 32-bit values in uint64; all but the first may be numbers.
        key: two 32-bit values.

    Returns:
        `(n, 4)` uint32.
    """
    count = len(counter[0])  # type: ignore[arg-type]
    if count <= _FEW:
        return _philox_of_few(counter, key, count)
    # In place, and two words at once where they are treated alike.
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


def _philox_of_few(counter: tuple[Array | int, ...], key: tuple[int, int], count: int) -> Array:
    """The same, by fewer calls: all counters are in one whole number, 64 bits for each.

    A word has 32 bits, and so has a multiplier: no product runs over into the next counter's bits.
    """
    ones = (2 ** (64 * count) - 1) // (2**64 - 1)  # 1 for every counter
    low, m0, m1 = ones * 0xFFFFFFFF, int(_MULTIPLIERS[0]), int(_MULTIPLIERS[1])
    c0, c1, c2, c3 = (
        int.from_bytes(word.astype("<u8").tobytes(), "little")
        if isinstance(word, np.ndarray)
        else word * ones
        for word in counter
    )
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * m0, c2 * m1
        c0, c1 = (p1 >> 32 & low) ^ c1 ^ k0 * ones, p1 & low
        c2, c3 = (p0 >> 32 & low) ^ c3 ^ k1 * ones, p0 & low
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    out = np.empty((count, 4), np.uint32)
    for column, words in ((0, c0 | c1 << 32), (2, c2 | c3 << 32)):
        pairs = np.frombuffer(words.to_bytes(8 * count, "little"), "<u4")
        out[:, column : column + 2] = pairs.reshape(count, 2)
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
    """`(count,)` float64, standard normal (Box and Muller 1958).

    The same bits on every processor, which NumPy's own log and cos do not give: here all is made of
    additions, products, quotients and square roots, and those are rounded correctly everywhere.
    """
    u = uniform(seed, purpose, stream, count + count % 2).reshape(-1, 2)
    drawn = np.empty_like(u)
    for start in range(0, len(u), _BLOCK):
        here = slice(start, start + _BLOCK)
        radius = np.sqrt(-2 * _log(u[here, 0]))
        cos, sin = _on_circle(u[here, 1])
        drawn[here, 0], drawn[here, 1] = radius * cos, radius * sin
    return drawn.reshape(-1)[:count]


def _log(x: Array) -> Array:
    """ln(x) of normal x > 0: below 1 ulp, by the method and constants of fdlibm's e_log.c.

    x = 2^k (1 + f); ln(1 + f) = f - (h - s (h + s^2 P(s^2))), s = f / (2 + f), h = f^2 / 2. ln(2)
    is taken in two parts, the first of which has so few bits that k times it is exact.
    """
    m, k = np.frexp(x)  # exact, m in [1/2, 1)
    low = m < 0.7071067811865476
    m, k = np.where(low, 2 * m, m), (k - low).astype(np.float64)
    f = m - 1
    s, h = f / (2 + f), 0.5 * f * f
    tail = s * (h + _polynomial(s * s, _LOG) * (s * s)) + k * 1.9082149292705877e-10
    return k * 0.6931471803691238 - ((h - tail) - f)  # type: ignore[no-any-return]


def _on_circle(turns: Array) -> tuple[Array, Array]:
    """cos and sin of 2 pi `turns`, for 0 to 1 turns: below 2 ulp.

    4 turns = q + r with |r| <= 1/2, exactly. The polynomials in r^2 are Taylor's, of cos(pi r / 2)
    and sin(pi r / 2) / r; what they leave out is below 3e-18 of the result.
    """
    quarter = np.rint(4 * turns)
    r = 4 * turns - quarter
    square = r * r
    cos, sin = _polynomial(square, _COS), r * _polynomial(square, _SIN)
    q = quarter.astype(np.int64) & 3
    odd = (q & 1) == 1
    x, y = np.where(odd, sin, cos), np.where(odd, cos, sin)
    return np.where((q == 1) | (q == 2), -x, x), np.where(q >= 2, -y, y)


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Horner's rule, from the constant on."""
    y = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        y = y * x + coefficient
    return y


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
    return seed if fit == 0 else _mixed(seed, fit)


def seed_of_part(seed: int, part: int) -> int:
    """The seed of shuffles within a part of the rows; parts count from 0, up to 2^62.

    Some bits of the seed are flipped, so that no part has the seed of a fit. Any bits would do.
    """
    return _mixed(seed ^ 0x5851F42D4C957F2D, 2**62 + part)


def _mixed(seed: int, number: int) -> int:
    """What SplitMix64 makes of a seed, the `number`th time."""
    mixed = (seed + number * 0x9E3779B97F4A7C15) % 2**64
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
