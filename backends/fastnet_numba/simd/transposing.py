"""Blocks of rows, transposed: entries that lie in columns come into the lanes of vectors.

The twins are in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from fastnet_numba.simd.traced import Typed, traceable
from fastnet_numba.simd.vector import (
    INDEX,
    Vector,
    address,
    constant,
    first_lanes,
    load_masked,
    shuffle,
    vector_type,
)


def _exchanged(builder: Any, vectors: list[Any]) -> list[Any]:
    """Transpose blocks: lane `b + j` of vector i and lane `b + i` of vector j change places.

    As many rows and columns as there are vectors are a block, and b is where one begins.
    """
    lanes = vectors[0].type.count
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
            swapped[i] = shuffle(builder, x0, x1, low)
            swapped[i | size] = shuffle(builder, x0, x1, high)
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


#: How many columns are spread together, or as many as a vector has lanes if those are fewer: with
#: more, more of a block's instructions would be shuffles.
FEW = 4


def _keep(builder: Any, numbers: list[Any], place: Any) -> None:
    """Store numbers one behind the other, and one after the other, because they are read so."""
    for i, number in enumerate(numbers):
        builder.store(number, builder.gep(place, [INDEX(i)], source_etype=INDEX))


def _places(
    context: Any, builder: Any, kinds: Any, order: Any, first: Any, rows: Any, width: Any
) -> Any:
    """Where the numbers of LANES rows begin, in memory.

    Args:
        context, builder: Numba's and LLVM's.
        kinds: the types of x and the order.
        order, first: rows are number `first` of the order and those behind it; without an order
            (of no entries) they are x's own.
        rows: how many there are; where there are no more, the first is named again. None for LANES.
        width: numbers in a row.
    """
    lanes = Vector(kinds[0].dtype).lanes
    kept = cgutils.alloca_once(builder, ir.ArrayType(INDEX, lanes))
    kept = builder.inttoptr(builder.ptrtoint(kept, INDEX), ir.PointerType())
    given = context.make_array(kinds[1])(context, builder, order)
    indices = [INDEX(i) for i in range(lanes)]
    if rows is not None:
        indices = [builder.select(builder.icmp_signed("<", i, rows), i, INDEX(0)) for i in indices]
    with builder.if_else(builder.icmp_signed(">", given.nitems, INDEX(0))) as (some, none):
        with some:
            listed = address(context, builder, kinds[1], order, first)
            numbers = [builder.gep(listed, [i], source_etype=INDEX) for i in indices]
            begins = [builder.mul(builder.load(n, typ=INDEX), width) for n in numbers]
            _keep(builder, begins, kept)
        with none:
            begin = builder.mul(first, width)
            _keep(builder, [builder.add(begin, builder.mul(i, width)) for i in indices], kept)
    return kept


def _transposed(
    context: Any, builder: Any, kind: Any, x: Any, places: Any, column: Any, mask: Any
) -> list[Any]:
    """FEW columns of LANES rows, a vector for each column.

    Args:
        context, builder: Numba's and LLVM's.
        kind: the type of x.
        x: the array.
        places: where rows begin, in memory.
        column: the first.
        mask: of the columns to read; None for all of them.
    """
    vector = vector_type(Vector(kind.dtype))
    lanes, align = vector.count, kind.dtype.bitwidth // 8
    short = ir.VectorType(vector.element, min(FEW, lanes))
    loaded = []
    for i in range(lanes):
        place = builder.load(builder.gep(places, [INDEX(i)], source_etype=INDEX), typ=INDEX)
        pointer = address(context, builder, kind, x, builder.add(place, column))
        if mask is None:
            loaded.append(builder.load(pointer, typ=short, align=align))
        else:
            loaded.append(load_masked(builder, short, pointer, mask))
    # Vector k gets rows k, k + FEW, k + 2 FEW, ..., so that lanes come out in order.
    vectors = []
    for k in range(short.count):
        parts = loaded[k :: short.count]
        while len(parts) > 1:
            both = list(range(2 * parts[0].type.count))
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [shuffle(builder, low, high, both) for low, high in pairs]
        vectors.append(parts[0])
    return _exchanged(builder, vectors)


@traceable
def spread(
    typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, order: Any, first: Any, width: Any
) -> Typed:
    """Transpose LANES rows of x, number `first` of `order` and those behind it.

    Without an order (of no entries) they are x's own rows. x `(n, width)` is flat; of each row as
    many numbers are taken as whole groups of FEW, or of LANES if those are fewer, have:
    out[j, i] = x[order[first + i], j], with rows of `out` `out_row` apart.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, out_at, out_row, x, order, first, width = args
        places = _places(context, builder, sig.args[3:5], order, first, None, width)
        wide = min(FEW, Vector(sig.args[3].dtype).lanes)
        stop = builder.sub(width, builder.urem(width, INDEX(wide)))
        with cgutils.for_range_slice(builder, INDEX(0), stop, INDEX(wide), INDEX) as (column, _):
            vectors = _transposed(context, builder, sig.args[3], x, places, column, None)
            for j, vector in enumerate(vectors):
                row = builder.mul(out_row, builder.add(column, INDEX(j)))
                pointer = address(context, builder, sig.args[0], out, builder.add(out_at, row))
                builder.store(vector, pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, x, order, i, i), build


@traceable
def spread_in_order(typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, at: Any) -> Typed:
    """The same for rows of FEW numbers, or LANES, that lie one behind the other from `x[at]` on."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, out_at, out_row, x, at = args
        kind = vector_type(Vector(sig.args[3].dtype))
        lanes, align = kind.count, sig.args[3].dtype.bitwidth // 8
        wide = min(FEW, lanes)
        block = ir.VectorType(kind.element, wide * lanes)
        pointer = address(context, builder, sig.args[3], x, at)
        rows = builder.load(pointer, typ=block, align=align)
        for j in range(wide):
            column = shuffle(builder, rows, rows, [wide * i + j for i in range(lanes)])
            place = builder.add(out_at, builder.mul(out_row, INDEX(j)))
            pointer = address(context, builder, sig.args[0], out, place)
            builder.store(column, pointer, align=align)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, x, i), build


@traceable
def spread_few(
    typing: Any, out: Any, out_at: Any, out_row: Any, x: Any, order: Any, first: Any, rows: Any,
    width: Any, column: Any, columns: Any,
) -> Typed:  # fmt: skip
    """The same for up to LANES `rows`, at least one, and up to FEW `columns`, from `column` on.

    Rows and columns beyond these are not read, and zero in `out`, of which FEW rows are written (or
    LANES, if those are fewer).
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, out_at, out_row, x, order, first, rows, width, column, columns = args
        places = _places(context, builder, sig.args[3:5], order, first, rows, width)
        kind = vector_type(Vector(sig.args[3].dtype))
        inside = first_lanes(builder, kind, rows)
        short = ir.VectorType(kind.element, min(FEW, kind.count))
        mask = first_lanes(builder, short, columns)
        vectors = _transposed(context, builder, sig.args[3], x, places, column, mask)
        for j, vector in enumerate(vectors):
            place = builder.add(out_at, builder.mul(out_row, INDEX(j)))
            pointer = address(context, builder, sig.args[0], out, place)
            kept = builder.select(inside, vector, constant(kind, 0.0))
            builder.store(kept, pointer, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    return types.void(out, i, i, x, order, i, i, i, i, i), build
