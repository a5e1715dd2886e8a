"""Rows on their way to a backend, and those that are held out."""

from collections.abc import Callable
from dataclasses import dataclass

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Program


@dataclass
class HeldOut:
    """Rows that are not trained on.

    Attributes:
        data: the rows, on the host.
        constant: what is added to their loss whatever the prediction.
        score: what the predictions `(rows, outputs)` of the network are worth.
    """

    data: Data
    constant: float
    score: Callable[[Array], float]


def uploaded(program: Program, data: Data) -> Data:
    """The same rows, where the backend has its own."""
    put = program.to_device
    return Data(put(data.x), put(data.y), None if data.weight is None else put(data.weight))
