"""The parameters of a model: one flat vector, and a name for each piece of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Parameter
from fastnet.errors import DataError, unknown


class Parameters(Mapping[str, Array]):
    """`parameters["0.weight"]` is a view `(inputs, units)` of the flat vector.

    The number is the layer's place in the network. Writing into a view, or assigning
    (`parameters["0.bias"] = b`), changes the model.
    """

    def __init__(self, pieces: tuple[Parameter, ...], flat: Array) -> None:
        self._pieces = {piece.name: piece for piece in pieces}
        self._flat = flat

    @property
    def flat(self) -> Array:
        """The whole vector, `(size,)`, of the model's dtype; assigning changes the model."""
        return self._flat

    @flat.setter
    def flat(self, value: Any) -> None:
        array = checks.numbers(value, "parameters.flat", self._flat.dtype)
        if array.shape != self._flat.shape:
            raise DataError(
                f"parameters.flat has shape {self._flat.shape}; what is assigned has {array.shape}."
            )
        checks.finite(array, "parameters.flat", remedy="assign finite numbers")
        self._flat[...] = array

    def __getitem__(self, name: str) -> Array:
        return self._piece(name).of(self.flat)

    def __setitem__(self, name: str, value: Any) -> None:
        piece = self._piece(name)
        array = checks.numbers(value, f"parameter {name!r}", self.flat.dtype)
        if array.shape != piece.shape:
            raise DataError(
                f"parameter {name!r} has shape {piece.shape}; what is assigned has {array.shape}."
            )
        checks.finite(array, f"parameter {name!r}", remedy="assign finite numbers")
        piece.of(self.flat)[...] = array

    def _piece(self, name: str) -> Parameter:
        if name not in self._pieces:
            raise KeyError(unknown("parameter", name, self._pieces))
        return self._pieces[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def __eq__(self, other: object) -> bool:
        """Whether names, shapes and values are equal."""
        if not isinstance(other, Parameters):
            return NotImplemented
        return list(self) == list(other) and all(
            np.array_equal(array, other[name]) for name, array in self.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {piece.shape}" for name, piece in self._pieces.items())
        return f"Parameters({shapes}; {self.flat.dtype})"

    def check(self) -> None:
        """Make sure that every one is finite.

        Raises:
            DataError: naming the first that is not.
        """
        if checks.all_finite(self.flat):
            return
        for name, array in self.items():
            checks.finite(
                array, f"parameter {name!r}", remedy="assign finite numbers, or make a new model"
            )
