"""What kernels are told of a run: the control block, the optimizer's constants, a step's rates.

The order of the numbers is that of `kernels/control.cuh` and `kernels/optimizers.cuh`.
"""

import math
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.program import Run
from fastnet.definition import optimizers

#: Places in the control block.
(
    NEXT, NOW, STOPPED, FIRST_STEP, BATCH, ROWS, FIRST_EPOCH, ORDERED, STREAMED, SEED, DROPPING,
    STEPS, CONTROLS,
) = range(13)  # fmt: skip

#: How many scalars a step has, and the place of the one that begins as 1 and is never unset.
SCALARS, SCALE = 3, 2

#: Columns of a step's row of rates: see `rates`.
RATES = 3

#: Optimizers, by code.
SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP, ADAGRAD, RPROP, LION = range(8)


def control(
    *,
    rows: int,
    batch: int,
    steps: int,
    first_step: int = 0,
    ordered: bool = False,
    seed: int = 0,
    dropping: bool = False,
) -> Array:
    """The control block that a run begins with, `(CONTROLS,)` int64, for data of all rows.

    Args:
        rows: of the data.
        batch: rows of a batch, at most.
        steps: of the run.
        first_step: its first, counted over the whole training.
        ordered: whether there is an order of the rows.
        seed: of dropout, below 2^64.
        dropping: whether dropout does its work.
    """
    block = np.zeros(CONTROLS, np.int64)
    block[FIRST_STEP] = first_step
    block[BATCH], block[ROWS], block[STEPS] = batch, rows, steps
    block[FIRST_EPOCH] = first_step // math.ceil(rows / batch)
    block[ORDERED], block[DROPPING] = ordered, dropping
    block[SEED] = seed - 2**64 if seed >= 2**63 else seed
    return block


def code(optimizer: optimizers.Optimizer) -> int:
    """An optimizer's code."""
    match optimizer:
        case optimizers.SGD():
            if optimizer.momentum:
                return NESTEROV if optimizer.nesterov else MOMENTUM
            return SGD
        case optimizers.Adam():  # and AdamW
            return ADAM
        case optimizers.RMSprop():
            return RMSPROP
        case optimizers.Adagrad():
            return ADAGRAD
        case optimizers.Rprop():
            return RPROP
        case optimizers.Lion():
            return LION
    raise AssertionError(f"optimizer {optimizer.name!r} has no update")


def slots(optimizer: optimizers.Optimizer) -> int:
    """Vectors of its memory that its update reads: plain gradient descent needs none."""
    return 0 if code(optimizer) == SGD else optimizer.slots


def constants(optimizer: Any) -> Array:
    """An optimizer's constants as `update` reads them, `(5,)` float64."""
    rule = optimizer
    match rule:
        case optimizers.SGD():
            values = [rule.momentum]
        case optimizers.Adam():
            values = [rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2, rule.epsilon]
        case optimizers.RMSprop():
            values = [rule.alpha, 1 - rule.alpha, rule.epsilon, rule.momentum]
        case optimizers.Adagrad():
            values = [rule.epsilon]
        case optimizers.Rprop():
            values = list(rule.canonical()[1])
        case _:
            values = [rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2]
    return np.array([*values, *[0.0] * (5 - len(values))])


def rates(optimizer: Any, learning_rates: Array, updates: int) -> Array:
    """What differs from step to step, `(steps, RATES)` float64.

    The learning rate, for Adam over 1 - beta1^t; Adam's 1 / sqrt(1 - beta2^t); and what weight
    decay leaves of a parameter. `updates` were done before the first step.
    """
    table = np.ones((len(learning_rates), RATES))
    table[:, 0] = learning_rates
    if isinstance(optimizer, optimizers.Adam):
        t = np.arange(updates + 1, updates + 1 + len(learning_rates), dtype=np.float64)
        table[:, 0] = learning_rates / (1 - optimizer.beta1**t)
        table[:, 1] = 1 / np.sqrt(1 - optimizer.beta2**t)
    table[:, 2] = 1 - learning_rates * getattr(optimizer, "weight_decay", 0.0)
    return table


def objective(run: Run) -> Array:
    """The penalties and limits of a run, `(4,)` float64; infinity: no limit."""
    no = math.inf
    return np.array(
        [
            run.l1,
            run.l2,
            no if run.clip_value is None else run.clip_value,
            no if run.clip_norm is None else run.clip_norm,
        ]
    )
