"""The rows of a fit: checked, and split into those to train on and those held out."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fastnet.arrays import checks
from fastnet.arrays.checks import Array
from fastnet.arrays.targets import BOUNDS, loss_targets
from fastnet.contract.program import Data, Inputs, Program
from fastnet.definition.network import Network
from fastnet.errors import DataError
from fastnet.training.splitting import split_rows


def check_encoded(table: dict[str, Any] | None, encoded: bool, method: str) -> None:
    """Make sure that the inputs of a network trained from a table are meant to be encoded ones.

    Raises:
        DataError: if they are not said to be.
    """
    if table is not None and not encoded:
        raise DataError(
            f"{method}: this model was trained from a table, whose columns are encoded before the "
            "network gets them; use fastnet.tables.predict(model, table). If x is encoded already, "
            f"say {method}(..., encoded=True)."
        )


def checked_rows(
    network: Network, dtype: np.dtype[Any], x: Any, y: Any, sample_weight: Any
) -> Data:
    """Rows as a backend takes them, of what a user gave.

    Args:
        network: what they are for.
        dtype: float32 or float64.
        x: `(rows, inputs)`.
        y: `(rows,)` or `(rows, outputs)`; classes as indices or one-hot.
        sample_weight: `(rows,)`, or None.

    Raises:
        DataError: if an array is invalid, or they do not fit together.
    """
    inputs = Inputs(network.features(x, dtype))
    rows = len(inputs)
    targets = checked_targets(network, dtype, y, rows)
    return Data(inputs, targets, checks.weights(sample_weight, rows, dtype))


def rows_at_once(network: Network, program: Program, x: Any, y: Any) -> Data | None:
    """Rows that a user has where the backend computes, and that may stay there; else None."""
    if network.categories or network.targets < network.outputs:
        return None
    kind = network.loss.targets
    return program.data_at_once(x, y, None if kind == "class" else BOUNDS[kind])


def checked_targets(network: Network, dtype: np.dtype[Any], y: Any, rows: int) -> Array:
    """Targets as a backend takes them; arguments and errors as for `checked_rows`."""
    targets = loss_targets(y, rows, network.targets, network.loss.targets, dtype)
    return as_outputs(targets, network)


def as_outputs(targets: Array, network: Network) -> Array:
    """Checked targets as losses take them: a column for each output, or class indices."""
    if network.targets < network.outputs:
        return np.tile(targets, network.loss.outputs_per_target)
    return targets


def split(data: Any, validation: Any, seed: int, checked: Callable[[Any, Any, Any], Any]) -> Any:
    """The rows to train on, and those to validate on.

    Args:
        data: all rows, in memory or in files.
        validation: `(x, y)`, `(x, y, sample_weight)`, a fraction of the rows, or None.
        seed: chooses the rows of a fraction.
        checked: makes rows of x, y and sample_weight.

    Returns:
        Both, each of the same kind as `data` or as `checked` makes them; None for no validation.

    Raises:
        DataError: if the validation rows are invalid, or too few rows are left to train on.
    """
    if validation is None:
        return data, None
    if isinstance(validation, tuple | list):
        if len(validation) not in (2, 3):
            raise DataError(
                f"validation has {len(validation)} parts; it must be (x, y), "
                "(x, y, sample_weight) or a fraction."
            )
        try:
            x, y, weight = (*validation, None)[:3]
            return data, checked(x, y, weight)
        except DataError as error:
            raise DataError(f"validation: {error}") from error
    fraction = checks.number(validation, "validation", above=0, below=1)
    if not isinstance(data, Data):
        return data.split(seed, fraction)
    parts = []
    for chosen in split_rows(seed, len(data), fraction):
        part = data.take(chosen)
        if part.weight is not None and not part.weight.any():
            raise DataError("validation split: all sample weights of one part are zero.")
        parts.append(part)
    return parts[0], parts[1]


@lru_cache(maxsize=16)  # the fits of many networks have the same
def rows_of_batches(rows: int, batch_size: int) -> Array:
    """The rows of each batch of an epoch, `(batches,)`, read-only."""
    found = np.full(-(-rows // batch_size), batch_size)
    found[-1] = rows - (len(found) - 1) * batch_size
    found.flags.writeable = False
    return found
