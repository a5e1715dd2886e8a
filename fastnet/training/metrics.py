"""Metrics of the validation rows, epoch by epoch: `Model.fit(metrics=...)`."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Data
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError, unknown

Metric = Callable[[Array, Array, Array | None], float]


def accuracy(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """The fraction of right classes; of labels of their own, of right labels (more than 0.5).

    Args:
        y: class indices `(rows,)`, or `(rows, outputs)`: one-hot rows, or labels.
        predicted: `(rows, outputs)`.
        weight: `(rows,)`, or None.
    """
    if y.ndim == 1 or _one_of_several(y, predicted):
        classes = y if y.ndim == 1 else np.argmax(y, axis=1)
        right = np.argmax(predicted, axis=1) == classes
    else:
        right = ((predicted > 0.5) == (y > 0.5)).mean(axis=1)
    return float(np.average(right, weights=weight))


def _one_of_several(y: Array, predicted: Array) -> bool:
    """Whether rows of predictions are probabilities of classes, which sum to 1."""
    return y.shape[1] > 1 and bool(np.allclose(predicted.sum(axis=1), 1, atol=1e-3))


def r2(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """1 - sum (y - p)^2 / sum (y - mean y)^2, the mean over the outputs; NaN where y is constant.

    All arrays are `(rows, outputs)` or `(rows,)`, `weight` `(rows,)`; as in scikit-learn.
    """
    y, predicted = _wide(y), _wide(predicted)
    rest = np.average((y - predicted) ** 2, axis=0, weights=weight)
    total = np.average((y - np.average(y, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
    return 1 - float(np.mean(rest / total)) if np.all(total) else math.nan


def rmse(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """The square root of the mean squared error over rows and outputs, in the target's unit."""
    return math.sqrt(_mean((_wide(y) - _wide(predicted)) ** 2, weight))


def mae(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """The mean of |y - p| over rows and outputs, in the target's unit."""
    return _mean(np.abs(_wide(y) - _wide(predicted)), weight)


def log_loss(y: Array, probabilities: Array, weight: Array | None = None) -> float:
    """The mean negative logarithm of the probability of the true class.

    Probabilities are clipped to the machine epsilon of their dtype, as in scikit-learn.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`.
        weight: `(rows,)`, or None.
    """
    p = probabilities[np.arange(len(y)), y]
    known = np.log(np.maximum(p, np.finfo(p.dtype).eps).astype(np.float64))
    return float(-np.average(known, weights=weight))


def _mean(values: Array, weight: Array | None) -> float:
    return float(np.mean(np.average(values, axis=0, weights=weight)))


def _wide(values: Array) -> Array:
    return np.asarray(values, np.float64)


#: The metrics with a name.
METRICS: dict[str, Metric] = {"accuracy": accuracy, "r2": r2, "rmse": rmse, "mae": mae}


def named(
    metrics: Any, validation: Data | None, network: Network
) -> dict[str, Callable[[Array], float]]:
    """Metrics by name, as functions of the validation rows' predictions `(rows, outputs)`.

    Args:
        metrics: names, and functions of y and the predictions; None: none.
        validation: the rows, on the host.
        network: what predicts; where it has several outputs for a target, a metric with a name is
            of those that predict the target itself.

    Raises:
        DefinitionError: if there are no rows, or a name is unknown, there twice, or unfit for y or
            for a column of the history.
    """
    if metrics is None:
        return {}
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise DefinitionError(f"metrics is {metrics!r}; put it in a list: [{metrics!r}].")
    found: dict[str, Callable[[Array], float]] = {}
    for one in metrics:
        if isinstance(one, str) and one not in METRICS:
            raise DefinitionError(unknown("metric", one, METRICS))
        if not isinstance(one, str) and not callable(one):
            raise DefinitionError(f"metric {one!r} must be a name or a function.")
        name = one if isinstance(one, str) else getattr(one, "__name__", repr(one))
        if name == "loss":
            raise DefinitionError(
                "metrics has a function of the name 'loss', which the loss of the validation rows "
                "has in the history; give it another name."
            )
        if name in found:
            raise DefinitionError(f"metrics names {name!r} twice; give a function another name.")
        if validation is None:
            raise DefinitionError(
                f"metric {name!r} is of validation rows; give validation=(x, y) or a fraction."
            )
        y = validation.y
        if network.targets < network.outputs:
            y = y[:, : network.targets]
        if isinstance(one, str):
            _check_target(one, y)
            found[name] = _of_rows(METRICS[one], y, validation.weight, _point(one, network))
        else:
            found[name] = _of_function(name, one, y)
    return found


def _check_target(metric: str, y: Array) -> None:
    """Refuse the accuracy of numbers, and the error of classes."""
    classes = y.ndim == 1
    if metric == "accuracy" and not classes and (y.min() < 0 or y.max() > 1):
        raise DefinitionError(
            f"metric 'accuracy' is of classes, or of labels 0 and 1; y holds {y.min():g} to "
            f"{y.max():g}: use 'r2', 'rmse' or 'mae'."
        )
    if metric != "accuracy" and classes:
        raise DefinitionError(f"metric {metric!r} is of numbers; y holds classes: use 'accuracy'.")


def _point(metric: str, network: Network) -> slice:
    """The columns of a prediction that predict the targets themselves."""
    block = network.loss.point_block
    if block is None:
        raise DefinitionError(
            f"metric {metric!r} needs one prediction for each target, and no quantile of "
            f"{network.loss!r} is 0.5; add it, or give a function."
        )
    return slice(block * network.targets, (block + 1) * network.targets)


def _of_rows(
    metric: Metric, y: Array, weight: Array | None, columns: slice
) -> Callable[[Array], float]:
    weight = None if weight is None else _wide(weight)
    if y.ndim == 1:  # classes
        return lambda predicted: metric(y, predicted, weight)
    return lambda predicted: metric(y, predicted[:, columns], weight)


def _of_function(name: str, metric: Any, y: Array) -> Callable[[Array], float]:
    def compute(predicted: Array) -> float:
        value = metric(y.copy(), predicted.copy())  # which it may change: y may be the user's own
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"metric {name!r} returned a {type(value).__name__}; it must return a number."
            ) from error

    return compute
