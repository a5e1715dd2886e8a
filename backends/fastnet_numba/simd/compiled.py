"""How the kernels are compiled."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

#: For every kernel: the GIL is released, a division by zero gives infinity or NaN as in NumPy, and
#: no rule of arithmetic is relaxed (no `fastmath`): NaN must be noticed, and sums have an order.
#: Without Numba's runtime (`_nrt`) no references are counted: kernels make no arrays, and whoever
#: calls an entry holds those it hands over. Counting takes longer than a layer of a small network.
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}

#: For kernels that Python calls.
entry: Callable[[Any], Any] = partial(numba.njit, **OPTIONS, no_cfunc_wrapper=True)

#: For kernels that only kernels call: without the wrappers for Python, which take longer to compile
#: than most kernels do.
kernel: Callable[[Any], Any] = partial(
    numba.njit, **OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True
)

#: For kernels in inner loops or with one caller: inlined, because a call takes long where arrays
#: are handed over (each is seven numbers, written to the stack and read back).
inlined: Callable[[Any], Any] = partial(
    numba.njit, **OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
)

#: For kernels that are copied into their two callers before anything is compiled: else all
#: that they call would be optimized once more, for nothing.
spliced: Callable[[Any], Any] = partial(numba.njit, **OPTIONS, inline="always")
