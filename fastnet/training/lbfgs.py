"""L-BFGS, by SciPy; the backend computes the loss and its gradient."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import Diverged
from fastnet.extras import need


def minimize(
    rule: LBFGS,
    start: Array,
    iterations: int,
    loss_and_gradient: Callable[[Array], tuple[float, Array]],
    iterated: Callable[[Array, float], bool],
) -> Any:
    """Iterate until done, converged or stopped.

    Args:
        rule: the constants.
        start: the parameters to begin with, `(size,)`; L-BFGS itself works in float64.
        iterations: the maximum number.
        loss_and_gradient: of parameters like `start`.
        iterated: called with the parameters, float64, and the loss after each iteration; returns
            True to stop.

    Returns:
        SciPy's `OptimizeResult`.

    Raises:
        MissingExtra: without SciPy.
        Diverged: if the loss is not finite at `start`.
    """
    optimize = need("scipy.optimize", "scipy", "optimizer 'lbfgs'")
    from fastnet import blas  # which looks for SciPy's matrix library too

    def objective(point: Array) -> tuple[float, Array]:
        with np.errstate(over="ignore"):
            parameters = point.astype(start.dtype)
        with blas.lifted(1):
            loss, gradient = loss_and_gradient(parameters)
        gradient = gradient.astype(np.float64)
        if math.isfinite(loss) and np.isfinite(gradient).all():
            return loss, gradient
        # An infinite loss makes the line search step back.
        return (loss if math.isfinite(loss) else math.inf), np.nan_to_num(gradient)

    def callback(intermediate_result: Any) -> None:
        with blas.lifted(1):
            stop = iterated(intermediate_result.x, float(intermediate_result.fun))
        if stop:
            raise StopIteration

    # Between two losses SciPy works on short vectors: a second thread of its matrix library waits
    # longer than it computes.
    with blas.capped(1):
        if not math.isfinite(objective(start.astype(np.float64))[0]):
            raise Diverged(
                "the loss is not finite at the parameters L-BFGS starts from; scale inputs and "
                "targets."
            )
        return optimize.minimize(
            objective,
            start.astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            callback=callback,
            options={
                "maxiter": iterations,
                "maxfun": rule.max_eval,
                "maxls": rule.max_line_search,
                "maxcor": rule.history_size,
                "gtol": rule.tolerance_grad,
                "ftol": rule.tolerance_change,
            },
        )
