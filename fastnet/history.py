"""What happened in a fit, epoch by epoch."""

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(repr=False)
class History:
    """One entry an epoch in each list.

    Attributes:
        epoch: its number, counted from 1 over the whole training.
        loss: the mean of its batches' losses while they were trained, by their numbers of rows,
            penalties included.
        validation_loss: the loss on the validation rows after it; empty without validation.
        learning_rate: that of its last step (L-BFGS has none: NaN).
        seconds: how long it took, validation included.
    """

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

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

    def __bool__(self) -> bool:
        """A history is there, even before its first epoch."""
        return True

    def to_dict(self) -> dict[str, list[float]]:
        """A dict of lists of one length, as `polars.DataFrame(...)` or `json.dumps(...)` take it.

        Without validation it has no `validation_loss`.
        """
        named = {f.name: list(getattr(self, f.name)) for f in fields(self)}
        if not self.validation_loss:
            del named["validation_loss"]
        return named

    def plot(self, axes: Any = None) -> Any:
        """Draw the losses over the epochs.

        Args:
            axes: the matplotlib axes to draw into; None makes a figure.

        Returns:
            The axes.

        Raises:
            MissingExtra: without matplotlib (`pip install "fastnet[plot]"`).
        """
        from fastnet import plots

        curves = {"training": self.loss}
        if self.validation_loss:
            curves["validation"] = self.validation_loss
        return plots.losses(self.epoch, curves, axes)
