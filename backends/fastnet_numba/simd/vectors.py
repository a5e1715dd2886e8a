"""Vectors, as the kernels use them: compiled, or emulated where the compiler is switched off.

    x = load(array, at)             LANES numbers, an immutable value
    y = fma(x, 2.0, x * x) - 1.0    arithmetic lane by lane; a scalar goes into every lane
    z = choose(y > 0.0, y, x)       comparisons give masks
    store(array, at, z)

Scalars must be Python's floats written in the code, or of the array's own dtype.
"""

from numba import config

if config.DISABLE_JIT:
    from fastnet_numba.simd.emulated import (
        absolute,
        address_of_tiles,
        choose,
        copy_sign,
        descend,
        every,
        exponent,
        flat,
        fma,
        highest,
        keep_first,
        lanes,
        load,
        load_first,
        mantissa,
        mix,
        observe,
        over_examples,
        pick,
        polynomial,
        power_of_two,
        product,
        publish,
        spin,
        store,
        total,
        transpose,
        yield_thread,
    )
else:
    from fastnet_numba.simd.atomics import observe, publish, spin, yield_thread
    from fastnet_numba.simd.groups import descend, mix, over_examples
    from fastnet_numba.simd.lanes import (
        absolute,
        choose,
        copy_sign,
        every,
        exponent,
        flat,
        fma,
        highest,
        keep_first,
        lanes,
        load,
        load_first,
        mantissa,
        pick,
        polynomial,
        power_of_two,
        store,
        total,
        transpose,
    )
    from fastnet_numba.simd.tiles import address_of_tiles, product

__all__ = [
    "absolute",
    "address_of_tiles",
    "choose",
    "copy_sign",
    "descend",
    "every",
    "exponent",
    "flat",
    "fma",
    "highest",
    "keep_first",
    "lanes",
    "load",
    "load_first",
    "mantissa",
    "mix",
    "observe",
    "over_examples",
    "pick",
    "polynomial",
    "power_of_two",
    "product",
    "publish",
    "spin",
    "store",
    "total",
    "transpose",
    "yield_thread",
]
