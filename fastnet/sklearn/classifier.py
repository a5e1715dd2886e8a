"""The classifier."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.losses import LOSSES, Loss
from fastnet.errors import DataError
from fastnet.sklearn.constraints import CONSTRAINTS
from fastnet.sklearn.objectives import EstimatorLoss, of_classifier
from fastnet.sklearn.perceptron import Perceptron


class MLPClassifier(ClassifierMixin, Perceptron):
    """A multi-layer perceptron that replaces `sklearn.neural_network.MLPClassifier`.

    The parameters down to `max_fun` and the attributes are scikit-learn's, with the same meaning.
    The parameters after it are fastnet's own.

    Args:
        hidden_layer_sizes: units of each hidden layer.
        activation: of hidden layers: scikit-learn's "identity", "logistic", "tanh" or "relu", or
            any of fastnet's, as a name or an instance (`fn.LeakyReLU(0.2)`).
        solver: "lbfgs", "sgd" or "adam".
        alpha: alpha / 2 * sum w^2, divided by a batch's rows, is added to its loss.
        batch_size: rows of a step; "auto": 200, or all if there are fewer.
        learning_rate: "constant", "invscaling" or "adaptive", for "sgd".
        learning_rate_init: the first learning rate.
        power_t: the exponent of "invscaling".
        max_iter: epochs, or iterations of "lbfgs", at most.
        shuffle: use another order of the rows in every epoch.
        random_state: of initial weights, shuffles, the validation split and dropout.
        tol: how much better a loss or score must be to count as better, for stopping.
        verbose: print the loss of every epoch.
        warm_start: `fit` continues with the weights of the last fit.
        momentum: of "sgd".
        nesterovs_momentum: use Nesterov's momentum.
        early_stopping: stop by the score on validation rows, and go back to the best weights.
        validation_fraction: fraction of rows held out for validation by `early_stopping`.
        beta_1: of "adam".
        beta_2: of "adam".
        epsilon: of "adam".
        n_iter_no_change: stop after this many epochs without improvement.
        max_fun: the maximum number of loss evaluations, of "lbfgs".
        loss: "log_loss", or one of fastnet's losses of probabilities.
        class_weight: a weight for each class, `{class: weight}`, or "balanced": in inverse
            proportion to its rows. It multiplies `sample_weight`.
        backend: as of `fn.Model`.
        dtype: "float32" or "float64"; None: float32 if `X` is, else float64, as scikit-learn.
            With "lbfgs" float64 converges further.
        dropout: the dropout rate after every hidden layer, or one rate per layer.
        validation: `(X, y)` or `(X, y, sample_weight)`: rows whose loss is computed after every
            epoch. With `early_stopping` their score is used.
        optimizer: any of fastnet's, as a name or an instance, with or without a schedule,
            instead of `solver` and its parameters. It uses the gradient of fastnet's loss.
        callbacks: each is called as `callback(model, history)` after every epoch, as by
            `fn.Model.fit`; one that returns True ends the fit.
        n_members: how many networks are trained, which differ in their random states, and whose
            predictions are averaged. Attributes are those of the first.

    Attributes:
        classes_: the labels.
        coefs_, intercepts_: `(inputs, units)` and `(units,)` of each layer: writable views of the
            model's parameters.
        loss_, loss_curve_, best_loss_: the loss of the last epoch, of every epoch, the lowest.
        validation_scores_, best_validation_score_: with `early_stopping`, else None.
        validation_loss_curve_: the loss on the validation rows after every epoch, else None.
        n_iter_, t_: epochs of the last fit; rows seen in all fits.
        n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_: as in
            scikit-learn.
        members_: all networks of `n_members`, each as an estimator.
        model_: the `fn.Model`; `model_.save(path)` writes it to a file.

    Raises:
        ValueError: where scikit-learn raises it.
        SolverDiverged: a ValueError too, if the loss or a weight stops being finite.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012  # scikit-learn's form
        **CONSTRAINTS,
        "loss": [StrOptions({"log_loss", *LOSSES}), Loss],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
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
        loss: Any = "log_loss",
        class_weight: Any = None,
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
            y: `(rows,)` labels of any kind, or `(rows, labels)` of 0 and 1 for several labels a
                row.
            sample_weight: `(rows,)`, or None.

        Returns:
            The estimator.
        """
        self._fit(X, y, sample_weight, incremental=False)
        return self._fit_others(X, y, sample_weight, incremental=False)

    @available_if(lambda est: est._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch on these rows.

        Args:
            X: `(rows, features)`.
            y: as for `fit`.
            sample_weight: `(rows,)`, or None.
            classes: all labels that will occur, `(classes,)`; required by the first call.

        Returns:
            The estimator.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not see all "
                "rows; use sklearn.utils.compute_class_weight and give its weights as a dict."
            )
        if _check_partial_fit_first_call(self, classes):
            labels = y if type_of_target(y).startswith("multilabel") else classes
            self._label_binarizer = LabelBinarizer().fit(labels)
        self._fit(X, y, sample_weight, incremental=True)
        return self._fit_others(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """The label of each row, `(rows,)`, or `(rows, labels)` of 0 and 1."""
        outputs = self._outputs(X)
        if self.n_outputs_ == 1:
            outputs = outputs.ravel()
        labels: Array = self._label_binarizer.inverse_transform(outputs)
        return labels

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`, `(rows, classes)`."""
        outputs: Array = self._outputs(X)
        if self.n_outputs_ == 1:
            outputs = np.hstack((1 - outputs, outputs))
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    # --- targets ---------------------------------------------------------------------------

    def _loss(self) -> EstimatorLoss:
        return of_classifier(self.loss, self.n_outputs_, self._softmax)

    @property
    def _softmax(self) -> bool:
        return bool(self._label_binarizer.y_type_ == "multiclass")

    def _validate_input(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, reset: bool
    ) -> tuple[Array, Array, Array | None]:
        X, y = self._validated(X, y, reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(unique_labels(y))
        weight = self._weights_of(sample_weight, X)
        if self.class_weight is not None:
            if isinstance(self.class_weight, dict):
                for label, given in self.class_weight.items():
                    checks.number(given, f"class_weight of {label!r}", least=0)
            by_class = compute_sample_weight(self.class_weight, y)
            weight = by_class if weight is None else weight * by_class
            if not weight.any() or not np.isfinite(weight).all():
                raise DataError(
                    "class_weight leaves no row of weight above 0 to train on, or an infinite one, "
                    "with sample_weight if that is given; give finite weights, some above 0."
                )
        return X, self._as_labels(y), weight

    def _as_labels(self, y: Array) -> Array:
        """Which of the labels each row has, `(rows, labels)` bool, one column for two classes.

        The same as `LabelBinarizer.transform`, which would check `y` a second time.
        """
        if y.ndim == 2:
            return np.asarray(self._label_binarizer.transform(y), bool)
        found = np.searchsorted(self.classes_, y)[:, None]
        return np.asarray(found == (np.arange(len(self.classes_)) if self._softmax else 1))

    def _check_classes(self, classes: Array) -> None:
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same "
                    "classes as in the previous call to fit. Previously "
                    f"got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _validate_held_out(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Array, Array, Array | None]:
        X, y = self._validated(X, y, reset=False)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y)
        unseen = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unseen):
            raise DataError(f"validation: y has classes {unseen} that are not in the training y.")
        weight = self._weights_of(sample_weight, X)
        return X, self._as_labels(y), weight

    def _targets(self, y: Array, dtype: np.dtype[Any]) -> Array:
        if self._softmax and self.model_.network.loss.targets == "class":
            return np.ascontiguousarray(y.argmax(axis=1), np.intp)
        return np.ascontiguousarray(y, dtype)

    def _score_of(self, outputs: Array, y: Array, weight: Array | None) -> float:
        if self._softmax:
            right = outputs.argmax(axis=1) == y.argmax(axis=1)
        else:
            right = ((outputs > 0.5) == y).all(axis=1)
        return float(np.average(right, weights=weight))
