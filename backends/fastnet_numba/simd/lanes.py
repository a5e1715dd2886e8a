"""What kernels do with vectors, made of LLVM instructions.

Everything here has a twin in `emulated.py`, in NumPy; `vectors.py` chooses between the two.

`at` is always an index in elements, not bytes. Nothing is checked: the callers' offsets come
from `layout.py`, which also makes every buffer so long that a whole vector may be read or
written wherever one begins inside it.
"""

from typing import Any

from llvmlite import ir
from numba.core import types

from fastnet_numba.simd.traced import Typed, traceable
from fastnet_numba.simd.vector import (
    INDEX,
    LANE,
    SECOND_CACHE,
    Vector,
    address,
    call,
    constant,
    first_lanes,
    load_masked,
    multiply_add,
    prefetch,
    shuffle,
    suffix,
    vector_of,
    vector_type,
    widen,
)


@traceable
def lanes(typing: Any, array: Any) -> Typed:
    """How many lanes a vector from this array has."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return INDEX(Vector(sig.args[0].dtype).lanes)

    return types.intp(array), build


@traceable
def flat(typing: Any, array: Any) -> Typed:
    """An array in one piece as an array of one dimension, which does not keep it alive.

    Numba's own `reshape` takes as long as a small network.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        from numba.np.arrayobj import populate_array  # slow to import, and for compiling only

        given = context.make_array(sig.args[0])(context, builder, args[0])
        made = context.make_array(sig.return_type)(context, builder)
        populate_array(
            made,
            data=given.data,
            shape=[given.nitems],
            strides=[given.itemsize],
            itemsize=given.itemsize,
            meminfo=None,
        )
        return made._getvalue()

    return types.Array(array.dtype, 1, "C", readonly=not array.mutable)(array), build


@traceable
def from_bits(typing: Any, bits: Any) -> Typed:
    """The float64 that these 64 bits are, of an integer."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), build


#: Vectors of a block.
ROWS = 4


def load_several(lanes: int, array: Any) -> Typed:
    """What loads a vector of so many lanes."""
    vector = Vector(array.dtype, lanes)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        align = sig.args[0].dtype.bitwidth // 8
        return builder.load(pointer, typ=vector_type(vector), align=align)

    return vector(array, types.intp), build


@traceable
def load(typing: Any, array: Any, at: Any) -> Typed:
    """The vector that begins at `array[at]`."""
    return load_several(Vector(array.dtype).lanes, array)


@traceable
def load_block(typing: Any, array: Any, at: Any) -> Typed:
    """The block that begins at `array[at]`: ROWS vectors, as one.

    What is done with it is an instruction for each of them, and none waits for another.
    """
    return load_several(ROWS * Vector(array.dtype).lanes, array)


@traceable
def store(typing: Any, array: Any, at: Any, value: Any) -> Typed:
    """Write a vector to where `array[at]` begins."""
    assert isinstance(value, Vector)
    assert value.element == array.dtype, (value, array)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), build


@traceable
def in_rows(typing: Any, x: Any) -> Typed:
    """The block whose rows are all `x`."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return shuffle(builder, args[0], args[0], list(range(args[0].type.count)) * ROWS)

    return Vector(x.element, ROWS * x.lanes)(x), build


@traceable
def low(typing: Any, x: Any) -> Typed:
    """The first half of the lanes."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return shuffle(builder, args[0], args[0], list(range(args[0].type.count // 2)))

    return Vector(x.element, x.lanes // 2)(x), build


@traceable
def high(typing: Any, x: Any) -> Typed:
    """The second half of the lanes."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = args[0].type.count
        return shuffle(builder, args[0], args[0], list(range(count // 2, count)))

    return Vector(x.element, x.lanes // 2)(x), build


@traceable
def fetch(typing: Any, array: Any, at: Any) -> Typed:
    """Begin to bring the cache line of `array[at]`, needed soon, into the second cache."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        prefetch(builder, pointer, SECOND_CACHE)
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@traceable
def load_first(typing: Any, array: Any, at: Any, count: Any) -> Typed:
    """The first `count` lanes from `array[at]` on, zero in the others (all, if count is more)."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        return load_masked(builder, kind, pointer, first_lanes(builder, kind, args[2]))

    return Vector(array.dtype)(array, types.intp, types.intp), build


@traceable
def keep_first(typing: Any, value: Any, count: Any) -> Typed:
    """The first `count` lanes of `value`, zero in the others."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        mask = first_lanes(builder, kind, args[1])
        return builder.select(mask, args[0], constant(kind, 0.0))

    return value(value, types.intp), build


@traceable
def every(typing: Any, like: Any, scalar: Any) -> Typed:
    """A vector of the kind of `like` (an array or a vector) with `scalar` in every lane."""
    vector = like if isinstance(like, Vector) else Vector(like.dtype)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return widen(context, builder, vector_type(vector), sig.args[1], args[1])

    return vector(like, scalar), build


@traceable
def fma(typing: Any, x: Any, y: Any, z: Any) -> Typed:
    """x y + z, one rounding or two: see `multiply_add`. Scalars go into every lane."""
    vector = vector_of((x, y, z))
    assert vector is not None, "one of the three must be a vector"

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        wide = [
            widen(context, builder, kind, given, value)
            for given, value in zip(sig.args, args, strict=True)
        ]
        return multiply_add(builder, *wide)

    return vector(x, y, z), build


@traceable
def choose(typing: Any, mask: Any, x: Any, y: Any) -> Typed:
    """x where the mask is true, else y. Scalars go into every lane."""
    vector = vector_of((x, y))
    assert vector is not None, "one of the two must be a vector"

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        wide = [
            widen(context, builder, kind, given, value)
            for given, value in zip(sig.args[1:], args[1:], strict=True)
        ]
        return builder.select(args[0], *wide)

    return vector(mask, x, y), build


@traceable
def absolute(typing: Any, x: Any) -> Typed:
    """|x|."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return call(builder, f"llvm.fabs.{suffix(kind)}", kind, [args[0]])

    return x(x), build


@traceable
def square_root(typing: Any, x: Any) -> Typed:
    """The root lane by lane, NaN below 0."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        return call(builder, f"llvm.sqrt.{suffix(kind)}", kind, [args[0]])

    return x(x), build


@traceable
def copy_sign(typing: Any, x: Any, sign: Any) -> Typed:
    """The size of x with the sign of `sign`."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return call(builder, f"llvm.copysign.{suffix(kind)}", kind, list(args))

    return x(x, sign), build


def _integers(kind: Any) -> tuple[Any, int, int]:
    """The integer vector as wide as `kind`, its mantissa's bits and the exponent's bias."""
    if isinstance(kind.element, ir.FloatType):
        return ir.VectorType(ir.IntType(32), kind.count), 23, 127
    return ir.VectorType(ir.IntType(64), kind.count), 52, 1023


@traceable
def power_of_two(typing: Any, n: Any) -> Typed:
    """2^n for integers n with a normal result: -126 to 127 in float32, -1022 to 1023 in float64.

    By adding 1.5 * 2^mantissa, n comes to stand in the low bits, from where it is shifted into
    the exponent: no conversion to an integer, which for NaN would have no defined result. NaN
    gives some number.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        _, mantissa, bias = _integers(kind)
        return _raised(builder, builder.fadd(args[0], constant(kind, 1.5 * 2.0**mantissa + bias)))

    return n(n), build


@traceable
def raised(typing: Any, t: Any) -> Typed:
    """2^n of t = n + 1.5 * 2^mantissa + bias, as `power_of_two` of n, for one addition less."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _raised(builder, args[0])

    return t(t), build


def _raised(builder: Any, t: Any) -> Any:
    whole, mantissa, _ = _integers(t.type)
    bits = builder.bitcast(t, whole)
    shift = ir.Constant(whole, [mantissa] * t.type.count)
    return builder.bitcast(builder.shl(bits, shift), t.type)


@traceable
def exponent(typing: Any, x: Any) -> Typed:
    """The binary exponent of a positive normal x, as an integer in a vector of x's kind."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        whole, mantissa, bias = _integers(kind)
        bits = builder.bitcast(args[0], whole)
        biased = builder.lshr(bits, ir.Constant(whole, [mantissa] * kind.count))
        plain = builder.sub(biased, ir.Constant(whole, [bias] * kind.count))
        return builder.sitofp(plain, kind)

    return x(x), build


@traceable
def mantissa(typing: Any, x: Any) -> Typed:
    """x / 2^exponent(x), in [1, 2), for a positive normal x."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        whole, mantissa, bias = _integers(kind)
        low = ir.Constant(whole, [(1 << mantissa) - 1] * kind.count)
        one = ir.Constant(whole, [bias << mantissa] * kind.count)
        bits = builder.and_(builder.bitcast(args[0], whole), low)
        return builder.bitcast(builder.or_(bits, one), kind)

    return x(x), build


@traceable
def pick(typing: Any, like: Any, single: Any, double: Any) -> Typed:
    """A constant that depends on the dtype: `single` in float32, `double` in float64."""
    vector = like if isinstance(like, Vector) else Vector(like.dtype)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        which = 1 if vector.element == types.float32 else 2
        return widen(context, builder, vector_type(vector), sig.args[which], args[which])

    return vector(like, single, double), build


def _coefficients(context: Any, builder: Any, sig: Any, args: Any) -> list[Any]:
    """Those of a polynomial for the dtype of its vector, each in every lane."""
    which = 1 if sig.args[0].element == types.float32 else 2
    kind = args[0].type
    return [
        widen(context, builder, kind, types.float64, builder.extract_value(args[which], i))
        for i in range(len(sig.args[which]))
    ]


@traceable
def polynomial(typing: Any, x: Any, single: Any, double: Any) -> Typed:
    """c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.

    `single` are the coefficients in float32, `double` those in float64: tuples of floats.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        *coefficients, total = _coefficients(context, builder, sig, args)
        for coefficient in reversed(coefficients):
            total = multiply_add(builder, total, args[0], coefficient)
        return total

    return x(x, single, double), build


@traceable
def polynomial_in_pairs(typing: Any, x: Any, single: Any, double: Any) -> Typed:
    """The same by Estrin's rule: fewer terms wait for each other, for some more products."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        terms, power = _coefficients(context, builder, sig, args), args[0]
        while len(terms) > 1:
            last = terms[len(terms) // 2 * 2 :]  # where they are odd, one is left alone
            pairs = zip(terms[::2], terms[1::2], strict=False)
            terms = [multiply_add(builder, high, power, low) for low, high in pairs] + last
            if len(terms) > 1:
                power = builder.fmul(power, power)
        return terms[0]

    return x(x, single, double), build


@traceable
def total(typing: Any, x: Any) -> Typed:
    """The sum of the lanes, halves onto halves: always in the same order."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], builder.fadd)

    return x.element(x), build


@traceable
def highest(typing: Any, x: Any) -> Typed:
    """The largest lane, NaN if there is one."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def larger(x: Any, y: Any) -> Any:
            either = builder.fcmp_unordered("uno", x, x)
            return builder.select(builder.or_(either, builder.fcmp_ordered(">", x, y)), x, y)

        return _fold(builder, args[0], larger)

    return x.element(x), build


def _fold(builder: Any, vector: Any, join: Any) -> Any:
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        halves = (shuffle(builder, vector, vector, list(range(n, n + lanes))) for n in (0, lanes))
        vector = join(*halves)
    return builder.extract_element(vector, LANE(0))
