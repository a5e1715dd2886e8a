"""Charts of a training on a table: the losses, and how good the predictions are.

They are made to be read at a width of 600 pixels.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import plots
from fastnet.definition.layers import Dropout
from fastnet.many.ensemble import Ensemble
from fastnet.tables.evaluating import Evaluation
from fastnet.tables.reporting import METRICS, figure, short
from fastnet.tables.schema import Table

if TYPE_CHECKING:
    from fastnet.tables.trained import Trained

#: Inches; 6 are 600 pixels at matplotlib's usual 100 dots an inch.
_WIDTH, _HEIGHT, _HEIGHT_OF_ONE = 6.0, 7.2, 4.2

#: The most rows of a scatter; more are a blot.
_POINTS = 2_000


def draw(trained: "Trained") -> Any:
    """Draw the losses over the epochs, and below them the predictions of the rows that tell most.

    Returns:
        The matplotlib figure.

    Raises:
        MissingExtra: without matplotlib.
    """
    chart = plots.figure(_WIDTH, _HEIGHT)
    above, below = chart.subplots(2, 1, height_ratios=(3, 4))
    _losses(trained, above)
    part, evaluation = next(iter(trained.evaluations.items()))
    _predictions(trained.table, evaluation, f"{part} rows", below)
    return chart


def draw_evaluation(table: Table, evaluation: Evaluation) -> Any:
    """Draw the calibration, or the predictions against what is true.

    Returns:
        The matplotlib figure.

    Raises:
        MissingExtra: without matplotlib.
    """
    chart = plots.figure(_WIDTH, _HEIGHT_OF_ONE)
    _predictions(table, evaluation, f"{evaluation.rows:,} rows", chart.subplots())
    return chart


def calibration(table: Table, evaluation: Evaluation, axes: Any) -> None:
    """Draw how often predictions of some probability are right.

    Of two classes it is the probability of the second one, of more that of the predicted class.
    Rows are grouped by it; bars are one standard error of the fraction.
    """
    p, true = evaluation.predicted, evaluation.targets
    if len(table.classes) == 2:
        chance, right = p[:, 1], true == 1
        what = f"of {short(table.target)} = {short(table.classes[1])}"
    else:
        best = np.argmax(p, axis=1)
        chance, right = p[np.arange(len(p)), best], true == best
        what = "of the predicted class"
    plots.probabilities(chance, right, axes, evaluation.weight)
    axes.set_xlabel(f"predicted probability {what}")
    axes.set_ylabel("fraction of the rows" if len(table.classes) == 2 else "fraction right")


def against_true(table: Table, evaluation: Evaluation, axes: Any) -> None:
    """Draw the predicted numbers over the true ones, on the scale on which they are learned."""
    rows = slice(None, None, -(-len(evaluation.targets) // _POINTS))
    true, predicted = evaluation.targets[rows], evaluation.predicted[rows]
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color="gray", linewidth=1, linestyle=":", label="exact")
    axes.scatter(true, predicted, s=12, alpha=0.5, color=plots.COLORS[0], linewidths=0)
    if table.log_target and ends[0] > 0:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel(f"true {short(table.target)}")
    axes.set_ylabel(f"predicted {short(table.target)}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")


def _predictions(table: Table, evaluation: Evaluation, of: str, axes: Any) -> None:
    if table.classes:
        calibration(table, evaluation, axes)
    else:
        against_true(table, evaluation, axes)
    axes.set_title(f"{of}: {_score(evaluation)}", fontsize=11)


def _losses(trained: "Trained", axes: Any) -> None:
    trained.history.plot(axes)
    if any(isinstance(layer, Dropout) for layer in trained.model.network.layers):
        axes.lines[0].set_label("training, with dropout")
    if trained.validation is not None:
        label = "best epoch"
        if isinstance(trained.model, Ensemble):
            label += ", mean of members"
        axes.axvline(trained.best_epoch, color="gray", linestyle=":", label=label)
        axes.legend(frameon=False)


def _score(evaluation: Evaluation) -> str:
    """The accuracy as a percentage, or R² as a number."""
    key = "accuracy" if evaluation.classes else "r2"
    return f"{METRICS[key]} {figure(key, evaluation.score)}"
