"""How the kernels are compiled."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

#: For every kernel: the GIL is released, a division by zero gives infinity or NaN as in NumPy, and
#: no rule of arithmetic is relaxed (no `fastmath`): NaN must be noticed, and sums have an order.
OPTIONS = {"nogil": True, "error_model": "numpy"}

#: What Python calls.
entry: Callable[[Any], Any] = partial(numba.njit, **OPTIONS, no_cfunc_wrapper=True)

#: What only kernels call. Without the wrappers that Python would need, which take longer to
#: compile than most kernels do.
kernel: Callable[[Any], Any] = partial(
    numba.njit, **OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True
)

#: What stands in inner loops: without a call.
inlined: Callable[[Any], Any] = partial(
    numba.njit, **OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
)

#: What is copied into the one or two that call it before anything is compiled: a kernel that only
#: calls others would have them all optimised once more.
spliced: Callable[[Any], Any] = partial(numba.njit, **OPTIONS, inline="always")
