"""An ensemble: several networks used as one model, with a measure of how sure it is."""

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arguments import explained
from fastnet.arrays import dlpack
from fastnet.arrays.checks import Array
from fastnet.arrays.targets import loss_targets
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError
from fastnet.many import deviations, ensemble_files, intervals, measuring
from fastnet.many.ensemble_files import SavedEnsemble
from fastnet.many.grouping import grouped
from fastnet.many.measuring import kind_of
from fastnet.many.population import Population
from fastnet.many.population_files import SavedPopulation
from fastnet.model import Model
from fastnet.training.history import History
from fastnet.training.rows import check_encoded


class Ensemble:
    """Several networks used as one model: predictions are the means of the members'.

    Members of one definition differ by their initial parameters and shuffles, and with `bootstrap`
    by their rows too. For regression an ensemble also says how sure it is: with
    `loss="gaussian_nll"` by the variances that the members predict and by how far their means lie
    apart (Lakshminarayanan, Pritzel and Blundell 2017), with another loss by the latter alone.

    Args:
        network: the definition of every member.
        members: how many.
        seed: as for `Population`.
        bootstrap: train each member on as many rows, drawn with replacement (Breiman 1996); for
            regression, the rows that a member has not seen then calibrate the intervals.
        backend: as for `Model`.
        dtype: as for `Model`.
        threads: as for `Model`.
        precision: as for `Model`.

    Attributes:
        populations: the members, those of one definition together.
        weights: `(members,)` float64, which sum to 1.
        scores: what `calibrate` measured, `(rows, targets)` float64, ascending; None before.

    Raises:
        DefinitionError: if an argument is invalid.
        BackendUnavailable: as for `Model`.
        DoesNotFit: if the memory has no room for so many members.
    """

    @explained("fn.Ensemble")
    def __init__(
        self,
        network: Network,
        *,
        members: int = 5,
        seed: int | Sequence[int] | None = None,
        bootstrap: bool = False,
        backend: str | None = None,
        dtype: Any = "float32",
        threads: int | None = None,
        precision: str | None = None,
    ) -> None:
        population = Population(
            network,
            members=members,
            seed=seed,
            backend=backend,
            dtype=dtype,
            threads=threads,
            precision=precision,
        )
        self._set_up([population], np.full(len(population), 1 / len(population)))
        self.bootstrap = bootstrap

    @classmethod
    def of(
        cls, members: Population | Iterable[Model | Population], weights: Any = None
    ) -> "Ensemble":
        """Make an ensemble of trained members, whose networks may differ.

        Args:
            members: a population, or models and populations; their parameters are copied. In the
                ensemble, members of the same definition stand together.
            weights: `(members,)`, 0 or more; None: all alike.

        Raises:
            DefinitionError: if there is no member, or two do not fit together.
            DataError: if the weights are invalid.
        """
        populations, share = grouped(members, weights)
        ensemble = cls.__new__(cls)
        ensemble._set_up(populations, share)
        return ensemble

    def _set_up(
        self, populations: list[Population], weights: Array, scores: Array | None = None
    ) -> None:
        """The one way to make an ensemble, of checked values."""
        self.populations = populations
        self.weights = weights
        self.scores = scores
        self.bootstrap = False

    @property
    def network(self) -> Network:
        """The definition of the first member."""
        return self.populations[0].network

    @property
    def dtype(self) -> str:
        """Of predictions: "float64" if a member has it, else "float32"."""
        return max(population.dtype for population in self.populations)

    @property
    def backend(self) -> str:
        """The name of the backend that runs the first member."""
        return self.populations[0].backend

    @property
    def seed(self) -> int:
        """That of the first member."""
        return self.populations[0].seeds[0]

    @property
    def table(self) -> dict[str, Any] | None:
        """How the columns of a table become inputs and outputs, or None."""
        return self.populations[0].table

    @table.setter
    def table(self, table: dict[str, Any] | None) -> None:
        for population in self.populations:
            population.table = table

    @property
    def histories(self) -> list[History]:
        """Of the last fit, one a member; empty before the first."""
        return [history for population in self.populations for history in population.histories]

    @property
    def history(self) -> History | None:
        """The mean of the members' histories, or None before the first fit."""
        return History.mean(self.histories) if self.histories else None

    @property
    def predicts_variances(self) -> bool:
        """Whether each member predicts a variance."""
        return kind_of(self.network) == "normal"

    @property
    def least_variance(self) -> float:
        """What a predicted variance is at least; 0 where none is predicted."""
        return deviations.least_variance(self.network)

    @property
    def predicts_deviations(self) -> bool:
        """Whether there are standard deviations: of quantities, by variances or several members."""
        return deviations.has_deviations(self.network, self.weights)

    def __len__(self) -> int:
        """How many members there are."""
        return len(self.weights)

    def __iter__(self) -> Iterator[Model]:
        """All members, as models that share their parameters."""
        return (model for population in self.populations for model in population)

    def __getitem__(self, member: int) -> Model:
        """A member, as a model that shares its parameters."""
        return list(self)[member]

    def fit(self, x: Any, y: Any, **settings: Any) -> list[History]:
        """Train all members at once.

        With `bootstrap` and a regression, intervals are calibrated afterwards by the rows that
        members have not seen; without, call `calibrate`. A member that diverges is left out.

        Args:
            x: `(rows, inputs)`.
            y: as for `Model.fit`, the same for all members.
            settings: as for `Population.fit`, without `rows` if there is `bootstrap`.

        Returns:
            One history a member that is left.

        Raises:
            DefinitionError: if a setting is invalid, or the members are of several definitions,
                which were trained before.
            DataError: if rows, targets or weights are invalid.
            Diverged: if all members diverge.
            KeyboardInterrupt: after Ctrl-C. Every member is as after its last whole step.
        """
        if len(self.populations) > 1:
            raise DefinitionError(
                "this ensemble is of several networks; train them and use fn.Ensemble.of."
            )
        (population,) = self.populations
        if not self.bootstrap:
            self.scores = None
            return self._train(population, x, y, settings)
        if settings.get("rows") is not None:
            raise DefinitionError("bootstrap=True chooses the rows of each member; leave out rows.")
        rows = len(self.network.features(x, np.dtype(population.dtype)))
        drawn = {
            seed: (random.uniform(seed, random.BOOTSTRAP, 0, rows) * rows).astype(np.intp)
            for seed in population.seeds
        }
        self.scores = None
        of_members = [drawn[seed] for seed in population.seeds]
        histories = self._train(population, x, y, {**settings, "rows": of_members})
        if self.predicts_deviations:
            unseen = np.ones((len(self), rows))
            for one, seed in zip(unseen, self.populations[0].seeds, strict=True):
                one[drawn[seed]] = 0
            self._calibrate(x, y, unseen)
        return histories

    def _train(
        self, population: Population, x: Any, y: Any, settings: dict[str, Any]
    ) -> list[History]:
        """Train, and leave out the members that diverge."""
        population.fit(x, y, **settings)
        if population.diverged:
            left = [
                member for member in range(len(population)) if member not in population.diverged
            ]
            self.populations = [population.take(left)]
            weights = self.weights[left] if self.weights[left].any() else np.ones(len(left))
            self.weights = weights / weights.sum()
        return self.histories

    def predict(self, x: Any, *, return_std: bool = False, encoded: bool = False) -> Any:
        """Predict outputs for `x`: the weighted mean of the members' probabilities or values.

        Args:
            x: `(rows, inputs)`.
            return_std: whether to return standard deviations too; for regression.
            encoded: as for `Model.predict`: required of an ensemble trained from a table.

        Returns:
            `(rows, outputs)`; with `loss="gaussian_nll"` the means, `(rows, targets)`. With
            `return_std` a pair of these and the standard deviations, of the same shape: of the
            mixture of the members' normal distributions, or between the members. Of the dtype, as
            NumPy arrays, or arrays like `x`.

        Raises:
            DataError: if `x` does not fit.
            DefinitionError: if `return_std` is asked of a classification, or of one member that
                predicts no variance.
        """
        check_encoded(self.table, encoded, "predict")
        if return_std:
            mean, variance = self._moments(x)
            std = np.sqrt(variance).astype(self.dtype)
            return dlpack.like(mean.astype(self.dtype), x), dlpack.like(std, x)
        kind = kind_of(self.network)
        total: Array | float = 0.0
        for part, weights in self._parts(x):
            point = part[..., : self.network.targets] if kind == "normal" else part
            total = total + np.tensordot(weights, point.astype(np.float64), 1)
        return dlpack.like(np.asarray(total).astype(self.dtype), x)

    def predict_interval(
        self, x: Any, coverage: float = 0.9, *, encoded: bool = False
    ) -> tuple[Any, Any]:
        """Predict intervals that the targets should lie in with a given probability.

        After `calibrate`, or a fit with `bootstrap`, they are as many standard deviations wide as
        the calibration rows needed (split conformal prediction with the deviation as the scale,
        Lei et al. 2018), which holds whatever the distribution of the errors; before, as many as a
        normal distribution needs.

        Args:
            x: `(rows, inputs)`.
            coverage: above 0 and below 1.
            encoded: as for `predict`.

        Returns:
            The lower and the upper ends, `(rows, targets)` each, like predictions.

        Raises:
            DataError: if `x` does not fit.
            DefinitionError: as for `predict`, or if there were too few calibration rows.
        """
        check_encoded(self.table, encoded, "predict_interval")
        reach = intervals.factors(self.scores, coverage)
        mean, variance = self._moments(x)
        half = reach * np.sqrt(variance)
        ends = (mean - half).astype(self.dtype), (mean + half).astype(self.dtype)
        return dlpack.like(ends[0], x), dlpack.like(ends[1], x)

    def check_coverage(self, coverage: float) -> None:
        """Make sure that `predict_interval` has intervals of this coverage.

        Raises:
            DefinitionError: if it is not between 0 and 1, or there were too few calibration rows.
        """
        intervals.factors(self.scores, coverage)

    def calibrate(self, x: Any, y: Any, *, encoded: bool = False) -> None:
        """Measure on rows that no member has seen how wide `predict_interval` must be.

        Args:
            x: `(rows, inputs)`.
            y: `(rows,)` or `(rows, targets)`.
            encoded: as for `predict`.

        Raises:
            DataError: if the arrays do not fit.
            DefinitionError: as for `predict` with `return_std`.
        """
        check_encoded(self.table, encoded, "calibrate")
        x = self.network.features(x, np.dtype(self.dtype))
        self._calibrate(x, y, np.ones((len(self), len(x))))

    def _calibrate(self, x: Any, y: Any, unseen: Array) -> None:
        """By the members that have not seen a row: `(members, rows)`, 1 for those."""
        network = self.network
        least = 1 if kind_of(network) == "normal" else 2
        rows = np.flatnonzero(np.count_nonzero(self.weights[:, None] * unseen, axis=0) >= least)
        if not len(rows):
            raise DefinitionError(
                f"{len(self)} members leave no row that {least} of them have not seen; use more "
                "members, or bootstrap=False and calibrate."
            )
        x = network.features(x, np.dtype(self.dtype))
        y = self._checked_targets(y, len(x))
        mean, variance = self._moments(x, unseen)
        self.scores = intervals.scores(y[rows], mean[rows], np.sqrt(variance[rows]))

    def evaluate(
        self, x: Any, y: Any, sample_weight: Any = None, *, encoded: bool = False
    ) -> float:
        """Compute the loss of the mean predictions over all rows.

        Args:
            x: `(rows, inputs)`.
            y: as for `fit`.
            sample_weight: `(rows,)`, or None.
            encoded: as for `predict`.

        Raises:
            DataError: if the arrays do not fit.
        """
        check_encoded(self.table, encoded, "evaluate")
        if self.predicts_variances:
            mean, variance = self._moments(x)
            sums = np.hstack([mean, np.log(variance)])
        else:
            sums = measuring.sums_of(self.network, self.predict(x, encoded=True), self.dtype)
        return measuring.loss_of(self.network, sums, y, sample_weight)

    def metrics(self, x: Any, y: Any, *, encoded: bool = False) -> dict[str, float]:
        """Compute metrics over all rows.

        Args:
            x: `(rows, inputs)`.
            y: as for `fit`.
            encoded: as for `predict`.

        Returns:
            For classes `accuracy`, `log_loss`, `brier` and `calibration_error`; for labels of their
            own (`loss="binary_crossentropy"` with several outputs) `accuracy`; for quantities `r2`,
            `rmse` and `mae`, and, where there are standard deviations, `nll` and `crps`.
            `fastnet.tables.metrics` has the formulas.

        Raises:
            DataError: if the arrays do not fit.
        """
        check_encoded(self.table, encoded, "metrics")
        std = None
        if self.predicts_deviations:
            predicted, std = map(np.asarray, self.predict(x, return_std=True, encoded=True))
        else:
            predicted = np.asarray(self.predict(x, encoded=True))
        targets = self._checked_targets(y, len(predicted))
        return measuring.metrics_of(self.network, targets, predicted, std)

    def plot_calibration(self, x: Any, y: Any, axes: Any = None, *, encoded: bool = False) -> Any:
        """Draw how sure the ensemble is against how often it is right, on rows not trained on.

        Of classes: which fraction of the rows came out as predicted with some probability. Of
        quantities: which fraction lies in intervals of 5 to 95 %. On the diagonal is what is
        calibrated; below it, it is too sure.

        Args:
            x: `(rows, inputs)`.
            y: as for `fit`.
            axes: the matplotlib axes to draw on; None makes a new figure (`axes.figure`).
            encoded: as for `predict`.

        Returns:
            The axes.

        Raises:
            DataError: if the arrays do not fit.
            DefinitionError: for labels that are independent of each other, and as for `predict`
                with `return_std`.
            MissingExtra: without matplotlib.
        """
        check_encoded(self.table, encoded, "plot_calibration")
        std = None
        if kind_of(self.network) == "classes":
            predicted = np.asarray(self.predict(x, encoded=True))
        else:
            predicted, std = map(np.asarray, self.predict(x, return_std=True, encoded=True))
        targets = self._checked_targets(y, len(predicted))
        return measuring.plot(self.network, targets, predicted, std, self.scores, axes)

    def _checked_targets(self, y: Any, rows: int) -> Array:
        network = self.network
        return loss_targets(y, rows, network.targets, network.loss.targets, np.dtype(self.dtype))

    def _parts(self, x: Any) -> Iterator[tuple[Array, Array]]:
        """Each population's predictions `(members, rows, outputs)`, and its members' weights."""
        x = self.network.features(x, np.dtype(self.dtype), allow_nan=True)
        start = 0
        for population in self.populations:
            end = start + len(population)
            yield population.predict(x, encoded=True), self.weights[start:end]
            start = end

    def _moments(self, x: Any, counted: Array | None = None) -> tuple[Array, Array]:
        """Means and variances `(rows, targets)`, float64; NaN for rows that no member counts for.

        Args:
            x: `(rows, inputs)`.
            counted: `(members, rows)`, 1 where a member counts for a row, else 0; None: all do.
        """
        deviations.check_deviations(self.network, self.weights)
        weights = self.weights[:, None] * (1 if counted is None else counted)
        predicted = np.concatenate([part for part, _ in self._parts(x)])
        return deviations.moments(self.network, predicted, weights)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write members, weights and calibration to a safetensors file, whole or not at all.

        `fn.load_ensemble` reads it.

        Raises:
            FileAccessError: if it cannot be written.
        """
        saved = [
            SavedPopulation(one.network, one.parameters, one.dtype, one.seeds, one.table)
            for one in self.populations
        ]
        return ensemble_files.write(path, SavedEnsemble(saved, self.weights, self.scores))

    def to_onnx(self, path: str | os.PathLike[str], *, encoded: bool = False) -> None:
        """Write one ONNX graph of all members; `fastnet.interchange.exporting.ensemble_to_onnx`."""
        from fastnet.interchange.exporting import ensemble_to_onnx

        ensemble_to_onnx(self, path, encoded=encoded)

    def __copy__(self) -> "Ensemble":
        """A shallow copy too has members of its own, like that of a model."""
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self), populations=[copy.copy(one) for one in self.populations])
        return copied

    def __repr__(self) -> str:
        networks = len(self.populations)
        kinds = "1 network" if networks == 1 else f"{networks} networks"
        sizes = f"{self.network.inputs} -> {self.network.targets}"
        return f"Ensemble({len(self)} members of {kinds}, {sizes}, dtype={self.dtype!r})"
