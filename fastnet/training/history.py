"""The history of a fit: losses, learning rates and times, epoch by epoch."""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastnet import html
from fastnet.arrays.checks import Array

#: The names of the lists.
COLUMNS = ("epoch", "loss", "validation_loss", "learning_rate", "seconds")

#: Epochs that a notebook shows.
_MOST_ROWS = 10


class History:
    """Lists with one entry per epoch.

    Attributes:
        epoch: the epoch's number, counted from 1 over the whole training.
        loss: the mean loss of the epoch's batches during training, weighted by their rows or by
            the rows' weights, without penalties: what `validation_loss` is, but with dropout, and
            of parameters that change from batch to batch.
        validation_loss: the loss on the validation rows after the epoch; empty without validation.
        metrics: those of `Model.fit(metrics=...)` on the validation rows after the epoch, each a
            list, by name; NaN for epochs in which they were not asked for or failed.
        learning_rate: of the epoch's last step (NaN for L-BFGS, which has none).
        seconds: how long the epoch took, validation included, callbacks excluded.
    """

    def __init__(
        self,
        epoch: Iterable[int] = (),
        loss: Iterable[float] = (),
        validation_loss: Iterable[float] = (),
        learning_rate: Iterable[float] = (),
        seconds: Iterable[float] = (),
        metrics: Mapping[str, Iterable[float]] | None = None,
    ) -> None:
        self.metrics = {name: list(column) for name, column in (metrics or {}).items()}
        given = (epoch, loss, validation_loss, learning_rate, seconds)
        self._lists: dict[str, list[Any]] = dict(zip(COLUMNS, map(list, given), strict=True))
        # Epochs that are not in the lists yet: an epoch of a tiny network takes less time than
        # making Python's numbers of its losses does, so these are made when a list is read.
        self._waiting: list[tuple[int, Array, float | Array, float]] = []
        self._lock = threading.Lock()

    def extend(
        self, first: int, losses: Array, learning_rate: float | Array, seconds: float
    ) -> None:
        """Add epochs, numbered from `first`.

        Args:
            first: the number of the first one.
            losses: of each epoch, `(epochs,)`.
            learning_rate: of each epoch's last step: a number, or `(epochs,)`.
            seconds: per epoch.
        """
        with self._lock:
            self._waiting.append((first, losses, learning_rate, seconds))

    def add_metrics(self, values: Mapping[str, float]) -> None:
        """Add the last epoch's metrics."""
        for name in {**self.metrics, **values}:
            column = self.metrics.setdefault(name, [])
            column += [math.nan] * (len(self) - 1 - len(column))
            column.append(values.get(name, math.nan))

    def _list(self, name: str) -> list[Any]:
        if self._waiting:
            with self._lock:
                lists = self._lists
                for first, losses, rate, seconds in self._waiting:
                    rates = [rate] * len(losses) if isinstance(rate, float) else rate.tolist()
                    lists["epoch"] += range(first, first + len(losses))
                    lists["loss"] += losses.tolist()
                    lists["learning_rate"] += rates
                    lists["seconds"] += [seconds] * len(losses)
                self._waiting = []
        return self._lists[name]

    @property
    def epoch(self) -> list[int]:
        """Each epoch's number, from 1."""
        return self._list("epoch")

    @property
    def loss(self) -> list[float]:
        """Each epoch's mean loss."""
        return self._list("loss")

    @property
    def validation_loss(self) -> list[float]:
        """The loss on the validation rows after each epoch, or empty."""
        return self._list("validation_loss")

    @property
    def learning_rate(self) -> list[float]:
        """The learning rate of each epoch's last step."""
        return self._list("learning_rate")

    @property
    def seconds(self) -> list[float]:
        """How long each epoch took."""
        return self._list("seconds")

    @classmethod
    def mean(cls, histories: Sequence["History"]) -> "History":
        """The mean of several fits, epoch by epoch.

        A fit that has ended counts with the values of its last epoch, so that the mean does not
        jump there, and takes no more seconds.
        """
        longest = max(histories, key=len)

        def means(columns: list[list[float]], after: float | None = None) -> list[float]:
            begun = [column for column in columns if column]
            epochs = max(map(len, begun), default=0)
            filled = [
                column + [column[-1] if after is None else after] * (epochs - len(column))
                for column in begun
            ]
            return [sum(values) / len(begun) for values in zip(*filled, strict=True)]

        lists = {
            name: means([one._list(name) for one in histories], 0.0 if name == "seconds" else None)
            for name in COLUMNS[1:]
        }
        metrics = {
            name: means([one.metrics.get(name, []) for one in histories])
            for name in longest.metrics
        }
        return cls(longest.epoch, **lists, metrics=metrics)

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: copies of the lists."""
        lists = {name: list(self._list(name)) for name in COLUMNS}
        return {**lists, "metrics": self.metrics}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        """Whether all lists are equal; NaN is equal to itself, as in a copy."""
        if not isinstance(other, History):
            return NotImplemented
        mine, others = self.to_dict(), other.to_dict()
        return mine.keys() == others.keys() and all(
            np.array_equal(column, others[name], equal_nan=True) for name, column in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """The epochs done."""
        return len(self.epoch)

    def __repr__(self) -> str:
        """Short: `History(100 epochs, loss 0.9 -> 0.01)`."""
        if not self.epoch:
            return "History(0 epochs)"
        text = f"History({len(self)} epochs, loss {self.loss[0]:.4g} -> {self.loss[-1]:.4g}"
        if self.validation_loss:
            first, last = self.validation_loss[0], self.validation_loss[-1]
            text += f", validation loss {first:.4g} -> {last:.4g}"
        return text + ")"

    def _repr_html_(self) -> str:
        """The first and the last epochs."""
        columns = self.to_dict()
        count = len(self)
        shown = [*range(min(count, _MOST_ROWS // 2)), *range(count)[-_MOST_ROWS // 2 :]]
        rows = [[_short(name, columns[name][i]) for name in columns] for i in dict.fromkeys(shown)]
        return html.table(list(columns), rows)

    def __bool__(self) -> bool:
        """True, also before the first epoch."""
        return True

    def to_dict(self) -> dict[str, list[float]]:
        """Return the lists by name, for `polars.DataFrame(...)` or `json.dumps(...)`.

        A metric has the name `validation_...`. Without validation there is no `validation_loss`.
        """
        named = {name: list(self._list(name)) for name in COLUMNS}
        if not self.validation_loss:
            del named["validation_loss"]
        return {**named, **{f"validation_{name}": list(m) for name, m in self.metrics.items()}}

    def plot(self, axes: Any = None) -> Any:
        """Draw the losses over the epochs.

        Training losses are means over an epoch while it ran, validation losses are measured at its
        end: the training curve is half an epoch earlier, so that they compare.

        Args:
            axes: the matplotlib axes to draw into; None makes a figure.

        Returns:
            The axes.

        Raises:
            MissingExtra: without matplotlib.
        """
        from fastnet import plots

        if not self.validation_loss:
            return plots.losses(self.epoch, {"training": self.loss}, axes)
        curves = {"training": self.loss, "validation": self.validation_loss}
        return plots.losses(self.epoch, curves, axes, during=("training",))


def _short(name: str, value: float) -> str:
    return str(value) if name == "epoch" else f"{value:.4g}"
