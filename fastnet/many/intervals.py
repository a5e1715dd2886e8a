"""Intervals around predictions, as wide as rows that were not trained on need.

Split conformal prediction with the standard deviation as the scale (Lei et al. 2018).
"""

import math
from statistics import NormalDist

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import DefinitionError


def scores(y: Array, mean: Array, std: Array) -> Array:
    """How many standard deviations each target lies from its prediction, ascending.

    Args:
        y: `(rows, targets)`.
        mean: likewise.
        std: likewise, 0 or more.

    Returns:
        `(rows, targets)` float64, each column by itself.
    """
    # Where all members agree, any error is infinitely many deviations.
    least = np.finfo(y.dtype).tiny
    return np.sort(np.abs(y.astype(np.float64) - mean) / np.maximum(std, least), axis=0)


def factors(calibration: Array | None, coverage: float) -> Array | float:
    """How many standard deviations an interval reaches to each side.

    Args:
        calibration: what `scores` returned; None: the errors are normal.
        coverage: above 0 and below 1.

    Returns:
        `(targets,)`, or one number for all.

    Raises:
        DefinitionError: if `coverage` is not between 0 and 1, or there were too few rows for it.
    """
    coverage = checks.number(coverage, "coverage", above=0, below=1)
    if calibration is None:
        return NormalDist().inv_cdf((1 + coverage) / 2)
    rows = len(calibration)
    place = _place(rows, coverage)
    if place > rows:
        least = math.ceil(round(coverage / (1 - coverage), 6))  # 1 - 0.9 is not quite 0.1
        raise DefinitionError(
            f"coverage {coverage:g} needs at least {least} rows to calibrate with; there were "
            f"{rows}."
        )
    return np.asarray(calibration[place - 1])


def has_interval(calibration: Array | None, coverage: float) -> bool:
    """Whether there are enough rows to calibrate with; the arguments are those of `factors`."""
    return calibration is None or _place(len(calibration), coverage) <= len(calibration)


def _place(rows: int, coverage: float) -> int:
    """The score that is the factor, counted from 1 (Lei et al. 2018, section 2.2)."""
    return math.ceil(round((rows + 1) * coverage, 9))  # 20 * 0.55 is not quite 11
