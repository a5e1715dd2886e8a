"""How well predicted probabilities, deviations and intervals agree with what came out."""

import math

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.training.metrics import log_loss

#: Probabilities are sorted into so many bins of equal width, as in Guo et al. (2017).
BINS = 15


def negative_log_likelihood(y: Array, mean: Array, std: Array) -> float:
    """The mean of -log of the normal density with `mean` and `std` at y: lower is better.

    With the constant log(2 pi) / 2, so that values of different models and papers compare.

    Args:
        y: `(rows,)` or `(rows, targets)`.
        mean: of the same shape.
        std: of the same shape, above 0, in the unit of y.
    """
    y, mean, std = _pieces(y, mean, std)
    scores = (y - mean) / std
    return float(np.mean(np.log(std) + scores**2 / 2)) + math.log(2 * math.pi) / 2


def crps(y: Array, mean: Array, std: Array) -> float:
    """The continuous ranked probability score of normal distributions: lower is better.

    In the unit of y; it nears the mean absolute error as `std` nears 0. Closed form: Gneiting and
    Raftery (2007), section 4.2.

    Args:
        y: `(rows,)` or `(rows, targets)`.
        mean: of the same shape.
        std: of the same shape, above 0, in the unit of y.
    """
    y, mean, std = _pieces(y, mean, std)
    z = (y - mean) / std
    below = np.array([math.erf(one) for one in (z / math.sqrt(2)).ravel()]).reshape(z.shape)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return float(np.mean(std * (z * below + 2 * density - 1 / math.sqrt(math.pi))))


def coverage(y: Array, low: Array, high: Array) -> float:
    """The fraction of y, `(rows,)` or `(rows, targets)`, in intervals of the same shape."""
    y, low, high = (np.asarray(part, np.float64) for part in (y, low, high))
    _check_shapes(y, low, high)
    return float(np.mean((low <= y) & (y <= high)))


def brier(y: Array, probabilities: Array) -> float:
    """The mean over the rows of the summed squared error of all probabilities: 0 to 2.

    As Brier (1950) defined it; for two classes twice scikit-learn's `brier_score_loss`.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`; of one column, of the second of two classes.
    """
    y, wide = _classes(y, probabilities)
    error = wide.copy()
    error[np.arange(len(y)), y] -= 1
    return float(np.mean(np.sum(error**2, axis=1)))


def calibration(y: Array, probabilities: Array, bins: int = BINS) -> tuple[Array, Array, Array]:
    """Compare how sure a classifier was with how often it was right.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`; of one column, of the second of two classes.
        bins: of equal width, for the probability of the predicted class.

    Returns:
        For every bin that rows fall into, `(n,)` each: the mean probability of the predicted class,
        the accuracy, and the rows.
    """
    bins = checks.integer(bins, "bins")
    y, wide = _classes(y, probabilities)
    sure, right = wide.max(axis=1), wide.argmax(axis=1) == y
    place = np.minimum((sure * bins).astype(np.intp), bins - 1)
    rows = np.bincount(place, minlength=bins)
    some = rows > 0
    probability, accuracy = (
        np.bincount(place, part, bins)[some] / rows[some] for part in (sure, right)
    )
    return probability, accuracy, rows[some]


def expected_calibration_error(y: Array, probabilities: Array, bins: int = BINS) -> float:
    """The mean over the rows of |accuracy - probability| of their bin: 0 to 1 (Guo et al. 2017).

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`; of one column, of the second of two classes.
        bins: as for `calibration`.
    """
    sure, right, rows = calibration(y, probabilities, bins)
    return float(np.average(np.abs(right - sure), weights=rows))


def of_classes(y: Array, probabilities: Array) -> dict[str, float]:
    """The accuracy, the log loss, Brier's score and the calibration error, as a dictionary.

    Args:
        y: `(rows,)`, class indices.
        probabilities: `(rows, classes)`; of one column, of the second of two classes.
    """
    y, wide = _classes(y, probabilities)
    return {
        "accuracy": float(np.mean(wide.argmax(axis=1) == y)),
        "log_loss": log_loss(y, wide.astype(np.asarray(probabilities).dtype)),
        "brier": brier(y, wide),
        "calibration_error": expected_calibration_error(y, wide),
    }


def _pieces(y: Array, mean: Array, std: Array) -> tuple[Array, Array, Array]:
    y, mean, std = (np.asarray(part, np.float64) for part in (y, mean, std))
    _check_shapes(y, mean, std)
    if not np.all(std > 0):
        raise DataError(f"std holds {std[~(std > 0)][0]:g}; standard deviations must be above 0.")
    return y, mean, std


def _check_shapes(y: Array, *others: Array) -> None:
    """Refuse what NumPy would stretch, such as (n,) against (n, 1)."""
    for other in others:
        if other.shape != y.shape:
            raise DataError(f"y has shape {y.shape}, its predictions {other.shape}.")


def _classes(y: Array, probabilities: Array) -> tuple[Array, Array]:
    y, wide = np.asarray(y), np.asarray(probabilities, np.float64)
    if wide.ndim == 1 or wide.shape[1] == 1:
        wide = np.stack([1 - wide.ravel(), wide.ravel()], axis=1)
    if y.ndim != 1 or len(y) != len(wide) or y.dtype.kind not in "iu":
        raise DataError(
            f"y has shape {y.shape} of {y.dtype}; it must hold the class indices of "
            f"{len(wide)} rows."
        )
    if len(y) and (y.min() < 0 or y.max() >= wide.shape[1]):
        raise DataError(f"y holds {y.min()} to {y.max()}; there are {wide.shape[1]} classes.")
    checks.finite(wide, "probabilities", remedy="leave rows without a prediction out")
    return y, wide
