"""The product of rows with rows, in register tiles made of LLVM instructions.

C (rows, columns) = A (rows, depth) B', where the rows of all three lie in one piece. A tile's
accumulators are vectors along `depth`, whose lanes are added up at the end.

The twin of this file is `dots` in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.host import registers
from fastnet_numba.simd.vector import (
    INDEX,
    LANE,
    Builder,
    address,
    constant,
    function_of,
    multiply_add,
)

#: As the end of a product (`tiles.py`): this one.
DOTS = 4

#: Rows of A and of B's transpose in a tile of `dots`, the tallest and widest that fit first.
DOTS_HEIGHTS = (4, 2, 1) if registers() == 32 else (2, 1)
DOTS_WIDTHS = (4, 2, 1)

_VOID = ir.VoidType()


def _dots_tile(module: Any, kind: Any, height: int, width: int) -> Any:
    """The function of one tile: C, A, B, their strides, depth, and not 0 to add to C."""
    name = f"fastnet_dots_{kind.element}_{height}_{width}"
    if name in module.globals:
        return module.globals[name]
    function = function_of(module, name, 9, pointers=(0, 2, 5))
    c, c_row, a, a_row, a_step, b, b_row, depth, begin = function.args
    builder = Builder(function.append_basic_block("entry"))
    align = 4 if isinstance(kind.element, ir.FloatType) else 8
    cells = [(i, j) for i in range(height) for j in range(width)]

    def load(pointer: Any, row: Any, n: int, at: Any) -> Any:
        place = builder.place(pointer, builder.add(builder.mul(row, INDEX(n)), at), kind)
        return builder.load(place, typ=kind, align=align)

    entry, loop, done = builder.block, *(function.append_basic_block(n) for n in ("loop", "done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INDEX)
    k.add_incoming(INDEX(0), entry)
    sums = {cell: builder.phi(kind) for cell in cells}
    a_k = builder.mul(k, a_step)
    down = [load(a, a_row, i, a_k) for i in range(height)]
    finished = {}
    for j in range(width):
        across = load(b, b_row, j, k)
        for i in range(height):
            finished[i, j] = multiply_add(builder, down[i], across, sums[i, j])
    following = builder.add(k, INDEX(kind.count))
    k.add_incoming(following, loop)
    for cell in cells:
        sums[cell].add_incoming(constant(kind, 0.0), entry)
        sums[cell].add_incoming(finished[cell], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    builder.position_at_end(done)
    adding = builder.icmp_signed("!=", begin, INDEX(0))
    for i in range(height):
        j = 0
        for totals in _totals(builder, [finished[i, j] for j in range(width)]):
            at = builder.add(builder.mul(c_row, INDEX(i)), INDEX(j))
            place = builder.place(c, at, kind)
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
        low, high = (
            ir.Constant(ir.VectorType(LANE, len(lower)), [n + more for n in lower])
            for more in (0, size)
        )
        vectors = [
            builder.fadd(builder.shuffle_vector(x, y, low), builder.shuffle_vector(x, y, high))
            for x, y in pairs
        ]
    return vectors


def cover_with_dots(builder: Any, module: Any, kind: Any, given: Any) -> None:
    """Cover C with tiles of `dots`, for the arguments of `tiles.py`'s product."""
    c, c_row, a, a_row, a_step, b, b_row, rows, columns, depth, _, _, _, begin = given
    j: Any = INDEX(0)
    for width in DOTS_WIDTHS:
        with builder.loop(j, width, columns) as (column, after_columns):
            i: Any = INDEX(0)
            for height in DOTS_HEIGHTS:
                with builder.loop(i, height, rows) as (row, after_rows):
                    at = builder.add(builder.mul(row, c_row), column)
                    builder.call(
                        _dots_tile(module, kind, height, width),
                        [
                            builder.place(c, at, kind), c_row,
                            builder.place(a, builder.mul(row, a_row), kind), a_row, a_step,
                            builder.place(b, builder.mul(column, b_row), kind), b_row,
                            depth, begin,
                        ],
                    )  # fmt: skip
                i = after_rows()
        j = after_columns()


@intrinsic
def dots(
    typing: Any, tiles: Any,
    c: Any, c_at: Any, c_row: Any,
    a: Any, a_at: Any, a_row: Any, a_step: Any,
    b: Any, b_at: Any, b_row: Any,
    rows: Any, columns: Any, depth: Any, begin: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """C = A B', row by row: entry (i, j) is the sum over k < `depth` of A(i, k) B(j, k).

    Rows of all three lie in one piece, `c_row`, `a_row` and `b_row` apart. `depth` is rounded up to
    whole vectors, so what stands behind a row must be 0 in A or B and finite in the other.
    `a_step` is 1; or 0, where all of a row of A is one vector. `begin` is 0, or not 0 to add to C.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        tiles, args = args[0], args[1:]
        c, a, b = (
            address(context, builder, sig.args[n + 1], args[n], args[n + 1]) for n in (0, 3, 7)
        )
        c_row, a_row, a_step, b_row = args[2], args[5], args[6], args[9]
        rows, columns, depth, begin = args[10:]
        given = [
            c, c_row, a, a_row, a_step, b, b_row, rows, columns, depth, INDEX(DOTS), c, c_row, begin
        ]  # fmt: skip
        kind = ir.FunctionType(_VOID, [value.type for value in given])
        builder.call(builder.inttoptr(tiles, kind.as_pointer()), given)
        return context.get_dummy_value()

    i = types.intp
    return types.void(i, c, i, i, a, i, i, i, b, i, i, i, i, i, i), build
