"""Estimators on tables: frames that mix numbers, text and missing values."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.extras import polars
from fastnet.tables.frames import to_polars
from fastnet.tables.predicting import predict
from fastnet.tables.recipe import SETTINGS, Recipe
from fastnet.tables.schema import Class, class_name
from fastnet.tables.training import train


class TableEstimator(BaseEstimator):
    """What the two estimators share: `fastnet.tables` in scikit-learn's form."""

    def _keep(self, given: dict[str, Any]) -> None:
        for name in self._get_param_names():
            setattr(self, name, given[name])

    def _train(
        self, X: Any, y: Any, values: list[Any], sample_weight: Any, task: str, **more: Any
    ) -> None:
        """Train.

        Args:
            X: the rows.
            y: the target as the user gave it, for its name.
            values: of the target, one for each row; if they are text, as it is spelled.
            sample_weight: `(rows,)`, or None.
            task: "classification" or "regression".
            more: settings of the recipe that are not the estimator's parameters.
        """
        frame = self._frame(X, reset=True)
        check_consistent_length(frame, values)
        name = getattr(y, "name", None)
        name = _free(name if isinstance(name, str) and name else "target", frame)
        given = self.get_params()
        settings = {name: given[name] for name in SETTINGS if name in given} | more
        for columns in ("drop", "categorical", "date"):
            names = settings[columns]
            settings[columns] = (names,) if isinstance(names, str) else tuple(names)
        if isinstance(values[0], str):
            settings["categorical"] += (name,)
        frame = frame.with_columns(polars().Series(name, values))
        if sample_weight is not None:
            settings["weights"] = _free("sample_weight", frame)
            weights = _check_sample_weight(sample_weight, frame, ensure_non_negative=True)
            frame = frame.with_columns(polars().Series(settings["weights"], weights))
        members = checks.integer(self.n_members, "n_members")
        recipe = Recipe(task=task, seed=self._seed(), members=members, **settings)
        self.trained_ = train(frame, name, recipe)
        self.model_ = self.trained_.model
        self.n_iter_ = len(self.trained_.history)

    def _seed(self) -> int:
        given = self.random_state
        if isinstance(given, int | np.integer):
            return checks.integer(given, "random_state", least=0)
        return int(check_random_state(given).randint(2**31))

    def _frame(self, X: Any, reset: bool) -> Any:
        """Rows as a Polars frame, whose columns have the names that they had in `fit`."""
        least = 2 if reset else 1
        # A sparse matrix may be a mapping too; check_array refuses it as scikit-learn does.
        if hasattr(X, "collect") or (isinstance(X, Mapping) and not hasattr(X, "toarray")):
            X = to_polars(X)
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True, reset=reset)
            frame = to_polars(X)
            # Of the same size, for scikit-learn's errors about too few rows or columns.
            check_array(np.broadcast_to(0.0, frame.shape), ensure_min_samples=least, estimator=self)
        else:
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype=None,
                ensure_all_finite="allow-nan",
                ensure_min_samples=least,
            )
            frame = to_polars({f"x{index}": X[:, index] for index in range(X.shape[1])})
        if reset:
            self._names = frame.columns
        frame.columns = self._names
        return frame

    def _predictions(self, X: Any) -> Any:
        """The frame that `fastnet.tables.predict` makes."""
        check_is_fitted(self)
        return predict(self.model_, self._frame(X, reset=False), allow_unknown=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


class TableClassifier(ClassifierMixin, TableEstimator):
    """A classifier of a table's rows.

    It is `fastnet.tables.train` and `fastnet.tables.predict` as an estimator: numbers are
    standardized, text is one-hot encoded, missing values are imputed, some rows are held out to
    choose the best epoch, all as `fastnet train` does. Cross-validation learns medians and
    categories anew from the training rows of each fold.

    Args:
        hidden, activation, optimizer, epochs, batch_size, learning_rate, validation, refit, group,
            time, backend, dtype, dropout, l2, patience, layers, missing, categories, bins, drop,
            categorical, date, decimal, thousands: as of `fastnet.tables.Recipe`.
        class_weight: a weight for each class, `{class: weight}`, or "balanced": in inverse
            proportion to its rows. It multiplies `sample_weight`.
        n_members: how many networks are trained at once, as the recipe's `members`.
        random_state: of initial weights, the rows held out, shuffles and dropout; an integer is
            the recipe's `seed`.

    Attributes:
        classes_: the labels, in the order of `predict_proba`.
        model_: the `fn.Model`, or the `fn.Ensemble` of several members; `model_.save(path)` writes
            it, for `fastnet predict` too.
        trained_: the `fastnet.tables.Trained`: how each column is used, and the evaluations.
        n_iter_: epochs of the fit.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self,
        hidden: Any = Recipe.hidden,
        *,
        activation: Any = Recipe.activation,
        optimizer: Any = Recipe.optimizer,
        epochs: int | None = Recipe.epochs,
        batch_size: Any = Recipe.batch_size,
        learning_rate: float | None = Recipe.learning_rate,
        validation: float = Recipe.validation,
        refit: bool | None = Recipe.refit,
        group: str | None = Recipe.group,
        time: str | None = Recipe.time,
        class_weight: Any = Recipe.class_weight,
        n_members: int = Recipe.members,
        random_state: Any = None,
        backend: str | None = Recipe.backend,
        dtype: str = Recipe.dtype,
        dropout: float | None = Recipe.dropout,
        l2: float | None = Recipe.l2,
        patience: int = Recipe.patience,
        layers: Any = Recipe.layers,
        missing: str = Recipe.missing,
        categories: int = Recipe.categories,
        bins: int | None = Recipe.bins,
        drop: Any = Recipe.drop,
        categorical: Any = Recipe.categorical,
        date: Any = Recipe.date,
        decimal: str = Recipe.decimal,
        thousands: str = Recipe.thousands,
    ) -> None:
        self._keep(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Args:
            X: `(rows, columns)`: a frame of pandas, Polars or another library that Narwhals
                knows, a mapping of columns, or an array.
            y: `(rows,)`, labels of any kind.
            sample_weight: `(rows,)`, how much each row counts, or None.

        Returns:
            The estimator.

        Raises:
            DataError: a ValueError, for a column that cannot be used, with its name and the row.
            DefinitionError: a ValueError, for an invalid parameter.
        """
        target = _target(self, y)
        check_classification_targets(target)
        self.classes_, index = np.unique(target, return_inverse=True)
        names = _class_names(self.classes_)
        values = [names[i] for i in index.tolist()]
        weights = self.class_weight
        if isinstance(weights, Mapping):
            by_class = compute_class_weight(dict(weights), classes=self.classes_, y=target)
            weights = dict(zip(map(class_name, names), by_class.tolist(), strict=True))
        self._train(X, y, values, sample_weight, "classification", class_weight=weights)
        return self

    def predict(self, X: Any) -> Array:
        """The label of each row, `(rows,)`."""
        best = np.argmax(self.predict_proba(X), axis=1)
        labels: Array = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`, `(rows, classes)`."""
        found: Array = self._predictions(X).drop("prediction", "probability").to_numpy()
        return found

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class TableRegressor(RegressorMixin, TableEstimator):
    """A regression on a table's rows.

    As `TableClassifier`, whose parameters and attributes it has, but for `class_weight` and
    `classes_`; and with `log_target` of `fastnet.tables.Recipe`.
    """

    def __init__(
        self,
        hidden: Any = Recipe.hidden,
        *,
        activation: Any = Recipe.activation,
        optimizer: Any = Recipe.optimizer,
        epochs: int | None = Recipe.epochs,
        batch_size: Any = Recipe.batch_size,
        learning_rate: float | None = Recipe.learning_rate,
        validation: float = Recipe.validation,
        refit: bool | None = Recipe.refit,
        log_target: bool | None = Recipe.log_target,
        group: str | None = Recipe.group,
        time: str | None = Recipe.time,
        n_members: int = Recipe.members,
        random_state: Any = None,
        backend: str | None = Recipe.backend,
        dtype: str = Recipe.dtype,
        dropout: float | None = Recipe.dropout,
        l2: float | None = Recipe.l2,
        patience: int = Recipe.patience,
        layers: Any = Recipe.layers,
        missing: str = Recipe.missing,
        categories: int = Recipe.categories,
        bins: int | None = Recipe.bins,
        drop: Any = Recipe.drop,
        categorical: Any = Recipe.categorical,
        date: Any = Recipe.date,
        decimal: str = Recipe.decimal,
        thousands: str = Recipe.thousands,
    ) -> None:
        self._keep(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train.

        Args:
            X: as of `TableClassifier.fit`.
            y: `(rows,)`, numbers.
            sample_weight: as of `TableClassifier.fit`.

        Returns:
            The estimator.

        Raises:
            DataError: a ValueError, for a column that cannot be used, with its name and the row.
            DefinitionError: a ValueError, for an invalid parameter.
        """
        target = _target(self, y, dtype="numeric").astype(np.float64)
        self._train(X, y, target.tolist(), sample_weight, "regression")
        return self

    def predict(self, X: Any) -> Array:
        """The number predicted for each row, `(rows,)` float64."""
        found: Array = self._predictions(X)["prediction"].to_numpy()
        return found


def _target(estimator: TableEstimator, y: Any, dtype: Any = None) -> Array:
    """The target `(rows,)`, checked as scikit-learn does.

    Raises:
        ValueError: if it has another shape, or a value is missing.
    """
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    y = check_array(y, ensure_2d=False, dtype=dtype, input_name="y", estimator=estimator)
    target: Array = column_or_1d(y, warn=True)
    if target.dtype == object and any(value is None for value in target):
        raise ValueError("y holds None; leave out the rows that have no target.")
    return target


def _free(name: str, frame: Any) -> str:
    """A name that no column of the frame has."""
    while name in frame.columns:
        name += "_"
    return name


def _class_names(classes: Array) -> list[Class]:
    """How the model names the classes: as they are, or by number if a table could not hold them."""
    values: list[Any] = classes.tolist()
    kinds = {type(value) for value in values}
    if kinds == {float} and all(value == int(value) for value in values):
        values, kinds = [int(value) for value in values], {int}
    if kinds == {str} and all(value and value == value.strip() for value in values):
        return values
    return values if kinds in ({int}, {bool}) else list(range(len(values)))
