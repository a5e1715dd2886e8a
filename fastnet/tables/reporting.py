"""What a report says: figures as text, in grids that a terminal or a notebook shows."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import html
from fastnet.records import Record
from fastnet.tables.evaluating import Evaluation
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    from fastnet.tables.searching import Found

#: The most characters of a line.
WIDTH = 80

#: Characters of the name of a column or a class that are shown.
_NAME_LENGTH = 24

#: Of very many classes so many are shown, those with the lowest F1.
_MOST_CLASSES = 10

#: The most columns that are said to matter most.
_MOST_IMPORTANT = 3

METRICS = {
    "rows": "rows",
    "accuracy": "accuracy",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
}

_SCORES = {"precision": "precision", "recall": "recall", "f1": "F1"}


class Grid(Record):
    """Cells of text; the first column is to the left, the others to the right.

    Attributes:
        title: a line above it, or nothing.
        head: the names of the columns.
        rows: the cells, row by row.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Its characters, with two between columns."""
        columns = zip(self.head, *self.rows, strict=True)
        return sum(max(map(len, cells)) + 2 for cells in columns) - 2


def short(value: object, length: int = _NAME_LENGTH) -> str:
    """A name or a class on one line, not too long."""
    text = str(value)
    shown = text if text.isprintable() and text.strip() == text != "" else repr(text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def figure(key: str, value: Any) -> str:
    """A metric, or a number of rows; what is undefined is a dash."""
    # The value may come from any file: what is not a number is a dash.
    if key == "rows" and isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float) or not math.isfinite(value):
        return "-"
    if key == "accuracy":
        return f"{value:.2%}"
    if key in _SCORES:
        return f"{value:.3f}"
    return f"{value:.4f}" if key in ("roc_auc", "r2") else f"{value:.4g}"


def on_one_line(metrics: Mapping[str, float]) -> str:
    """Metrics, as in "accuracy 93.00%, log loss 0.2"."""
    return ", ".join(f"{METRICS[key]} {figure(key, value)}" for key, value in metrics.items())


def metrics(parts: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Rows and metrics, a column for each part of the rows."""
    rows = []
    for key, name in METRICS.items():
        values = [part.get(key) for part in parts.values()]
        if any(value is not None for value in values):
            rows.append((name, *(figure(key, value) for value in values)))
    return Grid("", ("", *parts), tuple(rows))


def search(found: "Sequence[Found]") -> Grid:
    """The best settings that a search has found, and their losses on rows that are held out."""
    rows = []
    for one in found:
        values = (_setting(value) for value in one.settings.values())
        rows.append((*values, f"{one.loss:.4g} ± {one.std:.2g}"))
    names = tuple(name.replace("_", " ") for name in found[0].settings)
    head = (*names, "loss of held-out rows")
    return Grid("the best settings found, by cross-validation", head, tuple(rows))


def _setting(value: Any) -> str:
    if isinstance(value, tuple | list):  # hidden layers
        return ",".join(map(str, value)) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def settings(found: Mapping[str, Any]) -> str:
    """Settings on one line, as in "hidden 64,64, dropout 0.1"."""
    return ", ".join(f"{name.replace('_', ' ')} {_setting(v)}" for name, v in found.items())


def classes(part: str, evaluation: Evaluation) -> list[Grid]:
    """The confusion matrix, and precision, recall and F1 of each class; none for a regression.

    Args:
        part: of which rows it is, such as "test".
        evaluation: of these rows.
    """
    if not evaluation.classes:
        return []
    of = f"the {part} rows" if part else "all rows"
    scores = list(evaluation.classes.items())
    if evaluation.confusion is None:
        title = f"{of} by class"
        if len(scores) > _MOST_CLASSES:
            title = f"{of}; the {_MOST_CLASSES} of {len(scores):,} classes with the lowest F1"
            scores.sort(key=lambda one: (math.isnan(one[1]["f1"]), one[1]["f1"]))
        rows = [
            (short(name), figure("rows", found["rows"]), *_scores(found))
            for name, found in scores[:_MOST_CLASSES]
        ]
        return [Grid(title, ("", "rows", *_SCORES.values()), tuple(rows))]
    room = max((WIDTH - 8 - 14) // len(scores) - 2, 3)
    names = [short(name, room) for name, _ in scores]
    counts = [tuple(map(_count, row)) for row in evaluation.confusion.tolist()]
    title = f"confusion matrix of {of}; rows: true, columns: predicted"
    first = [short(name, 14) for name, _ in scores]
    both = Grid(
        title,
        ("", *names, *_SCORES.values()),
        tuple((a, *row, *_scores(s)) for a, row, (_, s) in zip(first, counts, scores, strict=True)),
    )
    if both.width <= WIDTH:
        return [both]
    return [
        Grid(title, ("", *names), tuple((a, *row) for a, row in zip(first, counts, strict=True))),
        Grid(
            "",
            ("", *_SCORES.values()),
            tuple((short(name), *_scores(found)) for name, found in scores),
        ),
    ]


def most_important(evaluation: Evaluation, rises: Mapping[str, float]) -> tuple[str, ...]:
    """The columns that matter most, in two lines; none if that is not known.

    Args:
        evaluation: of the rows that were shuffled.
        rises: what `importances` returned.
    """
    key = "log_loss" if evaluation.classes else "rmse"
    found = [
        f"{short(name, 16)} +{figure(key, rise)}"
        for name, rise in list(rises.items())[:_MOST_IMPORTANT]
        if rise > 0
    ]
    if not found:
        return ()
    return f"most important columns ({METRICS[key]} if their values are shuffled):", ", ".join(
        found
    )


def _scores(found: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(figure(key, found[key]) for key in _SCORES)


def _count(value: float) -> str:
    """A number of rows, or a sum of weights."""
    return f"{value:,}" if isinstance(value, int) else f"{np.round(value, 1):,.5g}"


def notes(table: Table) -> tuple[str, ...]:
    """What a reader must know about the training to understand the figures, in lines."""
    facts = table.training or {}
    found = []
    if isinstance(epochs := facts.get("refit_epochs"), int):
        found += [
            f"trained once more on training and validation rows, for {epochs:,} epochs;",
            "the figures for these rows are those of the first model",
        ]
    if table.log_target:
        name = short(table.target)
        found.append(f"the logarithm of {name} is learned; figures are in its own unit")
    return tuple(found)


def html_report(
    parts: Mapping[str, Evaluation], rises: Mapping[str, float], remarks: Sequence[str] = ()
) -> str:
    """The report as HTML, for notebooks.

    Args:
        parts: the evaluations, the one that tells most first.
        rises: what `importances` returned for that one, or nothing.
        remarks: what `notes` returned, or nothing.
    """
    part, judged = next(iter(parts.items()))
    figures = {name: {"rows": one.rows, **one.metrics} for name, one in parts.items()}
    found = [
        html.paragraph(one.title) * bool(one.title) + html.table(one.head, one.rows)
        for one in (metrics(figures), *classes(part, judged))
    ]
    lines = map(html.paragraph, (*most_important(judged, rises), *remarks))
    return "".join((*found, *lines))


def cross_validation(
    mean: Mapping[str, float],
    deviation: Mapping[str, float],
    values: Mapping[str, tuple[float, ...]],
) -> Grid:
    """The metrics of a cross-validation, over its folds."""
    rows = tuple(
        (
            METRICS[key],
            *(figure(key, one) for one in (mean[key], deviation[key], min(found), max(found))),
        )
        for key, found in values.items()
    )
    count = len(next(iter(values.values())))
    title = f"cross-validation of {count} folds, each tested on rows it was not trained on"
    return Grid(title, ("", "mean", "deviation", "lowest", "highest"), rows)
