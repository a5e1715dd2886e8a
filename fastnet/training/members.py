"""What may differ between the members of a population: their rows, and the settings of their fits.

A list, a tuple or an array with one entry a member says what each has; anything else is for all.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Inputs
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import OPTIMIZERS, Optimizer
from fastnet.errors import DataError, DefinitionError, FastnetError
from fastnet.training.class_weights import weigh_classes
from fastnet.training.rows import checked_rows, checked_targets, split
from fastnet.training.settings import Settings, make_settings

#: The most members: beyond this a list of them is a mistake.
MOST_MEMBERS = 2**24


def seeds_of_members(members: Any, seed: Any) -> list[int]:
    """One seed a member.

    Args:
        members: how many, or None: as many as there are seeds.
        seed: of the first, from which the others count up; or one for each; None: a random one.

    Raises:
        DefinitionError: if a number is invalid, or there are seeds for others.
    """
    if _is_several(seed):
        seeds = [checks.seed(one) for one in seed]
        wanted = len(seeds) if members is None else checks.integer(members, "members")
        if wanted != len(seeds) or not seeds:
            raise DefinitionError(
                f"seed has {len(seeds)} entries; it must have one for each of the {wanted} "
                "members, or be the first one's."
            )
        return seeds
    if members is None:
        raise DefinitionError("members is not given; say how many, or give a list of seeds.")
    count = checks.integer(members, "members")
    if count > MOST_MEMBERS:
        raise DefinitionError(f"members is {count}; it must be at most {MOST_MEMBERS}.")
    first = random.fresh_seed() if seed is None else checks.seed(seed)
    if first + count > 2**64:
        raise DefinitionError(
            f"seed is {first}; the last member's, seed + {count - 1}, must be less than 2**64."
        )
    return list(range(first, first + count))


def _is_several(value: Any) -> bool:
    """Whether it is one value a member, not one for all: an array of no dimension is no list."""
    iterable = isinstance(value, Iterable) and not isinstance(value, str)
    return iterable and getattr(value, "ndim", 1) > 0


def bytes_of_fit(plan: Plan, dtype: np.dtype[Any], settings: Settings, data: Data) -> int:
    """What a member's fit needs: parameters, optimizer's memory and losses, but not its rows."""
    rule = settings.optimizer
    vectors = 1 + (rule.slots if isinstance(rule, Optimizer) else 2 * rule.history_size)
    # All of them twice, as a run begins with and as it leaves them; the best ones too.
    vectors = 2 * vectors + (settings.early_stopping is not None)
    order = 8 * len(data) if settings.shuffle and settings.batch_size < len(data) else 0
    return vectors * plan.size * dtype.itemsize + order + 8 * settings.epochs


def spread(value: Any, members: int, what: str) -> list[Any]:
    """One value a member.

    Raises:
        DefinitionError: if there are some for another number of members.
    """
    if not isinstance(value, list | tuple) and np.ndim(value) != 1:
        return [value] * members
    if len(value) != members:
        raise DefinitionError(
            f"{what} has {len(value)} values; give one for all, or one for each of the "
            f"{members} members."
        )
    return value.tolist() if isinstance(value, np.ndarray) else list(value)


def spread_optimizer(value: Any, members: int) -> list[Any]:
    """One optimizer a member: of a list of them, or of one whose constants are lists.

    Raises:
        DefinitionError: if one is invalid, or there are some for another number of members.
    """
    if isinstance(value, list | tuple):
        return [
            resolve("optimizer", OPTIMIZERS, one) for one in spread(value, members, "optimizer")
        ]
    rule = resolve("optimizer", OPTIMIZERS, value)
    if isinstance(rule, Optimizer) and rule.each:
        return spread(rule.each, members, f"optimizer {rule.name!r}")
    return [rule] * members


def settings_of_members(
    network: Network,
    data: Sequence[Data],
    seeds: Sequence[int],
    dtype: np.dtype[Any],
    *,
    optimizer: Any,
    **options: Any,
) -> list[Settings]:
    """Check the settings of each member's fit.

    Args:
        network: the members'.
        data: the training rows of each.
        seeds: one a member.
        dtype: of the parameters.
        optimizer: for all, or for each.
        options: the others of `make_settings`, likewise.

    Raises:
        DefinitionError: if one is invalid.
    """
    members = len(seeds)
    rules = spread_optimizer(optimizer, members)
    by_name = {name: spread(value, members, name) for name, value in options.items()}
    made: dict[Any, Settings] = {}
    found = []
    for member, seed in enumerate(seeds):
        values = [of_members[member] for of_members in by_name.values()]
        rows = len(data[member])
        # Checked once for all members that have the same: checks take longer than a tiny fit. The
        # types too, because True is 1 to a dictionary, and not to a check.
        key = (rows, id(rules[member]), *values)
        key = (*key, *map(type, key))
        try:
            settings = made.get(key)
        except TypeError:  # of an unhashable value, which a check will refuse
            settings = None
        if settings is None:
            own = dict(zip(by_name, values, strict=True))
            settings = _named(
                member, make_settings, network, rows, seed, dtype, optimizer=rules[member], **own
            )
            made[key] = settings
        found.append(settings.with_seed(seed))
    return found


def _named(member: int, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call a function; its error says which member it is about."""
    try:
        return function(*given, **named)
    except FastnetError as error:
        raise type(error)(f"member {member}: {error}") from error


def rows_of_members(
    network: Network, dtype: np.dtype[Any], members: int, x: Any, y: Any, sample_weight: Any
) -> list[Data]:
    """All rows, with each member's targets and weights; what members share is one array.

    Args:
        network: what the rows are for.
        dtype: float32 or float64.
        members: how many.
        x: `(rows, inputs)`.
        y: `(rows,)` or `(rows, outputs)`; `(members, rows)` or `(members, rows, outputs)` for
            targets of each member.
        sample_weight: `(rows,)`, `(members, rows)` or None.

    Raises:
        DataError: if an array is invalid, or they do not fit together.
    """
    inputs = Inputs(network.features(x, dtype))
    rows = len(inputs)

    def targets(given: Any) -> Array:
        return checked_targets(network, dtype, given, rows)

    def weights(given: Any) -> Array | None:
        return checks.weights(given, rows, dtype)

    each = (members, rows)
    y = y if y is None else checks.numbers(y, "y", None)
    shape = np.shape(y)
    if shape[:2] == each and shape not in ((rows, network.targets), (rows, 1)):
        ys = [_named(member, targets, y[member]) for member in range(members)]
    else:
        ys = [targets(y)] * members
    if sample_weight is not None:
        sample_weight = checks.numbers(sample_weight, "sample_weight", None)
    shape = np.shape(sample_weight)
    if shape == each and shape != (rows, 1):
        ws = [_named(member, weights, sample_weight[member]) for member in range(members)]
    else:
        ws = [weights(sample_weight)] * members
    if all(one is ys[0] for one in ys) and all(one is ws[0] for one in ws):
        return [Data(inputs, ys[0], ws[0])] * members
    return [Data(inputs, *parts) for parts in zip(ys, ws, strict=True)]


def chosen_rows(rows: Any, members: int, count: int) -> list[Array] | None:
    """The numbers of each member's rows, `(n,)` intp; None: all have all.

    Args:
        rows: for each member indices, or a mask `(count,)`; or None.
        members: how many.
        count: how many rows there are.

    Raises:
        DataError: if there are none for a member, or some that there are not.
    """
    if rows is None:
        return None
    rows = list(rows) if _is_several(rows) else [rows]
    if len(rows) != members:
        raise DataError(
            f"rows has {len(rows)} entries; it must have one for each of the {members} members: "
            "indices of its rows, or a mask."
        )
    return [_named(member, _indices, one, count) for member, one in enumerate(rows)]


def _indices(given: Any, count: int) -> Array:
    array = np.asarray(given)
    if array.ndim == 1 and array.dtype == np.bool_ and len(array) == count:
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise DataError(
            f"rows has dtype {array.dtype} and shape {array.shape}; it must be whole numbers "
            f"(n,), or a mask ({count},)."
        )
    if not len(array):
        raise DataError("rows has no entries; a member needs at least one row.")
    outside = (array < 0) | (array >= count)
    if outside.any():
        raise DataError(
            f"rows holds {array[outside][0]}; there are {count} rows, 0 to {count - 1}."
        )
    return np.ascontiguousarray(array, np.intp)


def take_rows(data: Sequence[Data], rows: Sequence[Array]) -> list[Data]:
    """Each member's rows; members with the same rows of the same data share them.

    Raises:
        DataError: if all of a member's weights are zero.
    """
    made: dict[tuple[int, bytes], Data] = {}
    found = []
    for member, (one, chosen) in enumerate(zip(data, rows, strict=True)):
        key = id(one), chosen.tobytes()
        if key not in made:
            part = one.take(chosen)
            if part.weight is not None and not part.weight.any():
                raise DataError(f"member {member}: all sample weights of its rows are zero.")
            made[key] = part
        found.append(made[key])
    return found


def rest_of_rows(rows: Sequence[Array], count: int) -> list[Array]:
    """The rows that each member's do not hold, in ascending order.

    Raises:
        DataError: if a member has all.
    """
    found = []
    for member, chosen in enumerate(rows):
        left = np.ones(count, np.bool_)
        left[chosen] = False
        if not left.any():
            raise DataError(
                f"member {member}: its rows are all {count}, so none is left for "
                'validation="rest"; leave some out of rows.'
            )
        found.append(np.flatnonzero(left))
    return found


def split_rows_of_members(
    network: Network,
    dtype: np.dtype[Any],
    seeds: Sequence[int],
    data: Sequence[Data],
    rows: Any,
    validation: Any,
) -> tuple[list[Data], list[Data | None]]:
    """The rows that each member is trained on, and those that it holds out.

    Args:
        network: what the rows are for.
        dtype: float32 or float64.
        seeds: one a member: it chooses the rows of a fraction.
        data: all rows, with each member's targets and weights.
        rows: which of them each member has: see `chosen_rows`.
        validation: as for `Population.fit`.

    Raises:
        DefinitionError: if `validation` is another text, or there is no rest.
        DataError: if the rows are invalid, or too few are left.
    """
    members, count = len(seeds), len(data[0])
    chosen = chosen_rows(rows, members, count)
    held_out: list[Data | None] = [None] * members
    if isinstance(validation, str):
        if validation != "rest":
            raise DefinitionError(
                f'validation is {validation!r}; it must be "rest", a fraction, or (x, y).'
            )
        if chosen is None:
            raise DefinitionError('validation="rest" needs rows=..., which leave some out.')
        held_out = [*take_rows(data, rest_of_rows(chosen, count))]
    training = list(data) if chosen is None else take_rows(data, chosen)
    if validation is None or isinstance(validation, str):
        return training, held_out
    if isinstance(validation, tuple | list):
        if len(validation) not in (2, 3):
            raise DataError(
                f"validation has {len(validation)} parts; it must be (x, y), "
                '(x, y, sample_weight), a fraction or "rest".'
            )
        try:
            given = (*validation, None)[:3]
            return training, [*rows_of_members(network, dtype, members, *given)]
        except DataError as error:
            raise DataError(f"validation: {error}") from error
    checked = partial(checked_rows, network, dtype)
    pairs = [
        split(one, validation, seed, checked) for one, seed in zip(training, seeds, strict=True)
    ]
    return [part for part, _ in pairs], [part for _, part in pairs]


def weigh_classes_of_members(
    class_weight: Any, outputs: int, data: list[Data], held_out: list[Data | None]
) -> tuple[list[Data], list[Data | None]]:
    """`weigh_classes` for each member; those that share their rows share the result.

    Raises:
        DefinitionError: as `weigh_classes`, and so for DataError.
    """
    if class_weight is None:
        return data, held_out
    made: dict[tuple[int, int], Any] = {}
    for member, pair in enumerate(zip(data, held_out, strict=True)):
        key = id(pair[0]), id(pair[1])
        if key not in made:
            made[key] = _named(member, weigh_classes, class_weight, outputs, *pair)
    found = [made[id(one), id(rest)] for one, rest in zip(data, held_out, strict=True)]
    return [one for one, _ in found], [rest for _, rest in found]
