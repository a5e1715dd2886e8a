"""Charts, drawn with matplotlib without a display and without its global state."""

import io
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.arrays.checks import Array
from fastnet.errors import DefinitionError
from fastnet.extras import need

#: The file formats of charts.
EXTENSIONS = (".png", ".svg", ".pdf")

#: Losses that span more than this factor are drawn on a logarithmic scale.
_LOG_FACTOR = 20.0

#: Groups of rows with similar probabilities: the most, and of how many rows each at least.
_GROUPS, _ROWS_OF_GROUP = 10, 15

#: The most points of a curve that are drawn; more cannot be distinguished.
_POINTS = 2_000

#: Blue and orange, distinct with any color vision (Okabe and Ito 2008).
COLORS = ("#0072B2", "#D55E00")


def figure(width: float = 6.4, height: float = 4.2) -> Any:
    """A new matplotlib figure, `width` by `height` inches.

    Raises:
        MissingExtra: without matplotlib.
    """
    new = need("matplotlib.figure", "plot", "drawing").Figure(
        figsize=(width, height), layout="constrained", dpi=150
    )
    need("matplotlib.backends.backend_agg", "plot", "drawing").FigureCanvasAgg(new)
    return new


def losses(
    epochs: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    axes: Any = None,
    *,
    during: Collection[str] = (),
) -> Any:
    """Draw losses over epochs, on a logarithmic scale if they fall by a large factor.

    Args:
        epochs: the epoch numbers.
        curves: the losses by name, at most two; a shorter curve ends earlier.
        axes: the matplotlib axes to draw on; None makes a new figure (`axes.figure`).
        during: the curves that are means over an epoch while it ran. They are drawn half an epoch
            earlier, where they compare with what is measured at its end.

    Returns:
        The axes.

    Raises:
        MissingExtra: without matplotlib.
    """
    if axes is None:
        axes = figure().add_subplot()
    for (name, values), color in zip(curves.items(), COLORS, strict=False):
        shown = _thinned(len(values))
        axes.plot(
            np.array(epochs[: len(values)])[shown] - 0.5 * (name in during),
            np.array(values)[shown],
            color=color,
            label=name,
            linewidth=1.6,
            marker="o" if len(values) == 1 else None,
        )
    drawn = np.concatenate([np.asarray(values) for values in curves.values()])
    positive = drawn[np.isfinite(drawn) & (drawn > 0)]
    if len(positive) == len(drawn) > 0 and positive.max() > _LOG_FACTOR * positive.min():
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(frameon=False)
    return axes


def probabilities(
    probability: Array, correct: Array, axes: Any, weight: Array | None = None
) -> None:
    """Draw a reliability diagram: how often predictions of some probability are right.

    Rows are grouped by their probability; bars are one standard error of the fraction.

    Args:
        probability: the predicted probability of each row, `(rows,)`.
        correct: whether the row is as predicted, `(rows,)`.
        axes: the matplotlib axes.
        weight: of each row, `(rows,)`, or None.
    """
    weight = np.ones(len(probability)) if weight is None else weight
    order = np.argsort(probability, kind="stable")
    count = min(_GROUPS, max(len(order) // _ROWS_OF_GROUP, 2), len(order))
    groups = [g for g in np.array_split(order, count) if weight[g].any()]
    predicted, found, error = np.array(
        [_group(probability[g].astype(np.float64), correct[g], weight[g]) for g in groups]
    ).T
    _diagonal(axes)
    axes.errorbar(predicted, found, error, color=COLORS[0], marker="o", linewidth=1.6, elinewidth=1)


def coverages(levels: Array, found: Array, axes: Any) -> None:
    """Draw which fraction of the rows lies in intervals of each probability, `(levels,)` each."""
    _diagonal(axes)
    axes.plot(levels, found, color=COLORS[0], marker="o", linewidth=1.6)


def _diagonal(axes: Any) -> None:
    """The diagonal, where predicted is measured probability, on equal axes from 0 to 1."""
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle=":", label="calibrated")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")


def _group(probability: Array, correct: Array, weight: Array) -> tuple[float, float, float]:
    """The mean probability of some rows, the fraction that is correct, and its standard error."""
    fraction = float(np.average(correct, weights=weight))
    rows = float(weight.sum() ** 2 / np.square(weight).sum())  # as many as count alike (Kish)
    return (
        float(np.average(probability, weights=weight)),
        fraction,
        float(np.sqrt(fraction * (1 - fraction) / rows)),
    )


def check(path: str | os.PathLike[str], option: str) -> None:
    """Make sure, before a long computation, that a chart can be drawn and written.

    Raises:
        MissingExtra: without matplotlib.
        DefinitionError: for an unknown extension.
        FileAccessError: if the folder is missing or not writable.
    """
    figure()
    if Path(path).suffix.lower() not in EXTENSIONS:
        raise DefinitionError(
            f"{option} is {str(path)!r}; its name must end in {', '.join(EXTENSIONS)}."
        )
    files.check_writable(path, option)


def save(chart: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file, whole or not at all.

    Raises:
        FileAccessError: if it cannot be written.
    """
    path, drawn = Path(path), io.BytesIO()
    chart.savefig(drawn, format=path.suffix.removeprefix(".").lower() or None)
    files.store(path, drawn.getvalue())


def _thinned(count: int) -> Any:
    """Indices of the points of a long curve to draw: evenly spaced, denser at the beginning."""
    if count <= _POINTS:
        return np.arange(count)
    even = np.linspace(0, count - 1, _POINTS // 2)
    early = np.geomspace(1, count, _POINTS // 2) - 1
    return np.unique(np.concatenate((even, early)).astype(np.intp))
