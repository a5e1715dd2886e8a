"""The order of the rows in each epoch."""

from typing import Protocol

from fastnet import random
from fastnet.arrays.checks import Array


class RowOrder(Protocol):
    """Gives the order of the rows in each epoch of a fit."""

    def of_epoch(self, epoch: int) -> Array:
        """The order of the rows, `(rows,)` intp; called once per epoch, in ascending order."""
        ...


class Shuffled:
    """Fastnet's own shuffles: each depends on the seed and the epoch's number alone.

    Args:
        seed: the model's.
        rows: how many.
    """

    def __init__(self, seed: int, rows: int) -> None:
        self.seed, self.rows = seed, rows

    def of_epoch(self, epoch: int) -> Array:
        """The order of the rows, `(rows,)` intp."""
        return random.permutation(self.seed, random.SHUFFLE, epoch, self.rows)
