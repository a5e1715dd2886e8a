"""Pictures, drawn with matplotlib without a display or any state of its own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import datasets
from fastnet.errors import FileAccessError
from fastnet.extras import need

if TYPE_CHECKING:
    from fastnet.history import History
    from fastnet.model import Model

#: The kinds of file that pictures are written as.
ENDINGS = (".png", ".svg", ".pdf")

#: A loss that falls by more than this factor is drawn on a logarithmic scale.
_LOG_FROM = 20.0

#: Points of a curve that is drawn; more would not be seen.
_POINTS = 2_000

#: Blue and orange, told apart with any colour vision (Okabe and Ito 2008).
_TRAINING, _VALIDATION = "#0072B2", "#D55E00"


def figure(width: float = 6.4, height: float = 4.2) -> Any:
    """A new matplotlib figure, `width` by `height` inches.

    Raises:
        MissingExtra: without matplotlib (`pip install "fastnet[plot]"`).
    """
    made = need("matplotlib.figure", "plot", "drawing").Figure(
        figsize=(width, height), layout="constrained", dpi=150
    )
    need("matplotlib.backends.backend_agg", "plot", "drawing").FigureCanvasAgg(made)
    return made


def losses(history: "History", axes: Any = None) -> Any:
    """Draw the losses over the epochs, on a logarithmic scale where they fall far.

    Args:
        history: of a fit.
        axes: the matplotlib axes to draw into; None makes a figure (`axes.figure`).

    Returns:
        The axes.

    Raises:
        MissingExtra: without matplotlib (`pip install "fastnet[plot]"`).
    """
    if axes is None:
        axes = figure().add_subplot()
    curves = [("training", history.loss, _TRAINING)]
    if history.validation_loss:
        curves.append(("validation", history.validation_loss, _VALIDATION))
    for name, values, colour in curves:
        epochs = np.array(history.epoch[: len(values)])
        shown = _thinned(len(values))
        axes.plot(
            epochs[shown],
            np.array(values)[shown],
            color=colour,
            label=name,
            linewidth=1.6,
            marker="o" if len(values) == 1 else None,
        )
    every = np.array([value for _, values, _ in curves for value in values])
    positive = every[np.isfinite(every) & (every > 0)]
    if len(positive) == len(every) > 0 and positive.max() > _LOG_FROM * positive.min():
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(frameon=False)
    return axes


def xor(history: "History", model: "Model", path: str | os.PathLike[str]) -> None:
    """Draw how the loss fell, and what the network says between the four rows.

    Args:
        history: of the training, one step an epoch.
        model: of three inputs, the third of which is always 1.
        path: the picture's file.

    Raises:
        FileAccessError: if it cannot be written.
        MissingExtra: without matplotlib.
    """
    picture = figure(9.6, 4.2)
    left, right = picture.subplots(1, 2)
    losses(history, left)
    if len(history) >= 100:
        left.set_xscale("log")
    left.set_xlabel("step")
    left.set_ylabel("mean squared error")
    left.set_title("Loss", fontsize=11)

    side = np.linspace(-0.4, 1.4, 181)
    x1, x2 = np.meshgrid(side, side)
    grid = np.stack([x1.ravel(), x2.ravel(), np.ones(x1.size)], axis=1)
    says = model.predict(grid).reshape(x1.shape)
    # White is exactly 0.5, where the decision turns.
    filled = right.contourf(x1, x2, says, levels=np.linspace(0, 1, 21), cmap="RdBu_r", alpha=0.85)
    if says.min() < 0.5 < says.max():
        right.contour(x1, x2, says, levels=[0.5], colors="black", linewidths=1.2)
    bar = picture.colorbar(filled, ax=right, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.set_label("prediction")
    x, y = datasets.xor()
    for row, target in zip(x, y[:, 0], strict=True):
        right.plot(row[0], row[1], "o", markersize=17, color="white", markeredgecolor="black")
        right.annotate(f"{target:g}", row[:2], ha="center", va="center", fontsize=11)
    right.set_xticks([0, 1])
    right.set_yticks([0, 1])
    right.set_xlabel("first input")
    right.set_ylabel("second input")
    right.set_title("Prediction; the circles hold the targets", fontsize=11)
    right.set_aspect("equal")
    save(picture, path)


def save(picture: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file.

    Raises:
        FileAccessError: if it cannot be written.
    """
    try:
        picture.savefig(Path(path))
    except OSError as error:
        reason = error.strerror or error
        raise FileAccessError(error.errno, f"cannot write {str(path)!r}: {reason}") from error


def _thinned(count: int) -> Any:
    """The places of a long curve's points that are drawn: evenly, and finer at the beginning."""
    if count <= _POINTS:
        return np.arange(count)
    even = np.linspace(0, count - 1, _POINTS // 2)
    early = np.geomspace(1, count, _POINTS // 2) - 1
    return np.unique(np.concatenate((even, early)).astype(np.intp))
