"""The rounds of a search: all that is left is trained, the best go on, until the time is over."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet import files
from fastnet.arrays.checks import Array
from fastnet.arrays.targets import loss_targets
from fastnet.definition.network import Network
from fastnet.errors import DefinitionError, Diverged, FileAccessError
from fastnet.many.candidates import Candidate
from fastnet.many.population import Population
from fastnet.many.spreading import ranks_of
from fastnet.model import Model
from fastnet.training import metrics
from fastnet.training.checkpoints import Checkpoint
from fastnet.training.history import History

if TYPE_CHECKING:
    from fastnet.training.progress import Bar

#: Seconds between two checkpoints of a fit, which is one of many short ones.
CHECKPOINT_SECONDS = 10.0

#: Metrics of which less is better.
_LOSSES = ("loss", "rmse", "mae")


class Clock:
    """The time that a search has taken and may take.

    A search that goes on counts what it took before it was stopped.

    Args:
        budget: seconds; None: as long as it takes.
        folder: where the time is kept, or None.
    """

    def __init__(self, budget: float | None, folder: Path | None) -> None:
        self.budget = budget
        self._kept_in = None if budget is None or folder is None else folder / "seconds"
        self._began = self._kept = time.monotonic()
        if self._kept_in is not None:
            with suppress(OSError, ValueError):  # the first time there is none
                self._began -= float(self._kept_in.read_text())

    @property
    def seconds(self) -> float:
        """How long the search has taken."""
        return time.monotonic() - self._began

    def over(self) -> bool:
        """Whether the time is over."""
        return self.budget is not None and self.seconds > self.budget

    def keep(self) -> None:
        """Write the time down."""
        if self._kept_in is not None:
            files.store(self._kept_in, repr(self.seconds).encode())
            self._kept = time.monotonic()

    def keep_when_due(self) -> None:
        """Write the time down as often as fits write checkpoints."""
        if time.monotonic() - self._kept > CHECKPOINT_SECONDS:
            self.keep()


class Rounds:
    """Trains what is still in the search, round by round.

    Args:
        x: `(rows, inputs)`.
        y: `(rows, ...)`, as for `Model.fit`.
        masks: for each fold, which rows are trained on, `(rows,)`.
        fold_of: the fold in which each row is held out, `(rows,)`; -1: in none.
        metric: what the scores are.
        settings: of a candidate's fits, by its values.
        options: of populations: backend, dtype, threads.
        seed: of each candidate's first member.
        budget: seconds, or None.
        folder: for checkpoints, or None.
        bar: shows progress, or None.
        communicator: whose processes divide the members of each population, or None.
    """

    def __init__(
        self,
        x: Array,
        y: Any,
        masks: list[Array],
        fold_of: Array,
        metric: str,
        settings: Callable[[Mapping[str, Any]], dict[str, Any]],
        options: dict[str, Any],
        seed: int,
        budget: float | None,
        folder: Path | None,
        bar: "Bar | None",
        communicator: Any = None,
    ) -> None:
        self.x, self.y, self.masks, self.fold_of = x, np.asarray(y), masks, fold_of
        self.folds, self.metric, self.settings = len(masks), metric, settings
        self.options, self.seed, self.folder, self.bar = options, seed, folder, bar
        self.ranks, self.communicator = ranks_of(communicator, folder), communicator
        if folder is not None:
            _make(folder)
        self.clock = Clock(budget, folder)
        self.ranked: dict[int, Candidate] = {}
        self.epochs_done = self.epochs = 0  # of all members

    def run(
        self,
        drawn: list[dict[str, Any]],
        networks: list[Network],
        epochs: int,
        reduction: int | None,
    ) -> list[Candidate]:
        """Train and rank the candidates, best first.

        Raises:
            DefinitionError: if the budget is over before anything is trained.
            Diverged: if all diverge.
        """
        left = list(range(len(drawn)))
        reached = dict.fromkeys(left, 0)  # how many rounds each came to
        groups: dict[str, list[int]] = {}  # the candidates of one definition
        for number, network in enumerate(networks):
            groups.setdefault(str(network.spec()), []).append(number)
        populations: dict[str, Population] = {}
        stages = _stages(len(drawn), epochs, reduction)
        self.epochs = _planned(len(drawn), stages, reduction) * self.folds
        if self.ranks is not None:
            self.epochs //= self.ranks.size
        done = 0
        for until in stages:
            whole = True
            for name, numbers in groups.items():
                going = [number for number in numbers if number in left]
                path = self._checkpoint(until, name)
                # What was trained before the search was stopped counts even if the time is over.
                if self._is_over() and not (path is not None and path.exists()):
                    whole = whole and not going
                    continue
                if not going:
                    continue
                population = self._members(
                    networks[going[0]], populations.get(name), numbers, going
                )
                populations[name], groups[name] = population, going
                self._train(population, [drawn[number] for number in going], done, until, path)
                trained = until
                if self._is_over():
                    trained = max((_last_epoch(model) for model in population), default=done)
                    whole = whole and trained == until
                for place, number in enumerate(going):
                    self.ranked[number] = self._judge(
                        population, place, number, drawn[number], networks[number], trained
                    )
            # Where the time ends a round, its candidates are compared as far as each has come.
            if not whole:
                break
            left = sorted(left, key=lambda number: self._rank(self.ranked[number]))
            keep = len(left) if reduction is None else math.ceil(len(left) / reduction)
            done, left = until, left[:keep]
            reached.update((number, reached[number] + 1) for number in left)
        found = sorted(self.ranked.values(), key=lambda o: (-reached[o.number], self._rank(o)))
        if not found:
            raise DefinitionError("the budget was over before anything was trained; give more.")
        if not np.isfinite(found[0].score):
            raise Diverged("every candidate of the search diverged; try lower learning rates.")
        return found

    def best(self) -> str:
        """The best score so far, for the progress bar."""
        scores = [one.score for one in self.ranked.values() if np.isfinite(one.score)]
        if not scores:
            return ""
        best = min(scores) if self.metric in _LOSSES else max(scores)
        return f"best {self.metric} {best:#.3g}"

    def _is_over(self) -> bool:
        """Whether the time is over, by the clock of rank 0."""
        over = self.clock.over()
        return over if self.ranks is None else self.ranks.from_first(over)

    def _rank(self, candidate: Candidate) -> float:
        score = candidate.score if self.metric in _LOSSES else -candidate.score
        return score if np.isfinite(score) else math.inf

    def _checkpoint(self, until: int, name: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{until}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

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
        values: Sequence[Mapping[str, Any]],
        done: int,
        until: int,
        path: Path | None,
    ) -> None:
        each = [self.settings(one) for one in values]
        settings: dict[str, Any] = {
            key: [one[key] for one in each for _ in range(self.folds)]
            if any(key in one for one in values) or key == "optimizer"
            else each[0][key]
            for key in each[0]
        }
        callbacks: list[Callable[[Model, History], Any]] = [*settings.pop("callbacks", ())]
        if self.clock.budget is not None or self.bar is not None:
            callbacks.append(self._after_epoch)
        saved: dict[str, Any] = {}
        if path is not None:
            saved = {"checkpoint": Checkpoint(path, seconds=CHECKPOINT_SECONDS), "resume": True}
        try:
            with suppress(Diverged):  # of all members: their scores are not finite then
                population.fit(
                    self.x,
                    self.y,
                    initial_epoch=done,
                    epochs=until,
                    rows=self.masks * len(values),
                    callbacks=callbacks,
                    communicator=self.communicator,
                    **saved,
                    **settings,
                )
        finally:
            self.clock.keep()

    def _after_epoch(self, model: Model, history: History) -> bool:
        """Show progress after an epoch of a member, and end its fit when the time is over."""
        self.epochs_done += 1
        self.clock.keep_when_due()
        if self.bar is not None:
            budget = self.clock.budget
            if budget is None:
                self.bar.update(self.epochs_done, self.epochs, History([1]))
            else:
                self.bar.update(min(self.clock.seconds, budget), math.ceil(budget), History([1]))
        return self.clock.over()

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
        settings = self.settings(values)
        weight = settings.get("sample_weight")
        scores = np.full(self.folds, math.nan)
        for fold, model in enumerate(members):
            if place * self.folds + fold in population.diverged:
                continue
            rows = self.fold_of == fold
            x, y = self.x[rows], self.y[rows]
            own = None if weight is None else np.asarray(weight)[rows]
            if self.metric == "loss":
                scores[fold] = model.evaluate(x, y, own)
            else:
                targets = loss_targets(y, len(x), network.targets, network.loss.targets, x.dtype)
                predicted = model.predict(x)[:, : network.targets]
                scores[fold] = metrics.METRICS[self.metric](targets, predicted, own)
        stopping = settings.get("early_stopping")
        best = round(float(np.mean([_best_epoch(model, stopping) for model in members])))
        return Candidate(values, network, scores, until, max(best, 1), members, number)


def _make(folder: Path) -> None:
    """Make the folder for checkpoints.

    Raises:
        FileAccessError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError(
            error.errno,
            f"checkpoint {str(folder)!r} cannot be made: {error.strerror}; a search needs a "
            "folder, for the checkpoints of all its fits",
        ) from error


def _last_epoch(model: Model) -> int:
    return model.history.epoch[-1] if model.history is not None and len(model.history) else 0


def _best_epoch(model: Model, stopping: Any) -> int:
    """The epoch whose parameters a model has."""
    history = model.history
    restores = stopping is not None and getattr(stopping, "restore_best", True)
    if history is None or not (restores and history.validation_loss):
        return _last_epoch(model)
    return history.epoch[int(np.argmin(history.validation_loss))]


def _stages(candidates: int, epochs: int, reduction: int | None) -> list[int]:
    """The epochs after which each round ends: each is `reduction` times as long as the last."""
    if reduction is None:
        return [epochs]
    stages = [epochs]
    while candidates > reduction and stages[0] >= 2 * reduction:
        stages.insert(0, stages[0] // reduction)
        candidates = math.ceil(candidates / reduction)
    return stages


def _planned(candidates: int, stages: list[int], reduction: int | None) -> int:
    """The epochs of all candidates together."""
    total = done = 0
    for until in stages:
        total += (until - done) * candidates
        done, candidates = until, math.ceil(candidates / (reduction or 1))
    return total
