"""The members of an ensemble, of any definitions, as populations of one definition each."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError
from fastnet.many.measuring import kind_of
from fastnet.many.population import Population
from fastnet.model import Model


def grouped(
    members: Population | Iterable[Model | Population], weights: Any
) -> tuple[list[Population], Array]:
    """Populations of copies of some members, and their weights.

    Args:
        members: a population, or models and populations.
        weights: `(members,)`, 0 or more; None: all alike.

    Returns:
        Those of one definition, dtype and backend together, and `(members,)` weights in the same
        order, float64, which sum to 1.

    Raises:
        DefinitionError: if there is no member, or two do not fit together.
        DataError: if the weights are invalid.
    """
    try:
        given = [members] if isinstance(members, Population) else list(members)
    except TypeError:
        raise DefinitionError(
            f"members is {members!r}; it must be a population, or a list of models and populations."
        ) from None
    wrong = [one for one in given if not isinstance(one, Model | Population)]
    if wrong or not given:
        found = repr(wrong[0]) if wrong else "none"
        raise DefinitionError(f"members must be models or populations; there is {found}.")
    models = [one for part in given for one in ([part] if isinstance(part, Model) else part)]
    for number, model in enumerate(models):
        _check_fits(number, model, models[0])
    share = np.ones(len(models))
    if weights is not None:
        share = checks.numbers(weights, "weights", np.dtype(np.float64))
    if share.shape != (len(models),):
        raise DataError(f"weights has shape {share.shape}; it must be ({len(models)},).")
    if not (np.isfinite(share).all() and share.min() >= 0 and share.any()):
        raise DataError("weights must be finite and 0 or more, and not all 0.")
    if share.max() > np.finfo(np.float64).max / len(share):
        share = share / share.max()  # whose sum may overflow: only their ratios matter
    together: dict[tuple[Any, ...], list[int]] = {}
    for number, model in enumerate(models):
        same = (str(model.network.spec()), model.dtype, model.backend)
        together.setdefault(same, []).append(number)
    populations = [_population([models[n] for n in numbers]) for numbers in together.values()]
    order = [number for numbers in together.values() for number in numbers]
    return populations, share[order] / share.sum()


def _check_fits(number: int, model: Model, first: Model) -> None:
    for what, own, others in (
        ("inputs", model.network.both_inputs, first.network.both_inputs),
        ("targets", model.network.targets, first.network.targets),
        ("kind of loss", kind_of(model.network), kind_of(first.network)),
        ("table", model.table, first.table),
    ):
        if own != others:
            raise DefinitionError(
                f"member {number} has another {what} than member 0; the members of an ensemble "
                "must agree in it."
            )


def _population(models: list[Model]) -> Population:
    first = models[0]
    population = Population.of(
        first.network,
        np.stack([model.parameters.flat for model in models]),
        seed=[model.seed for model in models],
        backend=first.backend,
        dtype=first.dtype,
    )
    population.table = first.table
    return population
