"""The candidates of a search: drawn from a space, and what they are as networks and settings."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import OPTIMIZERS
from fastnet.definition.schedules import Schedule, WarmUp
from fastnet.errors import DefinitionError
from fastnet.model import Model
from fastnet.training.settings import Settings

#: Settings of a fit that a search decides itself, or that all candidates share.
_OF_SEARCH = ("shuffle", "seed", "epochs", "early_stopping")

#: Names in a search space that are settings of a fit; all others are arguments of the network.
SETTINGS = (
    "learning_rate",
    *(one.name for one in fields(Settings) if one.name not in _OF_SEARCH),
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One choice of values, and how well it did. Equal to itself alone, as models are.

    Attributes:
        values: by name, as drawn from the space.
        network: the definition made of them.
        scores: of each fold's held-out rows, `(folds,)` float64.
        epochs: for how many it was trained, without regard to early stopping.
        best_epoch: the epoch whose parameters the networks have, the mean over the folds: the last
            one, or with early stopping the one with the lowest validation loss.
        members: the networks trained, one for each fold.
        number: in the order in which candidates were drawn.
    """

    values: Mapping[str, Any]
    network: Network
    scores: Array = field(repr=False)
    epochs: int
    best_epoch: int
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


def draw(
    space: Mapping[str, Any],
    candidates: int,
    seed: int,
    initial: Iterable[Mapping[str, Any]] = (),
) -> Iterator[dict[str, Any]]:
    """Draw candidates, no two alike.

    Args:
        space: what to choose from, by name.
        candidates: how many are drawn; there are fewer where some are alike.
        seed: of the draws.
        initial: candidates that come before those drawn.

    Raises:
        DefinitionError: if the space is invalid.
    """
    if not isinstance(space, Mapping) or not space:
        raise DefinitionError(f"space is {space!r}; it must be a dictionary of names and choices.")
    for name in space:
        if not isinstance(name, str):
            raise DefinitionError(f"space has the name {name!r}; names must be strings.")
    if not isinstance(initial, Iterable) or isinstance(initial, Mapping | str):
        raise DefinitionError(f"initial is {initial!r}; it must be a list of dictionaries.")
    generator = np.random.Generator(np.random.Philox(seed))
    seen = set()
    for one in initial:
        if not isinstance(one, Mapping) or set(one) != set(space):
            raise DefinitionError(
                f"initial has {one!r}; it must have a value for each of {', '.join(space)}."
            )
        values = {name: one[name] for name in space}
        if repr(values) not in seen:
            seen.add(repr(values))
            yield values
    for _ in range(candidates):
        values = {}
        for name, choices in space.items():
            if hasattr(choices, "rvs"):
                one = choices.rvs(random_state=generator)
            elif _is_list(choices) and len(choices):
                one = choices[int(generator.integers(len(choices)))]
            else:
                raise DefinitionError(
                    f"space[{name!r}] is {choices!r}; it must be a list of values, or a "
                    "distribution with rvs, such as scipy.stats.loguniform(1e-4, 1e-1)."
                )
            values[name] = one.item() if isinstance(one, np.generic) else one
        if repr(values) not in seen:
            seen.add(repr(values))
            yield values


def _is_list(choices: Any) -> bool:
    return isinstance(choices, Sequence | np.ndarray) and not isinstance(choices, str | bytes)


def network_of(make: Network | Callable[..., Network], values: Mapping[str, Any]) -> Network:
    """Make the network of a candidate.

    Raises:
        DefinitionError: if `make` does not take the values, or returns something else.
    """
    own = {name: value for name, value in values.items() if name not in SETTINGS}
    if isinstance(make, Network):
        if own:
            raise DefinitionError(
                f"space has {', '.join(own)}, and network is an fn.Network, which they cannot "
                "change: give a function that makes a network of them. For one network, space has "
                f"settings alone: {', '.join(SETTINGS)}."
            )
        return make
    try:
        inspect.signature(make).bind(**own)
    except TypeError as error:
        raise DefinitionError(
            f"network cannot be called with the names in space ({', '.join(own)}): {error}. "
            f"Other names there can only be those of settings: {', '.join(SETTINGS)}."
        ) from error
    made = make(**own)
    if not isinstance(made, Network):
        raise DefinitionError(f"network returned {made!r}; it must return an fn.Network(...).")
    return made


def settings_of(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a candidate's fits: those of all, and its own in their place.

    Args:
        settings: of all, `optimizer` among them.
        values: of the candidate.
    """
    own = {**settings, **{name: one for name, one in values.items() if name in SETTINGS}}
    if "learning_rate" in own:
        rule = resolve("optimizer", OPTIMIZERS, own["optimizer"])
        rate = _with_rate(getattr(rule, "learning_rate", None), own.pop("learning_rate"))
        own["optimizer"] = replace(rule, learning_rate=rate)
    return own


def _with_rate(before: Any, rate: Any) -> Any:
    """A learning rate in place of another; of a schedule, the same one with it."""
    if isinstance(before, WarmUp):
        return replace(before, then=_with_rate(before.then, rate))
    return replace(before, rate=rate) if isinstance(before, Schedule) else rate  # type: ignore[call-arg]
