"""The result of `fastnet train`: as text, as a chart and as JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastnet.cli import report
from fastnet.cli.terminal import say


def draw(trained: Any, path: Path) -> None:
    """Draw the losses, and mark the best epoch."""
    from fastnet import plots

    axes = trained.history.plot()
    title = f"{trained.score_name}: training {_score(trained, trained.training)}"
    if trained.validation is not None:
        title += f", validation {_score(trained, trained.validation)}"
        axes.axvline(trained.best_epoch, color="gray", linestyle=":", label="best epoch")
        axes.legend(frameon=False)
    axes.set_title(title, fontsize=11)
    plots.save(axes.figure, path)


def _score(trained: Any, part: Any) -> str:
    """An accuracy as a percentage, R² as a number."""
    if not trained.table.classes:
        return f"{part.score:.3f}"
    return "100%" if part.score == 1 else f"{part.score:.1%}"


def show(trained: Any) -> None:
    """Print how each column is used, and how well the model predicts."""
    report.columns([(c.name, c.kind, len(c.inputs), c.missing, c.remark) for c in trained.columns])
    say()
    if trained.without_target:
        say(f"{report.count(trained.without_target, 'row')} without a target left out")
    parts = trained.evaluations
    report.metrics({name: {"rows": part.rows, **part.metrics} for name, part in parts.items()})
    name, judged = next(iter(parts.items()))
    if judged.confusion is not None and name != "training":
        say()
        report.confusion(name, judged.confusion.tolist(), trained.table.classes)
    say()
    history = trained.history
    classes = f", {len(trained.table.classes)} classes" if trained.table.classes else ""
    best = f", best epoch {trained.best_epoch}" if history.validation_loss else ""
    columns = report.count(len(trained.table.columns), "column")
    say(f"{columns}{classes}; {len(history)} epochs{best}; {sum(history.seconds):.2f} s")


def plain(trained: Any, output: Path) -> dict[str, Any]:
    """The result for programs, which `--json` prints.

    Keys are only added, never renamed. `confusion` has a row for each class, in the order of
    `classes`, and a column for each prediction; a metric that is undefined is null.
    """
    evaluations = trained.evaluations
    parts = dict.fromkeys(("test", "validation", "training")) | {
        name: {"rows": part.rows, "loss": part.loss, **part.metrics}
        for name, part in evaluations.items()
    }
    judged = trained.test or trained.validation
    counts = judged.confusion if judged is not None else None
    return {
        "model": str(output),
        "task": trained.table.task,
        "target": trained.table.target,
        "classes": list(trained.table.classes),
        "without_target": trained.without_target,
        "columns": [asdict(column) for column in trained.columns],
        "remarks": list(trained.remarks),
        **parts,
        "confusion": None if counts is None else counts.tolist(),
        "parameters": trained.model.parameters.flat.size,
        "network": trained.model.network.spec(),
        "backend": trained.model.backend,
        "dtype": trained.model.dtype,
        "seed": trained.model.seed,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "seconds": sum(trained.history.seconds),
        "history": trained.history.to_dict(),
    }
