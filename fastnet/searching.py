"""A search for the definition and the settings that predict best, by cross-validation."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastnet import html, random
from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import OPTIMIZERS
from fastnet.ensemble import Ensemble
from fastnet.errors import DefinitionError, Diverged
from fastnet.model import Model
from fastnet.population import Population
from fastnet.training import metrics
from fastnet.training.rows import checked_targets

#: Names in a search space that are settings of a fit; all others are arguments of the network.
SETTINGS = (
    "learning_rate", "optimizer", "batch_size", "l1", "l2", "clip_norm", "clip_value",
    "dropout_factor",
)  # fmt: skip

#: Settings of `Population.fit` that the search itself gives.
_OF_SEARCH = ("rows", "initial_epoch", "resume")


@dataclass(frozen=True)
class Candidate:
    """One choice of values, and how well it did.

    Attributes:
        values: by name, as drawn from the space.
        network: the definition made of them.
        scores: of each fold's held-out rows, `(folds,)` float64.
        epochs: for how many it was trained, without regard to early stopping.
        members: the networks trained, one for each fold.
        number: in the order in which candidates were drawn.
    """

    values: Mapping[str, Any]
    network: Network
    scores: Array = field(repr=False)
    epochs: int
    members: Sequence[Model] = field(repr=False)
    number: int

    @property
    def score(self) -> float:
        """The mean of the folds' scores."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """The standard deviation of the folds' scores."""
        return float(np.std(self.scores))


class Search:
    """What `fn.search` found.

    Attributes:
        candidates: best first; those trained longer stand before those that dropped out.
        metric: what the scores are.
        folds: the number of the fold in which each row was held out, `(rows,)`.
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
        """Train the best candidate on all rows, for as many epochs.

        Args:
            x: `(rows, inputs)`.
            y: as for `Model.fit`.
            sample_weight: as for `Model.fit`.

        Raises:
            DataError: if the arrays do not fit.
            Diverged: as for `Model.fit`.
        """
        best = self.best
        one = Population(best.network, members=1, seed=self._seed, **self._options)
        settings = {**self._settings(best.values), "sample_weight": sample_weight}
        for held_out in ("validation", "early_stopping"):
            settings.pop(held_out, None)
        one.fit(x, y, epochs=best.epochs, **settings)
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
        x = checks.features(x, network.inputs, dtype)
        targets = checks.targets(y, len(x), network.targets, network.loss.targets, dtype)
        if len(x) != len(self.folds):
            raise DefinitionError(
                f"x has {len(x)} rows and the search had {len(self.folds)}; give the same ones."
            )
        predictions = np.stack([self._held_out(one, x) for one in same])
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
        found = np.empty((len(x), network.targets))
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
    network: Callable[..., Network],
    space: Mapping[str, Any],
    x: Any,
    y: Any,
    *,
    candidates: int = 50,
    folds: int = 5,
    epochs: int = 100,
    reduction: int | None = 3,
    metric: str = "loss",
    budget: float | None = None,
    seed: int = 0,
    backend: str | None = None,
    dtype: Any = "float32",
    threads: int | None = None,
    checkpoint: Any = None,
    **settings: Any,
) -> Search:
    """Try many definitions and settings, each by cross-validation, and rank them.

    Random search (Bergstra and Bengio 2012) with successive halving (Jamieson and Talwalkar 2016):
    all candidates are trained for few epochs, the best third goes on for three times as many, and
    so on, until the last ones have had all. Candidates of one definition are trained together, all
    folds at once, as a `Population`.

    Args:
        network: makes a network of the values that are no settings of a fit, given by name.
        space: what to choose from, by name: a sequence of values, or a distribution with `rvs`,
            such as `scipy.stats.loguniform(1e-4, 1e-1)`. The names `learning_rate`, `optimizer`,
            `batch_size`, `l1`, `l2`, `clip_norm`, `clip_value` and `dropout_factor` are settings
            of the fit.
        x: `(rows, inputs)`.
        y: as for `Model.fit`.
        candidates: how many are drawn; equal ones are tried once.
        folds: parts of the rows, each of them held out once; of classes alike in all.
        epochs: for those that are trained longest.
        reduction: one of so many goes on to the next round; None: all have all epochs.
        metric: "loss", "accuracy", "r2", "rmse" or "mae", of the held-out rows.
        budget: seconds after which no further epoch is begun; all are ranked as they are then.
        seed: of the candidates, the folds and the first member.
        backend: as for `Model`.
        dtype: as for `Model`.
        threads: as for `Model`.
        checkpoint: a folder, in which a search that is stopped goes on when it is called again.
        settings: of all fits, as for `Population.fit`, but for `rows`, `initial_epoch` and
            `resume`.

    Returns:
        The candidates, best first.

    Raises:
        DefinitionError: if the space or a setting is invalid, or the budget ends before anything is
            trained.
        DataError: if rows or targets are invalid.
        Diverged: if all candidates diverge.
        KeyboardInterrupt: after Ctrl-C.
    """
    folds = checks.integer(folds, "folds", least=2)
    epochs = checks.integer(epochs, "epochs")
    if reduction is not None:
        reduction = checks.integer(reduction, "reduction", least=2)
    if metric != "loss" and metric not in metrics.METRICS:
        raise DefinitionError(
            f"metric is {metric!r}; it must be 'loss', "
            + ", ".join(repr(name) for name in metrics.METRICS)
            + "."
        )
    for name in _OF_SEARCH:
        if name in settings:
            raise DefinitionError(f"{name} is not for fn.search, which decides it; leave it out.")
    deadline = None
    if budget is not None:
        deadline = time.monotonic() + checks.number(budget, "budget", above=0)
    settings.setdefault("optimizer", "adam")
    if "early_stopping" in settings:
        settings.setdefault("validation", "rest")
    drawn = list(_draw(space, checks.integer(candidates, "candidates"), checks.seed(seed)))
    made = [
        network(**{name: one for name, one in values.items() if name not in SETTINGS})
        for values in drawn
    ]
    for one in made:
        if not isinstance(one, Network):
            raise DefinitionError(f"network returned {one!r}; it must return an fn.Network(...).")

    def of_fit(values: Mapping[str, Any]) -> dict[str, Any]:
        own = {**settings, **{name: one for name, one in values.items() if name in SETTINGS}}
        if "learning_rate" in own:
            rule = resolve("optimizer", OPTIMIZERS, own["optimizer"])
            own["optimizer"] = replace(rule, learning_rate=own.pop("learning_rate"))
        return own

    first = made[0]
    dtype = checks.dtype(dtype)
    x = checks.features(x, first.inputs, dtype)
    targets = checked_targets(first, dtype, y, len(x))
    if len(x) < folds:
        raise DefinitionError(f"x has {len(x)} rows; {folds} folds need at least as many.")
    fold_of = _folds(targets, folds, seed)
    rounds = _Rounds(
        x,
        y,
        fold_of,
        folds,
        metric,
        of_fit,
        {"backend": backend, "dtype": dtype.name, "threads": threads},
        seed,
        deadline,
        None if checkpoint is None else checks.path(checkpoint),
    )
    ranked = rounds.run(drawn, made, epochs, reduction)
    return Search(ranked, metric, fold_of, of_fit, rounds.options, seed)


class _Rounds:
    """Trains what is still in the search, round by round."""

    def __init__(
        self,
        x: Array,
        y: Any,
        fold_of: Array,
        folds: int,
        metric: str,
        of_fit: Callable[[Mapping[str, Any]], dict[str, Any]],
        options: dict[str, Any],
        seed: int,
        deadline: float | None,
        folder: Path | None,
    ) -> None:
        self.x, self.y, self.fold_of, self.folds = x, np.asarray(y), fold_of, folds
        self.metric, self.of_fit, self.options = metric, of_fit, options
        self.seed, self.deadline, self.folder = seed, deadline, folder
        self.masks = [fold_of != fold for fold in range(folds)]

    def run(
        self,
        drawn: list[dict[str, Any]],
        networks: list[Network],
        epochs: int,
        reduction: int | None,
    ) -> list[Candidate]:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        left = list(range(len(drawn)))
        reached = dict.fromkeys(left, 0)  # how many rounds each came to
        ranked: dict[int, Candidate] = {}
        groups: dict[str, list[int]] = {}  # the candidates of one definition
        for number, network in enumerate(networks):
            groups.setdefault(str(network.spec()), []).append(number)
        populations: dict[str, Population] = {}
        done = 0
        for until in _stages(len(drawn), epochs, reduction):
            for name, numbers in groups.items():
                going = [number for number in numbers if number in left]
                if not going or self._over():
                    continue
                population = self._members(
                    networks[going[0]], populations.get(name), numbers, going
                )
                populations[name], groups[name] = population, going
                self._train(population, [drawn[number] for number in going], done, until, name)
                for place, number in enumerate(going):
                    ranked[number] = self._judge(
                        population, place, number, drawn[number], networks[number], until
                    )
            # Where the budget ends a round, its candidates are compared as far as each has come.
            if self._over():
                break
            left = sorted(left, key=lambda number: self._rank(ranked[number]))
            keep = len(left) if reduction is None else math.ceil(len(left) / reduction)
            done, left = until, left[:keep]
            reached.update((number, reached[number] + 1) for number in left)
        found = sorted(ranked.values(), key=lambda one: (-reached[one.number], self._rank(one)))
        if not found:
            raise DefinitionError("the budget was over before anything was trained; give more.")
        if not np.isfinite(found[0].score):
            raise Diverged("every candidate of the search diverged; try lower learning rates.", 0)
        return found

    def _over(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _rank(self, candidate: Candidate) -> float:
        score = candidate.score if self.metric in ("loss", "rmse", "mae") else -candidate.score
        return score if np.isfinite(score) else math.inf

    def _members(
        self,
        network: Network,
        before: Population | None,
        numbers: list[int],
        going: list[int],
    ) -> Population:
        """One member for each candidate and fold; those that go on keep what they have learned."""
        if before is None:
            seeds = [self.seed + fold for _ in going for fold in range(self.folds)]
            return Population(network, seed=seeds, **self.options)
        places = [numbers.index(number) for number in going]
        return before.take([p * self.folds + fold for p in places for fold in range(self.folds)])

    def _train(
        self,
        population: Population,
        values: list[dict[str, Any]],
        done: int,
        until: int,
        name: str,
    ) -> None:
        each = [self.of_fit(one) for one in values]
        settings: dict[str, Any] = {
            key: [one[key] for one in each for _ in range(self.folds)]
            if any(key in one for one in values) or key == "optimizer"
            else each[0][key]
            for key in each[0]
        }
        callbacks: list[Callable[[Model, Any], Any]] = [*settings.pop("callbacks", ())]
        if self.deadline is not None:
            callbacks.append(lambda model, history: self._over())
        saved: dict[str, Any] = {}
        if self.folder is not None:
            digest = hashlib.sha256(name.encode()).hexdigest()[:16]
            saved = {"checkpoint": self.folder / f"{until}-{digest}", "resume": True}
        with suppress(Diverged):  # of all members: their scores are not finite then
            population.fit(
                self.x,
                self.y,
                initial_epoch=done,
                epochs=until,
                rows=self.masks * len(values),
                callbacks=callbacks,
                **saved,
                **settings,
            )

    def _judge(
        self,
        population: Population,
        place: int,
        number: int,
        values: dict[str, Any],
        network: Network,
        until: int,
    ) -> Candidate:
        members = [population[place * self.folds + fold] for fold in range(self.folds)]
        if self._over():  # maybe in the midst of them
            until = max(len(model.history or ()) for model in members)
        scores = np.full(self.folds, math.nan)
        for fold, model in enumerate(members):
            if place * self.folds + fold in population.diverged:
                continue
            rows = self.fold_of == fold
            x, y = self.x[rows], self.y[rows]
            if self.metric == "loss":
                scores[fold] = model.evaluate(x, y)
            else:
                targets = checks.targets(y, len(x), network.targets, network.loss.targets, x.dtype)
                predicted = model.predict(x)[:, : network.targets]
                scores[fold] = metrics.METRICS[self.metric](targets, predicted, None)
        return Candidate(values, network, scores, until, members, number)


def _draw(space: Mapping[str, Any], candidates: int, seed: int) -> Iterator[dict[str, Any]]:
    """Candidates, no two alike."""
    if not isinstance(space, Mapping) or not space:
        raise DefinitionError(f"space is {space!r}; it must be a dictionary of names and choices.")
    generator = np.random.Generator(np.random.Philox(seed))
    seen = set()
    for _ in range(candidates):
        values = {}
        for name, choices in space.items():
            if hasattr(choices, "rvs"):
                one = choices.rvs(random_state=generator)
                values[name] = one.item() if isinstance(one, np.generic) else one
            elif isinstance(choices, Sequence | np.ndarray) and len(choices):
                one = choices[int(generator.integers(len(choices)))]
                values[name] = one.item() if isinstance(one, np.generic) else one
            else:
                raise DefinitionError(
                    f"space[{name!r}] is {choices!r}; it must be a list of values, or a "
                    "distribution with rvs, such as scipy.stats.loguniform(1e-4, 1e-1)."
                )
        if repr(values) not in seen:
            seen.add(repr(values))
            yield values


def _stages(candidates: int, epochs: int, reduction: int | None) -> list[int]:
    """The epochs after which each round ends: each is `reduction` times as long as the last."""
    if reduction is None:
        return [epochs]
    stages = [epochs]
    while candidates > reduction and stages[0] >= 2 * reduction:
        stages.insert(0, stages[0] // reduction)
        candidates = math.ceil(candidates / reduction)
    return stages


def _folds(targets: Array, folds: int, seed: int) -> Array:
    """The fold of each row, `(rows,)`: as many rows in each, and of each class."""
    order = random.permutation(seed, random.SPLIT, 1, len(targets))
    if targets.ndim == 1:
        order = order[np.argsort(targets[order], kind="stable")]
    fold_of = np.empty(len(targets), np.intp)
    fold_of[order] = np.arange(len(targets)) % folds
    return fold_of


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
