"""From a table to a trained model: the settings, and the training itself.

from fastnet.tables import Recipe, train

done = train("digits.csv", "digit", Recipe(hidden=(128,), epochs=50))
done.model.save("digits.safetensors")
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fastnet import random
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract import choosing as backends
from fastnet.definition.activations import ACTIVATIONS
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS, Optimizer
from fastnet.errors import DataError, DefinitionError, unknown
from fastnet.model import Model
from fastnet.tables import metrics
from fastnet.tables.inspecting import ColumnReport, InspectedTable, examine
from fastnet.tables.schema import TASKS, Class, Table
from fastnet.training.history import History
from fastnet.version import __version__

#: What may be done about missing values.
MISSING = ("impute", "error")

#: So many classes have a confusion matrix that can be read.
FEW_CLASSES = 10


@dataclass(frozen=True)
class Recipe:
    """How to train on a table. The defaults suit some hundreds to some ten thousand rows.

    The tests hold them to an accuracy of 97% on scikit-learn's digits and 96.5% on its breast
    cancer table: on the 20% of the rows that are held out, on average over the seeds 0 to 4.
    Those rows also choose the epoch, so on rows never looked at a model is slightly worse.

    Args:
        task: "classification" or "regression"; None: as the target is.
        hidden: units of each hidden layer; none of them makes a linear model.
        activation: of the hidden layers: a name, or a table of name and constants.
        optimizer: a name, or a table of name and constants.
        epochs: how often every row is seen, at most.
        batch_size: rows of a step; "all": every row; None: 32 (all for L-BFGS).
        learning_rate: None: the optimizer's own.
        validation: the fraction of the rows, taken at random, that is held out. 0: none, and
            then the training does not stop early.
        seed: decides initial weights, the rows held out, shuffles and dropout.
        backend: None: what the environment says.
        dtype: "float32" or "float64".
        dropout: the probability of dropping each hidden unit in training.
        l2: adds l2 / 2 * sum w^2 to the loss.
        patience: epochs without a better validation loss after which to stop; the best
            parameters are kept.
        layers: the hidden layers as a network's file holds them, instead of `hidden`,
            `activation` and `dropout`.
        missing: "impute": the median of the training rows takes the place of a missing number,
            missing text is a category of its own, and rows without a target are left out;
            "error": missing values are refused. `fastnet.encoding` has the whole rule.
        categories: how many texts of a column are inputs of their own, the most frequent; the
            rest share one.
        drop: columns to leave out.
        categorical: columns to take for text, whatever they hold, such as codes that are numbers.

    Raises:
        DefinitionError: for a setting that makes no sense.
    """

    task: str | None = None
    hidden: tuple[int, ...] = (64, 64)
    activation: str | Mapping[str, Any] = "relu"
    optimizer: str | Mapping[str, Any] = "adam"
    epochs: int = 200
    batch_size: int | Literal["all"] | None = None
    learning_rate: float | None = None
    validation: float = 0.2
    seed: int = 0
    backend: str | None = None
    dtype: str = "float32"
    dropout: float = 0.0
    l2: float = 0.003
    patience: int = 20
    layers: tuple[Mapping[str, Any], ...] | None = None
    missing: str = "impute"
    categories: int = 20
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASKS:
            raise DefinitionError(unknown("task", self.task, TASKS))
        for units in self.hidden:
            checks.integer(units, "hidden")
        if resolve("activation", ACTIVATIONS, self.activation).name == "softmax":
            raise DefinitionError("activation is 'softmax', which is for outputs; try 'relu'.")
        checks.integer(self.epochs, "epochs")
        if self.batch_size is not None and self.batch_size != "all":
            checks.integer(self.batch_size, "batch_size")
        checks.number(self.validation, "validation", least=0, below=1)
        if checks.integer(self.seed, "seed", least=0) >= 2**64:
            raise DefinitionError(f"seed is {self.seed}; it must be less than 2**64.")
        checks.dtype(self.dtype)
        checks.number(self.dropout, "dropout", least=0, below=1)
        checks.number(self.l2, "l2", least=0)
        checks.integer(self.patience, "patience", least=0)
        if self.missing not in MISSING:
            raise DefinitionError(unknown("way with missing values", self.missing, MISSING))
        checks.integer(self.categories, "categories")
        for key, names in (("drop", self.drop), ("categorical", self.categorical)):
            listed = isinstance(names, tuple | list) and all(isinstance(n, str) for n in names)
            if not listed:
                raise DefinitionError(f"{key} is {names!r}; it must be a tuple of columns' names.")
        both = set(self.drop) & set(self.categorical)
        if both:
            raise DefinitionError(f"drop and categorical both name {both.pop()!r}; keep one.")
        self.rule()
        self.network(1, 1, "regression")

    def rule(self) -> Optimizer | LBFGS:
        """The optimizer, with `learning_rate` before its own constant."""
        named = self.optimizer
        if not isinstance(named, str | Mapping):
            raise DefinitionError(
                f"optimizer is {named!r}; it must be a name, or a table of name and constants."
            )
        spec: dict[str, Any] = {"name": named} if isinstance(named, str) else {**named}
        if self.learning_rate is not None:
            spec["learning_rate"] = self.learning_rate
        return resolve("optimizer", OPTIMIZERS, spec)

    def network(self, inputs: int, outputs: int, task: str) -> Network:
        """The network for a table with so many inputs and outputs."""
        hidden: list[Mapping[str, Any]] = list(self.layers or ())
        if self.layers is None:
            for units in self.hidden:
                hidden.append({"type": "dense", "units": units, "activation": self.activation})
                if self.dropout:
                    hidden.append({"type": "dropout", "rate": self.dropout})
        classes = task == "classification"
        last = {
            "type": "dense",
            "units": outputs,
            "activation": "softmax" if classes else "identity",
        }
        loss = "crossentropy" if classes else "mse"
        return Network.from_spec({"inputs": inputs, "loss": loss, "layers": [*hidden, last]})


@dataclass(frozen=True)
class Part:
    """How good a model is on the training rows, or on those held out.

    Attributes:
        rows: how many.
        loss: the network's own, without penalties.
        metrics: `accuracy`, `log_loss` and `roc_auc`, or `r2`, `rmse` and `mae` in the target's
            unit: `fastnet.metrics` has the formulas. NaN where rows that are all alike leave one
            undefined, and for the area of very many classes.
        confusion: how many rows of each class were predicted as which, `(class, prediction)`;
            None for quantities and for more than `FEW_CLASSES`.
    """

    rows: int
    loss: float
    metrics: dict[str, float]
    confusion: Array | None = None

    @property
    def metric(self) -> float:
        """The accuracy, or R²."""
        return self.metrics["accuracy" if "accuracy" in self.metrics else "r2"]


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        model: trained, with its table's facts.
        table: these facts. `table.training`, which model files keep too, has the `fastnet` that
            trained, `backend`, `epochs` done, the `best_epoch`, and for `training` and
            `validation` (None without) their `rows` and metrics.
        columns: what became of each column.
        without_target: how many rows were left out because they have no target.
        history: of the fit.
        training, validation: rows, loss and metrics; None where no rows were held out.
    """

    model: Model
    table: Table
    columns: tuple[ColumnReport, ...]
    without_target: int
    history: History
    training: Part
    validation: Part | None

    @property
    def metric(self) -> str:
        """What `Part.metric` is."""
        return metric_name(self.table)

    @property
    def best_epoch(self) -> int:
        """The epoch whose parameters the model has."""
        return best_epoch(self.history)


class Fit:
    """A table, split and standardized, and the model that is to be trained on it.

    Args:
        source: a path, a Polars frame or a mapping of columns.
        target: the column to predict.
        recipe: how.

    Raises:
        DataError: if the table cannot be learned from, with the column and the row.
        DefinitionError: for settings that do not fit it.
        BackendUnavailable: if the backend is unknown or cannot run here.
    """

    def __init__(self, source: Any, target: str, recipe: Recipe) -> None:
        self.recipe = recipe
        backends.choose(recipe.backend)  # before a large table is read
        examined = examine(
            source,
            target,
            recipe.task,
            drop=recipe.drop,
            categorical=recipe.categorical,
            missing=recipe.missing,
        )
        training, held_out = _split(len(examined.y), recipe)
        fills = recipe.missing == "impute"
        self.table, self.columns = examined.learn(training, recipe.categories, fills)
        self.without_target = examined.without_target
        outputs = len(self.table.classes) or 1
        self.model = Model(
            recipe.network(len(self.table.features), outputs, self.table.task),
            backend=recipe.backend,
            dtype=recipe.dtype,
            seed=recipe.seed,
        )
        self.model.table = self.table.to_dict()
        self.training = _rows(examined, self.table, training, self.model.dtype)
        self.held_out = (
            _rows(examined, self.table, held_out, self.model.dtype) if len(held_out) else None
        )
        self._known = examined.y[training], examined.y[held_out]

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
            optimizer=recipe.rule(),
            epochs=recipe.epochs,
            batch_size=None if size == "all" else "auto" if size is None else size,
            validation=self.held_out,
            early_stopping=recipe.patience if self.held_out else None,
            l2=recipe.l2,
            progress=progress,
            checkpoint=checkpoint,
            resume=resume,
        )
        first = self._part(self.training, self._known[0])
        second = self._part(self.held_out, self._known[1]) if self.held_out else None
        facts = {
            "fastnet": __version__,
            "backend": self.model.backend,
            "epochs": len(history),
            "best_epoch": best_epoch(history),
            "training": _plain(first),
            "validation": _plain(second) if second else None,
        }
        table = replace(self.table, training=facts)
        self.model.table = table.to_dict()
        return Trained(self.model, table, self.columns, self.without_target, history, first, second)

    def unseen(self) -> list[Class]:
        """The classes that no training row shows, because all their rows are held out."""
        seen = set(self.training[1].tolist())
        return [name for index, name in enumerate(self.table.classes) if index not in seen]

    def measure(self) -> dict[str, float]:
        """Accuracy or R² now, on the training rows and on those held out."""
        found = {"training": self._metric(self.training)}
        if self.held_out:
            found["validation"] = self._metric(self.held_out)
        return found

    def _metric(self, rows: tuple[Array, Array]) -> float:
        x, y = rows
        outputs = self.model.predict(x)
        if self.table.task == "classification":
            return metrics.accuracy(y, np.argmax(outputs, axis=1))
        return metrics.r2(y, outputs[:, 0])

    def _part(self, rows: tuple[Array, Array], known: Array) -> Part:
        """`known` are the classes, or the quantities in their own unit."""
        outputs, loss = self.model.predict(rows[0]), self.model.evaluate(*rows)
        if self.table.task == "regression":
            found = metrics.of_quantities(known, self.table.quantities(outputs))
            return Part(len(known), loss, found)
        count = len(self.table.classes)
        best = np.argmax(outputs, axis=1)
        counts = metrics.confusion(known, best, count) if count <= FEW_CLASSES else None
        return Part(len(known), loss, metrics.of_classes(known, outputs), counts)


def train(source: Any, target: str, recipe: Recipe | None = None, **how: Any) -> Trained:
    """Train on a table; `how` is passed to `Fit.run`, which with `Fit` says what it raises."""
    return Fit(source, target, recipe or Recipe()).run(**how)


def metric_name(table: Table) -> str:
    """What a model of this table is judged by."""
    return "accuracy" if table.task == "classification" else "R²"


def best_epoch(history: History) -> int:
    """The epoch with the lowest loss on the rows held out, the last where there are none."""
    losses = history.validation_loss
    return losses.index(min(losses)) + 1 if losses else len(history)


def _plain(part: Part) -> dict[str, Any]:
    """As JSON holds it, which has no NaN."""
    found = {k: None if math.isnan(v) else v for k, v in part.metrics.items()}
    return {"rows": part.rows, **found}


def _split(rows: int, recipe: Recipe) -> tuple[Array, Array]:
    """The training rows and those held out, at random by the seed, each in file order."""
    kept = max(round(rows * recipe.validation), 1) if recipe.validation else 0
    if rows - kept < 2:
        raise DataError(
            f"the table has {rows} {'row' if rows == 1 else 'rows'}, and validation="
            f"{recipe.validation:g} leaves {rows - kept} to train on; at least 2 are needed: "
            "give more rows, or hold out fewer."
        )
    order = random.permutation(recipe.seed, random.SPLIT, 0, rows)
    return np.sort(order[kept:]), np.sort(order[:kept])


def _rows(examined: InspectedTable, table: Table, rows: Array, dtype: str) -> tuple[Array, Array]:
    values: list[Any] = []
    for name in table.names:
        every: Any = examined.values[name]
        values.append(every[rows] if isinstance(every, np.ndarray) else every.gather(rows))
    y = table.targets(examined.y[rows])
    return table.encode(values, dtype), y if table.task == "classification" else y.astype(dtype)
