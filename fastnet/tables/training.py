"""Training a model on a table.

    from fastnet import tables

    trained = tables.train("digits.csv", "digit", tables.Recipe(hidden=(128,), epochs=50))
    trained.model.save("digits.safetensors")

`Recipe` describes the settings, `Trained` the result.
"""

import os
from typing import Any

from fastnet.arguments import explained
from fastnet.tables.kept import fit_of
from fastnet.tables.recipe import SETTINGS, Recipe
from fastnet.tables.sharing import shared_by
from fastnet.tables.trained import Trained


@explained(
    "tables.train",
    "the recipe has the settings: tables.Recipe(epochs=100)",
    elsewhere=("tables.Recipe", SETTINGS),
)
def train(
    source: Any,
    target: str,
    recipe: Recipe | None = None,
    *,
    validation: Any = None,
    test: Any = None,
    memory: str | int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Any = False,
    communicator: Any = None,
) -> Trained:
    """Train a model on a table.

    Args:
        source: a path (.csv, .tsv, .csv.gz, .tsv.gz or .parquet), "-" for CSV on standard input, a
            frame of Polars, pandas or another library that Narwhals knows, or a mapping of columns;
            or a folder that `fastnet convert` wrote.
        target: the column to predict.
        recipe: the settings; None: `Recipe()`.
        validation: a table of validation rows, like `source`, in place of a fraction of its rows.
        test: a table of test rows likewise.
        memory: about how much the table may take in each process, such as "2GB"; a file that does
            not fit is trained on from a scratch folder beside it. None: it is read as a whole.
        checkpoint: as in `Model.fit`.
        resume: as in `Model.fit`.
        progress: as in `Model.fit`.
        communicator: `fn.world()`, or another of mpi4py: its processes read a part of the table
            each, encode it alike, and train on the rows they have, as in `Model.fit`.

    Raises:
        DataError: if the table cannot be used for training, with the column and the row.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
        Diverged: if the loss stops being finite.
        KeyboardInterrupt: after Ctrl-C; the checkpoint, if there is one, is then written.
        ModelFileError: if a checkpoint cannot be written, or belongs to another fit.
    """
    settings = Recipe() if recipe is None else recipe
    held_out = {"validation": validation, "test": test}
    among = shared_by(communicator)
    with fit_of(source, target, settings, memory=memory, among=among, **held_out) as fit:
        return fit.run(checkpoint, resume, progress)
