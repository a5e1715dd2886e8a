"""L-BFGS, by SciPy: the whole loss and its gradient from the backend, the rest from there."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.checks import Array
from fastnet.errors import Diverged
from fastnet.extras import need
from fastnet.optimizers import LBFGS

if TYPE_CHECKING:
    from fastnet.training import Trainer


def minimise(trainer: "Trainer", interrupted: Callable[[], bool]) -> None:
    """Run the epochs of `trainer`, one iteration each, until done or converged.

    Raises:
        MissingExtra: without SciPy.
        Diverged: if the loss is not finite where it starts.
        KeyboardInterrupt: after Ctrl-C, once the iteration is done.
    """
    optimize = need("scipy.optimize", "scipy", "optimizer 'lbfgs'")
    settings, flat, program = trainer.settings, trainer.flat, trainer.program
    rule = settings.optimizer
    assert isinstance(rule, LBFGS)
    left = settings.epochs - trainer.epoch
    if left <= 0 or trainer.position.stopped:
        return

    def loss_and_gradient(point: Array) -> tuple[float, Array]:
        parameters = program.to_device(point.astype(flat.dtype))
        loss, gradient = program.gradient(parameters, trainer.data, l2=settings.l2)
        # To the line search a loss that is not finite is a very bad one, to step back from.
        return (loss if math.isfinite(loss) else math.inf), np.nan_to_num(gradient, copy=False)

    if not math.isfinite(loss_and_gradient(flat.astype(np.float64))[0]):
        raise Diverged(
            "the loss is not finite at the parameters L-BFGS starts from; scale inputs and targets."
        )

    def iterated(intermediate_result: Any) -> None:
        flat[...] = intermediate_result.x
        trainer.epoch_done(float(intermediate_result.fun))
        if interrupted():
            raise KeyboardInterrupt
        if trainer.position.stopped:
            raise StopIteration

    optimize.minimize(
        lambda point: loss_and_gradient(point),
        flat.astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=iterated,
        options={
            "maxiter": left,
            "maxfun": 10**9,
            "maxls": rule.line_search,
            "maxcor": rule.history,
            "gtol": rule.gradient_tolerance,
            "ftol": rule.loss_tolerance,
        },
    )
