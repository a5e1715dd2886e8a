"""How good predictions of an ensemble are: the loss of their mean, metrics, and a chart."""

from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.layers import Dense
from fastnet.definition.losses import GaussianNLL
from fastnet.definition.network import Network
from fastnet.model import Model
from fastnet.training import metrics, uncertainty

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


def indices(targets: Array) -> Array:
    """Class indices of one-hot rows, or of a column of 0 and 1."""
    if targets.ndim == 1:
        return targets
    if targets.shape[1] == 1:
        return (targets[:, 0] > 0.5).astype(np.intp)
    return np.asarray(targets.argmax(axis=1))
