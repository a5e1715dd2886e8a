"""`fastnet xor`: the tutorial's network, trained and shown."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastnet import datasets
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.cli.terminal import (
    AUTOMATIC,
    HOW_TO_CHOOSE,
    BackendOption,
    JsonOption,
    document,
    how_chosen,
    note,
    say,
)
from fastnet.contract import choosing as backends
from fastnet.definition.optimizers import SGD
from fastnet.errors import DefinitionError, FastnetError
from fastnet.model import Model
from fastnet.training.history import History
from fastnet.training.progress import Bar

#: The rule that the tutorial's step comes to, on the mean squared error of four rows.
LEARNING_RATE = 2.0


def command(
    steps: Annotated[int, typer.Option(help="Steps of training, each on all four rows.")] = 10_000,
    learning_rate: Annotated[float, typer.Option(help="Length of a step.")] = 2.0,
    seed: Annotated[
        str, typer.Option(help="Start: 'tutorial' for the tutorial's own, or a whole number.")
    ] = "tutorial",
    backend: BackendOption = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw loss and predictions into this file (.png, .svg or .pdf)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the tutorial's network on XOR and show what it learned.

    Ends with 0 only if all four rows are on the right side of 0.5.
    """
    ends = stops(steps)
    if plot is not None:
        from fastnet import plots

        plots.check(plot, "plot")
    lesson = Lesson(seed, backend, dtype, learning_rate)
    if as_json:
        lines = [lesson.line()]
        for end in ends:
            lesson.train(end, steps)
            lines.append(lesson.line())
        document(_plain(lesson, lines))
    else:
        _show(lesson, steps, ends, backend)
    if plot is not None:
        draw(lesson, plot)
        (note if as_json else say)(f"picture in {str(plot)!r}")
    right = lesson.truth()[1]
    if not right.all():
        raise FastnetError(
            f"after {steps:,} steps only {int(right.sum())} of 4 rows are on the right side of "
            "0.5; try more --steps, another --learning-rate or another --seed."
        )


def _show(lesson: "Lesson", steps: int, ends: list[int], backend: str | None) -> None:
    """Train and tell, a line after each of the steps `ends`."""
    say(f"backend {lesson.model.backend}, {lesson.model.dtype} ({how_chosen(backend)})")
    say(HOW_TO_CHOOSE)
    say()
    width = max(len(f"{steps:,}"), 6)
    say(f"{'step':>{width}}  {'mean squared error':<22}  mean |y - prediction|")
    for end in [0, *ends]:
        if end:
            lesson.train(end, steps)
        line = lesson.line()
        say(f"{line.step:>{width},}  {line.squared!r:<22}  {line.absolute!r}")
    say()
    predicted, right = lesson.truth()
    say("  inputs  target  prediction  right?")
    for x, y, p, ok in zip(lesson.x, lesson.y[:, 0], predicted, right, strict=True):
        inputs = " ".join(f"{value:g}" for value in x)
        say(f"  {inputs:<6}  {y:>6g}  {p:>10.6f}  {'yes' if ok else 'NO'}")
    say()
    say(f"{lesson.seconds_per_step() * 1e6:.3g} µs per step")
    numba = backends.probe("numba")
    if lesson.model.backend == "numpy" and how_chosen(backend) == AUTOMATIC and not numba.usable:
        say(f"The Numba backend is much faster, but {numba.reason}. {numba.remedy}")


def _plain(lesson: "Lesson", lines: list["Line"]) -> dict[str, Any]:
    """What was learned, for programs."""
    predicted, right = lesson.truth()
    rows = zip(lesson.x, lesson.y[:, 0], predicted, right, strict=True)
    return {
        "backend": lesson.model.backend,
        "dtype": lesson.model.dtype,
        "steps": lines[-1].step,
        "losses": [asdict(line) for line in lines],
        "rows": [
            {"inputs": x.tolist(), "target": float(y), "prediction": float(p), "right": bool(ok)}
            for x, y, p, ok in rows
        ],
        "seconds_per_step": lesson.seconds_per_step(),
    }


@dataclass(frozen=True)
class Line:
    """Where the training is after `step` steps: mean squared error, and mean |y - prediction|."""

    step: int
    squared: float
    absolute: float


class Lesson:
    """The tutorial's network on its four rows.

    Args:
        seed: "tutorial" for its own start, else a whole number as text.
        backend: None: what the environment says.
        dtype: "float32" or "float64".
        learning_rate: of plain gradient descent on all rows.

    Raises:
        DefinitionError: for settings that make no sense.
        BackendUnavailable: if the backend is unknown or cannot run here.
    """

    def __init__(
        self,
        seed: str = "tutorial",
        backend: str | None = None,
        dtype: str = "float64",
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        own = seed.strip().lower() == "tutorial"
        if not own and not seed.strip().isdecimal():
            raise DefinitionError(f"seed is {seed!r}; it must be 'tutorial' or a whole number.")
        self.x, self.y = datasets.xor()
        network = datasets.xor_network(tutorial_start=own)
        # The tutorial's start has no use for a seed: the weights are given, nothing is shuffled.
        self.model = Model(network, backend=backend, dtype=dtype, seed=0 if own else int(seed))
        self.rule = SGD(learning_rate)
        self.history = History()

    def line(self) -> Line:
        """The errors now."""
        difference = np.abs(self.y - self.model.predict(self.x).astype(np.float64))
        squared = self.model.evaluate(self.x, self.y)
        return Line(len(self.history), float(squared), float(np.mean(difference)))

    def train(self, until: int, steps: int) -> None:
        """Train on, in one fit, until `until` of `steps` steps are done in all."""
        part = self.model.fit(
            self.x,
            self.y,
            optimizer=self.rule,
            epochs=until,
            initial_epoch=len(self.history),
            batch_size=None,
            progress=Bar(transient=True, unit="step", total=steps),
        )
        for name in ("epoch", "loss", "learning_rate", "seconds"):
            getattr(self.history, name).extend(getattr(part, name))

    def truth(self) -> tuple[Array, Array]:
        """The predictions `(4,)`, and whether each is on its target's side of 0.5."""
        predicted = self.model.predict(self.x)[:, 0].astype(np.float64)
        right = np.where(self.y[:, 0] > 0.5, predicted > 0.5, predicted < 0.5)
        return predicted, right

    def seconds_per_step(self) -> float:
        """Of training alone. The first step, which warms everything up, does not count."""
        seconds = self.history.seconds
        return float(np.mean(seconds[1:] or seconds))


def stops(steps: int) -> list[int]:
    """The steps after which errors are shown: 1, 10, 100, ... and the last.

    Raises:
        DefinitionError: if `steps` is not a whole number above 0.
    """
    checks.integer(steps, "steps")
    powers = [10**power for power in range(len(str(steps))) if 10**power < steps]
    return [*powers, steps]


def draw(lesson: Lesson, path: Path) -> None:
    """Draw how the loss fell, and what the network says between the four rows.

    Raises:
        FileAccessError: if the file cannot be written.
        MissingExtra: without matplotlib.
    """
    from fastnet import plots

    picture = plots.figure(9.6, 4.2)
    left, right = picture.subplots(1, 2)
    # A step's loss is that before its update: the first is that of step 0.
    steps = [epoch - 1 for epoch in lesson.history.epoch]
    plots.losses(steps, {"training": lesson.history.loss}, left)
    if len(lesson.history) >= 100:
        left.set_xscale("symlog", linthresh=1)
        left.set_xlim(left=0)
    left.set_xlabel("step")
    left.set_ylabel("mean squared error")
    left.set_title("Loss", fontsize=11)

    side = np.linspace(-0.4, 1.4, 181)
    x1, x2 = np.meshgrid(side, side)
    grid = np.stack([x1.ravel(), x2.ravel(), np.ones(x1.size)], axis=1)
    says = lesson.model.predict(grid).reshape(x1.shape)
    # White is exactly 0.5, where the decision turns.
    filled = right.contourf(x1, x2, says, levels=np.linspace(0, 1, 21), cmap="RdBu_r", alpha=0.85)
    if says.min() < 0.5 < says.max():
        right.contour(x1, x2, says, levels=[0.5], colors="black", linewidths=1.2)
    bar = picture.colorbar(filled, ax=right, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.set_label("prediction")
    for row, target in zip(lesson.x, lesson.y[:, 0], strict=True):
        right.plot(row[0], row[1], "o", markersize=17, color="white", markeredgecolor="black")
        right.annotate(f"{target:g}", row[:2], ha="center", va="center", fontsize=11)
    right.set_xticks([0, 1])
    right.set_yticks([0, 1])
    right.set_xlabel("first input")
    right.set_ylabel("second input")
    right.set_title("Prediction; the circles hold the targets", fontsize=11)
    right.set_aspect("equal")
    plots.save(picture, path)
