"""The same work in other libraries: one file each, written as the library's own pages recommend
for speed, so that its users can check that we were fair.

All train in float32 from the same weights, on the same rows in the same order. What can be given
to a peer, is: it keeps no losses, where fastnet's `fit` keeps one of every step; the orders of rows
are made before its time begins, where `fit` makes them within; and its arrays are where it wants
them, checked by nobody.

A library is imported when its contestant is made.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.optimizers import SGD, Adam, Optimizer


def flat(layers: Iterable[Sequence[Any]]) -> Array:
    """Weights `(inputs, units)` and biases, laid out like `Model.parameters.flat`."""
    return np.concatenate([np.asarray(piece).reshape(-1) for layer in layers for piece in layer])


def rate(optimizer: Optimizer) -> float:
    """The learning rate of plain gradient descent, or of Adam with its usual constants."""
    known = isinstance(optimizer, Adam) or (isinstance(optimizer, SGD) and not optimizer.momentum)
    assert known, f"no peer has {optimizer}: plain SGD and Adam are compared"
    return float(optimizer.learning_rate)
