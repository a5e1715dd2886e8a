"""The vector as a type of compiled code: what it is to LLVM, its operators, and building blocks.

The blocks are for the files that speak LLVM: `lanes.py`, `transposing.py`, `sorting.py`,
`groups.py`, `squares.py`, `tiles.py`, `dots.py`, `modes.py` and `atomics.py`.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import register_model

from fastnet_numba.simd.host import LANES

INDEX = ir.IntType(64)
LANE = ir.IntType(32)


class Vector(types.Type):
    """A vector of `lanes` numbers of the type `element`: as many as a register holds, or as given.

    The compiler makes a longer one of several registers, and an instruction for each of them.
    """

    def __init__(self, element: Any, lanes: int | None = None) -> None:
        self.element = element
        self.lanes = lanes or LANES[element.bitwidth // 8]
        super().__init__(name=f"Vector({element}, {self.lanes})")


class Mask(types.Type):
    """What comparing two vectors gives: true or false in each lane."""

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


# --- building blocks ---------------------------------------------------------------------------


class Builder(ir.IRBuilder):
    """With loops and places in memory."""

    def place(self, pointer: Any, at: Any, kind: Any) -> Any:
        """The address of element `at` behind a pointer to elements of this vector's."""
        return self.gep(pointer, [at], source_etype=kind.element)

    @contextmanager
    def loop(self, start: Any, step: int, within: Any) -> Iterator[tuple[Any, Callable[[], Any]]]:
        """for (i = start; i + step <= within; i += step); gives i, and i after the loop."""
        before = self.block
        head, body, done = (self.append_basic_block(name) for name in ("head", "body", "done"))
        self.branch(head)
        self.position_at_end(head)
        i = self.phi(INDEX)
        i.add_incoming(start, before)
        self.cbranch(self.icmp_signed("<=", self.add(i, INDEX(step)), within), body, done)
        self.position_at_end(body)
        yield i, lambda: i
        i.add_incoming(self.add(i, INDEX(step)), self.block)
        self.branch(head)
        self.position_at_end(done)


def function_of(module: Any, name: str, arguments: int, pointers: tuple[int, ...]) -> Any:
    """A new function of so many integers, or pointers where `pointers` names their places."""
    kinds = [ir.PointerType() if i in pointers else INDEX for i in range(arguments)]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call an LLVM intrinsic or an external function by name."""
    found = builder.module.globals.get(name)
    if found is None:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        found = ir.Function(builder.module, kind, name)
    return builder.call(found, arguments)


def itemsize(kind: Any) -> int:
    """Bytes of a number of this vector's, 4 or 8."""
    return 4 if isinstance(kind.element, ir.FloatType) else 8


def suffix(kind: Any) -> str:
    """How LLVM's intrinsics name a vector type, such as v16f32."""
    return f"v{kind.count}f{8 * itemsize(kind)}"


def constant(kind: Any, value: float) -> Any:
    """The same number in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: Any, kind: Any, scalar: Any) -> Any:
    """A scalar in every lane."""
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, scalar, LANE(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(LANE, kind.count), None))


def shuffle(builder: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    """A vector of these lanes of x and, counted on from its last, of y."""
    index = ir.Constant(ir.VectorType(LANE, len(lanes)), lanes)
    return builder.shuffle_vector(x, y, index)


def multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z: fused where the processor does that as fast as a product, else rounded twice."""
    return call(builder, f"llvm.fmuladd.{suffix(x.type)}", x.type, [x, y, z])


def first_lanes(builder: Any, kind: Any, count: Any) -> Any:
    """The mask of the lanes below `count`, an i64."""
    index = ir.VectorType(LANE, kind.count)
    most = builder.select(
        builder.icmp_signed("<", count, INDEX(kind.count)), count, INDEX(kind.count)
    )
    limit = splat(builder, index, builder.trunc(most, LANE))
    return builder.icmp_signed("<", ir.Constant(index, list(range(kind.count))), limit)


def load_masked(builder: Any, kind: Any, pointer: Any, mask: Any) -> Any:
    """Load the lanes of the mask; the others are zero and their memory is not touched."""
    given = [pointer, LANE(itemsize(kind)), mask, constant(kind, 0.0)]
    return call(builder, f"llvm.masked.load.{suffix(kind)}.p0", kind, given)


def store_masked(builder: Any, value: Any, pointer: Any, mask: Any) -> None:
    """Store the lanes of the mask; the others' memory is not touched."""
    kind = value.type
    given = [value, pointer, LANE(itemsize(kind)), mask]
    call(builder, f"llvm.masked.store.{suffix(kind)}.p0", ir.VoidType(), given)


def address(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    """The address of element `at` of a one-dimensional contiguous array of numbers."""
    data = context.make_array(array_type)(context, builder, array).data
    # By way of an integer, because Numba's pointer has the element's type and ours has none.
    data = builder.inttoptr(builder.ptrtoint(data, INDEX), ir.PointerType())
    return builder.gep(data, [at], source_etype=ir.IntType(array_type.dtype.bitwidth))


def widen(context: Any, builder: Any, kind: Any, given: Any, value: Any) -> Any:
    """A vector as it is, a scalar in every lane."""
    if isinstance(given, Vector):
        return value
    # A constant is rounded here and not in the loop.
    element = types.float32 if itemsize(kind) == 4 else types.float64
    return splat(builder, kind, context.cast(builder, value, given, element))


# --- operators ---------------------------------------------------------------------------------


def vector_of(args: tuple[Any, ...]) -> Vector | None:
    """The kind of vector among the arguments, where the others are scalars; else None."""
    vectors = {arg for arg in args if isinstance(arg, Vector)}
    if len(vectors) != 1:
        return None
    if not all(isinstance(arg, Vector | types.Float | types.Integer) for arg in args):
        return None
    return vectors.pop()


#: What writes each operator, and whether it compares.
OPERATORS: dict[Any, tuple[Any, bool]] = {}


def _operator(symbol: Any, build: Any, compares: bool = False) -> None:
    """Teach Numba `vector symbol vector`, with a scalar on either side."""
    OPERATORS[symbol] = build, compares

    class Template(AbstractTemplate):
        def generic(self, args: tuple[Any, ...], kws: Any) -> Any:
            vector = vector_of(args)
            if vector is None or kws:
                return None
            return signature(Mask(vector.lanes) if compares else vector, *args)

    infer_global(symbol)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = vector_of(sig.args)
        assert vector is not None
        kind = vector_type(vector)
        return build(
            builder,
            *(
                widen(context, builder, kind, given, value)
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


#: How near a line of data is fetched, as LLVM numbers it: into the second cache, or the first.
SECOND_CACHE, FIRST_CACHE = 2, 3


def prefetch(builder: Any, pointer: Any, cache: int) -> None:
    """Begin to bring the cache line at this address, to be read soon; it need not be anybody's."""
    read, data = LANE(0), LANE(1)
    call(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, read, LANE(cache), data])


def in_order(builder: Any) -> None:
    """Keep the compiler from moving loads across this place: moved together, they need too many
    registers at once, and are spilled. No instruction comes of it.
    """
    nothing = ir.FunctionType(ir.VoidType(), [])
    builder.call(ir.InlineAsm(nothing, "", "~{memory}", side_effect=True), [])


def on_its_own(builder: Any, place: Any) -> Any:
    """The same place, of which the compiler does not know that it was computed from another: else
    it computes each from the one before it in every turn of a loop, to save registers.
    """
    kind = ir.FunctionType(place.type, [place.type])
    return builder.call(ir.InlineAsm(kind, "", "=r,0"), [place])
