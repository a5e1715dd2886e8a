"""Blocks of rows, transposed: entries that lie in columns come into the lanes of vectors.

The twins are in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from fastnet_numba.simd.traced import Typed, traceable
from fastnet_numba.simd.vector import (
    INDEX,
    LANE,
    Vector,
    address,
    call,
    constant,
    first_lanes,
    load_masked,
    splat,
    vector_type,
)


def _exchanged(builder: Any, vectors: list[Any]) -> list[Any]:
    """Transpose blocks: lane `b + j` of vector i and lane `b + i` of vector j change places.

    As many rows and columns as there are vectors are a block, and b is where one begins.
    """
    lanes = vectors[0].type.count
    index = ir.VectorType(LANE, lanes)
    # In turn blocks of 1, 2, 4, ... lanes change places between pairs of vectors.
    size = 1
    while size < len(vectors):
        swapped = list(vectors)
        for i in range(len(vectors)):
            if i & size:
                continue
            x0, x1 = vectors[i], vectors[i | size]
            low = [n if not n & size else lanes + (n ^ size) for n in range(lanes)]
            high = [(n | size) if not n & size else lanes + n for n in range(lanes)]
            swapped[i] = builder.shuffle_vector(x0, x1, ir.Constant(index, low))
            swapped[i | size] = builder.shuffle_vector(x0, x1, ir.Constant(index, high))
        vectors = swapped
        size *= 2
    return vectors


@traceable
def transpose(
    typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, at: Any, row: Any, rows: Any,
    columns: Any,
) -> Typed:  # fmt: skip
    """Transpose a block of up to LANES by LANES entries: out[j, i] = x[i, j].

    `out_row` and `row` are the distances between rows. Rows and columns beyond `rows` and
    `columns` are not read, and zero in `out`, of which a whole block is written.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, out_at, out_row, x, at, row, rows, columns = args
        kind = vector_type(Vector(sig.args[3].dtype))
        lanes = kind.count
        within = first_lanes(builder, kind, columns)
        nothing = first_lanes(builder, kind, INDEX(0))
        vectors = []
        for i in range(lanes):
            place = builder.add(at, builder.mul(row, INDEX(i)))
            pointer = address(context, builder, sig.args[3], x, place)
            inside = builder.icmp_signed("<", INDEX(i), rows)
            mask = builder.select(inside, within, nothing)
            vectors.append(load_masked(builder, kind, pointer, mask))
        vectors = _exchanged(builder, vectors)
        for i, vector in enumerate(vectors):
            place = builder.add(out_at, builder.mul(out_row, INDEX(i)))
            pointer = address(context, builder, sig.args[0], out, place)
            builder.store(vector, pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, x, i, i, i, i), build


#: How many columns `spread_few` spreads, or as many as a vector has lanes if those are fewer.
FEW = 4


def _spread(out: Any, x: Any, order: Any, most: int) -> Typed:
    """The types of a function that spreads blocks of `most` columns, and what builds it."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, out_at, out_row, x, order, first, rows, width, column, columns = args
        kind = vector_type(Vector(sig.args[3].dtype))
        lanes = kind.count
        wide = min(most, lanes)
        short = ir.VectorType(kind.element, wide)
        # The places of the rows, in a vector and then in memory, from where each is read.
        many = ir.VectorType(INDEX, lanes)
        given = context.make_array(sig.args[4])(context, builder, order)
        counted = builder.add(splat(builder, many, first), ir.Constant(many, list(range(lanes))))
        inside = first_lanes(builder, kind, rows)
        with builder.if_else(builder.icmp_signed(">", given.nitems, INDEX(0))) as (some, none):
            with some:
                data = builder.inttoptr(builder.ptrtoint(given.data, INDEX), ir.PointerType())
                pointer = builder.gep(data, [first], source_etype=INDEX)
                nothing = ir.Constant(many, [0] * lanes)
                arguments = [pointer, LANE(8), inside, nothing]
                listed = call(builder, f"llvm.masked.load.v{lanes}i64.p0", many, arguments)
                listed_in = builder.block
            with none:
                counted_in = builder.block
        numbers = builder.phi(many)
        numbers.add_incoming(listed, listed_in)
        numbers.add_incoming(counted, counted_in)
        # Where there are no more rows the first one is read again, and its numbers become 0 below.
        again = splat(builder, many, builder.extract_element(numbers, LANE(0)))
        numbers = builder.select(inside, numbers, again)
        places = builder.add(
            builder.mul(numbers, splat(builder, many, width)), splat(builder, many, column)
        )
        kept = cgutils.alloca_once(builder, many)
        builder.store(places, kept)
        kept = builder.inttoptr(builder.ptrtoint(kept, INDEX), ir.PointerType())
        within = first_lanes(builder, short, columns)
        loaded = []
        for i in range(lanes):
            place = builder.load(builder.gep(kept, [INDEX(i)], source_etype=INDEX), typ=INDEX)
            pointer = address(context, builder, sig.args[3], x, place)
            loaded.append(load_masked(builder, short, pointer, within))
        # Vector k gets rows k, k + wide, k + 2 wide, ..., so that lanes come out in order.
        vectors = []
        for k in range(wide):
            parts = loaded[k::wide]
            while len(parts) > 1:
                both = list(range(2 * parts[0].type.count))
                index = ir.Constant(ir.VectorType(LANE, len(both)), both)
                pairs = zip(parts[::2], parts[1::2], strict=True)
                parts = [builder.shuffle_vector(low, high, index) for low, high in pairs]
            vectors.append(parts[0])
        nothing = constant(kind, 0.0)
        for j, given in enumerate(_exchanged(builder, vectors)):
            vector = builder.select(inside, given, nothing)
            place = builder.add(out_at, builder.mul(out_row, INDEX(j)))
            pointer = address(context, builder, sig.args[0], out, place)
            builder.store(vector, pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, x, order, i, i, i, i, i), build


@traceable
def spread(
    typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, order: Any, first: Any, rows: Any,
    width: Any, column: Any, columns: Any,
) -> Typed:  # fmt: skip
    """Transpose up to LANES rows of x, number `first` of `order` and those behind it.

    Without an order (of no entries) they are x's own rows. x `(n, width)` is flat; of each row up
    to LANES numbers are taken, from `column` on: out[j, i] = x[order[first + i], column + j], with
    rows of `out` `out_row` apart. There is at least one row. Rows and columns beyond `rows` and
    `columns` are not read, and zero in `out`, of which a whole block is written.
    """
    return _spread(out, x, order, 1 << 30)


@traceable
def spread_few(
    typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, order: Any, first: Any, rows: Any,
    width: Any, column: Any, columns: Any,
) -> Typed:  # fmt: skip
    """The same for up to FEW columns, and no more than LANES: fewer instructions."""
    return _spread(out, x, order, FEW)
