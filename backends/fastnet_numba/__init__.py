"""The Numba backend: whole training runs in compiled loops."""

from fastnet_numba.backend import BACKEND

__all__ = ["BACKEND"]
