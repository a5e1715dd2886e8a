"""What a training came to: shown, drawn, and for programs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastnet.cli import report
from fastnet.cli.terminal import say


def draw(done: Any, path: Path) -> None:
    """Draw the losses, and where the best epoch was."""
    from fastnet import plots

    axes = done.history.plot()
    title = f"{done.metric} {done.training.metric:.4g}"
    if done.validation is not None:
        title += f", held out {done.validation.metric:.4g}"
        axes.axvline(done.best_epoch, color="grey", linestyle=":", label="best epoch")
        axes.legend(frameon=False)
    axes.set_title(title, fontsize=11)
    plots.save(axes.figure, path)


def show(done: Any) -> None:
    """The result of a training: what became of the columns, and how good the model is."""
    report.columns([(c.name, c.kind, len(c.inputs), c.missing, c.remark) for c in done.columns])
    say()
    if done.without_target:
        say(f"{report.count(done.without_target, 'row')} without a target left out")
    parts = {"training": done.training, "validation": done.validation}
    report.figures(
        {name: {"rows": p.rows, **p.metrics} for name, p in parts.items() if p is not None}
    )
    if done.validation is not None and done.validation.confusion is not None:
        say()
        report.confusion(done.validation.confusion.tolist(), done.table.classes)
    say()
    history = done.history
    classes = f", {len(done.table.classes)} classes" if done.table.classes else ""
    best = f", the best was {done.best_epoch}" if history.validation_loss else ""
    say(
        f"{report.count(len(done.table.columns), 'column')}{classes}; {len(history)} epochs{best}; "
        f"{sum(history.seconds):.2f} s"
    )


def plain(done: Any, output: Path) -> dict[str, Any]:
    """The result of a training for programs; what `--json` prints.

    Keys are only added, never renamed. `confusion` has a row for each class, in the order of
    `classes`, and a column for each prediction; a metric that is undefined is null.
    """
    parts = {
        name: None if part is None else {"rows": part.rows, "loss": part.loss, **part.metrics}
        for name, part in (("training", done.training), ("validation", done.validation))
    }
    counts = done.validation.confusion if done.validation is not None else None
    return {
        "model": str(output),
        "task": done.table.task,
        "target": done.table.target,
        "classes": list(done.table.classes),
        "without_target": done.without_target,
        "columns": [asdict(column) for column in done.columns],
        **parts,
        "confusion": None if counts is None else counts.tolist(),
        "parameters": done.model.parameters.flat.size,
        "network": done.model.network.spec(),
        "backend": done.model.backend,
        "dtype": done.model.dtype,
        "seed": done.model.seed,
        "epochs": len(done.history),
        "best_epoch": done.best_epoch,
        "seconds": sum(done.history.seconds),
        "history": done.history.to_dict(),
    }
