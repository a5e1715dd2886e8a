"""The NumPy backend: the living definition that every other backend is tested against."""

from fastnet_numpy.backend import BACKEND

__all__ = ["BACKEND"]
