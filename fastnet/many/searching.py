"""A search for the definition and the settings that predict best, by cross-validation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import html
from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.arrays.targets import loss_targets
from fastnet.definition.network import Network
from fastnet.errors import DataError, DefinitionError, message_of, unknown
from fastnet.many.candidates import Candidate, draw, network_of, settings_of
from fastnet.many.ensemble import Ensemble
from fastnet.many.fitting import bar_of
from fastnet.many.population import Population
from fastnet.many.rounds import Rounds
from fastnet.many.spreading import ranks_of
from fastnet.model import Model
from fastnet.training import metrics
from fastnet.training.rows import checked_targets
from fastnet.training.splitting import fold_of_rows

if TYPE_CHECKING:
    from fastnet.training.progress import Bar

#: Settings of `Population.fit` that the search itself gives.
_OF_SEARCH = ("rows", "initial_epoch", "resume")


class Search:
    """What `fn.search` found.

    Attributes:
        candidates: best first; those trained longer stand before those that dropped out.
        metric: what the scores are.
        folds: the number of the fold in which each row was held out, `(rows,)`; -1: in none.
    """

    def __init__(
        self,
        candidates: list[Candidate],
        metric: str,
        folds: Array,
        settings: Callable[[Mapping[str, Any]], dict[str, Any]],
        options: dict[str, Any],
        seed: int,
    ) -> None:
        self.candidates = candidates
        self.metric = metric
        self.folds = folds
        self._settings = settings
        self._options = options
        self._seed = seed

    @property
    def best(self) -> Candidate:
        """The candidate with the best score."""
        return self.candidates[0]

    def refit(self, x: Any, y: Any, sample_weight: Any = None) -> Model:
        """Train the best candidate on all rows, for `best_epoch` epochs.

        As many as its folds needed: here no rows are held out that could stop it early.

        Args:
            x: `(rows, inputs)`.
            y: as for `Model.fit`.
            sample_weight: as for `Model.fit`; None: that of the search.

        Raises:
            DataError: if the arrays do not fit.
            Diverged: as for `Model.fit`.
        """
        best = self.best
        one = Population(best.network, members=1, seed=self._seed, **self._options)
        settings = self._settings(best.values)
        if sample_weight is not None:
            settings["sample_weight"] = sample_weight
        for held_out in ("validation", "early_stopping"):
            settings.pop(held_out, None)
        one.fit(x, y, epochs=best.best_epoch, **settings)
        return one[0]

    def ensemble(self, x: Any, y: Any, *, choices: int = 20) -> Ensemble:
        """Make an ensemble of the candidates that predict best together.

        Greedy selection with replacement (Caruana et al. 2004): again and again the candidate is
        added with which the mean of all chosen so far has the lowest loss on the held-out rows:
        the log loss for classes, the squared error for quantities. The members are the networks of
        all folds of the candidates chosen.

        Args:
            x: `(rows, inputs)`, that of the search.
            y: as for `Model.fit`, that of the search.
            choices: how many times one is added.

        Raises:
            DataError: if the arrays are not those of the search.
        """
        choices = checks.integer(choices, "choices")
        longest = [one for one in self.candidates if one.epochs == self.best.epochs]
        network = self.best.network
        same = [one for one in longest if one.network.loss == network.loss]
        dtype = np.dtype(self.best.members[0].dtype)
        x = network.features(x, dtype)
        targets = loss_targets(y, len(x), network.targets, network.loss.targets, dtype)
        if len(x) != len(self.folds):
            raise DataError(
                f"x has {len(x)} rows and the search had {len(self.folds)}; give the same ones."
            )
        rows = np.flatnonzero(self.folds >= 0)
        targets = targets[rows]
        predictions = np.stack([self._held_out(one, x)[rows] for one in same])
        counts = np.zeros(len(same), np.int64)
        total = np.zeros_like(predictions[0])
        for chosen in range(1, choices + 1):
            losses = [_loss(network, targets, (total + one) / chosen) for one in predictions]
            best = int(np.argmin(losses))
            counts[best] += 1
            total += predictions[best]
        members = [model for one, n in zip(same, counts, strict=True) if n for model in one.members]
        weights = [n for n in counts if n for _ in self.best.members]
        return Ensemble.of(members, weights=weights)

    def _held_out(self, candidate: Candidate, x: Array) -> Array:
        """Each row's prediction by the network of its fold, `(rows, targets)` float64."""
        network = candidate.network
        found = np.full((len(x), network.targets), np.nan)
        for fold, model in enumerate(candidate.members):
            rows = self.folds == fold
            found[rows] = model.predict(x[rows])[:, : network.targets]
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a candidate: rank, score, std, epochs and its values."""
        return [
            {
                "rank": rank,
                self.metric: one.score,
                "std": one.std,
                "epochs": one.epochs,
                **one.values,
            }
            for rank, one in enumerate(self.candidates, 1)
        ]

    def _repr_html_(self) -> str:
        rows = self.rows()[:20]
        return html.table(list(rows[0]), [[_short(cell) for cell in one.values()] for one in rows])

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={_short(value)}" for name, value in self.best.values.items())
        return (
            f"Search({len(self.candidates)} candidates, best {self.metric} "
            f"{self.best.score:.4g} ± {self.best.std:.2g}: {values})"
        )


@explained("fn.search")
def search(
    network: Network | Callable[..., Network],
    space: Mapping[str, Any],
    x: Any,
    y: Any,
    *,
    candidates: int = 50,
    initial: Iterable[Mapping[str, Any]] = (),
    folds: int | Sequence[tuple[Any, Any]] = 5,
    epochs: int = 100,
    reduction: int | None = 3,
    metric: str = "loss",
    budget: float | None = None,
    seed: int = 0,
    backend: str | None = None,
    dtype: Any = "float32",
    threads: int | None = None,
    checkpoint: Any = None,
    progress: "bool | Bar" = False,
    communicator: Any = None,
    **settings: Any,
) -> Search:
    """Try many definitions and settings, each by cross-validation, and rank them.

    Random search (Bergstra and Bengio 2012) with successive halving (Jamieson and Talwalkar 2016):
    all candidates are trained for few epochs, the best third goes on for three times as many, and
    so on, until the last ones have had all. Candidates of one definition are trained together, all
    folds at once, as a `Population`.

    Args:
        network: makes a network of the values that are no settings of a fit, given by name; or a
            network, where the space has settings alone.
        space: what to choose from, by name: a sequence of values, or a distribution with `rvs`,
            such as `scipy.stats.loguniform(1e-4, 1e-1)`. The names `learning_rate`, `optimizer`,
            `batch_size`, `l1`, `l2`, `clip_norm`, `clip_value` and `dropout_factor` are settings
            of the fit; of a schedule the learning rate is the first or the highest one.
        x: `(rows, inputs)`.
        y: as for `Model.fit`.
        candidates: how many are drawn; equal ones are tried once.
        initial: candidates to try besides, such as settings that are known to be good.
        folds: parts of the rows, each of them held out once, with as many rows of each class; or,
            for each fold, a pair of indices: of rows to train on, and of those held out, which no
            two folds share.
        epochs: for those that are trained longest.
        reduction: one of so many goes on to the next round; None: all have all epochs.
        metric: "loss", "accuracy", "r2", "rmse" or "mae", of the held-out rows.
        budget: seconds after which no further epoch is begun; all are ranked as they are then.
        seed: of the candidates, the folds and the first member.
        backend: as for `Model`.
        dtype: as for `Model`.
        threads: as for `Model`.
        checkpoint: a folder, in which a search that is stopped goes on when it is called again,
            for what is left of the budget.
        progress: show a bar of the seconds of the budget, or of the epochs of all networks, on
            standard error if that is a terminal; or the `fastnet.training.progress.Bar` to show.
        communicator: as for `Population.fit`: its processes divide the members of each population,
            and all find the same.
        settings: of all fits, as for `Population.fit`, but for `rows`, `initial_epoch` and
            `resume`. Weights of rows count in the scores too. With `early_stopping` a round goes on
            from the best parameters of the round before.

    Returns:
        The candidates, best first.

    Raises:
        DefinitionError: if the space or a setting is invalid, or the budget ends before anything is
            trained.
        DataError: if rows or targets are invalid.
        Diverged: if all candidates diverge.
        KeyboardInterrupt: after Ctrl-C.
    """
    epochs = checks.integer(epochs, "epochs")
    if reduction is not None:
        reduction = checks.integer(reduction, "reduction", least=2)
    if metric != "loss" and metric not in metrics.METRICS:
        raise DefinitionError(unknown("metric", metric, ("loss", *metrics.METRICS)))
    for name in _OF_SEARCH:
        if name in settings:
            raise DefinitionError(f"{name} is not for fn.search, which decides it; leave it out.")
    if budget is not None:
        budget = checks.number(budget, "budget", above=0)
    settings.setdefault("optimizer", "adam")
    if "early_stopping" in settings:
        settings.setdefault("validation", "rest")
    drawn = list(draw(space, checks.integer(candidates, "candidates"), checks.seed(seed), initial))
    made = [network_of(network, values) for values in drawn]
    own = partial(settings_of, settings)
    first = made[0]
    dtype = checks.dtype(dtype)
    x = first.features(x, dtype)
    targets = checked_targets(first, dtype, y, len(x))
    masks, fold_of = _folds(targets, folds, seed)
    ranks = ranks_of(communicator, checkpoint)
    if ranks is not None and ranks.rank:
        progress = False
    bar = bar_of(progress, transient=True, unit="epoch" if budget is None else "second")
    rounds = Rounds(
        x,
        y,
        masks,
        fold_of,
        metric,
        own,
        {"backend": backend, "dtype": dtype.name, "threads": threads},
        seed,
        budget,
        None if checkpoint is None else checks.path(checkpoint, "checkpoint"),
        bar,
        communicator,
    )
    if bar is not None and bar.measure is None:
        rounds.bar = bar = bar.replace(measure=rounds.best)
    with bar or nullcontext():
        ranked = rounds.run(drawn, made, epochs, reduction)
    return Search(ranked, metric, fold_of, own, rounds.options, seed)


def _folds(targets: Array, count: Any, seed: int) -> tuple[list[Array], Array]:
    """Which rows each fold trains on, and the fold of each row: chosen, or as given.

    Raises:
        DefinitionError: if there are too many folds, or those given are invalid.
    """
    if isinstance(count, Sequence) and not isinstance(count, str):
        return _given_folds(count, len(targets))
    count = checks.integer(count, "folds", least=2)
    if len(targets) < count:
        raise DefinitionError(f"x has {len(targets)} rows; {count} folds need at least as many.")
    fold_of = fold_of_rows(seed, len(targets), count, targets if targets.ndim == 1 else None)
    return [fold_of != fold for fold in range(count)], fold_of


def _given_folds(pairs: Sequence[tuple[Any, Any]], rows: int) -> tuple[list[Array], Array]:
    """Which rows each fold trains on, and the fold that each row is held out in; -1: in none."""
    masks, fold_of = [], np.full(rows, -1, np.intp)
    for fold, pair in enumerate(pairs):
        training, held_out = np.zeros(rows, bool), np.zeros(rows, bool)
        try:
            for mask, indices in zip((training, held_out), pair, strict=True):
                mask[np.asarray(indices)] = True
        except (TypeError, ValueError, IndexError) as error:
            raise DefinitionError(
                f"folds[{fold}] is no pair of indices of the {rows} rows, of those to train on and "
                f"those held out: {message_of(error)}."
            ) from error
        if not (training.any() and held_out.any()) or (training & held_out).any():
            raise DefinitionError(f"folds[{fold}] must train on some rows and hold out others.")
        if (fold_of[held_out] >= 0).any():
            raise DefinitionError(f"folds[{fold}] holds out a row that another fold does too.")
        masks.append(training)
        fold_of[held_out] = fold
    if not masks:
        raise DefinitionError("folds is empty; give at least one pair of indices.")
    return masks, fold_of


def _loss(network: Network, targets: Array, predicted: Array) -> float:
    """The log loss of probabilities, or the squared error."""
    if targets.ndim == 1:
        return metrics.log_loss(targets, predicted)
    least = np.finfo(np.float32).eps
    if network.loss.targets in ("class", "probability"):
        p = np.clip(predicted, least, 1 - least)
        rest = 0 if network.loss.targets == "class" else (1 - targets) * np.log(1 - p)
        return float(-np.mean(targets * np.log(p) + rest))
    return float(np.mean((predicted - targets) ** 2))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
