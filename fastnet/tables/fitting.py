"""Training a model on a table, and evaluating it.

from fastnet import tables

trained = tables.train("digits.csv", "digit", tables.Recipe(hidden=(128,), epochs=50))
trained.model.save("digits.safetensors")
"""

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastnet.arguments import explained
from fastnet.arrays.checks import Array
from fastnet.contract import choosing
from fastnet.errors import DefinitionError
from fastnet.model import Model
from fastnet.tables import metrics
from fastnet.tables.inspecting import ColumnReport, InspectedTable, inspect_table
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Class, Table
from fastnet.training.history import History
from fastnet.training.metrics import r2
from fastnet.training.splitting import split_rows
from fastnet.version import __version__

#: A confusion matrix of more classes is too large to read.
MAX_CONFUSION_CLASSES = 10


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts the training rows, or the validation rows.

    Attributes:
        rows: their number.
        loss: the network's, without penalties.
        metrics: `accuracy`, `log_loss` and `roc_auc`, or `r2`, `rmse` and `mae` in the target's
            unit: `fastnet.tables.metrics` has the formulas. NaN where a metric is undefined
            because all rows are alike, and for the ROC AUC of very many classes.
        confusion: the number of rows of each class by predicted class, `(class, prediction)`;
            None for regression and for more than `MAX_CONFUSION_CLASSES` classes.
    """

    rows: int
    loss: float
    metrics: dict[str, float]
    confusion: Array | None = None

    @property
    def score(self) -> float:
        """The accuracy, or R²."""
        return self.metrics["accuracy" if "accuracy" in self.metrics else "r2"]


@dataclass(frozen=True)
class Trained:
    """The result of training on a table.

    Attributes:
        model: trained; `model.table` holds what it must know of its table.
        table: the same as a `Table`. `table.training`, which is also in model files, has the
            version of `fastnet`, the `backend`, the number of `epochs`, the `best_epoch`, and for
            `training` and `validation` (None without) their `rows` and metrics.
        columns: how each column is used.
        without_target: how many rows were left out because they have no target.
        history: of the fit.
        training: the evaluation on the training rows.
        validation: the evaluation on the validation rows; None where no rows were held out.
        remarks: what may not be as the table's owner means it, a sentence each.
    """

    model: Model
    table: Table
    columns: tuple[ColumnReport, ...]
    without_target: int
    history: History
    training: Evaluation
    validation: Evaluation | None
    remarks: tuple[str, ...] = ()

    @property
    def score_name(self) -> str:
        """What `Evaluation.score` is: "accuracy" or "R²"."""
        return score_name(self.table)

    @property
    def best_epoch(self) -> int:
        """The epoch whose parameters the model has."""
        return best_epoch(self.history)


class TableFit:
    """A table, split and encoded, and the model to train on it.

    Args:
        source: a path, a frame or a mapping of columns, as in `train`.
        target: the column to predict.
        recipe: the settings.

    Attributes:
        recipe: the settings.
        table: what the model must know of the table.
        columns: how each column is used.
        without_target: how many rows were left out because they have no target.
        remarks: what may not be as its owner means it, a sentence each.
        model: not yet trained.
        training: x `(rows, inputs)` and y of the training rows.
        validation: x and y of the validation rows; None where no rows are held out.

    Raises:
        DataError: if the table cannot be used for training, with the column and the row.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
    """

    def __init__(self, source: Any, target: str, recipe: Recipe) -> None:
        if not isinstance(recipe, Recipe):
            raise DefinitionError(f"recipe is {recipe!r}; it must be a tables.Recipe(...).")
        self.recipe = recipe
        choosing.choose(recipe.backend)  # fails before a large table is read
        inspected = inspect_table(
            source,
            target,
            recipe.task,
            drop=recipe.drop,
            categorical=recipe.categorical,
            missing=recipe.missing,
            separator=recipe.separator,
            notation=recipe.notation,
        )
        self.remarks = inspected.remarks
        # At least two training rows: of one there is no standard deviation.
        training, validation = split_rows(recipe.seed, len(inspected.y), recipe.validation, least=2)
        impute = recipe.missing == "impute"
        self.table, self.columns = inspected.fit_encoding(training, recipe.categories, impute)
        self.without_target = inspected.without_target
        outputs = len(self.table.classes) or 1
        self.model = Model(
            recipe.build_network(len(self.table.features), outputs, self.table.task),
            backend=recipe.backend,
            dtype=recipe.dtype,
            seed=recipe.seed,
        )
        self.training = _encode(inspected, self.table, training, self.model.dtype)
        self.validation = (
            _encode(inspected, self.table, validation, self.model.dtype)
            if len(validation)
            else None
        )
        #: Classes, or numbers in the target's unit, of both.
        self._targets = inspected.y[training], inspected.y[validation]

    def run(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: Any = False,
    ) -> Trained:
        """Train; the arguments are those of `Model.fit`.

        Raises:
            Diverged: if the loss stops being finite.
            KeyboardInterrupt: after Ctrl-C; the checkpoint, if there is one, is then written.
            ModelFileError: if a checkpoint cannot be written, or belongs to another fit.
        """
        recipe = self.recipe
        size = recipe.batch_size
        history = self.model.fit(
            *self.training,
            optimizer=recipe.build_optimizer(),
            epochs=recipe.epochs,
            batch_size=None if size == "all" else "auto" if size is None else size,
            validation=self.validation,
            early_stopping=recipe.patience if self.validation else None,
            metrics=("accuracy" if self.table.classes else "r2",) if self.validation else (),
            l2=recipe.l2,
            progress=progress,
            checkpoint=checkpoint,
            resume=resume,
        )
        training = self._evaluate(self.training, self._targets[0])
        validation = self._evaluate(self.validation, self._targets[1]) if self.validation else None
        facts = {
            "fastnet": __version__,
            "backend": self.model.backend,
            "epochs": len(history),
            "best_epoch": best_epoch(history),
            "training": _plain(training),
            "validation": _plain(validation) if validation else None,
        }
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
        )

    def unseen_classes(self) -> list[Class]:
        """The classes without a training row: all their rows are held out."""
        seen = set(self.training[1].tolist())
        return [name for index, name in enumerate(self.table.classes) if index not in seen]

    def scores(self) -> dict[str, float]:
        """The accuracy or R² now, on the training rows and on the validation rows."""
        scores = {"training": self._score(self.training)}
        if self.validation:
            scores["validation"] = self._score(self.validation)
        return scores

    def _score(self, rows: tuple[Array, Array]) -> float:
        x, y = rows
        outputs = self.model.predict(x)
        if self.table.task == "classification":
            return metrics.accuracy(y, np.argmax(outputs, axis=1))
        return r2(y, outputs[:, 0])

    def _evaluate(self, rows: tuple[Array, Array], targets: Array) -> Evaluation:
        """`targets` are the classes, or the numbers in the target's unit."""
        outputs, loss = self.model.predict(rows[0]), self.model.evaluate(*rows)
        if self.table.task == "regression":
            found = metrics.regression_metrics(targets, self.table.decode_outputs(outputs))
            return Evaluation(len(targets), loss, found)
        classes = len(self.table.classes)
        best = np.argmax(outputs, axis=1)
        counts = None
        if classes <= MAX_CONFUSION_CLASSES:
            counts = metrics.confusion_matrix(targets, best, classes)
        return Evaluation(
            len(targets), loss, metrics.classification_metrics(targets, outputs), counts
        )


@explained("tables.train", "the recipe has the settings: tables.Recipe(epochs=100)")
def train(
    source: Any,
    target: str,
    recipe: Recipe | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Any = False,
) -> Trained:
    """Train a model on a table.

    Args:
        source: a path (.csv, .tsv, .csv.gz, .tsv.gz or .parquet), "-" for CSV on standard input, a
            frame of Polars, pandas or another library that Narwhals knows, or a mapping of columns.
        target: the column to predict.
        recipe: the settings; None: `Recipe()`.
        checkpoint: as in `Model.fit`.
        resume: as in `Model.fit`.
        progress: as in `Model.fit`.

    Raises:
        DataError: if the table cannot be used for training, with the column and the row.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
        Diverged: if the loss stops being finite.
        KeyboardInterrupt: after Ctrl-C; the checkpoint, if there is one, is then written.
        ModelFileError: if a checkpoint cannot be written, or belongs to another fit.
    """
    return TableFit(source, target, Recipe() if recipe is None else recipe).run(
        checkpoint, resume, progress
    )


def score_name(table: Table) -> str:
    """The metric that is shown while a model of this table is trained."""
    return "accuracy" if table.task == "classification" else "R²"


def best_epoch(history: History) -> int:
    """The epoch with the lowest validation loss; the last one where no rows are held out."""
    losses = history.validation_loss
    return losses.index(min(losses)) + 1 if losses else len(history)


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    found = {k: None if math.isnan(v) else v for k, v in evaluation.metrics.items()}
    return {"rows": evaluation.rows, **found}


def _encode(
    inspected: InspectedTable, table: Table, rows: Array, dtype: str
) -> tuple[Array, Array]:
    """x and y of some rows, as the network takes them."""
    values: list[Any] = []
    for name in table.names:
        column: Any = inspected.values[name]
        values.append(column[rows] if isinstance(column, np.ndarray) else column.gather(rows))
    y = table.encode_target(inspected.y[rows])
    return table.encode(values, dtype), y if table.task == "classification" else y.astype(dtype)
