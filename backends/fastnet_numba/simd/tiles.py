"""The matrix product, in register tiles made of LLVM instructions.

C (rows, columns) = A (rows, depth) B (depth, columns), where B's and C's rows lie in one piece
and A may have any two strides, so that A and its transpose are the same to it. A tile of C
stays in registers while the loop over `depth` runs: HEIGHT numbers of A are spread over
lanes and multiplied with WIDTH vectors of B. The last columns that fill no whole vector are
loaded and stored under a mask.

Every entry of C is summed in the order of `depth`, whatever tile it is in: the result of
a row does not depend on how many rows there are.

With DOTS as the end it is the product of rows with rows: see `dots.py`.

The twin of this file is `product` in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet.arrays.cache_lines import LINE
from fastnet_numba.simd.dots import DOTS, cover_with_dots
from fastnet_numba.simd.host import register_bytes, registers
from fastnet_numba.simd.vector import (
    FIRST_CACHE,
    INDEX,
    Builder,
    Vector,
    address,
    constant,
    first_lanes,
    function_of,
    in_order,
    itemsize,
    load_masked,
    multiply_add,
    on_its_own,
    prefetch,
    splat,
    store_masked,
    vector_type,
)

#: What C's entries begin as: 0, C itself, row `e` (a bias), or `e` as a column.
ZERO, ADD, BIAS, COLUMN_BIAS = 0, 1, 2, 3

#: What becomes of a finished entry v: v itself, max(v, 0), v where e > 0 and else 0, or v e.
KEEP, RELU, MASK, TIMES = 0, 1, 2, 3

#: Rows of a tile, the tallest that fits first. With 32 registers 6 x 4 accumulators, 4 vectors of
#: B and one of A fit; with 16 it is 6 x 2.
HEIGHTS = (6, 4, 2, 1)

#: Vectors in a row of a tile.
WIDTHS = (4, 2, 1) if registers() == 32 else (2, 1)

#: Steps of the loop over depth that the largest tile does at once where A's columns lie in one
#: piece. On ARM64 several save next to nothing, and need too many registers where the compiler does
#: not know the processor (bench/results/numba-2026-11-28.md).
STEPS = 4 if registers() == 16 or register_bytes() == 64 else 1

#: How many rows ahead the largest tile fetches B into the nearest cache (a choice).
AHEAD = 8

#: Vectors in a row of a tile where there is no other row. On one row by 1024 x 1024, 4 take 2.0
#: times as long, and 16 1.1 times (bench/results/numba-choices-2026-11-29.json).
ROW_WIDTH = 8

_VOID = ir.VoidType()


def _tile(module: Any, kind: Any, height: int, width: int, masked: bool, form: str = "any") -> Any:
    """The function of one tile; `masked`: its only vector has `lanes` lanes.

    `form` says what is known of A: "along", its rows lie in one piece (`a_column` is 1); "down",
    its columns do (`a_row` is 1), as in a transpose or a packed strip; "any", nothing. Knowing it
    saves an addition for each number of A, which is what a processor that does two multiply-adds
    a cycle has no room for.
    """
    name = f"fastnet_tile_{kind.element}_{height}_{width}{'_masked' if masked else ''}_{form}"
    if name in module.globals:
        return module.globals[name]
    function = function_of(module, name, 13, pointers=(0, 2, 5, 10))
    c, c_row, a, a_row, a_column, b, b_row, depth, begin, end, e, e_row, lanes = function.args
    a_row = INDEX(1) if form == "down" else a_row
    a_column = INDEX(1) if form == "along" else a_column
    builder = Builder(function.append_basic_block("entry"))
    lanes_mask = first_lanes(builder, kind, lanes) if masked else None
    cells = [(i, j) for i in range(height) for j in range(width)]
    align = itemsize(kind)

    def offset(row: Any, i: int, j: int) -> Any:
        return builder.add(builder.mul(row, INDEX(i)), INDEX(kind.count * j))

    def load(pointer: Any, at: Any) -> Any:
        place = builder.place(pointer, at, kind)
        if masked:
            return load_masked(builder, kind, place, lanes_mask)
        return builder.load(place, typ=kind, align=align)

    def scalar(pointer: Any, at: Any) -> Any:
        place = builder.place(pointer, at, kind)
        return splat(builder, kind, builder.load(place, typ=kind.element, align=align))

    places = [builder.place(a, builder.mul(a_row, INDEX(i)), kind) for i in range(height)]
    if form == "along":
        places = [on_its_own(builder, place) for place in places]

    # What the accumulators begin as.
    entry = builder.block
    names = ("add", "bias", "column", "start", "steps", "rest", "step", "done")
    blocks = {n: function.append_basic_block(n) for n in names}
    starts: list[tuple[Any, dict[tuple[int, int], Any]]] = [
        (entry, {cell: constant(kind, 0.0) for cell in cells})
    ]
    switch = builder.switch(begin, blocks["start"])
    switch.add_case(INDEX(ADD), blocks["add"])
    switch.add_case(INDEX(BIAS), blocks["bias"])
    switch.add_case(INDEX(COLUMN_BIAS), blocks["column"])
    builder.position_at_end(blocks["add"])
    starts.append((builder.block, {(i, j): load(c, offset(c_row, i, j)) for i, j in cells}))
    builder.branch(blocks["start"])
    builder.position_at_end(blocks["bias"])
    row = [load(e, INDEX(kind.count * j)) for j in range(width)]
    starts.append((builder.block, {(i, j): row[j] for i, j in cells}))
    builder.branch(blocks["start"])
    builder.position_at_end(blocks["column"])
    column = [scalar(e, INDEX(i)) for i in range(height)]
    starts.append((builder.block, {(i, j): column[i] for i, j in cells}))
    builder.branch(blocks["start"])

    # The loop over depth: several steps at once, then single ones.
    def phis(sources: list[tuple[Any, Any, dict[tuple[int, int], Any]]]) -> tuple[Any, Any]:
        k = builder.phi(INDEX)
        sums = {cell: builder.phi(kind) for cell in cells}
        for block, at, values in sources:
            join(k, sums, block, at, values)
        return k, sums

    def join(k: Any, sums: Any, block: Any, at: Any, values: Any) -> None:
        k.add_incoming(at, block)
        for cell in cells:
            sums[cell].add_incoming(values[cell], block)

    def multiply(k: Any, sums: dict[tuple[int, int], Any]) -> dict[tuple[int, int], Any]:
        a_k, b_k = builder.mul(k, a_column), builder.mul(k, b_row)
        across = [load(b, builder.add(b_k, INDEX(kind.count * j))) for j in range(width)]
        if form != "any":
            then = builder.add(k, INDEX(AHEAD))
            ahead = builder.mul(then, b_row)
            for j in range(0, width * kind.count * align, LINE):
                line = builder.place(b, builder.add(ahead, INDEX(j // align)), kind)
                prefetch(builder, line, FIRST_CACHE)
            if form == "down":
                line = builder.place(a, builder.mul(then, a_column), kind)
                prefetch(builder, line, FIRST_CACHE)
        found = {}
        for i in range(height):
            place = builder.place(places[i], a_k, kind)
            down = splat(builder, kind, builder.load(place, typ=kind.element, align=align))
            for j in range(width):
                found[i, j] = multiply_add(builder, down, across[j], sums[i, j])
        return found

    builder.position_at_end(blocks["start"])
    _, sums = phis([(block, INDEX(0), values) for block, values in starts])
    first = sums
    steps = INDEX(STEPS if form == "down" else 1)
    several = builder.sub(depth, builder.urem(depth, steps))
    builder.cbranch(builder.icmp_signed(">", several, INDEX(0)), blocks["steps"], blocks["rest"])
    builder.position_at_end(blocks["steps"])
    k, sums = phis([(blocks["start"], INDEX(0), first)])
    values = sums
    for step in range(steps.constant):
        if step > 0:
            in_order(builder)
        values = multiply(builder.add(k, INDEX(step)), values)
    following = builder.add(k, steps)
    join(k, sums, blocks["steps"], following, values)
    after = values
    more = builder.icmp_signed("<", following, several)
    builder.cbranch(more, blocks["steps"], blocks["rest"])
    builder.position_at_end(blocks["rest"])
    _, sums = phis([(blocks["start"], INDEX(0), first), (blocks["steps"], following, after)])
    before = sums
    builder.cbranch(builder.icmp_signed("<", several, depth), blocks["step"], blocks["done"])
    builder.position_at_end(blocks["step"])
    k, sums = phis([(blocks["rest"], several, before)])
    values = multiply(k, sums)
    following = builder.add(k, INDEX(1))
    join(k, sums, blocks["step"], following, values)
    more = builder.icmp_signed("<", following, depth)
    builder.cbranch(more, blocks["step"], blocks["done"])
    builder.position_at_end(blocks["done"])
    _, finished = phis([(blocks["rest"], several, before), (blocks["step"], following, values)])

    # What becomes of them.
    zero = constant(kind, 0.0)

    def relu(i: int, j: int, v: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", v, zero), zero, v)

    def mask(i: int, j: int, v: Any) -> Any:
        return builder.select(
            builder.fcmp_ordered(">", load(e, offset(e_row, i, j)), zero), v, zero
        )

    def times(i: int, j: int, v: Any) -> Any:
        return builder.fmul(v, load(e, offset(e_row, i, j)))

    endings = {KEEP: lambda i, j, v: v, RELU: relu, MASK: mask, TIMES: times}
    targets = {which: function.append_basic_block(f"end{which}") for which in endings}
    switch = builder.switch(end, targets[KEEP])
    for which, ending in endings.items():
        if which != KEEP:
            switch.add_case(INDEX(which), targets[which])
        builder.position_at_end(targets[which])
        for i, j in cells:
            place = builder.place(c, offset(c_row, i, j), kind)
            value = ending(i, j, finished[i, j])
            if masked:
                store_masked(builder, value, place, lanes_mask)
            else:
                builder.store(value, place, align=align)
        builder.ret_void()
    return function


def _product(module: Any, kind: Any) -> Any:
    """The function that covers C with tiles: columns outside, so that B's panel stays near."""
    name = f"fastnet_product_{kind.element}"
    if name in module.globals:
        return module.globals[name]
    function = function_of(module, name, 14, pointers=(0, 2, 5, 11))
    c, c_row, a, a_row, a_column, b, b_row, rows, columns, depth, ends, e, e_row, begin = (
        function.args
    )
    builder = Builder(function.append_basic_block("entry"))
    of_rows = builder.append_basic_block("of_rows")
    of_tiles = builder.append_basic_block("of_tiles")
    builder.cbranch(builder.icmp_signed("==", ends, INDEX(DOTS)), of_rows, of_tiles)
    builder.position_at_end(of_rows)
    cover_with_dots(builder, module, kind, function.args)
    builder.ret_void()
    builder.position_at_end(of_tiles)
    # A bias has no rows, or no columns: e's place depends on the other alone.
    by_row = builder.icmp_signed("==", begin, INDEX(COLUMN_BIAS))
    e_down = builder.select(builder.icmp_signed("==", begin, INDEX(BIAS)), INDEX(0), e_row)
    e_down = builder.select(by_row, INDEX(1), e_down)

    # The largest tile, which does most of the work, in the form that fits A.
    large = [
        _tile(module, kind, HEIGHTS[0], WIDTHS[0], False, form) for form in ("along", "down", "any")
    ]
    form = builder.select(builder.icmp_signed("==", a_row, INDEX(1)), large[1], large[2])
    form = builder.select(builder.icmp_signed("==", a_column, INDEX(1)), large[0], form)

    def panel(j: Any, width: int, lanes: Any, heights: tuple[int, ...] = HEIGHTS) -> None:
        i: Any = INDEX(0)
        e_j = builder.select(by_row, INDEX(0), j)
        for height in heights:
            tile = _tile(module, kind, height, width, lanes is not None)
            if (height, width) == (HEIGHTS[0], WIDTHS[0]) and lanes is None:
                tile = form
            with builder.loop(i, height, rows) as (row, after):

                def at(stride: Any, row: Any = row) -> Any:
                    return builder.add(builder.mul(row, stride), j)

                builder.call(
                    tile,
                    [
                        builder.place(c, at(c_row), kind), c_row,
                        builder.place(a, builder.mul(row, a_row), kind), a_row, a_column,
                        builder.place(b, j, kind), b_row,
                        depth, begin, ends,
                        builder.place(e, builder.add(builder.mul(row, e_down), e_j), kind), e_row,
                        INDEX(0) if lanes is None else lanes,
                    ],
                )  # fmt: skip
            i = after()

    j: Any = INDEX(0)
    # One row alone waits for its own sums, and for B, so it takes more columns at once.
    single = builder.select(builder.icmp_signed("==", rows, INDEX(1)), columns, INDEX(0))
    with builder.loop(j, ROW_WIDTH * kind.count, single) as (column, after):
        panel(column, ROW_WIDTH, None, heights=(1,))
    j = after()
    for width in WIDTHS:
        with builder.loop(j, width * kind.count, columns) as (column, after):
            panel(column, width, None)
        j = after()
    rest, done = builder.append_basic_block("rest"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", j, columns), rest, done)
    builder.position_at_end(rest)
    panel(j, 1, builder.sub(columns, j))
    builder.branch(done)
    builder.position_at_end(done)
    builder.ret_void()
    return function


@intrinsic
def address_of_tiles(typing: Any, like: Any) -> tuple[Any, Any]:
    """The address of the compiled product for arrays like `like`.

    Its callers are given the address instead of being linked with it: else the tiles would be
    optimized again with every kernel that calls them, which takes longer than all the rest.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function = _product(builder.module, vector_type(Vector(sig.args[0].dtype)))
        return builder.ptrtoint(function, INDEX)

    return types.intp(like), build


@intrinsic
def product(
    typing: Any, tiles: Any,
    c: Any, c_at: Any, c_row: Any,
    a: Any, a_at: Any, a_row: Any, a_column: Any,
    b: Any, b_at: Any, b_row: Any,
    rows: Any, columns: Any, depth: Any,
    begin: Any, end: Any, e: Any, e_at: Any, e_row: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """C = A B, begun and ended as `begin` and `end` say; see the top of the file.

    C is at `c[c_at]`, its rows `c_row` apart; B likewise. A's entry (i, k) is
    `a[a_at + i * a_row + k * a_column]`. `e` is the bias `(columns,)` at `e_at`, or an array
    like C with rows `e_row` apart, for MASK and TIMES. `depth` must not be 0. `tiles` is what
    `address_of_tiles` gave.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        tiles, args = args[0], args[1:]
        places = [
            address(context, builder, sig.args[n + 1], args[n], args[n + 1]) for n in (0, 3, 7, 15)
        ]
        c_row, a_row, a_column, b_row = args[2], args[5], args[6], args[9]
        rows, columns, depth, begin, end = args[10:15]
        given = [
            places[0], c_row, places[1], a_row, a_column, places[2], b_row,
            rows, columns, depth, end, places[3], args[17], begin,
        ]  # fmt: skip
        kind = ir.FunctionType(_VOID, [value.type for value in given])
        builder.call(builder.inttoptr(tiles, kind.as_pointer()), given)
        return context.get_dummy_value()

    i = types.intp
    return types.void(i, c, i, i, a, i, i, i, b, i, i, i, i, i, i, i, e, i, i), build
