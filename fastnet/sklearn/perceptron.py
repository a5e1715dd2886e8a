"""What the classifier and the regressor share: fitting, predicting, and the model inside."""

from functools import partial
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnet import callers
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, Inputs
from fastnet.definition.activations import ACTIVATIONS, Activation
from fastnet.definition.layers import Dense, Dropout, Layer
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS, Optimizer
from fastnet.errors import DataError, DefinitionError
from fastnet.model import Model
from fastnet.sklearn.constraints import CONSTRAINTS
from fastnet.sklearn.fitting import LOSS_TOLERANCE, Rows, fit_by_steps, fit_lbfgs
from fastnet.sklearn.members import fit_others, make_others
from fastnet.sklearn.objectives import EstimatorLoss
from fastnet.sklearn.stepping import OptimizerState, rule_of

#: scikit-learn's names for activations that are called otherwise in fastnet, and back.
_ACTIVATION_NAMES = {"logistic": "sigmoid"}
_OUTPUT_NAMES = {"sigmoid": "logistic"}

#: Rows of a sparse matrix made dense at once for a prediction.
_DENSE_ROWS = 4096


class Perceptron(BaseEstimator):
    """The part of an estimator that does not depend on its targets."""

    _parameter_constraints = CONSTRAINTS

    def _keep(self, arguments: dict[str, Any]) -> None:
        """Keep the constructor's arguments as attributes, unchanged, as scikit-learn expects."""
        self.__dict__.update({name: given for name, given in arguments.items() if name != "self"})

    # --- fitting ---------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Self:
        sizes = self._hidden_sizes()
        first_pass = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y, weight = self._validate_input(X, y, sample_weight, incremental, first_pass)
        self.n_outputs_ = y.shape[1]
        random_state = check_random_state(self.random_state)
        loss = self._loss()
        if first_pass:
            self._initialize(X, sizes, loss, random_state)
        else:
            self._continue(X, sizes, loss)
        rule = self._rule()
        if isinstance(rule, LBFGS):
            fit_lbfgs(self, loss, self._rows(X, y, weight), rule)
        else:
            self._fit_stochastic(X, y, weight, loss, rule, random_state, incremental)
        return self

    def _fit_others(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Self:
        """Fit the networks of the other members of `n_members`, after the first."""
        goes_on = self.warm_start or incremental
        others = getattr(self, "_others", []) if goes_on else []
        if len(others) != self.n_members - 1:
            others = make_others(self)
        self._others = others
        if others:
            how = "partial_fit" if incremental else "fit"
            fit_others(self, others, X, y, sample_weight, how)
        return self

    @property
    def members_(self) -> list[Any]:
        """The networks of `n_members`, each as an estimator; the first is this one's own."""
        check_is_fitted(self)
        own = clone(self).set_params(n_members=1)
        own.__setstate__({**self.__getstate__(), "n_members": 1, "_others": []})
        return [own, *self._others]

    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if np.any(np.array(sizes) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _dtype(self) -> Any:
        """What `X` is turned into where it is something else."""
        if self.dtype is None:
            return (np.float64, np.float32)
        return checks.dtype(self.dtype)

    def _validated(self, X: Any, y: Any, reset: bool, **options: Any) -> tuple[Array, Array]:
        """`X` as a dense matrix of the dtype asked for, and `y` as it is."""
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=self._dtype(),
            reset=reset,
            **options,
        )
        return (X.toarray() if hasattr(X, "toarray") else X), y

    def _weights_of(self, sample_weight: Any, X: Array) -> Array | None:
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, X)
        if (weight < 0).any():
            row = int(np.argmax(weight < 0))
            raise DataError(
                f"sample_weight is {weight[row]} in row {row}; weights must be 0 or more: "
                "use weight 0 to leave a row out."
            )
        if not weight.any():
            raise DataError("sample_weight is zero in every row; at least one must be greater.")
        return weight  # type: ignore[no-any-return]

    def _initialize(
        self,
        X: Array,
        sizes: list[int],
        loss: EstimatorLoss,
        random_state: np.random.RandomState,
    ) -> None:
        """Make the model, with weights and biases drawn as scikit-learn draws them."""
        self.n_iter_ = self.t_ = 0
        self._make_model(X.shape[1], sizes, loss, X.dtype)
        # Glorot and Bengio 2010, eq. 16, with scikit-learn's factor for the logistic function.
        factor = 2.0 if self._activation().name == "sigmoid" else 6.0
        for coef, intercept in zip(self.coefs_, self.intercepts_, strict=True):
            bound = np.sqrt(factor / sum(coef.shape))
            coef[...] = random_state.uniform(-bound, bound, coef.shape)
            intercept[...] = random_state.uniform(-bound, bound, intercept.shape)
        if any(self._dropout(sizes)):
            self.model_.seed = int(random_state.randint(2**31))
        if not isinstance(self._rule(), LBFGS):
            self._begin_curves()

    def _begin_curves(self) -> None:
        """Clear the record of earlier epochs, and the best weights."""
        self._no_improvement_count = 0
        self._best = self.model_.parameters.flat.copy()
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None
        self.best_loss_ = None if self.early_stopping else np.inf

    def _network(self, inputs: int, sizes: list[int], loss: EstimatorLoss) -> Network:
        activation = self._activation()
        layers: list[Layer] = []
        for units, rate in zip(sizes, self._dropout(sizes), strict=True):
            layers.append(Dense(units, activation))
            if rate > 0:
                layers.append(Dropout(rate))
        layers.append(Dense(self.n_outputs_, loss.output))
        return Network(inputs, layers, loss.loss)

    def _make_model(
        self, inputs: int, sizes: list[int], loss: EstimatorLoss, dtype: Any, seed: int = 0
    ) -> None:
        network = self._network(inputs, sizes, loss)
        self._bind(Model(network, backend=self.backend, dtype=dtype, seed=seed))
        self.n_layers_ = len(sizes) + 2
        name = _OUTPUT_NAMES.get(loss.output, loss.output)
        self.out_activation_ = "exp" if loss.exponential else name

    def _continue(self, X: Array, sizes: list[int], loss: EstimatorLoss) -> None:
        """Keep the weights, and apply changes of the estimator's parameters.

        Raises:
            ValueError: if the weights are of other layers.
        """
        self._adopt(loss, X.dtype)
        model = self.model_
        widths, wanted = [coef.shape[1] for coef in self.coefs_], [*sizes, self.n_outputs_]
        if widths != wanted:
            raise ValueError(
                f"warm_start and partial_fit continue with layers of {widths} units, but "
                f"hidden_layer_sizes and y need {wanted}; make a new estimator for these."
            )
        dtype = model.dtype if self.dtype is None else checks.dtype(self.dtype).name
        if (
            self._network(X.shape[1], sizes, loss) != model.network
            or dtype != model.dtype
            or self.backend not in (None, model.backend)
        ):
            self._make_model(X.shape[1], sizes, loss, dtype, model.seed)
            self.model_.parameters.flat[...] = model.parameters.flat

    def _activation(self) -> Activation:
        given = self.activation
        if isinstance(given, str):
            given = _ACTIVATION_NAMES.get(given, given)
        return resolve("activation", ACTIVATIONS, given)

    def _dropout(self, sizes: list[int]) -> list[float]:
        rates = self.dropout
        if isinstance(rates, Real):
            return [float(rates)] * len(sizes)
        rates = [checks.number(rate, "dropout", least=0, below=1) for rate in rates]
        if len(rates) != len(sizes):
            raise DefinitionError(
                f"dropout has {len(rates)} rates, for {len(sizes)} hidden layers; "
                "give one number, or one per layer."
            )
        return rates

    def _rule(self) -> Optimizer | LBFGS:
        """The solver in fastnet's terms, or `optimizer`."""
        if self.optimizer is not None:
            return resolve("optimizer", OPTIMIZERS, self.optimizer)
        if self.solver == "lbfgs":
            return LBFGS(tolerance_grad=float(self.tol), tolerance_change=LOSS_TOLERANCE)
        return rule_of(self, self._loss())

    def _fit_stochastic(
        self,
        X: Array,
        y: Array,
        weight: Array | None,
        loss: EstimatorLoss,
        rule: Optimizer,
        random_state: np.random.RandomState,
        incremental: bool,
    ) -> None:
        if not hasattr(self, "loss_curve_") or (self.best_loss_ is None) != self.early_stopping:
            self._begin_curves()
        flat = self.model_.parameters.flat
        kept = getattr(self, "_optimizer", None)
        if not incremental or kept is None or kept.fit_state.memory.dtype != flat.dtype:
            rate = None if self.optimizer is not None else float(self.learning_rate_init)
            self._optimizer = OptimizerState(rule, flat.size, flat.dtype, rate)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        held_out = None
        if self.early_stopping and self.validation is None:
            X, y, weight, *held_out = self._split(X, y, weight, random_state)
        rows = self._rows(X, y, weight, held_out)
        batch_size = self._batch_rows(len(X))
        epochs = 1 if incremental else self.max_iter
        ended = fit_by_steps(self, loss, rows, batch_size, random_state, self._optimizer, epochs)
        if not incremental and not ended and self.n_iter_ == self.max_iter:
            callers.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        if self.early_stopping:
            self.model_.parameters.flat[...] = self._best

    def _batch_rows(self, rows: int) -> int:
        if isinstance(self.batch_size, str):
            return min(200, rows)
        if self.batch_size > rows:
            callers.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
            )
        return min(int(self.batch_size), rows)

    def _split(
        self,
        X: Array,
        y: Array,
        weight: Array | None,
        random_state: np.random.RandomState,
    ) -> tuple[Array, Array, Array | None, Array, Array, Array | None]:
        """Hold out some of the rows for validation, as scikit-learn does."""
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        arrays = [X, y] if weight is None else [X, y, weight]
        parts = train_test_split(
            *arrays,
            random_state=random_state,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        X, X_held, y, y_held, *weights = parts
        if len(X_held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        weight, weight_held = weights if weights else (None, None)
        return X, y, weight, X_held, y_held, weight_held

    def _rows(
        self, X: Array, y: Array, weight: Array | None, held_out: list[Any] | None = None
    ) -> Rows:
        """The rows to train on, with `validation` or those that are held out for it."""
        if self.validation is not None:
            held_out = self._given_validation()
        self.validation_loss_curve_: list[float] | None = None if held_out is None else []
        training = self._data(X, y, weight)
        if held_out is None:
            return Rows(training, None, None)
        _, y_held, weight_held = held_out
        score = partial(self._score_of, y=y_held, weight=weight_held)
        return Rows(training, self._data(*held_out), score)

    def _given_validation(self) -> list[Any]:
        """The rows that `validation` holds, checked."""
        if len(self.validation) not in (2, 3):
            raise DataError(
                f"validation has {len(self.validation)} parts; it must be (X, y) or "
                "(X, y, sample_weight)."
            )
        X, y, sample_weight = (*self.validation, None)[:3]
        return list(self._validate_held_out(X, y, sample_weight))

    def _data(self, X: Array, y: Array, weight: Array | None) -> Data:
        """Rows as the model takes them."""
        dtype = np.dtype(self.model_.dtype)
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(X, dtype)
            weights = None if weight is None else np.ascontiguousarray(weight, dtype)
        return Data(Inputs(rows), self._targets(y, dtype), weights)

    def _check_solver(self) -> bool:
        rule = self.solver if self.optimizer is None else self.optimizer
        if rule == "lbfgs" or isinstance(rule, LBFGS):
            raise AttributeError(
                "partial_fit is only available for stochastic"
                f" optimizers. {rule} is not stochastic."
            )
        return True

    # --- the model inside ------------------------------------------------------------------

    def _bind(self, model: Model) -> None:
        """Make `coefs_` and `intercepts_` views of a model's parameters."""
        self.model_ = model
        named = model.parameters
        self.coefs_ = [named[name] for name in named if name.endswith(".weight")]
        self.intercepts_ = [named[name] for name in named if name.endswith(".bias")]
        self._views = (*self.coefs_, *self.intercepts_)

    def _adopt(self, loss: EstimatorLoss | None = None, dtype: Any = None) -> None:
        """Copy arrays that were assigned to `coefs_` or `intercepts_` into the model.

        Assigning them has an effect at once in scikit-learn, so it must have one here.
        """
        given = (*self.coefs_, *self.intercepts_)
        views = getattr(self, "_views", ())
        if len(given) == len(views) and all(
            one is view for one, view in zip(given, views, strict=True)
        ):
            return
        arrays = [np.array(one, np.float64) for one in given]
        if [one.shape for one in arrays] != [view.shape for view in views]:
            sizes = [one.shape[1] for one in arrays[: len(self.coefs_)]]
            self.n_outputs_ = sizes.pop()
            dtype = dtype or np.dtype(self.model_.dtype)
            self._make_model(len(arrays[0]), sizes, loss or self._loss(), dtype)
            self.__dict__.pop("_optimizer", None)  # its memory is of the layers before
        for array, view in zip(arrays, self._views, strict=True):
            view[...] = array
        self._bind(self.model_)

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: the views are made anew."""
        if hasattr(self, "model_"):
            self._adopt()
        state = dict(super().__getstate__())
        if "model_" in state:
            for name in ("coefs_", "intercepts_", "_views"):
                del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            self._bind(self.model_)

    # --- predicting ------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """Predictions, `(rows, outputs)`, in the units of the targets: the mean of the members'."""
        total = self._own_outputs(X)
        others = getattr(self, "_others", [])
        for one in others:
            total += one._outputs(X)
        return np.divide(total, len(others) + 1, out=total) if others else total

    def _own_outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        self._adopt()
        if hasattr(X, "toarray"):
            X = X.tocsr()
            parts = range(0, X.shape[0], _DENSE_ROWS)
            found = [self.model_.predict(X[at : at + _DENSE_ROWS].toarray()) for at in parts]
            outputs = np.concatenate(found)
        else:
            outputs = self.model_.predict(X)
        return self._in_units(outputs)

    def _in_units(self, outputs: Array) -> Array:
        return np.exp(outputs, out=outputs) if self.out_activation_ == "exp" else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # --- what depends on the targets ---------------------------------------------------------

    def _loss(self) -> EstimatorLoss:
        raise NotImplementedError

    def _validate_input(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, reset: bool
    ) -> tuple[Array, Array, Array | None]:
        """`X`, `y` `(rows, outputs)` and the weights, checked."""
        raise NotImplementedError

    def _validate_held_out(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Array, Array, Array | None]:
        raise NotImplementedError

    def _targets(self, y: Array, dtype: np.dtype[Any]) -> Array:
        """Checked targets as a backend takes them."""
        raise NotImplementedError

    def _score_of(self, outputs: Array, y: Array, weight: Array | None) -> float:
        """scikit-learn's score of predictions for checked targets."""
        raise NotImplementedError
