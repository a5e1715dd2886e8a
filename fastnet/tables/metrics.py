"""Metrics of predictions, in float64; definitions as in scikit-learn."""

import math

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.training.metrics import mae, r2, rmse
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


def classification_metrics(y: Array, probabilities: Array) -> dict[str, float]:
    """Compute the metrics of a classification.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`.

    Returns:
        `accuracy`, `log_loss` and `roc_auc`, NaN for more than `MAX_AUC_CLASSES`.
    """
    few = probabilities.shape[1] <= MAX_AUC_CLASSES
    return {
        "accuracy": accuracy(y, np.argmax(probabilities, axis=1)),
        "log_loss": log_loss(y, probabilities),
        "roc_auc": roc_auc(y, probabilities) if few else math.nan,
    }


def regression_metrics(y: Array, predicted: Array) -> dict[str, float]:
    """Compute the metrics of a regression, `(rows,)` each: `r2`, `rmse` and `mae`."""
    return {"r2": r2(y, predicted), "rmse": rmse(y, predicted), "mae": mae(y, predicted)}


def accuracy(y: Array, predicted: Array) -> float:
    """The fraction of the rows whose class `(rows,)` was predicted."""
    return float(np.mean(np.asarray(y) == predicted))


def log_loss(y: Array, probabilities: Array) -> float:
    """The mean negative logarithm of the probability `(rows, classes)` of the true class.

    Probabilities are clipped to the machine epsilon of their dtype, as in scikit-learn.
    """
    p = probabilities[np.arange(len(y)), y]
    return float(-np.mean(np.log(np.maximum(p, np.finfo(p.dtype).eps).astype(np.float64))))


def roc_auc(y: Array, probabilities: Array) -> float:
    """The area under the ROC curve.

    For two classes: the chance that a row of the second class has a higher probability of it
    than a row of the first; ties count half (Mann and Whitney 1947). For more: the unweighted
    mean over the classes of the area of each class against the others (one-vs-rest, macro);
    classes that no row has, or every row, do not count.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`.

    Returns:
        0 to 1; NaN where all rows are of one class.
    """
    classes = probabilities.shape[1]
    areas = [
        _area(y == index, probabilities[:, index])
        for index in ([1] if classes == 2 else range(classes))
    ]
    known = [area for area in areas if not math.isnan(area)]
    return float(np.mean(known)) if known else math.nan


def _area(positive: Array, score: Array) -> float:
    """From the rank sum of the positive rows; rows with the same score share their mean rank."""
    count = int(positive.sum())
    rest = len(positive) - count
    if not count or not rest:
        return math.nan
    _, group, rows = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(rows) - (rows - 1) / 2
    return float((ranks[group[positive]].sum() - count * (count + 1) / 2) / (count * rest))


def class_scores(y: Array, predicted: Array, classes: int) -> dict[str, Array]:
    """Compute the precision, recall and F1 of each class, `(classes,)` each.

    Args:
        y: `(rows,)`, class indices.
        predicted: `(rows,)`, class indices.
        classes: how many there are.

    Returns:
        `precision`, the part of the rows predicted to be of a class that are; `recall`, the part
        of the rows of a class that are predicted to be; `f1`, the harmonic mean of both, which is
        2 tp / (2 tp + fp + fn). NaN where there are no such rows.
    """
    true, given, right = (
        np.bincount(rows, minlength=classes) for rows in (y, predicted, y[y == predicted])
    )
    with np.errstate(invalid="ignore"):
        return {
            "precision": right / given,
            "recall": right / true,
            "f1": 2 * right / (true + given),
        }


def confusion_matrix(y: Array, predicted: Array, classes: int) -> Array:
    """Count the rows of each class by predicted class, `(class, prediction)` integers."""
    counts = np.bincount(np.asarray(y) * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)
