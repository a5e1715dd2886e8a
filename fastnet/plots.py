"""Pictures, drawn with matplotlib without a display or any state of its own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import files
from fastnet.errors import DefinitionError, FileAccessError
from fastnet.extras import need

#: The kinds of file that pictures are written as.
ENDINGS = (".png", ".svg", ".pdf")

#: A loss that falls by more than this factor is drawn on a logarithmic scale.
_LOG_FROM = 20.0

#: Points of a curve that is drawn; more would not be seen.
_POINTS = 2_000

#: Blue and orange, told apart with any color vision (Okabe and Ito 2008).
_COLOURS = ("#0072B2", "#D55E00")


def figure(width: float = 6.4, height: float = 4.2) -> Any:
    """A new matplotlib figure, `width` by `height` inches.

    Raises:
        MissingExtra: without matplotlib.
    """
    made = need("matplotlib.figure", "plot", "drawing").Figure(
        figsize=(width, height), layout="constrained", dpi=150
    )
    need("matplotlib.backends.backend_agg", "plot", "drawing").FigureCanvasAgg(made)
    return made


def losses(epochs: Sequence[int], curves: Mapping[str, Sequence[float]], axes: Any = None) -> Any:
    """Draw losses over the epochs, on a logarithmic scale where they fall far.

    Args:
        epochs: the numbers of the epochs.
        curves: the losses by name, at most two; a shorter one ends earlier.
        axes: the matplotlib axes to draw into; None makes a figure (`axes.figure`).

    Returns:
        The axes.

    Raises:
        MissingExtra: without matplotlib.
    """
    if axes is None:
        axes = figure().add_subplot()
    for (name, values), color in zip(curves.items(), _COLOURS, strict=False):
        shown = _thinned(len(values))
        axes.plot(
            np.array(epochs[: len(values)])[shown],
            np.array(values)[shown],
            color=color,
            label=name,
            linewidth=1.6,
            marker="o" if len(values) == 1 else None,
        )
    every = np.concatenate([np.asarray(values) for values in curves.values()])
    positive = every[np.isfinite(every) & (every > 0)]
    if len(positive) == len(every) > 0 and positive.max() > _LOG_FROM * positive.min():
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(frameon=False)
    return axes


def check(path: str | os.PathLike[str], what: str) -> None:
    """Make sure, before any work, that a picture can be drawn and written.

    Raises:
        MissingExtra: without matplotlib.
        DefinitionError: if the ending is not known.
        FileAccessError: if the folder is missing or closed.
    """
    figure()
    if Path(path).suffix.lower() not in ENDINGS:
        raise DefinitionError(
            f"{what} is {str(path)!r}; its name must end in {', '.join(ENDINGS)}."
        )
    files.check_writable(path, what)


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
