"""The twins of `lanes.py`, `transposing.py`, `tiles.py`, `dots.py`, `groups.py`, `squares.py`,
`sorting.py`, `modes.py` and `atomics.py` in NumPy: a vector is a short array.

Used where Numba's compiler is switched off (`NUMBA_DISABLE_JIT=1`), so that the kernels run as
plain Python, with every index checked: a load or store that leaves its array raises.
"""

import threading
import time
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet_numba.simd.host import LANES
from fastnet_numba.simd.lanes import ROWS
from fastnet_numba.simd.sorting import COMPARED, DRAWN
from fastnet_numba.simd.squares import SIDE
from fastnet_numba.simd.tiles import ADD, BIAS, COLUMN_BIAS, KEEP, MASK, RELU
from fastnet_numba.simd.transposing import FEW

Vector = Array

#: Held where a number is read and written as one.
_CLAIMING = threading.Lock()


class Lanes(np.ndarray[Any, np.dtype[Any]]):
    """A vector's numbers, told from those of an array that it is loaded from."""


#: NumPy computes with subnormal numbers.
FLUSHING = 0


def _inside(array: Array, at: int, count: int) -> None:
    if count and not (array.ndim == 1 and at >= 0 and at + count <= len(array)):
        raise IndexError(f"elements {at} to {at + count} of an array of shape {array.shape}")


def lanes(array: Array) -> int:
    """How many lanes a vector from this array has."""
    return LANES[array.itemsize]


def flat(array: Array) -> Array:
    """An array in one piece as an array of one dimension."""
    return array.reshape(-1)


def from_bits(bits: int) -> Any:
    """The float64 that these 64 bits are, of an integer."""
    return np.int64(bits).view(np.float64)


def _load_several(lanes: int, array: Array, at: int) -> Vector:
    _inside(array, at, lanes)
    return array[at : at + lanes].copy().view(Lanes)


def load(array: Array, at: int) -> Vector:
    """The vector that begins at `array[at]`."""
    return _load_several(LANES[array.itemsize], array, at)


def load_block(array: Array, at: int) -> Vector:
    """The block that begins at `array[at]`."""
    return _load_several(ROWS * LANES[array.itemsize], array, at)


def in_rows(x: Vector) -> Vector:
    """The block whose rows are all `x`."""
    return np.tile(x, ROWS).view(Lanes)


def low(x: Vector) -> Vector:
    """The first half of the lanes."""
    return x[: len(x) // 2]


def high(x: Vector) -> Vector:
    """The second half of the lanes."""
    return x[len(x) // 2 :]


def store(array: Array, at: int, value: Vector) -> None:
    """Write a vector to where `array[at]` begins."""
    assert value.dtype == array.dtype, f"{value.dtype} vector for a {array.dtype} array"
    _inside(array, at, len(value))
    array[at : at + len(value)] = value


def stream(array: Array, at: int, value: Vector) -> None:
    """Write a vector to where `array[at]` begins, past all caches."""
    store(array, at, value)


def fetch(array: Array, at: int) -> None:
    """Begin to bring the cache line of `array[at]`, needed soon, into the second cache."""


def load_first(array: Array, at: int, count: int) -> Vector:
    """The first `count` lanes from `array[at]` on, zero in the others."""
    lanes = LANES[array.itemsize]
    count = max(min(count, lanes), 0)
    _inside(array, at, count)
    value = np.zeros(lanes, array.dtype).view(Lanes)
    value[:count] = array[at : at + count]
    return value


def keep_first(value: Vector, count: int) -> Vector:
    """The first `count` lanes of `value`, zero in the others."""
    kept = np.where(np.arange(len(value)) < count, value, value.dtype.type(0))
    return kept.view(Lanes)


def every(like: Array, scalar: float) -> Vector:
    """A vector of the kind of `like` with `scalar` in every lane."""
    count = len(like) if isinstance(like, Lanes) else LANES[like.itemsize]
    return np.full(count, scalar, like.dtype).view(Lanes)


def fma(x: Any, y: Any, z: Any) -> Vector:
    """x y + z, rounded twice."""
    like = next(value for value in (x, y, z) if isinstance(value, np.ndarray))
    x, y, z = (np.asarray(value, like.dtype) for value in (x, y, z))
    result: Array = x * y + z
    return result.view(Lanes)


def choose(mask: Array, x: Any, y: Any) -> Vector:
    """x where the mask is true, else y."""
    like = x if isinstance(x, np.ndarray) else y
    chosen: Array = np.where(mask, x, y).astype(like.dtype)
    return chosen.view(Lanes)


def absolute(x: Vector) -> Vector:
    """|x|."""
    return np.abs(x)


def square_root(x: Vector) -> Vector:
    """The root lane by lane, NaN below 0."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


def copy_sign(x: Vector, sign: Vector) -> Vector:
    """The size of x with the sign of `sign`."""
    return np.copysign(x, sign)


def power_of_two(n: Vector) -> Vector:
    """2^n for integers n; NaN gives some number."""
    return np.ldexp(np.ones_like(n), np.where(np.isnan(n), 0, n).astype(np.int32))


def raised(t: Vector) -> Vector:
    """2^n of n + 1.5 * 2^mantissa + bias."""
    if t.itemsize == 4:
        return np.left_shift(t.view(np.int32), 23).view(t.dtype)
    return np.left_shift(t.view(np.int64), 52).view(t.dtype)


def exponent(x: Vector) -> Vector:
    """The binary exponent of a positive normal x."""
    return (np.frexp(x)[1] - 1).astype(x.dtype)


def mantissa(x: Vector) -> Vector:
    """x / 2^exponent(x), in [1, 2)."""
    return 2 * np.frexp(x)[0]


def pick(like: Array, single: float, double: float) -> Vector:
    """A constant that depends on the dtype."""
    return every(like, single if like.itemsize == 4 else double)


def polynomial(x: Vector, single: tuple[float, ...], double: tuple[float, ...]) -> Vector:
    """c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule."""
    coefficients = single if x.itemsize == 4 else double
    result = every(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = fma(result, x, coefficient)
    return result


def polynomial_in_pairs(x: Vector, single: tuple[float, ...], double: tuple[float, ...]) -> Vector:
    """The same by Estrin's rule."""
    terms = [every(x, c) for c in (single if x.itemsize == 4 else double)]
    while len(terms) > 1:
        last = terms[len(terms) // 2 * 2 :]
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms, x = [fma(high, x, low) for low, high in pairs] + last, x * x
    return terms[0]


def total(x: Vector) -> Any:
    """The sum of the lanes, halves onto halves."""
    while len(x) > 1:
        x = x[: len(x) // 2] + x[len(x) // 2 :]
    return x[0]


def highest(x: Vector) -> Any:
    """The largest lane, NaN if there is one."""
    return x.max()


def draw_pairs(pairs: Array, at: Any, *address: Any) -> None:
    """Pair rows `at` to `at` + DRAWN with their words."""
    c1, c2, c3, k0, k1 = map(int, address)
    _inside(pairs, int(at), DRAWN)
    rows = np.arange(at, int(at) + DRAWN, dtype=np.uint64)
    words = random.philox((rows[::4] // 4, c1, c2, c3), (k0, k1)).reshape(-1)
    pairs[rows] = words.astype(np.uint64) << 32 | rows


def count_less(pairs: Array, at: int, than: Any) -> Any:
    """How many of the COMPARED pairs from `pairs[at]` on are less than this one."""
    _inside(pairs, int(at), COMPARED)
    return np.uint64((pairs[int(at) : int(at) + COMPARED] < than).sum())


def transpose(
    out: Array, out_at: int, out_row: int, x: Array, at: int, row: int, rows: int, columns: int
) -> None:
    """Transpose a block of up to LANES by LANES entries: out[j, i] = x[i, j]."""
    lanes = LANES[x.itemsize]
    block = np.array(
        [load_first(x, at + i * row, columns if i < rows else 0) for i in range(lanes)]
    )
    for j in range(lanes):
        store(out, out_at + j * out_row, np.ascontiguousarray(block[:, j]))


def spread(
    out: Array, out_at: int, out_row: int, x: Array, order: Array, first: int, width: int
) -> None:
    """Transpose LANES rows of x, number `first` of `order` and those behind it."""
    lanes = LANES[x.itemsize]
    few = min(FEW, lanes)
    for column in range(0, width - width % few, few):
        at = out_at + column * out_row
        spread_few(out, at, out_row, x, order, first, lanes, width, column, few)


def spread_in_order(out: Array, out_at: int, out_row: int, x: Array, at: int) -> None:
    """The same for rows of FEW numbers, or LANES, that lie one behind the other."""
    few = min(FEW, LANES[x.itemsize])
    spread(out, out_at, out_row, x[at:], np.zeros(0, np.intp), 0, few)


def spread_few(
    out: Array, out_at: int, out_row: int, x: Array, order: Array, first: int, rows: int,
    width: int, column: int, columns: int,
) -> None:  # fmt: skip
    """The same for up to LANES rows and up to FEW columns, from `column` on."""
    lanes = LANES[x.itemsize]
    block = np.zeros((lanes, min(FEW, lanes)), x.dtype)
    for i in range(min(rows, lanes)):
        row = int(order[first + i]) if len(order) else first + i
        few = min(columns, block.shape[1])
        block[i, :few] = load_first(x, row * width + column, few)[:few]
    for j in range(block.shape[1]):
        store(out, out_at + j * out_row, np.ascontiguousarray(block[:, j]))


def address_of_tiles(like: Array) -> int:
    """Nothing: the product is a function like any other here."""
    return 0


def product(
    tiles: int, c: Array, c_at: int, c_row: int,
    a: Array, a_at: int, a_row: int, a_column: int,
    b: Array, b_at: int, b_row: int,
    rows: int, columns: int, depth: int,
    begin: int, end: int, e: Array, e_at: int, e_row: int,
) -> None:  # fmt: skip
    """C = A B, begun and ended as `begin` and `end` say: see `tiles.py`."""
    i, j, k = np.arange(rows)[:, None], np.arange(columns)[None], np.arange(depth)

    def entries(array: Array, places: Array) -> Array:
        if places.size and not (places.min() >= 0 and places.max() < len(array)):
            raise IndexError(f"elements {places.min()} to {places.max()} of {len(array)}")
        return array[places]

    left = entries(a, a_at + i * a_row + k[None] * a_column)
    right = entries(b, b_at + k[:, None] * b_row + j)
    target = c_at + i * c_row + j
    value = entries(c, target) if begin == ADD else np.zeros((rows, columns), c.dtype)
    if begin == BIAS:
        value += entries(e, e_at + j)
    elif begin == COLUMN_BIAS:
        value += entries(e, e_at + i)
    for n in range(depth):  # in the order of depth, like the tiles
        value += left[:, n, None] * right[n]
    if end == RELU:
        value = np.where(value < 0, 0, value).astype(c.dtype)
    elif end != KEEP:
        slope = entries(e, e_at + i * e_row + j)
        value = np.where(slope > 0, value, 0).astype(c.dtype) if end == MASK else value * slope
    entries(c, target)
    c[target] = value


def dots(
    tiles: int, c: Array, c_at: int, c_row: int,
    a: Array, a_at: int, a_row: int,
    b: Array, b_at: int, b_row: int,
    rows: int, columns: int, depth: int, begin: int, sums: int,
) -> None:  # fmt: skip
    """C = A B', row by row, and the sums of B's rows: see `dots.py`."""
    for j in range(columns):
        for i in range(rows if sums < 0 else rows + 1):
            summed = every(c, 0.0)
            for k in range(0, depth, len(summed)):
                right = load(b, b_at + j * b_row + k)
                left = load(a, a_at + i * a_row + k) if i < rows else every(c, 1.0)
                summed = fma(left, right, summed)
            at = c_at + i * c_row + j if i < rows else sums + j
            _inside(c, at, 1)
            c[at] = (c[at] if begin == ADD else c.dtype.type(0)) + total(summed)


def _grouped(x: Vector, width: int) -> Array:
    return x.reshape(-1, width)


def mix(z: Vector, x: Vector, m: Array, at: int, width: int) -> Vector:
    """z + x w for every example, with the matrix w at `m[at]`."""
    for q in range(width):
        spread = np.repeat(_grouped(x, width)[:, q], width)
        _inside(m, at + q * width, width)
        row = m[at + q * width : at + (q + 1) * width]
        z = z + spread * np.tile(row, len(x) // width)
    return z


def over_examples(x: Vector, width: int) -> Vector:
    """The sum over the examples, in the lanes of each of them."""
    distance = width
    while distance < len(x):
        x = x + x[np.arange(len(x)) ^ distance]
        distance *= 2
    return x


def descend(
    w: Array, w_at: int, m: Array, x_at: int, d_at: int, groups: int, width: int,
    rate: float, least: float,
) -> None:  # fmt: skip
    """w = w + rate x' d, summed over the examples of all `groups` vectors of x and d; then 0 where
    the magnitude is less than `least`.
    """
    size = lanes(m)
    sums = [every(m, 0.0) for _ in range(width)]
    for g in range(groups):
        x, d = load(m, x_at + g * size), load(m, d_at + g * size)
        for q in range(width):
            sums[q] = sums[q] + np.repeat(_grouped(x, width)[:, q], width) * d
    for q in range(width):
        at = w_at + q * width
        _inside(w, at, width)
        moved = w[at : at + width] + m.dtype.type(rate) * over_examples(sums[q], width)[:width]
        w[at : at + width] = np.where(np.abs(moved) < least, 0, moved)


def load_square(array: Array, at: int) -> Vector:
    """The square that begins at `array[at]`."""
    return _load_several(SIDE * SIDE, array, at)


def transposed(x: Vector) -> Vector:
    """The square whose rows are the columns of x."""
    return x.reshape(SIDE, SIDE).T.reshape(-1)


def square_product(z: Vector, x: Vector, y: Vector) -> Vector:
    """z + x y, of three squares."""
    result: Array = z + (x.reshape(SIDE, SIDE) @ y.reshape(SIDE, SIDE)).reshape(-1)
    return result


def spin() -> None:
    """Nothing: a waiting thread dozes instead."""


def doze(array: Array, at: int, seen: int) -> None:
    """Let another thread run."""
    time.sleep(0)


def wake(array: Array, at: int) -> None:
    """Nothing: nobody sleeps long."""


def publish(array: Array, at: int, value: int) -> None:
    """array[at] = value."""
    array[at] = value


def claim(array: Array, at: int) -> Any:
    """array[at], which is one more from here on."""
    with _CLAIMING:
        array[at] += 1
        return array[at] - 1


def drain() -> None:
    """Have what was written by `stream` seen before what is written from here on."""


def observe(array: Array, at: int) -> Any:
    """array[at]."""
    return array[at]


def control_word() -> int:
    """The thread's control word, which stays as it is."""
    return 0


def set_control_word(word: int) -> None:
    """Set nothing."""
