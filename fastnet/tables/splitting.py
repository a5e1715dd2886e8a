"""Holding rows of a table out: for tests and validation, and as the folds of a cross-validation.

How rows are chosen depends on what is known of them, and the first that applies decides:

- times: the last rows are held out, and rows of the same time stay together;
- groups: all rows of a group stay together; groups are chosen at random;
- classes: each class is held out in its proportion, at random, and keeps a row to train on;
- nothing: rows are chosen at random.

Test rows are chosen first, and validation rows from what is left, so a training is the same as if
the test rows were not in the table.
"""

from collections.abc import Iterator

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.errors import DataError
from fastnet.records import Record
from fastnet.training.splitting import FOLDS, fold_of_rows, held_out_rows

#: The streams of random numbers.
_STREAMS = {"validation": 0, "test": 1}


class RowFacts(Record):
    """What decides which rows are held out.

    Attributes:
        count: the number of rows.
        classes: the class index of each row, `(rows,)`; None for a regression.
        groups: the number of each row's group, `(rows,)`, or None.
        times: when each row was, `(rows,)` numbers in any unit, or None.
        column: the column of the groups or times, for errors.
    """

    count: int
    classes: Array | None = None
    groups: Array | None = None
    times: Array | None = None
    column: str = ""

    def take(self, rows: Array) -> "RowFacts":
        """The facts of some rows."""
        classes, groups, times = (
            None if part is None else part[rows] for part in (self.classes, self.groups, self.times)
        )
        return RowFacts(len(rows), classes, groups, times, self.column)


def hold_out(facts: RowFacts, seed: int, fraction: float, part: str) -> tuple[Array, Array]:
    """Choose the rows to hold out.

    Args:
        facts: of the rows.
        seed: of the model.
        fraction: of the rows to hold out; 0: none.
        part: what they are for: "test" or "validation".

    Returns:
        The numbers of the rows that stay, and of those held out, `(n,)` intp each, ascending.

    Raises:
        DataError: if too few rows are left to train on, or there are too few groups or times.
    """
    # At least two training rows: of one there is no standard deviation.
    count = held_out_rows(part, facts.count, fraction, least=2)
    held = np.zeros(facts.count, bool)
    if count and facts.times is not None:
        held = _last(facts.times, count, facts.column, part)
    elif count and facts.groups is not None:
        held = _whole_groups(facts.groups, count, seed, _STREAMS[part], facts.column, part)
    elif count:
        order = random.permutation(seed, random.SPLIT, _STREAMS[part], facts.count)
        if facts.classes is None:
            held[order[:count]] = True
        else:
            held[order[_in_proportion(facts.classes[order], count)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def folds(facts: RowFacts, seed: int, count: int) -> Iterator[tuple[Array, Array]]:
    """The folds of a cross-validation.

    Of times each fold is tested on the rows that follow those it is trained on; otherwise every
    row is tested once, but for the only row of a class.

    Args:
        facts: of all rows.
        seed: of the model.
        count: of folds, at least 2.

    Yields:
        The numbers of the rows to train on and of those to test on, `(n,)` intp each, ascending.

    Raises:
        DataError: if there are too few rows, groups or times.
    """
    few = f"{facts.count:,} rows are too few for {count:,} folds."
    if count > facts.count:  # first: for very many folds there would be no memory
        raise DataError(few)
    if facts.times is not None:
        yield from _consecutive(facts.times, count, facts.column)
        return
    fold = _fold_of_rows(facts, seed, count)
    if not np.bincount(fold[fold >= 0], minlength=count).all():
        raise DataError(few)
    for index in range(count):
        yield np.flatnonzero(fold != index), np.flatnonzero(fold == index)


def _last(times: Array, count: int, column: str, part: str) -> Array:
    """Which rows are the last ones; those of the same time stay together."""
    first = np.sort(times)[-count]
    held = times >= first
    if held.all():
        held = times > first
    if not held.any() or len(times) - held.sum() < 2:
        raise DataError(
            f"column {column!r} has too few different times to hold rows out for {part}: give more "
            "rows, or hold rows out at random."
        )
    return np.asarray(held)


def _whole_groups(
    groups: Array, count: int, seed: int, stream: int, column: str, part: str
) -> Array:
    """Which rows are of groups that are held out: as many as come nearest to `count` rows."""
    _, group, rows = np.unique(groups, return_inverse=True, return_counts=True)
    if len(rows) < 2:
        raise DataError(
            f"column {column!r} leaves {len(rows)} group for training and {part}, and each needs "
            "one: give rows of more groups, or hold out less."
        )
    order = random.permutation(seed, random.SPLIT, stream, len(rows))
    together = np.cumsum(rows[order])[:-1]  # one group at least is left
    chosen = order[: int(np.argmin(np.abs(together - count))) + 1]
    return np.isin(group, chosen)


def _in_proportion(classes: Array, count: int) -> Array:
    """Which of the rows to hold out: `count` of them, each class in its proportion.

    The shares are rounded down, and the classes with the largest remainders give one row more.
    """
    rows = np.bincount(classes)
    most = np.maximum(rows - 1, 0)
    share = rows * (count / len(classes))
    chosen = np.minimum(share.astype(np.intp), most)
    while (rest := count - int(chosen.sum())) > 0 and (chosen < most).any():
        remainder = np.where(chosen < most, share - chosen, -np.inf)
        largest = np.argsort(-remainder, kind="stable")[: min(rest, int((chosen < most).sum()))]
        chosen[largest] += 1
    return _place_in_class(classes, rows) < chosen[classes]


def _place_in_class(classes: Array, rows: Array) -> Array:
    """How many rows of the same class come before each row."""
    by_class = np.argsort(classes, kind="stable")
    place = np.empty(len(classes), np.intp)
    place[by_class] = np.arange(len(classes)) - np.repeat(np.cumsum(rows) - rows, rows)
    return place


def _fold_of_rows(facts: RowFacts, seed: int, count: int) -> Array:
    """The fold that each row is tested in; -1 for the only row of a class."""
    if facts.groups is not None:
        _, group, rows = np.unique(facts.groups, return_inverse=True, return_counts=True)
        if len(rows) < count:
            raise DataError(
                f"column {facts.column!r} has {len(rows)} groups, too few for {count} folds."
            )
        order = random.permutation(seed, random.SPLIT, FOLDS, len(rows))
        fold_of_group, sizes = np.empty(len(rows), np.intp), np.zeros(count)
        for one in order[np.argsort(-rows[order], kind="stable")]:  # the largest group first
            fold_of_group[one] = np.argmin(sizes)
            sizes[fold_of_group[one]] += rows[one]
        return np.asarray(fold_of_group[group])
    fold = fold_of_rows(seed, facts.count, count, facts.classes)
    if facts.classes is not None:
        fold[np.bincount(facts.classes)[facts.classes] == 1] = -1
    return fold


def _consecutive(times: Array, count: int, column: str) -> Iterator[tuple[Array, Array]]:
    """Each fold begins with the first row, and is tested on the next part of the rows."""
    ordered = np.sort(times)
    begins = [ordered[len(times) * part // (count + 1)] for part in range(1, count + 1)]
    ends = [*begins[1:], np.inf]
    if np.sum(times < begins[0]) < 2 or not np.all(np.diff(begins)):
        raise DataError(
            f"column {column!r} has too few different times for {count} folds: give more rows, "
            "or ask for fewer folds."
        )
    for first, end in zip(begins, ends, strict=True):
        yield np.flatnonzero(times < first), np.flatnonzero((times >= first) & (times < end))
