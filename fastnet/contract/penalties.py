"""L1 and L2 in NumPy: what backends that have nothing faster do with them.

Letters: `w` the weights, `dw` the loss's derivative by them.
"""

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan


def penalty(plan: Plan, parameters: Array, l1: float, l2: float) -> float:
    """l1 sum |w| + l2 / 2 sum w^2, over the weights and not the biases."""
    total = 0.0
    for piece in plan.weights:
        w = piece.of(parameters)
        if l1:
            total += l1 * float(np.abs(w).sum())
        if l2:
            # Not of an array of squares, which small weights would make subnormal.
            total += l2 / 2 * float(np.vdot(w, w))
    return total


def add_penalty_gradient(
    plan: Plan, parameters: Array, gradient: Array, l1: float, l2: float
) -> None:
    """dw += l1 sign(w) + l2 w, in place in the flat `gradient`."""
    for piece in plan.weights:
        w, dw = piece.of(parameters), piece.of(gradient)
        if l1:
            dw += l1 * np.sign(w)
        if l2:
            dw += l2 * w
