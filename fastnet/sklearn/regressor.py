"""The regressor."""

import math
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from fastnet.arrays.checks import Array
from fastnet.arrays.targets import loss_targets
from fastnet.definition.losses import LOSSES, Loss
from fastnet.errors import DataError
from fastnet.sklearn.constraints import CONSTRAINTS
from fastnet.sklearn.objectives import EstimatorLoss, of_regressor
from fastnet.sklearn.perceptron import Perceptron


class MLPRegressor(RegressorMixin, Perceptron):
    """A multi-layer perceptron that replaces `sklearn.neural_network.MLPRegressor`.

    The parameters down to `max_fun` and the attributes are scikit-learn's, with the same meaning.
    `MLPClassifier` documents each; there is no `class_weight` here.

    Args:
        loss: "squared_error" or "poisson", as in scikit-learn (with the latter, predictions are
            the exponential of the network's output), or any of fastnet's ("mae",
            `fn.Quantile(0.9)`), which are means over rows and outputs.
        hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate,
            learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose, warm_start,
            momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2,
            epsilon, n_iter_no_change, max_fun: see `MLPClassifier`; early stopping uses R^2.
        backend, dtype, dropout, validation, optimizer, callbacks, n_members: see `MLPClassifier`.

    Attributes:
        coefs_, intercepts_, loss_, loss_curve_, best_loss_, validation_scores_,
            best_validation_score_, validation_loss_curve_, n_iter_, t_, n_layers_, n_outputs_,
            out_activation_, n_features_in_, feature_names_in_, model_: see `MLPClassifier`.

    Raises:
        ValueError: where scikit-learn raises it.
        SolverDiverged: a ValueError too, if the loss or a weight stops being finite.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012  # scikit-learn's form
        **CONSTRAINTS,
        "loss": [StrOptions({"squared_error", *LOSSES}), Loss],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        backend: str | None = None,
        dtype: Any = None,
        dropout: Any = 0.0,
        validation: Any = None,
        optimizer: Any = None,
        callbacks: Any = None,
        n_members: int = 1,
    ) -> None:
        self._keep(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Args:
            X: `(rows, features)`: an array, a table of pandas or polars, a sparse matrix (which is
                made dense).
            y: `(rows,)` or `(rows, outputs)` numbers.
            sample_weight: `(rows,)`, or None.

        Returns:
            The estimator.
        """
        self._fit(X, y, sample_weight, incremental=False)
        return self._fit_others(X, y, sample_weight, incremental=False)

    @available_if(lambda est: est._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on these rows; see `fit`."""
        self._fit(X, y, sample_weight, incremental=True)
        return self._fit_others(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """The prediction for each row, `(rows,)`, or `(rows, outputs)` for several outputs."""
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    # --- targets ---------------------------------------------------------------------------

    def _loss(self) -> EstimatorLoss:
        return of_regressor(self.loss, self.n_outputs_)

    def _validate_input(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, reset: bool
    ) -> tuple[Array, Array, Array | None]:
        X, y = self._validated(X, y, reset, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        weight = self._weights_of(sample_weight, X)
        return X, y.reshape(len(y), -1), weight

    def _validate_held_out(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Array, Array, Array | None]:
        X, y = self._validated(X, y, reset=False, y_numeric=True)
        y = y.reshape(len(y), -1)
        if y.shape[1] != self.n_outputs_:
            raise DataError(
                f"validation: y has {y.shape[1]} columns, the training y {self.n_outputs_}."
            )
        return X, y, self._weights_of(sample_weight, X)

    def _targets(self, y: Array, dtype: np.dtype[Any]) -> Array:
        kind = self.model_.network.loss.targets
        return loss_targets(y, len(y), self.n_outputs_, kind, dtype)

    def _score_of(self, outputs: Array, y: Array, weight: Array | None) -> float:
        outputs = self._in_units(outputs)
        if not np.isfinite(outputs).all():
            return math.nan
        return float(r2_score(y, outputs, sample_weight=weight))
