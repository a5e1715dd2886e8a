"""Matrices of 4 by 4 numbers, each row by row in one vector of 16, made of LLVM instructions.

Where registers are shorter, the compiler makes several of such a vector.

The twins are in `emulated.py`.
"""

from typing import Any

from fastnet_numba.simd.lanes import load_several
from fastnet_numba.simd.traced import Typed, traceable
from fastnet_numba.simd.vector import multiply_add, shuffle

#: Rows and columns of a square.
SIDE = 4


@traceable
def load_square(typing: Any, array: Any, at: Any) -> Typed:
    """The square that begins at `array[at]`."""
    return load_several(SIDE * SIDE, array)


@traceable
def transposed(typing: Any, x: Any) -> Typed:
    """The square whose rows are the columns of x."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = [row * SIDE + column for column in range(SIDE) for row in range(SIDE)]
        return shuffle(builder, args[0], args[0], lanes)

    return x(x), build


@traceable
def square_product(typing: Any, z: Any, x: Any, y: Any) -> Typed:
    """z + x y, of three squares."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        z, x, y = args
        pairs = [
            (
                shuffle(builder, x, x, [n // SIDE * SIDE + q for n in range(SIDE * SIDE)]),
                shuffle(builder, y, y, [q * SIDE + n % SIDE for n in range(SIDE * SIDE)]),
            )
            for q in range(SIDE)
        ]
        # Two sums, so that half as many multiply-adds wait for each other.
        one = multiply_add(builder, *pairs[2], multiply_add(builder, *pairs[0], z))
        other = multiply_add(builder, *pairs[3], builder.fmul(*pairs[1]))
        return builder.fadd(one, other)

    return z(z, x, y), build
