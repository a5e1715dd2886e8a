"""How good predictions of an ensemble are: the loss of their mean, metrics, and a chart."""

from typing import Any

import numpy as np

from fastnet import plots
from fastnet.arrays.checks import Array
from fastnet.definition.layers import Dense
from fastnet.definition.losses import GaussianNLL
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError
from fastnet.many import intervals
from fastnet.model import Model
from fastnet.training import metrics, uncertainty

#: Intervals whose coverage is drawn.
_LEVELS = np.arange(1, 20) / 20

#: Losses of quantities, of which there are means and deviations.
_QUANTITIES = ("real", "count")


def kind_of(network: Network) -> str:
    """What its outputs are: "classes", "normal", "quantiles" or "values"."""
    if network.loss.targets not in _QUANTITIES:
        return "classes"
    if isinstance(network.loss, GaussianNLL):
        return "normal"
    return "quantiles" if network.loss.canonical()[0] in ("quantile", "quantiles") else "values"


def sums_of(network: Network, predicted: Array, dtype: str) -> Array:
    """What one network would have to output before its last activation to predict the same.

    Args:
        network: whose output and loss they are.
        predicted: `(rows, outputs)`, probabilities or values.
        dtype: of the predictions.

    Returns:
        `(rows, outputs)` float64.
    """
    predicted = np.asarray(predicted, np.float64)
    least = np.finfo(dtype).tiny
    if network.loss.needs == "softmax":
        return np.log(np.maximum(predicted, least))
    if network.loss.needs == "sigmoid":
        p = np.clip(predicted, least, 1 - np.finfo(dtype).epsneg)
        return np.asarray(np.log(p) - np.log1p(-p))
    return predicted


def loss_of(network: Network, sums: Array, y: Any, sample_weight: Any) -> float:
    """The loss of what one network would predict.

    Args:
        network: whose output and loss it is.
        sums: `(rows, outputs)`, before the last activation.
        y: as for `Model.fit`.
        sample_weight: `(rows,)`, or None.

    Raises:
        DataError: if the arrays do not fit.
    """
    outputs = sums.shape[1]
    last = Dense(outputs, network.output, bias=False)
    passes = Network(outputs, [last], network.loss)
    model = Model.of(passes, {"0.weight": np.eye(outputs)}, dtype="float64")
    return model.evaluate(sums, y, sample_weight)


def has_classes(network: Network) -> bool:
    """Whether each row is of one class, not of labels that are independent of each other."""
    several = network.loss.targets == "probability" and network.targets > 1
    return kind_of(network) == "classes" and not several


def metrics_of(
    network: Network, targets: Array, predicted: Array, std: Array | None
) -> dict[str, float]:
    """Metrics, as `Ensemble.metrics` describes them.

    Args:
        network: that of the members.
        targets: checked, `(rows,)` class indices or `(rows, targets)`.
        predicted: `(rows, outputs)`, probabilities or means.
        std: `(rows, targets)`, or None.
    """
    if has_classes(network):
        return uncertainty.of_classes(indices(targets), predicted)
    if kind_of(network) == "classes":
        return {"accuracy": metrics.accuracy(targets, predicted)}
    measured = {
        name: metrics.METRICS[name](targets, predicted, None) for name in ("r2", "rmse", "mae")
    }
    if std is not None:
        std = np.maximum(std, np.finfo(std.dtype).tiny)
        measured["nll"] = uncertainty.negative_log_likelihood(targets, predicted, std)
        measured["crps"] = uncertainty.crps(targets, predicted, std)
    return measured


def plot(
    network: Network,
    targets: Array,
    predicted: Array,
    std: Array | None,
    calibration: Array | None,
    axes: Any,
) -> Any:
    """Draw how sure predictions are against how often they are right.

    Of quantities: which fraction lies in intervals of each probability (Kuleshov, Fenner and Ermon
    2018); of two classes the probability of the second one, of more that of the predicted one.

    Args:
        network: that of the members.
        targets: checked, `(rows,)` class indices or `(rows, targets)`.
        predicted: `(rows, outputs)`, probabilities or means.
        std: `(rows, targets)` for quantities, or None.
        calibration: as for `intervals.factors`.
        axes: the matplotlib axes; None makes a new figure.

    Returns:
        The axes.

    Raises:
        DefinitionError: for labels that are independent of each other.
        MissingExtra: without matplotlib.
    """
    if std is None and not has_classes(network):
        raise DefinitionError(
            "plot_calibration is of classes or quantities; these members predict labels that are "
            "independent of each other."
        )
    axes = plots.figure().add_subplot() if axes is None else axes
    if std is not None:
        levels = np.array([one for one in _LEVELS if intervals.has_interval(calibration, one)])
        away = np.abs(targets.astype(np.float64) - predicted)
        found = [np.mean(away <= intervals.factors(calibration, level) * std) for level in levels]
        plots.coverages(levels, np.array(found), axes)
        axes.set_xlabel("probability of the interval")
        axes.set_ylabel("fraction of the rows in it")
    elif predicted.shape[1] <= 2:
        plots.probabilities(predicted[:, -1], indices(targets) == 1, axes)
        axes.set_xlabel("predicted probability of class 1")
        axes.set_ylabel("fraction of the rows")
    else:
        right = predicted.argmax(axis=1) == indices(targets)
        plots.probabilities(predicted.max(axis=1), right, axes)
        axes.set_xlabel("predicted probability of the predicted class")
        axes.set_ylabel("fraction right")
    return axes


def indices(targets: Array) -> Array:
    """Class indices of one-hot rows, or of a column of 0 and 1."""
    if targets.ndim == 1:
        return targets
    if targets.shape[1] == 1:
        return (targets[:, 0] > 0.5).astype(np.intp)
    return np.asarray(targets.argmax(axis=1))
