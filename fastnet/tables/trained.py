"""What a training on a table results in."""

from typing import Any

from fastnet.many.ensemble import Ensemble
from fastnet.model import Model
from fastnet.records import Record
from fastnet.tables import reporting
from fastnet.tables.evaluating import Evaluation
from fastnet.tables.inspecting import ColumnReport
from fastnet.tables.permutation import importances
from fastnet.tables.schema import Table
from fastnet.tables.searching import Found
from fastnet.training.history import History


class Trained(Record):
    """The result of training on a table.

    Attributes:
        model: trained, an ensemble if the recipe has several members; `model.table` holds what it
            must know of its table.
        table: the same as a `Table`. `table.training`, which is also in model files, has the
            version of `fastnet`, the `backend`, the number of `epochs`, the `best_epoch`, and for
            `training`, `validation` and `test` (None without) their `rows` and metrics; after a
            refit its `refit_epochs`.
        columns: how each column is used.
        without_target: how many rows were left out because they have no target.
        history: of the fit that chose the epoch; of an ensemble, the mean of its members'.
        training: the evaluation on the training rows.
        validation: the evaluation on the validation rows, which chose the epoch, so that new rows
            are predicted slightly worse; None where no rows were held out.
        remarks: what may not be as the table's owner means it, a sentence each.
        test: the evaluation on the test rows, of which the training saw nothing; None where no
            rows were held out for that.
        search: the best settings that a search has found, best first; empty without one.
        selection: after a refit, the model of the training rows alone: `history`, `training` and
            `validation` are of it. None without a refit: they are of `model`.
    """

    model: Model | Ensemble
    table: Table
    columns: tuple[ColumnReport, ...]
    without_target: int
    history: History
    training: Evaluation
    validation: Evaluation | None
    remarks: tuple[str, ...] = ()
    test: Evaluation | None = None
    search: tuple[Found, ...] = ()
    selection: Model | Ensemble | None = None

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """Those that there are, the one that tells most first: test, validation, training."""
        every = {"test": self.test, "validation": self.validation, "training": self.training}
        return {part: found for part, found in every.items() if found is not None}

    def importances(self) -> dict[str, float]:
        """How much each column matters: `fastnet.tables.importances`, on the first evaluation."""
        part, judged = next(iter(self.evaluations.items()))
        model = self.model if part == "test" or self.selection is None else self.selection
        return importances(model, judged)

    def plot(self) -> Any:
        """Draw the losses, and the calibration or the predictions against what is true.

        Returns:
            The matplotlib figure.

        Raises:
            MissingExtra: without matplotlib.
        """
        from fastnet.tables import charts

        return charts.draw(self)

    def _repr_html_(self) -> str:
        """The report, for notebooks."""
        notes = reporting.notes(self.table)
        return reporting.html_report(self.evaluations, self.importances(), notes)

    @property
    def score_name(self) -> str:
        """What `Evaluation.score` is: "accuracy" or "R²"."""
        return score_name(self.table)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss; of an ensemble, the mean of its members'.

        Without a refit the model has the parameters of this epoch.
        """
        return best_epoch(self.selection or self.model)


def score_name(table: Table) -> str:
    """The metric that is shown while a model of this table is trained."""
    return "accuracy" if table.task == "classification" else "R²"


def best_epoch(model: Model | Ensemble) -> int:
    """The epoch with the lowest validation loss; the last one where no rows are held out.

    Of an ensemble, the mean over its members.
    """
    found = []
    for history in model.histories if isinstance(model, Ensemble) else [model.history]:
        assert history is not None
        losses = history.validation_loss
        found.append(losses.index(min(losses)) + 1 if losses else len(history))
    return round(sum(found) / len(found))
