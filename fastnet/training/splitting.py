"""Holding rows out: for validation, and as folds."""

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.errors import DataError

#: The stream of random numbers for folds.
FOLDS = 2


def split_rows(seed: int, rows: int, fraction: float) -> tuple[Array, Array]:
    """Choose the rows that are held out for validation, at random.

    Args:
        seed: the model's.
        rows: how many there are.
        fraction: of rows to hold out, at least one row; 0: none.

    Returns:
        The numbers of the training rows and of the validation rows, `(n,)` intp each, ascending.

    Raises:
        DataError: if no row is left to train on.
    """
    held_out = held_out_rows("validation", rows, fraction)
    order = random.permutation(seed, random.SPLIT, 0, rows)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def held_out_rows(part: str, rows: int, fraction: float, least: int = 1) -> int:
    """How many rows to hold out, at least one; 0 for a fraction of 0.

    Args:
        part: what they are for, as errors name it.
        rows: how many there are.
        fraction: of rows to hold out.
        least: how many rows must be left to train on.

    Raises:
        DataError: if fewer are left.
    """
    held_out = max(round(rows * fraction), 1) if fraction else 0
    if rows - held_out < least:
        raise DataError(
            f"{part}={fraction:g} leaves {max(rows - held_out, 0)} of {rows} "
            f"{'row' if rows == 1 else 'rows'} to train on, and at least {least} must be left: "
            "give more rows, or hold out fewer."
        )
    return held_out


def fold_of_rows(seed: int, rows: int, count: int, classes: Array | None = None) -> Array:
    """Choose the fold of each row, at random: as many rows in each, and as many of each class.

    Args:
        seed: the model's.
        rows: how many there are.
        count: of folds.
        classes: the class index of each row, `(rows,)`; None: there are none.

    Returns:
        `(rows,)` intp, from 0.
    """
    order = random.permutation(seed, random.SPLIT, FOLDS, rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(rows, np.intp)
    fold[order] = np.arange(rows) % count
    return fold
