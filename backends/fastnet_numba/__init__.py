"""The Numba backend: whole training runs in compiled loops.

The top holds programs, layouts, and what Python calls of the kernels; it may import `ops` and
`simd`. Nothing is compiled for a network: `layout.py` writes tables that all kernels follow.
"""

from fastnet_numba.backend import BACKEND

__all__ = ["BACKEND"]
