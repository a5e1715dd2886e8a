"""The settings of a fit, checked."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fastnet.arguments import explained
from fastnet.arrays import checks
from fastnet.definition.layers import BatchNorm, Dense, Dropout
from fastnet.definition.named import resolve
from fastnet.definition.network import Network
from fastnet.definition.optimizers import LBFGS, OPTIMIZERS, SGD, Optimizer, Rprop
from fastnet.definition.schedules import Schedule, scheduled
from fastnet.errors import DefinitionError
from fastnet.records import Record
from fastnet.training.blocks import BlockShuffle

#: Rows of a batch by default: as in Keras, and near the best for small tables.
BATCH_ROWS = 32

#: Rows that a fit may see over all epochs: backends count them in 64 bits, schedules in float64.
MOST_ROWS = 2**53


@explained("fn.EarlyStopping")
class EarlyStopping(Record):
    """Stop after `patience` epochs in a row without a better validation loss.

    As in Keras and Lightning: with 3, the third such epoch is the last; 0 stops like 1.

    Args:
        patience: the number of epochs.
        min_delta: how much lower a loss must be to count as better.
        restore_best: end with the parameters of the best epoch, not of the last.
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        checks.integer(self.patience, "early_stopping patience", least=0)
        checks.number(self.min_delta, "early_stopping min_delta", least=0)
        checks.flag(self.restore_best, "early_stopping restore_best")


class Settings(Record):
    """What decides the outcome of a fit, beside the rows.

    `Model.fit` documents each; `dropout_factor` is that of `Run`.
    """

    optimizer: Optimizer | LBFGS
    batch_size: int
    shuffle: bool | BlockShuffle
    l1: float
    l2: float
    clip_norm: float | None
    clip_value: float | None
    seed: int
    epochs: int
    early_stopping: EarlyStopping | None
    dropout_factor: float | Schedule = 1.0

    def with_seed(self, seed: int) -> "Settings":
        """The same with another seed."""
        made = object.__new__(Settings)  # `replace` takes as long as a tiny fit
        vars(made).update(vars(self), seed=seed)
        return made


def make_settings(
    network: Network,
    rows: int,
    seed: int,
    dtype: np.dtype[Any],
    *,
    optimizer: str | Optimizer | LBFGS | Mapping[str, Any],
    epochs: int,
    batch_size: int | Literal["auto"] | None,
    shuffle: bool | BlockShuffle,
    l1: float,
    l2: float,
    clip_norm: float | None,
    clip_value: float | None,
    early_stopping: int | EarlyStopping | None,
    dropout_factor: float | Schedule | Mapping[str, Any],
) -> Settings:
    """Check the arguments of `Model.fit`, for so many training rows of a dtype.

    Raises:
        DefinitionError: if one is invalid, or two do not fit together.
    """
    rule: Optimizer | LBFGS = resolve("optimizer", OPTIMIZERS, optimizer)
    if isinstance(rule, Optimizer) and rule.each:
        raise DefinitionError(
            f"optimizer {rule.name!r} has constants for {len(rule.each)} members, and a model is "
            "one: give numbers, or train an fn.Population."
        )
    epsilon = getattr(rule, "epsilon", 1.0)
    if dtype.type(epsilon) == 0:
        raise DefinitionError(
            f"{rule.name} epsilon is {epsilon:g}, which is 0 in {dtype}; use 1e-8, or float64."
        )
    if not isinstance(shuffle, bool | np.bool_ | BlockShuffle):
        raise DefinitionError(
            f"shuffle is {shuffle!r}; it must be True or False, or fn.BlockShuffle(...)."
        )
    settings = Settings(
        optimizer=rule,
        batch_size=_batch_rows(batch_size, rule, rows),
        shuffle=shuffle if isinstance(shuffle, BlockShuffle) else bool(shuffle),
        l1=checks.number(l1, "l1", least=0),
        l2=checks.number(l2, "l2", least=0),
        clip_norm=_limit(clip_norm, "clip_norm"),
        clip_value=_limit(clip_value, "clip_value"),
        seed=seed,
        epochs=_epochs(epochs, rows),
        early_stopping=_stopping(early_stopping),
        dropout_factor=_dropout_factor(dropout_factor, network),
    )
    if isinstance(rule, LBFGS):
        check_lbfgs(settings, network, rows)
    if isinstance(rule, LBFGS | Rprop | SGD):
        _check_factors(rule, network)
    return settings


def _dropout_factor(value: Any, network: Network) -> float | Schedule:
    if isinstance(value, float) and value == 1.0:  # the default, in no time
        return value
    factor = scheduled(value, "dropout_factor")
    highest = _highest_dropout(network)
    if not isinstance(factor, Schedule) and factor * highest >= 1:
        raise DefinitionError(
            f"dropout_factor is {factor:g}; times the rate {highest:g} it must be less than 1."
        )
    return factor


def _highest_dropout(network: Network) -> float:
    rates = (one.layer.rate for one in network.placed if isinstance(one.layer, Dropout))
    return max(rates, default=0.0)


def _check_factors(rule: Optimizer | LBFGS, network: Network) -> None:
    """Refuse what an optimizer cannot do to the learning rates of single layers."""
    for layer in (one.layer for one in network.placed):
        if not isinstance(layer, Dense):
            continue
        if layer.learning_rate_factor != 1 and not isinstance(rule, SGD):
            raise DefinitionError(
                f"{rule.name} has steps of its own, not a learning rate: it cannot follow the "
                f"learning_rate_factor {layer.learning_rate_factor} of {layer!r}; use 'adam'."
            )
        if layer.scaling is not None:
            raise DefinitionError(
                f"{rule.name} cannot follow the scaling {layer.scaling!r} of {layer!r}; use 'adam' "
                "or another optimizer whose steps do not depend on the size of the gradient."
            )


def _batch_rows(batch_size: object, rule: Optimizer | LBFGS, rows: int) -> int:
    if isinstance(batch_size, str) and batch_size == "auto":
        batch_size = None if isinstance(rule, LBFGS) else BATCH_ROWS
    return rows if batch_size is None else min(checks.integer(batch_size, "batch_size"), rows)


def _epochs(value: object, rows: int) -> int:
    epochs = checks.integer(value, "epochs")
    if epochs * rows > MOST_ROWS:
        raise DefinitionError(
            f"epochs is {epochs}; with {rows} rows it must be at most {MOST_ROWS // rows}."
        )
    return epochs


def _limit(value: object, what: str) -> float | None:
    return None if value is None else checks.number(value, what, above=0)


def _stopping(value: object) -> EarlyStopping | None:
    if value is None or isinstance(value, EarlyStopping):
        return value
    return EarlyStopping(checks.integer(value, "early_stopping", least=0))


def check_lbfgs(settings: Settings, network: Network, rows: int, option: str = "optimizer") -> None:
    """Make sure that L-BFGS can train a network with these settings.

    `option` is what the user chose it by, for the error.

    Raises:
        DefinitionError: if it cannot.
    """
    clips = settings.clip_norm is not None or settings.clip_value is not None
    norms = any(isinstance(one.layer, BatchNorm) for one in network.placed)
    drops = norms or _highest_dropout(network) > 0
    for wrong, reason in (
        (settings.batch_size < rows, "needs all rows in one batch; leave batch_size out"),
        (settings.l1 > 0, "needs a smooth loss; use l2 instead of l1"),
        (clips, "chooses its own step lengths; leave out clip_norm and clip_value"),
        (drops, "needs the same loss at every call; use 'adam' with Dropout or BatchNorm"),
    ):
        if wrong:
            raise DefinitionError(f"{option} 'lbfgs' {reason}.")
