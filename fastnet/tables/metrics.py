"""Metrics of predictions, in float64; definitions as in scikit-learn.

`weight` `(rows,)` says how much each row counts; None: all count alike.
"""

import math

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.training.metrics import log_loss, mae, r2, rmse
from fastnet.training.uncertainty import (
    brier,
    calibration,
    coverage,
    crps,
    expected_calibration_error,
    negative_log_likelihood,
)

__all__ = [
    "accuracy",
    "brier",
    "calibration",
    "class_scores",
    "classification_metrics",
    "confusion_matrix",
    "coverage",
    "crps",
    "expected_calibration_error",
    "log_loss",
    "mae",
    "negative_log_likelihood",
    "r2",
    "regression_metrics",
    "rmse",
    "roc_auc",
]

#: With more classes the ROC AUC, a sort for each class, would take longer than the training.
MAX_AUC_CLASSES = 100


def classification_metrics(
    y: Array, probabilities: Array, weight: Array | None = None
) -> dict[str, float]:
    """Compute the metrics of a classification.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`.
        weight: `(rows,)`, or None.

    Returns:
        `accuracy`, `log_loss` and `roc_auc`, NaN for more than `MAX_AUC_CLASSES`.
    """
    few = probabilities.shape[1] <= MAX_AUC_CLASSES
    return {
        "accuracy": accuracy(y, np.argmax(probabilities, axis=1), weight),
        "log_loss": log_loss(y, probabilities, weight),
        "roc_auc": roc_auc(y, probabilities, weight) if few else math.nan,
    }


def regression_metrics(y: Array, predicted: Array, weight: Array | None = None) -> dict[str, float]:
    """Compute the metrics of a regression, `(rows,)` each: `r2`, `rmse` and `mae`."""
    formulas = {"r2": r2, "rmse": rmse, "mae": mae}
    return {name: formula(y, predicted, weight) for name, formula in formulas.items()}


def accuracy(y: Array, predicted: Array, weight: Array | None = None) -> float:
    """The fraction of the rows whose class `(rows,)` was predicted."""
    return float(np.average(np.asarray(y) == predicted, weights=weight))


def roc_auc(y: Array, probabilities: Array, weight: Array | None = None) -> float:
    """The area under the ROC curve.

    For two classes: the chance that a row of the second class has a higher probability of it
    than a row of the first; ties count half (Mann and Whitney 1947). For more: the unweighted
    mean over the classes of the area of each class against the others (one-vs-rest, macro);
    classes that no row has, or every row, do not count.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`.
        weight: `(rows,)`, or None.

    Returns:
        0 to 1; NaN where all rows are of one class.
    """
    classes = probabilities.shape[1]
    areas = [
        _area(y == index, probabilities[:, index], weight)
        for index in ([1] if classes == 2 else range(classes))
    ]
    known = [area for area in areas if not math.isnan(area)]
    return float(np.mean(known)) if known else math.nan


def _area(positive: Array, score: Array, weight: Array | None) -> float:
    """From the weights of negative rows below each positive one; those of the same score half."""
    _, group = np.unique(score, return_inverse=True)
    above = np.bincount(group, _counted(positive, weight))
    below = np.bincount(group, _counted(~positive, weight))
    if not (above.any() and below.any()):
        return math.nan
    # Not divided by the product of the sums, which huge weights would make infinite.
    shares = (np.cumsum(below) - below / 2) / below.sum()
    return float(above @ shares / above.sum())


def _counted(rows: Array, weight: Array | None) -> Array:
    """How much each row counts, `(rows,)`: its weight where `rows` is true, elsewhere 0."""
    return rows.astype(np.float64) if weight is None else np.where(rows, weight, 0.0)


def class_scores(
    y: Array, predicted: Array, classes: int, weight: Array | None = None
) -> dict[str, Array]:
    """Compute the precision, recall and F1 of each class, `(classes,)` each.

    Args:
        y: `(rows,)`, class indices.
        predicted: `(rows,)`, class indices.
        classes: how many there are.
        weight: `(rows,)`, or None.

    Returns:
        `precision`, the part of the rows predicted to be of a class that are; `recall`, the part
        of the rows of a class that are predicted to be; `f1`, the harmonic mean of both, which is
        2 tp / (2 tp + fp + fn). NaN where there are no such rows.
    """
    true, given = (np.bincount(rows, weight, classes) for rows in (y, predicted))
    right = np.bincount(y, _counted(y == predicted, weight), classes)
    with np.errstate(invalid="ignore"):
        return {
            "precision": right / given,
            "recall": right / true,
            "f1": 2 * right / (true + given),
        }


def confusion_matrix(
    y: Array, predicted: Array, classes: int, weight: Array | None = None
) -> Array:
    """Count the rows of each class by predicted class, `(class, prediction)`.

    Returns:
        Integers; with weights their sums.
    """
    counts = np.bincount(np.asarray(y) * classes + predicted, weight, classes**2)
    return counts.reshape(classes, classes)
