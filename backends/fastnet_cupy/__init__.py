"""The CuPy backend: CUDA kernels for every size of network."""

from fastnet_cupy.backend import BACKEND

__all__ = ["BACKEND"]
