"""The product of rows with rows, in register tiles made of LLVM instructions.

C (rows, columns) = A (rows, depth) B', where the rows of all three lie in one piece. A tile's
accumulators are vectors along `depth`, whose lanes are added up at the end. The sum of each of B's
rows comes along, which would take as long as one more row of A if it were read for it alone.

The twin of this file is `dots` in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.host import registers
from fastnet_numba.simd.vector import (
    INDEX,
    Builder,
    address,
    constant,
    function_of,
    itemsize,
    multiply_add,
    shuffle,
)

#: As the end of a product (`tiles.py`): this one.
DOTS = 4

#: Rows of A and of B's transpose in a tile of `dots`, the tallest and widest that fit first.
DOTS_HEIGHTS = (4, 2, 1) if registers() == 32 else (2, 1)
DOTS_WIDTHS = (4, 2, 1)

_VOID = ir.VoidType()


def _dots_tile(module: Any, kind: Any, height: int, width: int, sums: bool = False) -> Any:
    """The function of one tile: C, A, B, their strides, depth, not 0 to add to C, and where the
    sums of B's rows go, if there are to be `sums`. A height of 0 is for those alone.
    """
    name = f"fastnet_dots_{kind.element}_{height}_{width}{'_sums' if sums else ''}"
    if name in module.globals:
        return module.globals[name]
    function = function_of(module, name, 9, pointers=(0, 2, 4, 8))
    c, c_row, a, a_row, b, b_row, depth, begin, sums_at = function.args
    builder = Builder(function.append_basic_block("entry"))
    align = itemsize(kind)
    lines = range(height + sums)  # the last is that of the sums
    cells = [(i, j) for i in lines for j in range(width)]

    def load(pointer: Any, row: Any, n: int, at: Any) -> Any:
        place = builder.place(pointer, builder.add(builder.mul(row, INDEX(n)), at), kind)
        return builder.load(place, typ=kind, align=align)

    entry, loop, done = builder.block, *(function.append_basic_block(n) for n in ("loop", "done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INDEX)
    k.add_incoming(INDEX(0), entry)
    summed = {cell: builder.phi(kind) for cell in cells}
    down = [load(a, a_row, i, k) for i in range(height)]
    finished = {}
    for j in range(width):
        across = load(b, b_row, j, k)
        for i in range(height):
            finished[i, j] = multiply_add(builder, down[i], across, summed[i, j])
        if sums:
            finished[height, j] = builder.fadd(summed[height, j], across)
    following = builder.add(k, INDEX(kind.count))
    k.add_incoming(following, loop)
    for cell in cells:
        summed[cell].add_incoming(constant(kind, 0.0), entry)
        summed[cell].add_incoming(finished[cell], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    builder.position_at_end(done)
    adding = builder.icmp_signed("!=", begin, INDEX(0))
    for i in lines:
        line = builder.place(c, builder.mul(c_row, INDEX(i)), kind) if i < height else sums_at
        j = 0
        for totals in _totals(builder, [finished[i, j] for j in range(width)]):
            place = builder.place(line, INDEX(j), kind)
            before = builder.load(place, typ=totals.type, align=align)
            before = builder.select(adding, before, constant(totals.type, 0.0))
            builder.store(builder.fadd(before, totals), place, align=align)
            j += totals.type.count
    builder.ret_void()
    return function


def _totals(builder: Any, vectors: list[Any]) -> list[Any]:
    """The sums of the lanes of each vector, in as few vectors as they fit in.

    Two vectors' halves are added at once: as in `fold`, halves onto halves.
    """
    size = vectors[0].type.count
    while size > 1:
        size //= 2
        if len(vectors) == 1:
            vectors = [vectors[0], vectors[0]]
            lanes = vectors[0].type.count
        else:
            lanes = 2 * vectors[0].type.count
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        lower = [n for n in range(lanes) if not n & size]
        upper = [n + size for n in lower]
        vectors = [
            builder.fadd(shuffle(builder, x, y, lower), shuffle(builder, x, y, upper))
            for x, y in pairs
        ]
    return vectors


def cover_with_dots(builder: Any, module: Any, kind: Any, given: Any) -> None:
    """Cover C with tiles of `dots`, for the arguments of `tiles.py`'s product.

    The sums of B's rows go to `e`, if `e_row` is not 0.
    """
    c, c_row, a, a_row, _, b, b_row, rows, columns, depth, _, e, e_row, begin = given
    summing = builder.icmp_signed("!=", e_row, INDEX(0))
    tall = DOTS_HEIGHTS[0]

    def call(tile: Any, row: Any, column: Any) -> None:
        at = builder.add(builder.mul(row, c_row), column)
        builder.call(
            tile,
            [
                builder.place(c, at, kind), c_row,
                builder.place(a, builder.mul(row, a_row), kind), a_row,
                builder.place(b, builder.mul(column, b_row), kind), b_row,
                depth, begin, builder.place(e, column, kind),
            ],
        )  # fmt: skip

    j: Any = INDEX(0)
    for width in DOTS_WIDTHS:
        with builder.loop(j, width, columns) as (column, after_columns):
            i: Any = INDEX(0)
            alone = summing
            if width == DOTS_WIDTHS[0]:
                # With the first rows of A; where there are too few, alone, as for fewer columns.
                high = builder.icmp_signed("<=", INDEX(tall), rows)
                together = builder.and_(summing, high)
                alone = builder.and_(summing, builder.not_(high))
                with builder.if_then(together):
                    call(_dots_tile(module, kind, tall, width, sums=True), i, column)
                i = builder.select(together, INDEX(tall), i)
            with builder.if_then(alone):
                call(_dots_tile(module, kind, 0, width, sums=True), INDEX(0), column)
            for height in DOTS_HEIGHTS:
                with builder.loop(i, height, rows) as (row, after_rows):
                    call(_dots_tile(module, kind, height, width), row, column)
                i = after_rows()
        j = after_columns()


@intrinsic
def dots(
    typing: Any, tiles: Any,
    c: Any, c_at: Any, c_row: Any,
    a: Any, a_at: Any, a_row: Any,
    b: Any, b_at: Any, b_row: Any,
    rows: Any, columns: Any, depth: Any, begin: Any, sums: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """C = A B', row by row: entry (i, j) is the sum over k < `depth` of A(i, k) B(j, k).

    Rows of all three lie in one piece, `c_row`, `a_row` and `b_row` apart. `depth` is rounded up to
    whole vectors, so what stands behind a row must be 0 in A or B and finite in the other. `begin`
    is 0, or not 0 to add to C. The sums over k of B(j, k) go to `c[sums]` and what is behind it,
    and are added likewise; none where `sums` is negative, and else what stands behind a row of B
    must be 0.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        tiles, args = args[0], args[1:]
        c, a, b = (
            address(context, builder, sig.args[n + 1], args[n], args[n + 1]) for n in (0, 3, 6)
        )
        c_row, a_row, b_row = args[2], args[5], args[8]
        rows, columns, depth, begin, sums = args[9:]
        e = address(context, builder, sig.args[1], args[0], sums)
        summing = builder.zext(builder.icmp_signed("<=", INDEX(0), sums), INDEX)
        given = [
            c, c_row, a, a_row, INDEX(1), b, b_row, rows, columns, depth, INDEX(DOTS),
            e, summing, begin,
        ]  # fmt: skip
        kind = ir.FunctionType(_VOID, [value.type for value in given])
        builder.call(builder.inttoptr(tiles, kind.as_pointer()), given)
        return context.get_dummy_value()

    i = types.intp
    return types.void(i, c, i, i, a, i, i, b, i, i, i, i, i, i, i), build
