"""Running a cross-validation from the command line."""

from pathlib import Path
from typing import Any

import typer

from fastnet.cli import training
from fastnet.cli.report import count
from fastnet.cli.terminal import INTERRUPTED, note
from fastnet.errors import DefinitionError, Diverged
from fastnet.training.checkpoints import Checkpoint


def run(paths: training.Paths, settings: dict[str, Any], recipe: Any, folds: int) -> Any:
    """Train and test on each fold, and report progress on standard error.

    Raises:
        DefinitionError: if a checkpoint exists and the training is not to be resumed.
        Diverged: if a loss stops being finite.
    """
    from fastnet import tables
    from fastnet.training.progress import Bar

    if paths.read.get("test") is not None:
        raise DefinitionError("a cross-validation tests every row; leave out --test.")
    began = 0

    def on_fold(number: int, fit: Any) -> None:
        nonlocal began
        began = number
        if number == 1:
            if not paths.resume:  # now that the table has rows enough for so many
                for path in checkpoints(paths, folds):
                    Checkpoint(path).checked(resume=False)
            note(
                f"{fit.table.task} of {fit.table.target!r} from "
                f"{count(len(fit.table.columns), 'column')}; backend {fit.model.backend}"
            )
        held_out = len(fit.validation or ())
        note(
            f"fold {number} of {folds}: {count(len(fit.training), 'training row')}, "
            f"{count(held_out, 'validation row')}, {count(len(fit.test), 'test row')}"
        )

    try:
        return tables.cross_validate(
            paths.read["table"],
            settings["target"],
            recipe,
            folds=folds,
            validation=paths.read.get("validation"),
            checkpoint=paths.checkpoint,
            resume=paths.resume,
            progress=Bar(transient=True),
            on_fold=on_fold,
        )
    except Diverged as error:
        if paths.temporary:
            remove_checkpoints(paths, folds)
        raise training.diverged(error, recipe) from error
    except KeyboardInterrupt as error:
        note(f"interrupted in fold {began} of {folds}")
        if paths.checkpoint is not None:
            note("to continue, repeat the command with --resume")
        raise typer.Exit(INTERRUPTED) from error


def checkpoints(paths: training.Paths, folds: int) -> list[Path]:
    """The checkpoints of all folds."""
    from fastnet.tables.crossing import fold_checkpoint

    if paths.checkpoint is None:
        return []
    return [fold_checkpoint(paths.checkpoint, number) for number in range(1, folds + 1)]


def remove_checkpoints(paths: training.Paths, folds: int) -> None:
    """Remove the checkpoints of all folds."""
    from fastnet.tables.searching import remove_checkpoint

    for path in checkpoints(paths, folds):
        remove_checkpoint(path)
