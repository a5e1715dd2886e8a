"""Very small matrices in the lanes of vectors, made of LLVM instructions.

The lanes of a vector are divided among examples, `width` lanes each: 16 lanes hold 4 examples of
4 units, or 2 of 8. `width` is 4 or 8. A matrix (width, width) lies row by row in memory, without
gaps, and each row is loaded into the lanes of every example.

The twins are in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.vector import (
    INDEX,
    Vector,
    address,
    call,
    constant,
    multiply_add,
    shuffle,
    splat,
    suffix,
    vector_type,
)

#: How many lanes an example may have.
EXAMPLE_WIDTHS = (4, 8)


def _spread(builder: Any, x: Any, width: int, q: int) -> Any:
    """Lane q of every example in all its lanes."""
    return shuffle(builder, x, x, [n // width * width + q for n in range(x.type.count)])


def _over_examples(builder: Any, x: Any, width: int) -> Any:
    """The sum over the examples, in the lanes of each of them."""
    distance = width
    while distance < x.type.count:
        other = shuffle(builder, x, x, [n ^ distance for n in range(x.type.count)])
        x = builder.fadd(x, other)
        distance *= 2
    return x


def _each_over_examples(builder: Any, sums: list[Any], width: int) -> Any:
    """The same of as many vectors as there are examples: that of the nth in the nth's lanes.

    Two at a time, each of which leaves half of its lanes to the other, so that it takes half as
    many additions as one after the other.
    """
    distance, lanes = width, range(sums[0].type.count)
    while len(sums) > 1:
        here = [n + len(lanes) * (n & distance > 0) for n in lanes]
        there = [(n ^ distance) + len(lanes) * (n & distance > 0) for n in lanes]
        sums = [
            builder.fadd(shuffle(builder, x, y, here), shuffle(builder, x, y, there))
            for x, y in zip(sums[::2], sums[1::2], strict=True)
        ]
        distance *= 2
    return sums[0]


def _fitting(kind: Any) -> list[int]:
    return [width for width in EXAMPLE_WIDTHS if width <= kind.count]


def _for_each_width(builder: Any, width: Any, kind: Any, build: Any) -> Any:
    """`build(width)` for the width at run time, and its result."""
    if not _fitting(kind):  # no plan takes this path then, but it is compiled all the same
        return ir.Constant(kind, ir.Undefined)
    done = builder.append_basic_block("done")
    results = []
    for each in _fitting(kind):
        this, other = builder.append_basic_block("this"), builder.append_basic_block("other")
        builder.cbranch(builder.icmp_signed("==", width, INDEX(each)), this, other)
        builder.position_at_end(this)
        results.append((build(each), builder.block))
        builder.branch(done)
        builder.position_at_end(other)
    builder.unreachable()
    builder.position_at_end(done)
    if results[0][0] is None:
        return None
    result = builder.phi(kind)
    for value, block in results:
        result.add_incoming(value, block)
    return result


@intrinsic
def mix(typing: Any, z: Any, x: Any, m: Any, at: Any, width: Any) -> tuple[Any, Any]:
    """z + x w for every example, with the matrix w at `m[at]`."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        z, x, m, at, width = args
        kind = vector_type(sig.return_type)

        def mixed(width: int) -> Any:
            # Two sums, so that half as many multiply-adds wait for each other.
            sums = [z, constant(kind, 0.0)]
            for q in range(width):
                place = builder.add(at, INDEX(q * width))
                pointer = address(context, builder, sig.args[2], m, place)
                align = sig.args[2].dtype.bitwidth // 8
                row = builder.load(pointer, typ=ir.VectorType(kind.element, width), align=align)
                row = shuffle(builder, row, row, [n % width for n in range(kind.count)])
                spread = _spread(builder, x, width, q)
                sums[q % 2] = multiply_add(builder, spread, row, sums[q % 2])
            return builder.fadd(*sums)

        return _for_each_width(builder, width, kind, mixed)

    i = types.intp
    return z(z, x, m, i, i), build


@intrinsic
def descend(
    typing: Any, w: Any, w_at: Any, m: Any, x_at: Any, d_at: Any, groups: Any, width: Any,
    rate: Any, least: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """w = w + rate x' d, summed over the examples of all `groups` vectors of x and d.

    The matrix is at `w[w_at]`, x and d begin at `m[x_at]` and `m[d_at]`. Where the magnitude is
    less than `least`, w becomes 0.
    """
    number = m.dtype

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        w, w_at, m, x_at, d_at, groups, width, rate, least = args
        kind = vector_type(Vector(number))
        align = number.bitwidth // 8

        def place(at: Any) -> Any:
            return address(context, builder, sig.args[2], m, at)

        def summed(width: int) -> None:
            before = builder.block
            loop, done = builder.append_basic_block("loop"), builder.append_basic_block("summed")
            builder.branch(loop)
            builder.position_at_end(loop)
            g = builder.phi(INDEX)
            sums = [builder.phi(kind) for _ in range(width)]
            g.add_incoming(INDEX(0), before)
            offset = builder.mul(g, INDEX(kind.count))
            x = builder.load(place(builder.add(x_at, offset)), typ=kind, align=align)
            d = builder.load(place(builder.add(d_at, offset)), typ=kind, align=align)
            for q, total in enumerate(sums):
                total.add_incoming(constant(kind, 0.0), before)
                more = multiply_add(builder, _spread(builder, x, width, q), d, total)
                sums[q] = more
                total.add_incoming(more, loop)
            following = builder.add(g, INDEX(1))
            g.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, groups), loop, done)
            builder.position_at_end(done)
            step, bound = splat(builder, kind, rate), splat(builder, kind, least)
            examples = kind.count // width
            for q in range(0, width, examples):
                pointer = address(
                    context, builder, sig.args[0], w, builder.add(w_at, INDEX(q * width))
                )
                now = builder.load(pointer, typ=kind, align=align)
                total = _each_over_examples(builder, sums[q : q + examples], width)
                moved = multiply_add(builder, total, step, now)
                size = call(builder, f"llvm.fabs.{suffix(kind)}", kind, [moved])
                small = builder.fcmp_ordered("<", size, bound)
                moved = builder.select(small, constant(kind, 0.0), moved)
                builder.store(moved, pointer, align=align)

        _for_each_width(builder, width, kind, summed)
        return context.get_dummy_value()

    i = types.intp
    return types.void(w, i, m, i, i, i, i, number, number), build


@intrinsic
def over_examples(typing: Any, x: Any, width: Any) -> tuple[Any, Any]:
    """The sum over the examples, in the lanes of each of them."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _for_each_width(
            builder, args[1], args[0].type, lambda width: _over_examples(builder, args[0], width)
        )

    return x(x, types.intp), build
