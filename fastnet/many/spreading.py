"""A population's fit by several processes: each trains some of the members.

They exchange what they begin with and what they end with, and nothing in between. Which process
trains a member does not change its bits.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.errors import DataError, DefinitionError
from fastnet.many.fitting import PreparedFit
from fastnet.training.distributed.world import Distributed

if TYPE_CHECKING:
    from fastnet.many.population import Population
    from fastnet.training.distributed.ranks import Ranks


def ranks_of(communicator: Any, checkpoint: Any) -> "Ranks | None":
    """The processes of `Population.fit(communicator=...)`; None: this one trains all members.

    Raises:
        DefinitionError: if it is no communicator, or a checkpoint is asked for.
    """
    if communicator is None:
        return None
    options = Distributed.of(communicator)
    if options.communicator.size == 1:
        return None
    if checkpoint is not None:
        raise DefinitionError(
            "checkpoint is not for many networks that several processes train; leave it out, or "
            "train by one process."
        )
    from fastnet.training.distributed.ranks import Ranks

    return Ranks.of(options.communicator)


def begin(population: "Population", ranks: "Ranks") -> None:
    """Have all ranks begin with the seeds and the parameters of rank 0.

    Raises:
        DataError: if their populations are not of a kind.
    """
    from fastnet.training.distributed.shares import check_alike

    facts = {
        "the number of members": len(population),
        "network": repr(population.network),
        "dtype": population.dtype,
    }
    check_alike(ranks, facts)
    population.seeds, population.last_fits = ranks.from_first(
        (population.seeds, population.last_fits)
    )
    ranks.copy_first(population.parameters)


def spread(
    population: "Population",
    ranks: "Ranks",
    prepared: PreparedFit,
    fit: Callable[["Population", PreparedFit], Any],
) -> None:
    """Train every n-th member here, of n ranks, and gather the results of all.

    An error is this rank's alone, as it is outside of a fit: one that nobody catches ends all.

    Args:
        population: all members, alike on all ranks.
        ranks: the processes.
        prepared: the fit of all members.
        fit: trains some members.

    Raises:
        DataError: if rows or settings are not those of the other ranks.
    """
    from fastnet.training.distributed.shares import check_alike, digest_of_rows

    def rows_alike() -> None:
        if any(other != everyone[0] for other in everyone):
            raise DataError(
                "x, y or the rows of a member differ between the processes, which divide members, "
                "not rows: give all rows to each, and a seed where rows are drawn by it."
            )

    check_alike(ranks, {"the settings of members": repr(prepared.settings)})
    everyone = ranks.all_of([digest_of_rows(prepared.data[member]) for member in (0, -1)])
    ranks.together(rows_alike)
    mine = np.arange(ranks.rank, len(population), ranks.size)
    found: tuple[Any, ...] | None = None
    if len(mine):
        part = population.take(mine)
        try:
            fit(part, prepared.take(mine))
        finally:  # also of a fit that is interrupted
            _put(population, mine, part.parameters, part.last_fits)
        diverged = {int(mine[place]): error for place, error in part.diverged.items()}
        found = mine, part.parameters, part.last_fits, part.histories, diverged
    population.diverged = {}
    histories: dict[int, Any] = {}
    for members, flats, last, of_members, of_diverged in filter(None, ranks.all_of(found)):
        _put(population, members, flats, last)
        histories |= zip(members.tolist(), of_members, strict=True)
        population.diverged |= of_diverged
    population.histories = [histories[member] for member in range(len(population))]


def _put(population: "Population", members: Array, flats: Array, last: list[Any]) -> None:
    """Give members their parameters, and what their next fit may go on from."""
    population.parameters[members] = flats
    for member, one in zip(members.tolist(), last, strict=True):
        population.last_fits[member] = one
