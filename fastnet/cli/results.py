"""The result of `fastnet train`: as text, as a chart and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastnet.cli import opening, report
from fastnet.cli.terminal import say
from fastnet.tables import reporting


def show(trained: Any) -> None:
    """Print how well the model predicts, and how each column is used."""
    parts = trained.evaluations
    part, judged = next(iter(parts.items()))
    _show_figures(
        {name: {"rows": one.rows, **one.metrics} for name, one in parts.items()},
        part,
        judged,
        trained.importances(),
        trained.table,
    )
    if trained.search:
        say()
        report.grid(reporting.search(trained.search))
    say()
    report.columns(
        [(c.name, c.kind, len(c.inputs), c.missing, c.remark) for c in trained.columns],
        most=report.FEWEST_LINES if trained.search else report.FEW_LINES,
    )
    say()
    if trained.without_target:
        say(f"{report.count(trained.without_target, 'row')} without a target left out")
    for line in reporting.notes(trained.table):
        say(line)
    history = trained.history
    classes = f", {len(trained.table.classes)} classes" if trained.table.classes else ""
    best = f", best epoch {trained.best_epoch}" if history.validation_loss else ""
    columns = report.count(len(trained.table.columns), "column")
    if len(trained.table.features) != len(trained.table.columns):
        columns += f" as {report.count(len(trained.table.features), 'input')}"
    members = opening.sizes(trained.model).get("members")
    if members is not None:
        classes += f"; {report.count(members, 'member')}"
        best += " on average" if best else ""
    say(f"{columns}{classes}; {len(history):,} epochs{best}; {sum(history.seconds):.2f} s")


def show_evaluation(evaluation: Any, table: Any, rises: Any) -> None:
    """Print how well a model predicts a table."""
    figures = {"all": {"rows": evaluation.rows, **evaluation.metrics}}
    _show_figures(figures, "", evaluation, rises, table)


def _show_figures(
    parts: Mapping[str, Mapping[str, Any]], part: str, judged: Any, rises: Any, table: Any
) -> None:
    report.grid(reporting.metrics(parts))
    if judged.weight is not None:
        say(f"weighted by {reporting.short(table.weights)}")
    for found in reporting.classes(part, judged):
        say()
        report.grid(found)
    lines = reporting.most_important(judged, rises)
    if lines:
        say()
        say("\n  ".join(lines))


def show_cross_validation(crossed: Any) -> None:
    """Print the mean metrics of the folds, and how much they vary."""
    report.grid(reporting.cross_validation(crossed.mean, crossed.deviation, crossed.metrics))
    say()


def plain_of_all(crossed: Any, trained: Any, output: Path | None) -> dict[str, Any]:
    """The results of the cross-validation and of the training, one of which may be None."""
    found = {} if trained is None or output is None else plain(trained, output)
    if crossed is None:
        return found
    metrics = {
        name: {"mean": crossed.mean[name], "deviation": crossed.deviation[name], "folds": values}
        for name, values in crossed.metrics.items()
    }
    return {**found, "cross_validation": {"folds": len(crossed.folds), **metrics}}


def plain_evaluation(evaluation: Any, table: Any, rises: Any) -> dict[str, Any]:
    """How well a model predicts a table, for programs."""
    return {
        "task": table.task,
        "target": table.target,
        "classes": list(table.classes),
        **figures(evaluation),
        **_details(evaluation, rises),
    }


def _details(evaluation: Any, rises: Any) -> dict[str, Any]:
    """What is known of the rows that tell most; `importances` are rises of the error by column."""
    counts = evaluation.confusion
    by_class = evaluation.classes.items()
    return {
        "confusion": None if counts is None else counts.tolist(),
        "by_class": [{"class": name, **scores} for name, scores in by_class],
        "importances": rises,
    }


def figures(evaluation: Any) -> dict[str, Any]:
    """The figures of some rows, for programs."""
    return {"rows": evaluation.rows, "loss": evaluation.loss, **evaluation.metrics}


def plain(trained: Any, output: Path) -> dict[str, Any]:
    """The result for programs, which `--json` prints.

    Keys are only added, never renamed. `confusion` has a row for each class, in the order of
    `classes`, and a column for each prediction; a metric that is undefined is null. It,
    `by_class` and `importances` are of the test rows, else of the validation or the training rows.
    """
    evaluations = trained.evaluations
    parts = dict.fromkeys(("test", "validation", "training")) | {
        name: figures(part) for name, part in evaluations.items()
    }
    judged = next(iter(evaluations.values()))
    return {
        "model": str(output),
        "task": trained.table.task,
        "target": trained.table.target,
        "classes": list(trained.table.classes),
        "without_target": trained.without_target,
        "columns": [asdict(column) for column in trained.columns],
        "remarks": list(trained.remarks),
        **parts,
        **_details(judged, trained.importances()),
        **opening.sizes(trained.model),
        "network": trained.model.network.spec(),
        "backend": trained.model.backend,
        "dtype": trained.model.dtype,
        "seed": trained.model.seed,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "refit_epochs": (trained.table.training or {}).get("refit_epochs"),
        "log_target": trained.table.log_target,
        "seconds": sum(trained.history.seconds),
        "history": trained.history.to_dict(),
        "search": [{**one.settings, "loss": one.loss, "std": one.std} for one in trained.search],
    }
