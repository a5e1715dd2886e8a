"""The same work in other libraries, one file each, written as the library's own documentation
recommends for speed, so that its users can check that the comparison is fair.

All train in the workload's dtype from the same weights, on the same rows in the same order. In
doubt a peer has the advantage: it records no losses, where `fit` records one for every step; the
order of its rows is computed before it is timed, where `fit` computes it in the timed run; and its
data is already converted and not checked.

A library is imported when its contestant is made.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.optimizers import SGD, Adam, Optimizer


def flat(layers: Iterable[Sequence[Any]]) -> Array:
    """Weights `(inputs, units)` and biases in the layout of `Model.parameters.flat`."""
    return np.concatenate([np.asarray(piece).reshape(-1) for layer in layers for piece in layer])


def rate(optimizer: Optimizer) -> float:
    """The learning rate of plain SGD, or of Adam with its default constants."""
    known = isinstance(optimizer, Adam) or (isinstance(optimizer, SGD) and not optimizer.momentum)
    assert known, f"no peer has {optimizer}: plain SGD and Adam are compared"
    return float(optimizer.learning_rate)
