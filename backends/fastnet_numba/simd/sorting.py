"""Random words to sort by, and the ranks of pairs in that order, made of LLVM instructions.

A pair is one number: a word, and a row below it. The twins are in `emulated.py`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnet_numba.simd.vector import INDEX, address, shuffle, splat

#: How many pairs are drawn, and how many one is compared with, at once.
DRAWN, COMPARED = 32, 8

_ROUNDS = 10
_KIND = ir.VectorType(INDEX, DRAWN // 4)
_M0, _M1, _W0, _W1, _LOW, _HALF = (
    ir.Constant(_KIND, [value] * _KIND.count)
    for value in (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 0xFFFFFFFF, 32)
)


@intrinsic
def draw_pairs(
    typing: Any, pairs: Any, at: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any
) -> tuple[Any, Any]:
    """Pair rows `at` to `at` + DRAWN with their words, at `pairs[at]`; `at` is a multiple of DRAWN.

    c1 to c3 and the key k0 and k1 are those of Philox: see `ops/philox.py`.
    """

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pairs, at, *rest = args
        c1, c2, c3, k0, k1 = (splat(builder, _KIND, value) for value in rest)
        counted = ir.Constant(_KIND, list(range(_KIND.count)))
        quarter = builder.lshr(at, INDEX(2))
        c0 = builder.add(splat(builder, _KIND, quarter), counted)
        for _ in range(_ROUNDS):
            p0, p1 = builder.mul(c0, _M0), builder.mul(c2, _M1)
            c0 = builder.xor(builder.xor(builder.lshr(p1, _HALF), c1), k0)
            c2 = builder.xor(builder.xor(builder.lshr(p0, _HALF), c3), k1)
            c1, c3 = builder.and_(p1, _LOW), builder.and_(p0, _LOW)
            k0 = builder.and_(builder.add(k0, _W0), _LOW)
            k1 = builder.and_(builder.add(k1, _W1), _LOW)
        # Word n of every counter is that of every fourth row, from row n on.
        words = [builder.shl(word, _HALF) for word in (c0, c1, c2, c3)]
        both = list(range(2 * _KIND.count))
        lower, upper = (shuffle(builder, words[n], words[n + 1], both) for n in (0, 2))
        for n in range(4):
            # Word w of counter i is lane 8 w + i of both; here are those of counters 2 n, 2 n + 1.
            lanes = [8 * (j % 4) + 2 * n + j // 4 for j in range(8)]
            mixed = shuffle(builder, lower, upper, lanes)
            row = builder.add(at, INDEX(8 * n))
            rows = builder.add(splat(builder, _KIND, row), counted)
            place = address(context, builder, sig.args[0], pairs, row)
            builder.store(builder.or_(mixed, rows), place, align=8)
        return context.get_dummy_value()

    i = types.uint64
    return types.void(pairs, i, i, i, i, i, i), build


@intrinsic
def count_less(typing: Any, pairs: Any, at: Any, than: Any) -> tuple[Any, Any]:
    """How many of the COMPARED pairs from `pairs[at]` on are less than this one."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.VectorType(INDEX, COMPARED)
        place = address(context, builder, sig.args[0], args[0], args[1])
        given = builder.load(place, typ=kind, align=8)
        less = builder.icmp_unsigned("<", given, splat(builder, kind, args[2]))
        bits = builder.bitcast(less, ir.IntType(COMPARED))
        return builder.zext(builder.ctpop(bits), INDEX)

    return types.uint64(pairs, types.uint64, types.uint64), build
