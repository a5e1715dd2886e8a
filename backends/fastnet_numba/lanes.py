"""Vectors as values of compiled code, made of LLVM instructions.

This file and `tiles.py` are the only ones that speak LLVM. Everything here has a twin in
`emulated.py` that says in NumPy what it does; `vectors.py` chooses between the two.

`at` is always an index in elements, not bytes. Nothing is checked: the callers' offsets come
from `layout.py`, which also makes every buffer so long that a whole vector may be read or
written wherever one begins inside it.
"""

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model
from numba.np.arrayobj import populate_array

from fastnet_numba.host import LANES

_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)


class Vector(types.Type):
    """A vector of `lanes` numbers of the type `element`."""

    def __init__(self, element: Any) -> None:
        self.element = element
        self.lanes = LANES[element.bitwidth // 8]
        super().__init__(name=f"Vector({element}, {self.lanes})")


class Mask(types.Type):
    """What comparing two vectors gives: a yes or no in each lane."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Mask({lanes})")


def element_type(number: Any) -> Any:
    """The LLVM type of a Numba float."""
    return ir.FloatType() if number.bitwidth == 32 else ir.DoubleType()


def vector_type(vector: Vector) -> Any:
    """The LLVM type of a vector."""
    return ir.VectorType(element_type(vector.element), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector_type(vector))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, mask: Mask) -> None:
        super().__init__(manager, mask, ir.VectorType(ir.IntType(1), mask.lanes))


# --- building blocks, for this file and for tiles.py -----------------------------------------


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call an LLVM intrinsic or an external function by name."""
    found = builder.module.globals.get(name)
    if found is None:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        found = ir.Function(builder.module, kind, name)
    return builder.call(found, arguments)


def suffix(kind: Any) -> str:
    """How LLVM's intrinsics name a vector type, such as v16f32."""
    bits = 32 if isinstance(kind.element, ir.FloatType) else 64
    return f"v{kind.count}f{bits}"


def constant(kind: Any, value: float) -> Any:
    """The same number in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: Any, kind: Any, scalar: Any) -> Any:
    """A scalar in every lane."""
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, scalar, _LANE(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(_LANE, kind.count), None))


def multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z: fused where the processor does that as fast as a product, else rounded twice."""
    return call(builder, f"llvm.fmuladd.{suffix(x.type)}", x.type, [x, y, z])


def first_lanes(builder: Any, kind: Any, count: Any) -> Any:
    """The mask of the lanes below `count`, an i64."""
    index = ir.VectorType(_LANE, kind.count)
    most = builder.select(
        builder.icmp_signed("<", count, _INDEX(kind.count)), count, _INDEX(kind.count)
    )
    limit = splat(builder, index, builder.trunc(most, _LANE))
    return builder.icmp_signed("<", ir.Constant(index, list(range(kind.count))), limit)


def load_masked(builder: Any, kind: Any, pointer: Any, mask: Any) -> Any:
    """Load the lanes of the mask; the others are zero and their memory is not touched."""
    name = f"llvm.masked.load.{suffix(kind)}.p0"
    found = builder.module.globals.get(name)
    if found is None:
        arguments = [pointer.type, _LANE, mask.type, kind]
        found = ir.Function(builder.module, ir.FunctionType(kind, arguments), name)
    align = 4 if isinstance(kind.element, ir.FloatType) else 8
    return builder.call(found, [pointer, _LANE(align), mask, constant(kind, 0.0)])


def store_masked(builder: Any, value: Any, pointer: Any, mask: Any) -> None:
    """Store the lanes of the mask; the others' memory is not touched."""
    kind = value.type
    name = f"llvm.masked.store.{suffix(kind)}.p0"
    found = builder.module.globals.get(name)
    if found is None:
        arguments = [kind, pointer.type, _LANE, mask.type]
        found = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), arguments), name)
    align = 4 if isinstance(kind.element, ir.FloatType) else 8
    builder.call(found, [value, pointer, _LANE(align), mask])


def address(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """The address of element `at` of a one-dimensional contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    # By way of an integer, because Numba's pointer has the element's type and ours has none.
    data = builder.inttoptr(builder.ptrtoint(data, _INDEX), ir.PointerType())
    return builder.gep(data, [at], source_etype=element_type(array_type.dtype))


def _widen(context: Any, builder: Any, kind: Any, given: Any, value: Any) -> Any:
    """A vector as it is, a scalar in every lane."""
    if isinstance(given, Vector):
        return value
    # A constant is rounded here and not in the loop.
    element = types.float32 if isinstance(kind.element, ir.FloatType) else types.float64
    return splat(builder, kind, context.cast(builder, value, given, element))


# --- operators ---------------------------------------------------------------------------------


def _vector_of(args: tuple[Any, ...]) -> Vector | None:
    vectors = {arg for arg in args if isinstance(arg, Vector)}
    if len(vectors) != 1:
        return None
    if not all(isinstance(arg, Vector | types.Float | types.Integer) for arg in args):
        return None
    return vectors.pop()


def _operator(symbol: Any, build: Any, compares: bool = False) -> None:
    """Teach Numba `vector symbol vector`, with a scalar on either side."""

    class Template(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
            vector = _vector_of(args)
            if vector is None or kws:
                return None
            return signature(Mask(vector.lanes) if compares else vector, *args)

    infer_global(symbol)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = _vector_of(sig.args)
        assert vector is not None
        kind = vector_type(vector)
        return build(
            builder,
            *(
                _widen(context, builder, kind, given, value)
                for given, value in zip(sig.args, args, strict=True)
            ),
        )

    for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(symbol, *pair)(lower)


_operator(operator.add, lambda b, x, y: b.fadd(x, y))
_operator(operator.sub, lambda b, x, y: b.fsub(x, y))
_operator(operator.mul, lambda b, x, y: b.fmul(x, y))
_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_operator(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), compares=True)
_operator(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), compares=True)
_operator(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), compares=True)
_operator(operator.le, lambda b, x, y: b.fcmp_ordered("<=", x, y), compares=True)


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
        return signature(args[0], args[0]) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


# --- functions ---------------------------------------------------------------------------------

_Typed = tuple[Any, Any]


@intrinsic
def lanes(typing: Any, array: Any) -> _Typed:
    """How many lanes a vector from this array has."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _INDEX(Vector(sig.args[0].dtype).lanes)

    return types.intp(array), build


@intrinsic
def flat(typing: Any, array: Any) -> _Typed:
    """An array in one piece as an array of one dimension, which does not keep it alive.

    Numba's own `reshape` takes as long as a small network.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
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


@intrinsic
def load(typing: Any, array: Any, at: Any) -> _Typed:
    """The vector that begins at `array[at]`."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        return builder.load(pointer, typ=kind, align=sig.args[0].dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), build


@intrinsic
def store(typing: Any, array: Any, at: Any, value: Any) -> _Typed:
    """Write a vector to where `array[at]` begins."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, Vector(array.dtype)), build


@intrinsic
def load_first(typing: Any, array: Any, at: Any, count: Any) -> _Typed:
    """The first `count` lanes from `array[at]` on, zero in the others (all, if count is more)."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        return load_masked(builder, kind, pointer, first_lanes(builder, kind, args[2]))

    return Vector(array.dtype)(array, types.intp, types.intp), build


@intrinsic
def store_first(typing: Any, array: Any, at: Any, value: Any, count: Any) -> _Typed:
    """Write the first `count` lanes to `array[at]` and on, and nothing behind them."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = address(context, builder, sig.args[0], args[0], args[1])
        mask = first_lanes(builder, args[2].type, args[3])
        store_masked(builder, args[2], pointer, mask)
        return context.get_dummy_value()

    return types.void(array, types.intp, Vector(array.dtype), types.intp), build


@intrinsic
def keep_first(typing: Any, value: Any, count: Any) -> _Typed:
    """The first `count` lanes of `value`, zero in the others."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        mask = first_lanes(builder, kind, args[1])
        return builder.select(mask, args[0], constant(kind, 0.0))

    return value(value, types.intp), build


@intrinsic
def every(typing: Any, like: Any, scalar: Any) -> _Typed:
    """A vector of the kind of `like` (an array or a vector) with `scalar` in every lane."""
    element = like.element if isinstance(like, Vector) else like.dtype

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _widen(context, builder, vector_type(sig.return_type), sig.args[1], args[1])

    return Vector(element)(like, scalar), build


@intrinsic
def fma(typing: Any, x: Any, y: Any, z: Any) -> _Typed:
    """x y + z, one rounding or two: see `multiply_add`. Scalars go into every lane."""
    vector = _vector_of((x, y, z))
    assert vector is not None, "one of the three must be a vector"

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        wide = [
            _widen(context, builder, kind, given, value)
            for given, value in zip(sig.args, args, strict=True)
        ]
        return multiply_add(builder, *wide)

    return vector(x, y, z), build


@intrinsic
def choose(typing: Any, mask: Any, x: Any, y: Any) -> _Typed:
    """x where the mask says yes, else y. Scalars go into every lane."""
    vector = _vector_of((x, y))
    assert vector is not None, "one of the two must be a vector"

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = vector_type(sig.return_type)
        wide = [
            _widen(context, builder, kind, given, value)
            for given, value in zip(sig.args[1:], args[1:], strict=True)
        ]
        return builder.select(args[0], *wide)

    return vector(mask, x, y), build


def _unary(name: str) -> Any:
    @intrinsic
    def function(typing: Any, x: Any) -> _Typed:
        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = args[0].type
            return call(builder, f"llvm.{name}.{suffix(kind)}", kind, [args[0]])

        return x(x), build

    return function


absolute = _unary("fabs")
square_root = _unary("sqrt")


@intrinsic
def copy_sign(typing: Any, x: Any, sign: Any) -> _Typed:
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


@intrinsic
def power_of_two(typing: Any, n: Any) -> _Typed:
    """2^n for whole n with a normal result: -126 to 127 in float32, -1022 to 1023 in float64.

    By adding 1.5 * 2^mantissa, n comes to stand in the low bits, from where it is shifted into
    the exponent: no conversion to an integer, which for NaN would have no defined result. NaN
    gives some number.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        whole, mantissa, bias = _integers(kind)
        magic = constant(kind, 1.5 * 2.0**mantissa + bias)
        bits = builder.bitcast(builder.fadd(args[0], magic), whole)
        return builder.bitcast(builder.shl(bits, ir.Constant(whole, [mantissa] * kind.count)), kind)

    return n(n), build


@intrinsic
def exponent(typing: Any, x: Any) -> _Typed:
    """The binary exponent of a positive normal x, as a whole number in a vector of x's kind."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        whole, mantissa, bias = _integers(kind)
        bits = builder.bitcast(args[0], whole)
        biased = builder.lshr(bits, ir.Constant(whole, [mantissa] * kind.count))
        plain = builder.sub(biased, ir.Constant(whole, [bias] * kind.count))
        return builder.sitofp(plain, kind)

    return x(x), build


@intrinsic
def mantissa(typing: Any, x: Any) -> _Typed:
    """x / 2^exponent(x), in [1, 2), for a positive normal x."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        whole, mantissa, bias = _integers(kind)
        low = ir.Constant(whole, [(1 << mantissa) - 1] * kind.count)
        one = ir.Constant(whole, [bias << mantissa] * kind.count)
        bits = builder.and_(builder.bitcast(args[0], whole), low)
        return builder.bitcast(builder.or_(bits, one), kind)

    return x(x), build


@intrinsic
def pick(typing: Any, like: Any, single: Any, double: Any) -> _Typed:
    """A constant that depends on the dtype: `single` in float32, `double` in float64."""
    vector = like if isinstance(like, Vector) else Vector(like.dtype)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        which = 1 if vector.element == types.float32 else 2
        return _widen(context, builder, vector_type(vector), sig.args[which], args[which])

    return vector(like, single, double), build


@intrinsic
def polynomial(typing: Any, x: Any, single: Any, double: Any) -> _Typed:
    """c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.

    `single` are the coefficients in float32, `double` those in float64: tuples of floats.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        which = 1 if sig.args[0].element == types.float32 else 2
        coefficients = [
            _widen(context, builder, kind, types.float64, builder.extract_value(args[which], i))
            for i in range(len(sig.args[which]))
        ]
        total = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            total = multiply_add(builder, total, args[0], coefficient)
        return total

    return x(x, single, double), build


@intrinsic
def total(typing: Any, x: Any) -> _Typed:
    """The sum of the lanes, halves onto halves: always in the same order."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], builder.fadd)

    return x.element(x), build


@intrinsic
def highest(typing: Any, x: Any) -> _Typed:
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
        half = ir.VectorType(_LANE, lanes)
        low, high = (
            builder.shuffle_vector(vector, vector, ir.Constant(half, list(range(n, n + lanes))))
            for n in (0, lanes)
        )
        vector = join(low, high)
    return builder.extract_element(vector, _LANE(0))


@intrinsic
def transpose(
    typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, at: Any, row: Any, rows: Any,
    columns: Any,
) -> _Typed:  # fmt: skip
    """Transpose a block of up to LANES by LANES entries: out[j, i] = x[i, j].

    `out_row` and `row` are the distances between rows. Rows and columns beyond `rows` and
    `columns` are not read, and zero in `out`, of which a whole block is written.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, out_at, out_row, x, at, row, rows, columns = args
        kind = vector_type(Vector(sig.args[3].dtype))
        lanes = kind.count
        within = first_lanes(builder, kind, columns)
        nothing = first_lanes(builder, kind, _INDEX(0))
        vectors = []
        for i in range(lanes):
            place = builder.add(at, builder.mul(row, _INDEX(i)))
            pointer = address(context, builder, sig.args[3], x, place)
            inside = builder.icmp_signed("<", _INDEX(i), rows)
            mask = builder.select(inside, within, nothing)
            vectors.append(load_masked(builder, kind, pointer, mask))
        # In turn blocks of 1, 2, 4, ... lanes change places between pairs of vectors.
        block = 1
        while block < lanes:
            swapped = list(vectors)
            for i in range(lanes):
                if i & block:
                    continue
                x0, x1 = vectors[i], vectors[i | block]
                low = [n if not n & block else lanes + (n ^ block) for n in range(lanes)]
                high = [(n | block) if not n & block else lanes + n for n in range(lanes)]
                index = ir.VectorType(_LANE, lanes)
                swapped[i] = builder.shuffle_vector(x0, x1, ir.Constant(index, low))
                swapped[i | block] = builder.shuffle_vector(x0, x1, ir.Constant(index, high))
            vectors = swapped
            block *= 2
        for i, vector in enumerate(vectors):
            place = builder.add(out_at, builder.mul(out_row, _INDEX(i)))
            pointer = address(context, builder, sig.args[0], out, place)
            builder.store(vector, pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, x, i, i, i, i), build


__all__ = [name for name in globals() if not name.startswith("_")]
