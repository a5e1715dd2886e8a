"""Training a model on a table, and evaluating it.

from fastnet import tables

trained = tables.train("digits.csv", "digit", tables.Recipe(hidden=(128,), epochs=50))
trained.model.save("digits.safetensors")
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract import choosing
from fastnet.errors import DataError, DefinitionError, unknown
from fastnet.many.ensemble import Ensemble
from fastnet.model import Model
from fastnet.tables import metrics, reading, refitting
from fastnet.tables.evaluating import Evaluation, Rows, encoded, read
from fastnet.tables.inspecting import ColumnStore, InspectedTable, inspect_table
from fastnet.tables.reading import STANDARD_INPUT, Reader
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Class, Table, class_name
from fastnet.tables.searching import Found, search, search_folder
from fastnet.tables.sharing import WholeTable, shared_by
from fastnet.tables.splitting import folds, hold_out
from fastnet.tables.trained import Trained, best_epoch
from fastnet.training.blocks import BlockShuffle
from fastnet.training.history import History
from fastnet.training.metrics import r2
from fastnet.version import __version__

#: The parts of a table, as `TableFit` calls them.
PARTS = ("training", "validation", "test")


class TableFit:
    """A table, split and encoded, and the model to train on it.

    Args:
        source: a path, a frame or a mapping of columns, as in `train`.
        target: the column to predict.
        recipe: the settings.
        validation: a table of validation rows, in place of `recipe.validation`; None: none.
        test: a table of test rows, in place of `recipe.test`; None: none.
        among: who has which rows: this process all of them, or each of several its share.

    Attributes:
        recipe: the settings.
        refits: whether the model is trained again, on training and validation rows.
        epochs, l2: the recipe's, or those for this many training rows.
        table: what the model must know of the table.
        columns: how each column is used.
        without_target: how many rows were left out because they have no target.
        remarks: what may not be as its owner means it, a sentence each.
        model: not yet trained.
        training: the training rows that this process has.
        validation, test: likewise rows that are held out, or None.
        rows: how many each part has, over all processes.

    Raises:
        DataError: if the table cannot be used for training, with the column and the row.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
    """

    #: As for `Model.fit`.
    shuffle: bool | BlockShuffle = True

    #: As for the argument.
    among = WholeTable()

    #: Whether all rows, as they were read, stay in memory.
    in_memory = True

    #: The second training, once there is one.
    again: "TableFit | None" = None

    def __init__(
        self,
        source: Any,
        target: str,
        recipe: Recipe,
        *,
        validation: Any = None,
        test: Any = None,
        among: WholeTable | None = None,
    ) -> None:
        self.among = among or self.among
        _check(recipe)
        inspected = _inspected(self._open(source, recipe), target, recipe)
        rest, tested = hold_out(
            inspected.facts, recipe.seed, recipe.test if test is None else 0, "test"
        )
        if str(test) == STANDARD_INPUT and recipe.refit is not False:  # which can be read once
            test = reading.read(test, recipe.separator)
        self._set_up(recipe, inspected, rest, tested, validation, test)

    @classmethod
    def folds(
        cls, source: Any, target: str, recipe: Recipe, count: int, *, validation: Any = None
    ) -> "Iterator[TableFit]":
        """A fit for each fold of a cross-validation, whose test rows are those of the fold.

        Args:
            source: as above.
            target: as above.
            recipe: as above; with a `test` of 0.
            count: of folds, at least 2.
            validation: as above.

        Raises:
            DataError: if the table cannot be used for training, or has too few rows.
            DefinitionError: for settings that do not fit it.
            BackendUnavailable: if the backend is unknown or cannot run here.
        """
        if checks.integer(count, "folds") < 2:
            raise DefinitionError(f"folds is {count}; a cross-validation needs at least 2.")
        _check(recipe)
        inspected = _inspected(source, target, recipe)
        if recipe.test:
            raise DefinitionError(
                f"test is {recipe.test:g}, and a cross-validation tests every row; leave it out."
            )
        for rest, tested in folds(inspected.facts, recipe.seed, count):
            fit = cls.__new__(cls)
            fit._set_up(recipe, inspected, rest, tested, validation, None)
            yield fit

    def _set_up(
        self,
        recipe: Recipe,
        inspected: InspectedTable,
        rest: Array,
        tested: Array,
        validation: Any,
        test: Any,
    ) -> None:
        """Hold validation rows out of the rest, and encode all."""
        self.recipe, self.remarks = recipe, inspected.remarks
        fraction = recipe.validation if validation is None else 0
        kept, chosen = hold_out(inspected.facts.take(rest), recipe.seed, fraction, "validation")
        training, validated = rest[kept], rest[chosen]
        self._facts = inspected.facts.take(training)
        self.refits = refitting.wanted(
            recipe,
            len(rest),
            in_memory=self.in_memory,
            held_out=len(validated) > 0,
            own_table=validation is not None,
            intervals=recipe.members > 1 and not inspected.classes,
        )
        if self.refits:
            self._all_rows = inspected, rest, tested, None, test
        learned = rest if self.refits else training
        self.table, self.columns = inspected.fit_encoding(
            training,
            recipe.categories,
            recipe.missing == "impute",
            inspected.learns_logarithm(learned, recipe.log_target),
        )
        self.without_target = inspected.without_target
        self.model = untrained(recipe, self.table)
        self._class_weight = self._weights_of_classes()

        def encoded_rows(rows: Array) -> Rows:
            return self.among.together(partial(self._rows, inspected, rows))

        self.training = encoded_rows(training)
        self.validation = encoded_rows(validated) if len(validated) else None
        self.test = encoded_rows(tested) if len(tested) else None
        if validation is not None:
            self.validation = self._read(validation)
        if test is not None:
            self.test = self._read(test)
        for part, rows in self._parts().items():
            weighs = rows.weight is None or bool(rows.weight.any())
            if not self.among.sum(weighs):
                raise DataError(
                    f"column {self.table.weights!r}: the weights of all {part} rows are 0; at "
                    "least one must be above 0."
                )
        self.rows = self._count()

    def _parts(self) -> dict[str, Rows]:
        """The parts that there are."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {name: rows for name, rows in parts.items() if rows is not None}

    def _count(self) -> dict[str, int]:
        return {name: self.among.sum(len(rows)) for name, rows in self._parts().items()}

    @property
    def epochs(self) -> int:
        """Of the training, at most."""
        return self.recipe.epochs_for(self.rows["training"], self.table.task)

    @property
    def l2(self) -> float:
        """The penalty of the training."""
        return self.recipe.l2_for(self.rows["training"], self.table.task)

    def _open(self, source: Any, recipe: Recipe) -> ColumnStore:
        """Read the table."""

        def whole(reader: Reader) -> ColumnStore:
            return ColumnStore(reader.name, reader.labels, reader.whole(), {})

        return self.among.store(self.among.read(source, recipe.separator, whole))

    def run(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: Any = False,
    ) -> Trained:
        """Train; the arguments are those of `Model.fit`.

        A refit has a checkpoint of its own, `refitting.refit_checkpoint`, which it removes.

        Raises:
            Diverged: if the loss stops being finite.
            KeyboardInterrupt: after Ctrl-C; the checkpoint, if there is one, is then written.
            ModelFileError: if a checkpoint cannot be written, or belongs to another fit.
        """
        if self.refits and checkpoint is not None:
            refitting.check_checkpoint(checkpoint, resume)
        trained = self.train(checkpoint, resume, progress)
        if not self.refits:
            return trained
        return refitting.refit(self, trained, checkpoint, resume, progress)

    def with_all_rows(self) -> "TableFit":
        """A fit without validation rows: they are training rows too, and all is encoded anew."""
        fit = self.again = TableFit.__new__(TableFit)
        fit.among = self.among
        recipe = replace(self.recipe, validation=0.0, test=0.0, refit=False, epochs=self.epochs)
        fit._set_up(recipe, *self._all_rows)
        return fit

    def train(
        self,
        checkpoint: str | os.PathLike[str] | None,
        resume: bool,
        progress: Any,
        callbacks: tuple[Callable[[Any, History], Any], ...] = (),
    ) -> Trained:
        """Train once, without a refit; the arguments are those of `Model.fit`."""
        communicator = self.among.communicator
        several = self.recipe.search is not None or isinstance(self.model, Ensemble)
        if several and communicator is not None:
            raise DefinitionError(
                "several networks, of members or a search, are trained by one process, not by "
                f"{self.among.size}; leave members and search out, or the communicator."
            )
        found = self._search(checkpoint, resume, progress) if self.recipe.search else ()
        recipe, learned, held_out = self.recipe, self.training, self.validation
        settings = {
            **self._settings(),
            "callbacks": callbacks,
            "progress": progress,
            "checkpoint": checkpoint,
            "resume": resume,
        }
        if held_out is not None:
            settings |= {
                "validation": (held_out.x, held_out.y, held_out.weight),
                "early_stopping": recipe.patience,
                "metrics": ("accuracy" if self.table.classes else "r2",),
            }
        if isinstance(self.model, Ensemble):
            self.model.fit(learned.x, learned.y, **settings)
            if held_out is not None and self.model.predicts_deviations:
                self.model.calibrate(held_out.x, held_out.y)
        else:
            settings |= {"shuffle": self.shuffle, "communicator": communicator}
            self.model.fit(learned.x, learned.y, **settings)
        history = self.model.history
        assert history is not None
        judged = {
            part: self.among.judge(self.model, self.table, rows)
            for part, rows in self._parts().items()
            if part != "test" or not self.refits
        }
        training, validation, test = (judged.get(part) for part in PARTS)
        assert training is not None
        facts = {
            "fastnet": __version__,
            "backend": self.model.backend,
            "epochs": len(history),
            "best_epoch": best_epoch(self.model),
            "training": _plain(training),
            "validation": _plain(validation) if validation else None,
            "test": _plain(test) if test else None,
        }
        if isinstance(self.model, Ensemble):
            facts["members"] = len(self.model)
        if found:
            facts["search"] = found[0].settings
        table = replace(self.table, training=facts)
        self.model.table = table.to_dict()
        return Trained(
            self.model,
            table,
            self.columns,
            self.without_target,
            history,
            training,
            validation,
            self.remarks,
            test,
            found,
        )

    def _settings(self) -> dict[str, Any]:
        """Those of `Model.fit` that the recipe decides, but for validation."""
        size = self.recipe.batch_size
        return {
            "sample_weight": self.training.weight,
            "class_weight": self._class_weight,
            "optimizer": self.recipe.build_optimizer(),
            "epochs": self.epochs,
            "batch_size": None if size == "all" else "auto" if size is None else size,
            "l2": self.l2,
        }

    def _search(
        self, checkpoint: str | os.PathLike[str] | None, resume: bool, progress: Any
    ) -> tuple[Found, ...]:
        """Find settings, and make the model that has them."""
        found = search(
            self.recipe,
            self.table,
            self.training,
            self._facts,
            None if checkpoint is None else search_folder(checkpoint),
            resume,
            settings=self._settings(),
            progress=bool(progress),
        )
        self.recipe = replace(self.recipe, search=None, **found[0].settings)
        self.model = untrained(self.recipe, self.table)
        return found

    def unseen_classes(self) -> list[Class]:
        """The classes without a row to learn from: all their rows are held out."""
        learned = [self.training]
        if self.refits and self.validation is not None:
            learned.append(self.validation)
        seen = self.among.union(np.unique(np.concatenate([one.y for one in learned])).tolist())
        return [name for index, name in enumerate(self.table.classes) if index not in seen]

    def scores(self) -> dict[str, float]:
        """The accuracy or R² now, on this process's training rows and validation rows."""
        if self.again is not None:
            return self.again.scores()
        scores = {"training": self._score(self.training)}
        if self.validation is not None:
            scores["validation"] = self._score(self.validation)
        return scores

    def _score(self, rows: Rows) -> float:
        outputs = self.model.predict(rows.x)
        if self.table.task == "classification":
            return metrics.accuracy(rows.y, np.argmax(outputs, axis=1), rows.weight)
        return r2(rows.y, outputs[:, 0], rows.weight)

    def _read(self, source: Any) -> Rows:
        """The rows of a table of their own."""
        rows, without = read(self.table, source, self.model.dtype, self.recipe.separator)
        self.without_target += without
        return self.among.part(rows)

    def _rows(self, inspected: InspectedTable, rows: Array) -> Rows:
        """Those of some rows of the table that this process has, as the network takes them."""
        rows, places = self.among.share(rows)
        columns, values = self.among.own(inspected.values), list[Any]()
        for name in self.table.names:
            own = columns[name]
            values.append(own[places] if isinstance(own, np.ndarray) else own.gather(places))
        weight = None if inspected.weight is None else inspected.weight[rows]
        return encoded(self.table, values, inspected.y[rows], weight, self.model.dtype)

    def _weights_of_classes(self) -> Any:
        """The recipe's, by class index."""
        given = self.recipe.class_weight
        if given is not None and not self.table.classes:
            raise DefinitionError("class_weight is for a classification; leave it out.")
        if not isinstance(given, Mapping):
            return given
        names = [class_name(one) for one in self.table.classes]
        for name in given:
            if class_name(name) not in names:
                raise DefinitionError(unknown("class in class_weight", name, names))
        return {names.index(class_name(name)): weight for name, weight in given.items()}


@explained("tables.train", "the recipe has the settings: tables.Recipe(epochs=100)")
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
    from fastnet.tables.kept import fit_of  # which needs this file

    settings = Recipe() if recipe is None else recipe
    held_out = {"validation": validation, "test": test}
    among = shared_by(communicator)
    with fit_of(source, target, settings, memory=memory, among=among, **held_out) as fit:
        return fit.run(checkpoint, resume, progress)


def _check(recipe: Recipe) -> None:
    """Make sure that there are settings and a backend, before a large table is read."""
    if not isinstance(recipe, Recipe):
        raise DefinitionError(f"recipe is {recipe!r}; it must be a tables.Recipe(...).")
    choosing.choose(recipe.backend)


def _inspected(source: Any, target: str, recipe: Recipe) -> InspectedTable:
    """Inspect a table, which may have been read, by the recipe's settings."""
    return inspect_table(
        source,
        target,
        recipe.task,
        drop=recipe.drop,
        categorical=recipe.categorical,
        date=recipe.date,
        missing=recipe.missing,
        separator=recipe.separator,
        notation=recipe.notation,
        roles=recipe.roles,
    )


def untrained(recipe: Recipe, table: Table) -> Model | Ensemble:
    """What is trained on a table: a model, or an ensemble of as many members as the recipe has."""
    network = recipe.build_network(len(table.features), len(table.classes) or 1, table.task)
    if recipe.members == 1:
        return Model(network, backend=recipe.backend, dtype=recipe.dtype, seed=recipe.seed)
    return Ensemble(
        network,
        members=recipe.members,
        backend=recipe.backend,
        dtype=recipe.dtype,
        seed=recipe.seed,
    )


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    found = {k: None if math.isnan(v) else v for k, v in evaluation.metrics.items()}
    return {"rows": evaluation.rows, **found}
