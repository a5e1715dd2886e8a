"""A training on a table: the rows, the model, its fit, and what it results in."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastnet.errors import DefinitionError, unknown
from fastnet.many.ensemble import Ensemble
from fastnet.many.fitting import bar_of
from fastnet.model import Model
from fastnet.tables import folding, metrics, refitting
from fastnet.tables.evaluating import Evaluation, Rows
from fastnet.tables.recipe import Recipe
from fastnet.tables.schema import Table, class_name
from fastnet.tables.searching import Found, search, search_folder
from fastnet.tables.sharing import WholeTable
from fastnet.tables.split_table import PARTS, SplitTable
from fastnet.tables.trained import Trained, best_epoch
from fastnet.training.blocks import BlockShuffle
from fastnet.training.history import History
from fastnet.training.metrics import r2
from fastnet.training.population_checkpoints import summary
from fastnet.training.progress import Bar, numbered
from fastnet.version import __version__


class TableFit(SplitTable):
    """A table, split and encoded, and the model to train on it.

    Arguments and errors are those of `SplitTable`.

    Attributes:
        epochs, l2: the recipe's, or those for this many training rows.
        model: not yet trained.
    """

    #: As for `Model.fit`.
    shuffle: bool | BlockShuffle = True

    #: The second training, once there is one.
    again: "TableFit | None" = None

    def _begin(self) -> None:
        self.model = untrained(self.recipe, self.table)
        self._class_weight = self._weights_of_classes()

    @property
    def epochs(self) -> int:
        """Of the training, at most."""
        return self.recipe.epochs_for(self.rows["training"], self.table.task)

    @property
    def l2(self) -> float:
        """The penalty of the training."""
        return self.recipe.l2_for(self.rows["training"], self.table.task)

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
        folded = self.refits and self.by_folds
        if resume and checkpoint is not None and len(self.bins_to_try) > 1:
            self._resume_bins(checkpoint)
        choices = self.bins_to_try
        chosen = len(choices) > 1
        search = self.recipe.search is not None
        names = [f"folds{' with bins' * bool(bins)}" for bins in choices if chosen]
        names += ["search"] * search + ["training"]
        names += ["folds"] * (folded and (search or not chosen))
        names += ["training on all rows"] * self.refits
        bars = numbered(bar_of(progress), names)
        losses = self._choose_bins(choices, bars) if chosen else []
        trained = self.train(checkpoint, resume, bars)
        if not self.refits:
            return trained
        if folded and (search or not chosen):
            losses = folding.losses(self, self.recipe.bins or 0, next(bars))
        return refitting.refit(self, trained, losses, checkpoint, resume, bars)

    @property
    def bins_to_try(self) -> tuple[int, ...]:
        """The numbers of bins of a column of numbers that `run` chooses from."""
        if not self.by_folds:
            return (self.recipe.bins or 0,)
        return folding.bins_to_try(self.recipe, self.table.task, len(self.table.columns))

    def _resume_bins(self, checkpoint: str | os.PathLike[str]) -> None:
        """Encode numbers as the training was begun that a checkpoint is of, if there is one."""
        begun = self.among.on_first(partial(_inputs_of, checkpoint))
        if begun is not None:
            without, with_bins = self.bins_to_try
            self._use_bins(without if begun == len(self.table.features) else with_bins)

    def _use_bins(self, bins: int) -> None:
        """Encode numbers by so many bins from now on, where they were encoded without."""
        self.recipe = replace(self.recipe, bins=bins)
        if bins:
            inspected, rest, tested, test = self._source
            self._set_up(self.recipe, inspected, rest, tested, None, test)

    def _choose_bins(self, choices: tuple[int, ...], bars: Iterator[Bar | None]) -> list[float]:
        """Encode numbers by so many bins as folds show to be the best.

        Returns:
            The losses of the folds with these: `folding.losses`.
        """
        found = {bins: folding.losses(self, bins, next(bars)) for bins in choices}
        best = min(choices, key=lambda bins: min(found[bins], default=math.inf))
        self._use_bins(best)
        return found[best]

    def with_all_rows(self, bins: int | None = None, alone: bool = False) -> "TableFit":
        """A fit without validation rows: they are training rows too, and all is encoded anew.

        Args:
            bins: of a column of numbers; None: those of the recipe.
            alone: whether every process has all rows, and no test rows.
        """
        inspected, rest, tested, test = self._source
        fit = TableFit.__new__(TableFit)
        fit.among = WholeTable() if alone else self.among
        recipe = replace(
            self.recipe,
            validation=0.0,
            test=0.0,
            refit=False,
            epochs=self.epochs,
            bins=self.recipe.bins if bins is None else bins,
        )
        if alone:
            tested, test = rest[:0], None
        fit._set_up(recipe, inspected, rest, tested, None, test)
        return fit

    def train(
        self,
        checkpoint: str | os.PathLike[str] | None,
        resume: bool,
        bars: Iterator[Bar | None],
        callbacks: tuple[Callable[[Any, History], Any], ...] = (),
    ) -> Trained:
        """Train once, without a refit.

        Args:
            checkpoint: as for `Model.fit`.
            resume: likewise.
            bars: the next ones show the search, if there is one, and the training.
            callbacks: as for `Model.fit`.
        """
        communicator = self.among.communicator
        several = self.recipe.search is not None or isinstance(self.model, Ensemble)
        if several and communicator is not None:
            raise DefinitionError(
                "several networks, of members or a search, are trained by one process, not by "
                f"{self.among.size}; leave members and search out, or the communicator."
            )
        found = self._search(checkpoint, resume, next(bars)) if self.recipe.search else ()
        recipe, learned, held_out = self.recipe, self.training, self.validation
        settings = {
            **self.settings(),
            "callbacks": callbacks,
            "progress": next(bars) or False,
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

    def settings(self) -> dict[str, Any]:
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
        self, checkpoint: str | os.PathLike[str] | None, resume: bool, bar: Bar | None
    ) -> tuple[Found, ...]:
        """Find settings, and make the model that has them."""
        found = search(
            self.recipe,
            self.table,
            self.training,
            self.facts,
            None if checkpoint is None else search_folder(checkpoint),
            resume,
            settings=self.settings(),
            bar=bar,
        )
        self.recipe = replace(self.recipe, search=None, **found[0].settings)
        self.model = untrained(self.recipe, self.table)
        return found

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


def _inputs_of(checkpoint: str | os.PathLike[str]) -> int | None:
    """How many inputs the network of a checkpoint has; None where there is no checkpoint."""
    if not Path(checkpoint).exists():
        return None
    inputs: int = summary(checkpoint)["network"]["inputs"]
    return inputs


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    found = {k: None if math.isnan(v) else v for k, v in evaluation.metrics.items()}
    return {"rows": evaluation.rows, **found}
