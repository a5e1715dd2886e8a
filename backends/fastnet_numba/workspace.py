"""What a program keeps for chunks of so many rows: the tables, and the arenas."""

from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from fastnet.arrays.checks import Array
from fastnet_numba.addresses import AddressOf, with_addresses
from fastnet_numba.layout import Layout

#: How many layouts a program keeps, each with arenas, for batches of different sizes; and passes
#: (`at_once.py`). A loss of 60 rows with a new layout takes 12 times as long as with a kept one on
#: 32-64-64-1, where the pass is kept too, and 1.2 times on 784-512-512-10
#: (bench/results/numba-choices-2026-11-29.json).
KEPT = 16

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def kept_with(kept: dict[_Key, _Value], key: _Key, value: _Value) -> dict[_Key, _Value]:
    """The newest of these entries and one more, KEPT in all: a new dictionary, because other
    threads may be reading the old one.
    """
    return dict([*list(kept.items())[1 - KEPT :], (key, value)])


class Workspace:
    """A layout with its tables, which are made when they are needed, and arenas not in use.

    Args:
        layout: of a plan.
        dtype: of the arenas.
        address_of: see `with_addresses`.
    """

    def __init__(self, layout: Layout, dtype: np.dtype[Any], address_of: AddressOf) -> None:
        self.layout, self.dtype, self.address_of = layout, dtype, address_of
        self.free: list[Array] = []

    def _table(self, table: Array, narrow: bool, training: bool) -> Array:
        return with_addresses(table, narrow, training, self.address_of)

    @cached_property
    def training(self) -> Array:
        """`layout.training`."""
        return self._table(self.layout.training, self.layout.narrow, True)

    @cached_property
    def evaluation(self) -> Array:
        """`layout.evaluation`."""
        return self._table(self.layout.evaluation, self.layout.narrow, True)

    @cached_property
    def evaluation_of_many(self) -> Array:
        """`layout.packed_evaluation`, for several chunks."""
        return self._table(self.layout.packed_evaluation, self.layout.narrow, True)

    @cached_property
    def prediction(self) -> Array:
        """`layout.prediction`, for one chunk."""
        return self._table(self.layout.prediction, self.layout.narrow, False)

    @cached_property
    def prediction_of_many(self) -> Array:
        """`layout.packed_prediction`, for several chunks."""
        return self._table(self.layout.packed_prediction, self.layout.narrow, False)

    @cached_property
    def prediction_at_once(self) -> Array:
        """`layout.prediction`, for few rows, which are never in the lanes."""
        return self._table(self.layout.prediction, False, False)

    def borrow(self) -> Array:
        """An arena; the caller appends it to `free` afterwards."""
        try:  # not `if`: another thread may take the last one in between
            return self.free.pop()
        except IndexError:
            return self.layout.new_arena(self.dtype)
