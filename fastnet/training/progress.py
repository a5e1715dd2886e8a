"""The progress bar of a fit, on standard error: epochs done, time left, losses."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

from fastnet.training.history import History

#: Seconds between two updates of the bar on the screen; a run of steps takes about 0.05 s.
REFRESH_SECONDS = 0.1

#: Seconds between two measurements at least, and the share of the time that they may take.
MEASURE_SECONDS = 0.5
MEASURE_SHARE = 0.05


#: Columns for a bar that can be read, the time left, and the spaces between.
_BAR_WIDTH = 24


class Progress(Protocol):
    """Shows how far a fit is."""

    def update(self, done: float, epochs: int, history: History) -> None:
        """Show that `done` epochs of `epochs` are done, with fractions."""
        ...


class Bar:
    """A progress bar, drawn only if standard error is a terminal.

    It has no thread of its own: it is drawn when the fit updates it, so it takes no time from the
    training in between.

    Args:
        measure: returns a text to show beside the losses; called rarely enough not to slow the
            training.
        transient: remove the bar at the end.
        unit: the name of an epoch, such as "step" if an epoch has one step.
        total: the number of epochs at 100%; None: those of the fit.
        label: what is trained, in front of the epochs.
        console: where to draw (a `rich.console.Console`); None: standard error.
    """

    def __init__(
        self,
        measure: Callable[[], str] | None = None,
        *,
        transient: bool = False,
        unit: str = "epoch",
        total: int | None = None,
        label: str = "",
        console: Any = None,
    ) -> None:
        from rich.console import Console

        self.measure = measure
        self.transient = transient
        self.unit, self.total, self.label = unit, total, label
        self.console = console if console is not None else Console(stderr=True)
        self._progress: Any = None
        self._task: Any = None
        self._last: tuple[float, int, History] | None = None  # of the last update, drawn or not
        self._measured = ""
        self._began = self._took = self._next_refresh = self._next_measure = 0.0

    def replace(self, **changes: Any) -> "Bar":
        """The same bar with other values of these arguments."""
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def __enter__(self) -> "Bar":
        self._task, self._last, self._measured = None, None, ""
        self._took = self._next_refresh = self._next_measure = 0.0
        self._began = time.monotonic()
        # A dumb terminal cannot move its cursor, so it would get a new line for every update.
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich import progress
            from rich.table import Column

            def text(field: str) -> Any:
                shown = f"{{task.fields[{field}]}}"
                return progress.TextColumn(shown, markup=False, table_column=Column(no_wrap=True))

            self._progress = progress.Progress(
                text("epoch"),
                progress.BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=5)),
                progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                text("facts"),
                console=self.console,
                transient=self.transient,
                auto_refresh=False,
                expand=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            if self._last is not None:
                # Of a `total` other fits may have their part.
                self._draw(*self._last, ended=kind is None and self.total is None)
            self._progress.stop()
            self._progress = None

    def update(self, done: float, epochs: int, history: History) -> None:
        """Show that `done` epochs (with fractions) of `epochs` are done, and the last losses."""
        now = time.monotonic()
        if self._progress is None:
            return
        self._last = done, epochs, history
        if now < self._next_refresh and done < epochs:
            return
        self._next_refresh = now + REFRESH_SECONDS
        if len(history) and now >= self._next_measure:
            self._measure(now)
            self._next_measure = now + max(MEASURE_SECONDS, self._took / MEASURE_SHARE)
        self._draw(done, epochs, history)

    def _measure(self, now: float) -> None:
        if self.measure is not None:
            self._measured = self.measure()
            self._took = time.monotonic() - now

    def _draw(self, done: float, epochs: int, history: History, ended: bool = False) -> None:
        """Draw the bar; one of a fit that has ended is full, and shows how long it took."""
        now, epochs = time.monotonic(), self.total or epochs
        if ended and self._measured and self._took <= MEASURE_SHARE * (now - self._began):
            self._measure(now)
        label = f"{self.label}: " if self.label else ""
        count = f"{label}{self.unit} {int(done):,}/{epochs:,}"
        facts = [text for text in (losses(history), self._measured) if text]
        # The bar and the time left come first: facts that do not fit are left out, last first.
        room = self.console.width - len(count) - _BAR_WIDTH
        while facts and len(", ".join(facts)) > room:
            facts.pop()
        fields = {"epoch": count, "facts": "left " * (not ended) + ", ".join(facts)}
        total = done if ended else epochs
        if self._task is None:
            # The clock starts here: the epochs before may be those of a fit that is resumed.
            self._task = self._progress.add_task("", total=total, completed=done, **fields)
        else:
            self._progress.update(self._task, total=total, completed=done, **fields)
        self._progress.refresh()


def numbered(bar: Bar | None, names: Sequence[str]) -> Iterator[Bar | None]:
    """The bars of fits, one after the other: where there are several, with name and number."""
    for number, name in enumerate(names, 1):
        if bar is None or len(names) == 1:
            yield bar
        else:
            yield bar.replace(label=f"[{number}/{len(names)}] {name}")


def losses(history: History) -> str:
    """Format the last losses: "loss 0.123/0.456", training and validation."""
    if not history.loss:
        return ""
    last = f"loss {history.loss[-1]:#.3g}"
    return last + (f"/{history.validation_loss[-1]:#.3g}" if history.validation_loss else "")
