"""Vectors, as the kernels use them: compiled, or emulated where the compiler is switched off.

    x = load(array, at)             LANES numbers, an immutable value
    y = fma(x, 2.0, x * x) - 1.0    arithmetic lane by lane; a scalar goes into every lane
    z = choose(y > 0.0, y, x)       comparisons give masks
    store(array, at, z)

Scalars must be Python's floats written in the code, or of the array's own dtype.
"""

from numba import config

# Names stand where they are defined, in both forms alike.
if config.DISABLE_JIT:
    from fastnet_numba.simd.emulated import *  # noqa: F403
else:
    from fastnet_numba.simd.atomics import *  # noqa: F403
    from fastnet_numba.simd.dots import *  # noqa: F403
    from fastnet_numba.simd.groups import *  # noqa: F403
    from fastnet_numba.simd.lanes import *  # noqa: F403
    from fastnet_numba.simd.modes import *  # noqa: F403
    from fastnet_numba.simd.sorting import *  # noqa: F403
    from fastnet_numba.simd.squares import *  # noqa: F403
    from fastnet_numba.simd.tiles import *  # noqa: F403
    from fastnet_numba.simd.transposing import *  # noqa: F403
