"""`fastnet xor`: the tutorial's network, trained and shown."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastnet import checks, datasets
from fastnet.checks import Array
from fastnet.errors import DefinitionError
from fastnet.history import History
from fastnet.model import Model
from fastnet.optimizers import SGD
from fastnet.progress import Bar

#: The rule that the tutorial's step comes to, on the mean squared error of four rows.
LEARNING_RATE = 2.0


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

    def train(self, until: int) -> None:
        """Train on, in one fit, until `until` steps are done in all."""
        part = self.model.fit(
            self.x,
            self.y,
            optimizer=self.rule,
            epochs=until,
            initial_epoch=len(self.history),
            batch_size=None,
            progress=Bar(transient=True),
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
    checks.whole(steps, "steps")
    powers = [10**power for power in range(len(str(steps))) if 10**power < steps]
    return [*powers, steps]


def check_picture(path: Path) -> None:
    """Make sure, before the training, that a picture can be drawn and written.

    Raises:
        MissingExtra: without matplotlib.
        DefinitionError: if the folder is missing or the ending is not known.
    """
    from fastnet import plots

    plots.figure()
    if path.suffix.lower() not in plots.ENDINGS:
        raise DefinitionError(
            f"plot is {str(path)!r}; its name must end in {', '.join(plots.ENDINGS)}."
        )
    if not path.absolute().parent.is_dir():
        raise DefinitionError(f"plot is {str(path)!r}, but there is no folder of that name.")
