"""`fastnet xor`: train the tutorial's network and show its predictions."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastnet import datasets
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.cli.backends import AUTOMATIC, how_chosen
from fastnet.cli.terminal import BackendOption, JsonOption, document, note, say
from fastnet.contract import choosing
from fastnet.definition.optimizers import SGD
from fastnet.errors import DefinitionError, FastnetError
from fastnet.model import Model
from fastnet.records import Record
from fastnet.training.history import History
from fastnet.training.progress import Bar

#: With it, a step on the mean squared error of four rows is the tutorial's step.
LEARNING_RATE = 2.0


def command(
    steps: Annotated[int, typer.Option(help="Training steps, each on all four rows.")] = 10_000,
    learning_rate: Annotated[float, typer.Option(help="Learning rate.")] = LEARNING_RATE,
    seed: Annotated[
        str,
        typer.Option(
            help="Initial weights: 'tutorial' for the tutorial's own, or an integer seed."
        ),
    ] = "tutorial",
    backend: BackendOption = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    plot: Annotated[
        Path | None,
        typer.Option(help="File for a chart of loss and predictions: .png, .svg or .pdf."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train the tutorial's network on XOR and show its predictions.

    The exit code is 0 only if all four predictions are on the right side of 0.5.
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
        (note if as_json else say)(f"chart written to {str(plot)!r}")
    right = lesson.predictions()[1]
    if not right.all():
        raise FastnetError(
            f"after {steps:,} steps only {int(right.sum())} of 4 rows are on the right side of "
            "0.5; try more --steps, another --learning-rate or another --seed."
        )


def _show(lesson: "Lesson", steps: int, ends: list[int], backend: str | None) -> None:
    """Train, and print a line of errors after each of the steps `ends`."""
    say(f"backend {lesson.model.backend}, {lesson.model.dtype} ({how_chosen(backend)})")
    say("To choose another: --backend or FASTNET_BACKEND (see `fastnet backends`).")
    say()
    width = max(len(f"{steps:,}"), 6)
    say(f"{'step':>{width}}  {'mean squared error':<22}  mean |y - prediction|")
    for end in [0, *ends]:
        if end:
            lesson.train(end, steps)
        line = lesson.line()
        say(f"{line.step:>{width},}  {line.squared!r:<22}  {line.absolute!r}")
    say()
    predicted, right = lesson.predictions()
    say("  inputs  target  prediction  correct?")
    for x, y, p, ok in zip(lesson.x, lesson.y[:, 0], predicted, right, strict=True):
        inputs = " ".join(f"{value:g}" for value in x)
        say(f"  {inputs:<6}  {y:>6g}  {p:>10.6f}  {'yes' if ok else 'NO'}")
    say()
    say(f"{lesson.seconds_per_step() * 1e6:.3g} µs per step")
    numba = choosing.probe("numba")
    if lesson.model.backend == "numpy" and how_chosen(backend) == AUTOMATIC and not numba.usable:
        say(f"The Numba backend is much faster, but {numba.reason}. {numba.remedy}")


def _plain(lesson: "Lesson", lines: list["Line"]) -> dict[str, Any]:
    """The result, for programs."""
    predicted, right = lesson.predictions()
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


class Line(Record):
    """The mean squared error and the mean |y - prediction| after `step` steps."""

    step: int
    squared: float
    absolute: float


class Lesson:
    """The tutorial's network on its four rows.

    Args:
        seed: "tutorial" for its own initial weights, else an integer as text.
        backend: None: FASTNET_BACKEND, else automatic.
        dtype: "float32" or "float64".
        learning_rate: of plain gradient descent on all rows.

    Raises:
        DefinitionError: for an invalid setting.
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
            raise DefinitionError(f"seed is {seed!r}; it must be 'tutorial' or an integer.")
        self.x, self.y = datasets.xor()
        network = datasets.xor_network(tutorial_start=own)
        # With the tutorial's initial weights the seed has no effect: nothing is shuffled.
        self.model = Model(network, backend=backend, dtype=dtype, seed=0 if own else int(seed))
        self.optimizer = SGD(learning_rate)
        self.history = History()

    def line(self) -> Line:
        """The errors now."""
        difference = np.abs(self.y - self.model.predict(self.x).astype(np.float64))
        squared = self.model.evaluate(self.x, self.y)
        return Line(len(self.history), float(squared), float(np.mean(difference)))

    def train(self, until: int, steps: int) -> None:
        """Continue training, in one fit, until `until` of `steps` steps are done."""
        part = self.model.fit(
            self.x,
            self.y,
            optimizer=self.optimizer,
            epochs=until,
            initial_epoch=len(self.history),
            batch_size=None,
            progress=Bar(transient=True, unit="step", total=steps),
        )
        for name in ("epoch", "loss", "learning_rate", "seconds"):
            getattr(self.history, name).extend(getattr(part, name))

    def predictions(self) -> tuple[Array, Array]:
        """The predictions `(4,)`, and whether each is on the target's side of 0.5."""
        predicted = self.model.predict(self.x)[:, 0].astype(np.float64)
        right = np.where(self.y[:, 0] > 0.5, predicted > 0.5, predicted < 0.5)
        return predicted, right

    def seconds_per_step(self) -> float:
        """The mean time of a training step, without the first, which compiles and warms up."""
        seconds = self.history.seconds
        return float(np.mean(seconds[1:] or seconds))


def stops(steps: int) -> list[int]:
    """The steps after which errors are shown: 1, 10, 100, ... and the last.

    Raises:
        DefinitionError: if `steps` is not an integer above 0.
    """
    checks.integer(steps, "steps")
    powers = [10**power for power in range(len(str(steps))) if 10**power < steps]
    return [*powers, steps]


def draw(lesson: Lesson, path: Path) -> None:
    """Draw the loss, and the prediction for all inputs around the four rows.

    Raises:
        FileAccessError: if the file cannot be written.
        MissingExtra: without matplotlib.
    """
    from fastnet import plots

    chart = plots.figure(9.6, 4.2)
    left, right = chart.subplots(1, 2)
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
    z = lesson.model.predict(grid).reshape(x1.shape)
    # White is 0.5, where the decision changes.
    filled = right.contourf(x1, x2, z, levels=np.linspace(0, 1, 21), cmap="RdBu_r", alpha=0.85)
    if z.min() < 0.5 < z.max():
        right.contour(x1, x2, z, levels=[0.5], colors="black", linewidths=1.2)
    bar = chart.colorbar(filled, ax=right, ticks=[0, 0.25, 0.5, 0.75, 1])
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
    plots.save(chart, path)
