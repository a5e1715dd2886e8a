"""Training an estimator's model with fastnet's trainer, the way scikit-learn does it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastnet import callers
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.definition.optimizers import LBFGS, Optimizer
from fastnet.errors import Diverged
from fastnet.model import Model
from fastnet.sklearn.errors import SolverDiverged
from fastnet.sklearn.objectives import EstimatorLoss, EstimatorObjective
from fastnet.sklearn.stepping import OptimizerState, RandomStateOrder, SolverRates
from fastnet.sklearn.stopping import SolverObserver
from fastnet.training.fit_state import FitState
from fastnet.training.settings import Settings, check_lbfgs
from fastnet.training.trainer import Trainer

#: SciPy's default for ftol, which scikit-learn leaves as it is: 1e7 roundings of float64.
LOSS_TOLERANCE = 1e7 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Rows:
    """The rows of a fit.

    Attributes:
        training: on the host.
        validation: on the host, or None.
        score: the score of predictions `(rows, outputs)` for the validation rows.
    """

    training: Data
    validation: Data | None
    score: Callable[[Array], float] | None


def fit_by_steps(
    estimator: Any,
    loss: EstimatorLoss,
    rows: Rows,
    batch_size: int,
    random_state: np.random.RandomState,
    optimizer: OptimizerState,
    epochs: int,
) -> bool:
    """Train by batches, keeping the estimator's attributes up to date.

    Args:
        estimator: whose `model_` is trained.
        loss: what is minimized.
        rows: to train on and to validate by.
        batch_size: rows of a step.
        random_state: draws the orders of the rows.
        optimizer: continues from where it is.
        epochs: to train, at most.

    Returns:
        Whether the fit ended by itself or by Ctrl-C, not for want of epochs.

    Raises:
        SolverDiverged: if the loss or a weight stopped being finite.
    """
    count = len(rows.training)
    batches = -(-count // batch_size)
    fit_state = optimizer.begin(batches)
    settings = _settings(estimator, optimizer.rule, batch_size, optimizer.epochs + epochs)
    program, flat = estimator.model_.program, estimator.model_.parameters.flat

    def score() -> float:
        """Of the validation rows, which the trainer has uploaded."""
        assert rows.score is not None
        assert trainer.validation is not None
        return rows.score(program.predict(program.to_device(flat), trainer.validation.x))

    estimator.n_iter_ = 0
    trainer = _trainer(
        estimator,
        loss,
        rows,
        settings,
        fit_state,
        order=RandomStateOrder(random_state, count) if estimator.shuffle else None,
        learning_rates=SolverRates(optimizer, batches, int(estimator.max_iter), loss.gradient),
        observer=SolverObserver(
            estimator, optimizer, count, score if estimator.early_stopping else None
        ),
    )
    try:
        trainer.run()
    except KeyboardInterrupt:
        callers.warn("Training interrupted by user.")
        return True
    except Diverged as error:
        _diverged(estimator, fit_state, count, error)
        return True
    return fit_state.stopped


def fit_lbfgs(estimator: Any, loss: EstimatorLoss, rows: Rows, rule: LBFGS) -> None:
    """Minimize the loss over all rows, keeping the estimator's attributes up to date.

    Args:
        estimator: whose `model_` is trained.
        loss: what is minimized.
        rows: to train on and to validate by.
        rule: SciPy's constants.

    Raises:
        SolverDiverged: if the loss is not finite at the start.
        DefinitionError: with dropout, which gives another loss at every call.
    """
    model: Model = estimator.model_
    rule = replace(rule, max_eval=min(rule.max_eval, int(estimator.max_fun)))
    epochs, count = int(estimator.max_iter), len(rows.training)
    settings = _settings(estimator, rule, count, epochs)
    check_lbfgs(settings, model.network, count, "solver")
    fit_state = FitState(0, 0, np.zeros((0, 0), model.dtype))
    trainer = _trainer(estimator, loss, rows, settings, fit_state)
    try:
        trainer.run()
    except Diverged as error:
        raise SolverDiverged("the loss is not finite at the start") from error
    finally:
        if rows.validation is not None:
            estimator.validation_loss_curve_ = list(fit_state.history.validation_loss)
        estimator.n_iter_ = fit_state.step
    result = trainer.result
    estimator.loss_ = float(result.fun)
    if result.status != 0 and not fit_state.stopped:
        _warn_of_lbfgs(result, fit_state.step, epochs)


def _settings(estimator: Any, rule: Optimizer | LBFGS, batch_size: int, epochs: int) -> Settings:
    return Settings(
        optimizer=rule,
        batch_size=batch_size,
        shuffle=False,
        l1=0.0,
        l2=0.0,
        clip_norm=None,
        clip_value=None,
        seed=estimator.model_.seed,
        epochs=epochs,
        early_stopping=None,
    )


def _trainer(
    estimator: Any,
    loss: EstimatorLoss,
    rows: Rows,
    settings: Settings,
    fit_state: FitState,
    **strategies: Any,
) -> Trainer:
    model: Model = estimator.model_
    model.history = fit_state.history
    objective = EstimatorObjective(
        loss,
        float(estimator.alpha),
        model.program.plan,
        rows.training,
        settings.batch_size,
        rows.validation,
    )
    callbacks = checks.functions(estimator.callbacks, "callbacks")
    return Trainer(
        model.program,
        model.parameters.flat,
        rows.training,
        rows.validation,
        settings,
        fit_state,
        callbacks=[partial(callback, model, fit_state.history) for callback in callbacks],
        objective=objective,
        **strategies,
    )


def _diverged(estimator: Any, fit_state: FitState, rows: int, error: Diverged) -> None:
    """End the fit where early stopping has parameters to go back to, else raise."""
    where = f"the training stopped being finite in step {fit_state.step + 1}"
    if not estimator.early_stopping or not math.isfinite(estimator.best_validation_score_):
        raise SolverDiverged(where) from error
    estimator.n_iter_ += 1
    estimator.t_ += rows
    estimator.loss_ = math.nan
    for curve in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
        getattr(estimator, curve).append(math.nan)
    callers.warn(
        f"Stochastic Optimizer: {where}; the weights are those of the best validation score.",
        ConvergenceWarning,
    )


def _warn_of_lbfgs(result: Any, iterations: int, most: int) -> None:
    """Warn that it has not converged, in scikit-learn's words."""
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
    callers.warn(text, ConvergenceWarning)
