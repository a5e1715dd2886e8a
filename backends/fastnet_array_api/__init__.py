"""The array-API backend: networks on any library of the array-API standard."""

from fastnet_array_api.backend import BACKEND

__all__ = ["BACKEND"]
