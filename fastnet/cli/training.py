"""Running a training from the command line: notes, the checkpoint, the files that it writes."""

import contextlib
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import typer

from fastnet import files
from fastnet.cli.report import count
from fastnet.cli.terminal import INTERRUPTED, note, phases, run_together
from fastnet.contract import choosing
from fastnet.definition.optimizers import LBFGS
from fastnet.errors import DefinitionError, Diverged, FileAccessError
from fastnet.records import Record
from fastnet.training.checkpoints import requested
from fastnet.training.distributed.world import mpi, world
from fastnet.training.population_checkpoints import summary

#: More classes than this, with fewer rows for each, are worth a word.
_MANY_CLASSES = 20
_ROWS_PER_CLASS = 5

#: The most classes without training rows that are named.
_MOST_NAMED = 5


class Paths(Record):
    """The files of a command, checked before a long training.

    Attributes:
        read: by what errors call them: the table, the configuration, rows that are held out.
        output: of the model; None: it is not written.
        checkpoint: None: there is none.
        temporary: whether the checkpoint is removed when the results are there.
        resume: whether to continue from it.
        plot: of the chart, or None.
    """

    read: dict[str, Any]
    output: Path | None
    checkpoint: str | None
    temporary: bool
    resume: bool
    plot: Path | None

    @classmethod
    def of(cls, read: dict[str, Any], settings: dict[str, Any], recipe: Any) -> "Paths":
        """Check that all results can be written, and that nothing is lost by it.

        Raises:
            DefinitionError: if a file that is needed would be overwritten.
            FileAccessError: if a folder is not writable.
            MissingExtra: for a chart without matplotlib.
        """
        given, checkpoint = settings.get("output"), settings.get("checkpoint")
        output = None if given is None else Path(given)
        plot = None if settings.get("plot") is None else Path(settings["plot"])
        resume = bool(settings.get("resume"))
        lasting = isinstance(recipe.build_optimizer(), LBFGS) or output is None
        temporary = checkpoint is None and not lasting
        if temporary:
            checkpoint = f"{output}.checkpoint"
        written = {"output": output, "checkpoint": checkpoint, "plot": plot}
        files.check_apart(written, read)
        _check_paths(output, checkpoint, resume)
        if plot is not None:
            from fastnet import plots

            plots.check(plot, "plot")
        return cls(read, output, checkpoint, temporary, resume, plot)


def begin_together(data: Path, settings: dict[str, Any]) -> Any:
    """The processes that mpiexec started to train together, or this one alone.

    Unless `FASTNET_NUM_THREADS` says otherwise, those on a machine share its processors.

    Raises:
        DefinitionError: for what one process alone can do.
    """
    together = world()
    if together.size == 1:
        return together
    run_together(together)
    for option in ("members", "search"):
        if settings.get(option) not in (None, 1):
            raise DefinitionError(
                f"--{option} trains several networks by one process, not by {together.size}; start "
                f"it without mpiexec, or leave --{option} out."
            )
    for needed, what, instead in (
        (str(data) == "-", "standard input is read", "give a file"),
        (settings.get("cross_validate"), "--cross-validate trains", "start it without mpiexec"),
    ):
        if needed:
            raise DefinitionError(f"{what} by one process, not by {together.size}: {instead}.")
    if "FASTNET_NUM_THREADS" not in os.environ:
        here = together.Split_type(mpi().COMM_TYPE_SHARED).size
        os.environ["FASTNET_NUM_THREADS"] = str(max(choosing.processors() // here, 1))
    return together


def run(paths: Paths, settings: dict[str, Any], recipe: Any, together: Any) -> Any:
    """Train, write the model and the chart, and report progress on standard error.

    Rank 0 of `together` writes.
    """
    with contextlib.ExitStack() as stack:
        return _run(stack, paths, settings, recipe, together)


def _run(
    stack: contextlib.ExitStack,
    paths: Paths,
    settings: dict[str, Any],
    recipe: Any,
    together: Any,
) -> Any:
    from fastnet.tables.kept import fit_of
    from fastnet.tables.searching import remove_checkpoint, search_folder
    from fastnet.tables.sharing import shared_by
    from fastnet.tables.trained import score_name
    from fastnet.training.progress import Bar

    checkpoint, temporary, resume, plot = (
        paths.checkpoint,
        paths.temporary,
        paths.resume,
        paths.plot,
    )
    output = paths.output
    assert output is not None
    held_out = {key: paths.read.get(key) for key in ("validation", "test")}
    with phases() as report:
        opened = fit_of(
            paths.read["table"],
            settings.get("target"),
            recipe,
            memory=settings.get("memory"),
            beside=output,
            report=report,
            among=shared_by(together),
            given=settings.keys(),
            **held_out,
        )
        fit = stack.enter_context(opened)
    table = fit.table
    classes = f" into {len(table.classes)} classes" if table.classes else ""
    sizes = {"training": 0, "validation": 0} | fit.rows

    def scores() -> str:
        return f"{score_name(table)} " + "/".join(f"{value:.3f}" for value in fit.scores().values())

    try:
        note(
            f"{table.task} of {table.target!r}{classes} from {count(len(table.columns), 'column')}"
        )
        open_bins = len(fit.bins_to_try) > 1
        goes_on = resume and checkpoint is not None and Path(checkpoint).exists()
        if open_bins and goes_on:
            pass  # as the checkpoint's network takes them, which the report at the end says
        elif open_bins or len(table.features) != len(table.columns):
            more = "; more if five folds show that bins of numbers help" * open_bins
            note(f"the columns are encoded as {len(table.features):,} inputs of the network{more}")
        if fit.without_target:
            note(f"{count(fit.without_target, 'row')} without a target left out")
        note(
            ", ".join(count(size, f"{name} row") for name, size in sizes.items())
            + f"{' (scores: training/validation)' if fit.validation is not None else ''}; "
            f"backend {fit.model.backend}"
        )
        if recipe.members > 1:
            note(f"{recipe.members} members, trained at once; losses are their means")
        if recipe.search is not None:
            note(f"searching for settings, for {recipe.search:g} s at most")
        if fit.refits:
            long = ", as long as five folds of them show to be good" * fit.by_folds
            note(f"then once more on training and validation rows together{long}")
        for remark in fit.remarks:
            note(remark)
        rows = sum(sizes.values())
        if len(table.classes) > _MANY_CLASSES and rows < _ROWS_PER_CLASS * len(table.classes):
            note(f"{len(table.classes):,} classes in {rows:,} rows: few to learn each from")
        for name in fit.unseen_classes()[:_MOST_NAMED]:
            note(f"all rows of the class {name!r} are held out: it cannot be learned")
        if resume and checkpoint is not None:
            note(_resuming(checkpoint, fit.epochs, fit.refits))
        if together.size > 1:
            note(f"{together.size} processes, each with a share of the rows")
        done = fit.run(checkpoint, resume, Bar(scores))
    except Diverged as error:
        if temporary and checkpoint is not None and together.rank == 0:
            remove_checkpoint(checkpoint)
        raise diverged(error, recipe) from error
    except KeyboardInterrupt as error:
        history = (fit.again or fit).model.history
        of = " of the second training" if fit.again else ""
        epochs = f"{len(history) if history else 0} epochs{of}"
        note(f"interrupted after {epochs}; no model was written")
        if checkpoint is None:
            note("training with lbfgs cannot be resumed")
        elif Path(checkpoint).exists() or search_folder(checkpoint).exists():
            note(f"checkpoint in {checkpoint!r}: to continue, repeat the command with --resume")
        else:
            note("training had not started, so there is no checkpoint")
        raise typer.Exit(INTERRUPTED) from error
    if together.rank:
        return done
    try:
        done.model.save(output)
    except FileAccessError as error:
        raise FileAccessError(error.errno, f"{error}. {_kept(checkpoint)}") from error
    if temporary and checkpoint is not None:
        remove_checkpoint(checkpoint)
    if plot is not None:
        from fastnet import plots

        try:
            plots.save(done.plot(), plot)
        except FileAccessError as error:
            text = f"{error}. The model is written to {str(output)!r}"
            raise FileAccessError(error.errno, text) from error
        note(f"chart written to {str(plot)!r}")
    return done


def diverged(error: Diverged, recipe: Any) -> Diverged:
    """The same, with what to do about it."""
    problem = str(error).partition(";")[0]
    return Diverged(
        f"{problem}; no model was written. Try {_smaller_rate(recipe)}another --optimizer."
    )


def _kept(checkpoint: str | None) -> str:
    """Where a training is whose model could not be written."""
    if checkpoint is None or not Path(checkpoint).exists():
        return "There is no checkpoint: the training is lost"
    again = f"--resume --checkpoint {shlex.quote(checkpoint)}"
    return (
        f"The training is in the checkpoint {checkpoint!r}: to go on from there, repeat the "
        f"command with {again}, and another -o if the model does not fit there"
    )


def _smaller_rate(recipe: Any) -> str:
    """Advice on the learning rate; none for L-BFGS, which has no rate."""
    from fastnet.definition.optimizers import LBFGS
    from fastnet.definition.schedules import as_schedule

    optimizer = recipe.build_optimizer()
    if isinstance(optimizer, LBFGS):
        return ""
    rates = as_schedule(optimizer.learning_rate).rates(np.zeros(1), float(recipe.epochs or 1))
    return f"a smaller --learning-rate than {rates[0]:g}, or "


def _resuming(checkpoint: str, epochs: int, refits: bool) -> str:
    """Where a resumed training starts."""
    from fastnet.tables.searching import search_folder

    if not Path(checkpoint).exists() and search_folder(checkpoint).exists():
        return f"continuing the search in {str(search_folder(checkpoint))!r}"
    if not Path(checkpoint).exists():
        return f"there is no checkpoint {checkpoint!r} yet: starting from the beginning"
    done = summary(checkpoint)["epochs"]
    if done >= epochs:
        left = "nothing left to train" + " but the second time, on all rows" * refits
        return f"the checkpoint has {done} epochs, and --epochs is {epochs}: {left}"
    return f"continuing after epoch {done} of the checkpoint"


def _check_paths(output: Path | None, checkpoint: str | None, resume: bool) -> None:
    """Check, before a long training, that its results can be written.

    Raises:
        DefinitionError: if a file that is needed would be overwritten.
        FileAccessError: if a folder is not writable.
    """
    if output is not None:
        _check_output(output)
    kept = requested(checkpoint, resume)
    if kept is not None:
        kept.checked(resume)


def _check_output(output: Path) -> None:
    """Make sure that the model has a name and a place of its own."""
    if output.suffix.lower() in (".csv", ".parquet"):
        raise DefinitionError(
            f"output is {str(output)!r}, the name of a table; the model needs a file of its "
            f"own, such as {output.stem + '.safetensors'!r}."
        )
    if output.suffix.lower() == ".onnx":
        raise DefinitionError(
            f"output is {str(output)!r}, the name of an ONNX file; train to "
            f"{output.stem + '.safetensors'!r}, and then export that with `fastnet export`."
        )
    files.check_writable(output, "output")
