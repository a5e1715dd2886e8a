"""The order of the rows in each epoch."""

from typing import Any, Protocol

from fastnet.contract.program import Program


class RowOrder(Protocol):
    """Gives the order of the rows in each epoch of a fit."""

    def of_epochs(self, epochs: range) -> Any:
        """The orders of the rows in some epochs, `(len(epochs), rows)` intp.

        Each epoch is asked for once, in ascending order.
        """
        ...


class Shuffled:
    """Fastnet's own shuffles: each depends on the seed and the epoch's number alone.

    Args:
        program: draws them.
        seed: the model's.
        rows: how many.
    """

    def __init__(self, program: Program, seed: int, rows: int) -> None:
        self.program, self.seed, self.rows = program, seed, rows

    def of_epochs(self, epochs: range) -> Any:
        """The orders of the rows in some epochs, `(len(epochs), rows)` intp."""
        return self.program.orders(self.seed, epochs, self.rows)
