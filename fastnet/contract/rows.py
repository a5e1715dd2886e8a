"""Rows as backends have them: inputs alone, and with what is learned from them."""

from dataclasses import dataclass
from typing import Any

from fastnet.arrays.checks import Array


@dataclass(slots=True)
class Inputs:
    """Rows of input, as host or device arrays.

    A record, so that the methods of `Program` stay the same if rows come to hold more.

    Attributes:
        numbers: `(rows, inputs)`; the last of them are codes of categories, where a plan has some.
    """

    numbers: Any

    def __len__(self) -> int:
        return int(self.numbers.shape[0])

    def take(self, rows: Array) -> "Inputs":
        """Some of the rows, of arrays on the host."""
        return Inputs(self.numbers[rows])


@dataclass(slots=True)
class Data:
    """Rows to learn from, as host or device arrays.

    Attributes:
        x: the inputs.
        y: `(rows, outputs)`, or class indices `(rows,)` of an integer type. Where a loss has
            several blocks of outputs, each for the same targets, these are repeated.
        weight: `(rows,)`, or None where all rows count alike.
    """

    x: Inputs
    y: Any
    weight: Any = None

    def __len__(self) -> int:
        return int(self.x.numbers.shape[0])

    def take(self, rows: Array) -> "Data":
        """Some of the rows, of arrays on the host."""
        return Data(
            self.x.take(rows), self.y[rows], None if self.weight is None else self.weight[rows]
        )

    @property
    def parts(self) -> tuple[Any, ...]:
        """All arrays: inputs, targets, weights; None for one that is not there."""
        return self.x.numbers, self.y, self.weight
