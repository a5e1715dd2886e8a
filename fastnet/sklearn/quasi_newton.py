"""Training by L-BFGS, as scikit-learn hands it to SciPy."""

import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.definition.layers import Dropout
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import DefinitionError, Diverged
from fastnet.model import Model
from fastnet.sklearn.errors import SolverDiverged
from fastnet.sklearn.objectives import Objective, square_sum
from fastnet.sklearn.rows import HeldOut
from fastnet.training.history import History
from fastnet.training.interrupts import DeferredInterrupt
from fastnet.training.lbfgs import minimize

#: SciPy's default for ftol, which scikit-learn leaves as it is: 1e7 roundings of float64.
LOSS_TOLERANCE = 1e7 * np.finfo(np.float64).eps


def train(
    estimator: Any, objective: Objective, data: Data, held_out: HeldOut | None, rule: LBFGS
) -> None:
    """Minimize the loss over all rows, and keep the estimator's attributes up to date.

    Args:
        estimator: whose `model_` is trained.
        objective: what is made small.
        data: the training rows, on the host.
        held_out: rows whose loss is taken after every iteration, or None.
        rule: SciPy's constants.

    Raises:
        SolverDiverged: if the loss is not finite at the start.
        DefinitionError: with dropout, which has another loss at every call.
    """
    model: Model = estimator.model_
    if any(isinstance(layer, Dropout) for layer in model.network.layers):
        raise DefinitionError("solver 'lbfgs' needs the same loss at every call; use 'adam'.")
    callbacks = checks.functions(estimator.callbacks, "callbacks")
    program, flat = model.program, model.parameters.flat
    put = program.to_device
    mass = len(data.x) if data.weight is None else data.weight.sum(dtype=np.float64)
    l2 = float(objective.l2(float(estimator.alpha), np.array(float(mass))))
    constants = objective.constant(data.y)
    constant = 0.0 if constants is None else float(np.average(constants, weights=data.weight))
    rows = program.upload(data)
    validation = None if held_out is None else program.upload(held_out.data)
    history = model.history = History()
    interrupts = DeferredInterrupt()
    began = time.monotonic()
    stopped_by_callback = False

    def loss_and_gradient(point: Array) -> tuple[float, Array]:
        with interrupts.allow():
            loss, gradient = program.gradient(put(point), rows, l2=l2)
        penalty = l2 / 2 * square_sum(model, point) if objective.apart and l2 > 0 else 0.0
        value = objective.reported(loss, penalty) + constant
        return value, gradient.astype(np.float64) * objective.gradient

    def iterated(point: Array, loss: float) -> bool:
        nonlocal began, stopped_by_callback
        flat[...] = point
        estimator.n_iter_ = len(history) + 1
        history.extend(
            estimator.n_iter_, np.array([loss]), np.array([np.nan]), time.monotonic() - began
        )
        if held_out is not None:
            assert validation is not None
            found = objective.reported(program.loss(put(flat), validation)) + held_out.constant
            history.validation_loss.append(found)
            estimator.validation_loss_curve_.append(found)
        with interrupts.allow():
            answers = [callback(model, history) for callback in callbacks]
        began = time.monotonic()
        stopped_by_callback = any(
            isinstance(answer, bool | np.bool_) and answer for answer in answers
        )
        if interrupts.seen:
            raise KeyboardInterrupt
        return stopped_by_callback

    try:
        with interrupts:
            result = minimize(
                rule,
                flat.copy(),
                int(estimator.max_iter),
                loss_and_gradient,
                iterated,
                evaluations=int(estimator.max_fun),
            )
    except Diverged as error:
        raise SolverDiverged("the loss is not finite at the start") from error
    flat[...] = result.x
    estimator.n_iter_ = min(int(result.nit), int(estimator.max_iter))
    estimator.loss_ = float(result.fun)
    if result.status != 0 and not stopped_by_callback:
        _warn(result, estimator.n_iter_, int(estimator.max_iter))


def _warn(result: Any, iterations: int, most: int) -> None:
    """Say that it has not converged, in scikit-learn's words."""
    text = (
        f"lbfgs failed to converge after {iterations} iteration(s) "
        f"(status={result.status}):\n{result.message}\n"
    )
    if iterations == most:
        text += f"\nIncrease the number of iterations to improve the convergence (max_iter={most})."
    text += (
        "\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
    warnings.warn(text, ConvergenceWarning, stacklevel=6)
