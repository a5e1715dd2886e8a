"""An ensemble: several networks used as one model, with a measure of how sure it is."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from fastnet import ensemble_files, random
from fastnet.arguments import explained
from fastnet.arrays import checks, dlpack
from fastnet.arrays.checks import Array
from fastnet.definition.layers import Dense
from fastnet.definition.losses import GaussianNLL
from fastnet.definition.network import Network
from fastnet.ensemble_files import SavedEnsemble
from fastnet.errors import DataError, DefinitionError
from fastnet.model import Model
from fastnet.population import Population
from fastnet.population_files import SavedPopulation
from fastnet.training import metrics, uncertainty
from fastnet.training.history import History
from fastnet.training.rows import check_encoded

#: Losses of quantities, of which there are means and deviations.
_QUANTITIES = ("real", "count")


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
        given = [members] if isinstance(members, Population) else list(members)
        wrong = [one for one in given if not isinstance(one, Model | Population)]
        if wrong or not given:
            found = repr(wrong[0]) if wrong else "none"
            raise DefinitionError(f"members must be models or populations; there is {found}.")
        models = [one for part in given for one in ([part] if isinstance(part, Model) else part)]
        first = models[0]
        for number, model in enumerate(models):
            for what, own, others in (
                ("inputs", model.network.inputs, first.network.inputs),
                ("targets", model.network.targets, first.network.targets),
                ("kind of loss", _kind(model.network), _kind(first.network)),
                ("table", model.table, first.table),
            ):
                if own != others:
                    raise DefinitionError(
                        f"member {number} has another {what} than member 0; the members of an "
                        "ensemble must agree in it."
                    )
        share = (
            np.ones(len(models)) if weights is None else checks.numbers(weights, "weights", None)
        )
        if share.shape != (len(models),):
            raise DataError(f"weights has shape {share.shape}; it must be ({len(models)},).")
        if not (np.isfinite(share).all() and share.min() >= 0 and share.sum() > 0):
            raise DataError("weights must be finite and 0 or more, and not all 0.")
        together: dict[tuple[Any, ...], list[int]] = {}
        for number, model in enumerate(models):
            same = (str(model.network.spec()), model.dtype, model.backend)
            together.setdefault(same, []).append(number)
        populations = []
        for numbers in together.values():
            one = models[numbers[0]]
            population = Population.of(
                one.network,
                np.stack([models[number].parameters.flat for number in numbers]),
                seed=[models[number].seed for number in numbers],
                backend=one.backend,
                dtype=one.dtype,
            )
            population.table = one.table
            populations.append(population)
        order = [number for numbers in together.values() for number in numbers]
        ensemble = cls.__new__(cls)
        ensemble._set_up(populations, share[order] / share.sum())
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
        return _kind(self.network) == "normal"

    @property
    def least_variance(self) -> float:
        """What a predicted variance is at least; 0 where none is predicted."""
        loss = self.network.loss
        return loss.epsilon if isinstance(loss, GaussianNLL) else 0.0

    @property
    def predicts_deviations(self) -> bool:
        """Whether there are standard deviations: of quantities, by variances or several members."""
        kind = _kind(self.network)
        return kind == "normal" or (kind == "values" and int(np.count_nonzero(self.weights)) > 1)

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
        rows = len(checks.features(x, self.network.inputs, np.dtype(population.dtype)))
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
        kind = _kind(self.network)
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
        self.check_coverage(coverage)
        mean, variance = self._moments(x)
        half = self._factors(coverage) * np.sqrt(variance)
        ends = (mean - half).astype(self.dtype), (mean + half).astype(self.dtype)
        return dlpack.like(ends[0], x), dlpack.like(ends[1], x)

    def check_coverage(self, coverage: float) -> None:
        """Make sure that `predict_interval` has intervals of this coverage.

        Raises:
            DefinitionError: if it is not between 0 and 1, or there were too few calibration rows.
        """
        self._factors(checks.number(coverage, "coverage", above=0, below=1))

    def _factors(self, coverage: float) -> Array | float:
        """How many standard deviations an interval reaches to each side, `(targets,)`."""
        if self.scores is None:
            return NormalDist().inv_cdf((1 + coverage) / 2)
        place = math.ceil((len(self.scores) + 1) * coverage)
        if place > len(self.scores):
            least = math.ceil(round(coverage / (1 - coverage), 6))  # 1 - 0.9 is not quite 0.1
            raise DefinitionError(
                f"coverage {coverage:g} needs at least {least} rows to calibrate with; there were "
                f"{len(self.scores)}."
            )
        return np.asarray(self.scores[place - 1])

    def calibrate(self, x: Any, y: Any) -> None:
        """Measure on rows that no member has seen how wide `predict_interval` must be.

        Args:
            x: `(rows, inputs)`.
            y: `(rows,)` or `(rows, targets)`.

        Raises:
            DataError: if the arrays do not fit.
            DefinitionError: as for `predict` with `return_std`.
        """
        x = checks.features(x, self.network.inputs, np.dtype(self.dtype))
        self._calibrate(x, y, np.ones((len(self), len(x))))

    def _calibrate(self, x: Any, y: Any, unseen: Array) -> None:
        """By the members that have not seen a row: `(members, rows)`, 1 for those."""
        network = self.network
        least = 1 if _kind(network) == "normal" else 2
        rows = np.flatnonzero(np.count_nonzero(self.weights[:, None] * unseen, axis=0) >= least)
        if not len(rows):
            raise DefinitionError(
                f"{len(self)} members leave no row that {least} of them have not seen; use more "
                "members, or bootstrap=False and calibrate."
            )
        dtype = np.dtype(self.dtype)
        x = checks.features(x, network.inputs, dtype)
        y = checks.targets(y, len(x), network.targets, network.loss.targets, dtype)
        mean, variance = self._moments(x, unseen)
        error = np.abs(y[rows].astype(np.float64) - mean[rows])
        # Where all members agree, any error is infinitely many deviations.
        least_std = np.finfo(dtype).tiny
        self.scores = np.sort(error / np.maximum(np.sqrt(variance[rows]), least_std), axis=0)

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
        wide = self._outputs_of_mean(x, encoded)
        return _passing_on(self.network, wide.shape[1]).evaluate(wide, y, sample_weight)

    def _outputs_of_mean(self, x: Any, encoded: bool) -> Array:
        """What one network would have to output, before the last activation, to predict the same.

        Returns:
            `(rows, outputs)` float64.
        """
        if self.predicts_variances:
            check_encoded(self.table, encoded, "evaluate")
            mean, variance = self._moments(x)
            return np.hstack([mean, np.log(variance)])
        predicted = np.asarray(self.predict(x, encoded=encoded), np.float64)
        least = np.finfo(self.dtype).tiny
        if self.network.loss.needs == "softmax":
            return np.log(np.maximum(predicted, least))
        if self.network.loss.needs == "sigmoid":
            p = np.clip(predicted, least, 1 - np.finfo(self.dtype).epsneg)
            return np.asarray(np.log(p) - np.log1p(-p))
        return predicted

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
        network = self.network
        dtype = np.dtype(self.dtype)
        predicted = np.asarray(self.predict(x, encoded=encoded))
        targets = checks.targets(y, len(predicted), network.targets, network.loss.targets, dtype)
        if _kind(network) == "classes":
            if network.loss.targets == "probability" and predicted.shape[1] > 1:
                return {"accuracy": metrics.accuracy(targets, predicted)}
            return uncertainty.of_classes(_indices(targets), predicted)
        measured = {
            name: metrics.METRICS[name](targets, predicted, None) for name in ("r2", "rmse", "mae")
        }
        if self.predicts_deviations:
            mean, std = self.predict(x, return_std=True, encoded=encoded)
            std = np.maximum(std, np.finfo(dtype).tiny)
            measured["nll"] = uncertainty.negative_log_likelihood(targets, mean, std)
            measured["crps"] = uncertainty.crps(targets, mean, std)
        return measured

    def _parts(self, x: Any) -> Iterator[tuple[Array, Array]]:
        """Each population's predictions `(members, rows, outputs)`, and its members' weights."""
        x = checks.features(x, self.network.inputs, np.dtype(self.dtype), allow_nan=True)
        start = 0
        for population in self.populations:
            end = start + len(population)
            yield population.predict(x), self.weights[start:end]
            start = end

    def _moments(self, x: Any, counted: Array | None = None) -> tuple[Array, Array]:
        """Means and variances `(rows, targets)`, float64; NaN for rows that no member counts for.

        Args:
            x: `(rows, inputs)`.
            counted: `(members, rows)`, 1 where a member counts for a row, else 0; None: all do.
        """
        kind, targets = _kind(self.network), self.network.targets
        if kind == "classes":
            raise DefinitionError(
                "standard deviations and intervals are of quantities; these members predict "
                "probabilities, which say by themselves how sure they are."
            )
        if kind == "quantiles":
            raise DefinitionError(
                "these members predict quantiles, whose deviations say nothing of the target's; "
                "use loss='gaussian_nll' or loss='mse'."
            )
        if not self.predicts_deviations:
            raise DefinitionError(
                "one member has no spread; use more members, or loss='gaussian_nll'."
            )
        weights = self.weights[:, None] * (1 if counted is None else counted)
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = (weights / weights.sum(axis=0))[:, :, None]
            predicted = np.concatenate([part.astype(np.float64) for part, _ in self._parts(x)])
            points = predicted[..., :targets]
            mean = np.sum(weights * points, axis=0)
            between = np.sum(weights * (points - mean) ** 2, axis=0)
            if kind == "normal":  # the variance of a mixture
                own = np.maximum(np.exp(predicted[..., targets:]), self.least_variance)
                return mean, np.sum(weights * own, axis=0) + between
            # Unbiased for equal weights, where it divides by members - 1.
            return mean, between / (1 - np.sum(weights**2, axis=0))

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

    def __repr__(self) -> str:
        networks = len(self.populations)
        kinds = "1 network" if networks == 1 else f"{networks} networks"
        sizes = f"{self.network.inputs} -> {self.network.targets}"
        return f"Ensemble({len(self)} members of {kinds}, {sizes}, dtype={self.dtype!r})"


def load_ensemble(
    path: str | os.PathLike[str], *, backend: str | None = None, threads: int | None = None
) -> Ensemble:
    """Read an ensemble that `Ensemble.save` wrote.

    Args:
        path: the file.
        backend: as for `Model`.
        threads: as for `Model`.

    Raises:
        ModelFileError: if the file is truncated, altered, foreign or of a newer version.
        ModelFileMissing: if there is none.
        BackendUnavailable: if the backend cannot run here.
    """
    saved = ensemble_files.read(path)
    populations = []
    for part in saved.populations:
        population = Population.of(
            part.network,
            part.flats,
            seed=part.seeds,
            backend=backend,
            dtype=part.dtype,
            threads=threads,
        )
        population.table = part.table
        populations.append(population)
    ensemble = Ensemble.__new__(Ensemble)
    ensemble._set_up(populations, saved.weights, saved.scores)
    return ensemble


def _kind(network: Network) -> str:
    """What its outputs are: "classes", "normal", "quantiles" or "values"."""
    if network.loss.targets not in _QUANTITIES:
        return "classes"
    if isinstance(network.loss, GaussianNLL):
        return "normal"
    return "quantiles" if network.loss.canonical()[0] in ("quantile", "quantiles") else "values"


def _indices(targets: Array) -> Array:
    """Class indices of one-hot rows, or of a column of 0 and 1."""
    if targets.ndim == 1:
        return targets
    if targets.shape[1] == 1:
        return (targets[:, 0] > 0.5).astype(np.intp)
    return np.asarray(targets.argmax(axis=1))


def _passing_on(network: Network, outputs: int) -> Model:
    """A model with the output and the loss of a network, whose inputs are its last layer's sums."""
    last = Dense(outputs, network.output, bias=False)
    passes = Network(outputs, [last], network.loss)
    return Model.of(passes, {"0.weight": np.eye(outputs)}, dtype="float64")
