"""Rows on their way to a backend, and those that are held out."""

from collections.abc import Callable
from dataclasses import dataclass

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data


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
