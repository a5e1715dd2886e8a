"""What kernels know of a run: the control block, the settings and the step table.

`names.py` has the places in each.
"""

import math
from typing import Any

import numpy as np

from fastnet import random
from fastnet.arrays.checks import Array
from fastnet.contract import kinds
from fastnet.contract.program import Run
from fastnet_cupy.layout import Layout
from fastnet_cupy.names import OPTIMIZER_CONSTANTS, Control, Setting, Step


def control(
    *,
    rows: int,
    batch: int,
    steps: int = 1,
    first_step: int = 0,
    ordered: bool = False,
) -> Array:
    """A control block, `(len(Control),)` int64, for steps over all rows, without dropout.

    Args:
        rows: of the data.
        batch: rows of a batch, at most.
        steps: of the run.
        first_step: its first, counted over the whole training.
        ordered: whether there is an order of the rows.
    """
    block = np.zeros(len(Control), np.int64)
    block[Control.FIRST_STEP] = first_step
    block[Control.BATCH], block[Control.ROWS], block[Control.STEPS] = batch, rows, steps
    block[Control.FIRST_EPOCH] = first_step // math.ceil(rows / batch)
    block[Control.ORDERED] = ordered
    block[Control.STEP_NUMBERS] = Step.MASKS
    return block


def drop(block: Array, layout: Layout, run: Run) -> None:
    """Let a control block apply the run's dropout."""
    block[Control.STEP_NUMBERS] = step_numbers(layout)
    block[Control.DROPPING] = bool(layout.all_masks and run.uses("dropout_factor"))
    block[Control.SEED] = run.seed - 2**64 if run.seed >= 2**63 else run.seed


def step_numbers(layout: Layout) -> int:
    """Numbers of a step's row in the step table."""
    return Step.MASKS + 2 * len(layout.all_masks)


def settings(run: Run) -> Array:
    """The numbers that hold for the whole run, float64: see `Setting`."""
    constants = np.zeros(OPTIMIZER_CONSTANTS)
    given = run.optimizer.canonical()[1]
    assert len(given) <= OPTIMIZER_CONSTANTS, "names.py has room for fewer constants"
    constants[: len(given)] = given
    table = np.zeros(Setting.CONSTANTS)
    table[Setting.L1] = run.l1
    table[Setting.CLIP_VALUE] = math.inf if run.clip_value is None else run.clip_value
    table[Setting.CLIP_NORM] = math.inf if run.clip_norm is None else run.clip_norm
    table[Setting.REPORTS_PENALTY] = run.reports_penalty
    return np.concatenate((table, constants, 1 - constants))


def step_table(layout: Layout, run: Run, updates: int) -> Array:
    """What differs from step to step, `(steps, step_numbers(layout))` float64: see `Step`.

    `updates` were done before the first step.
    """
    table = np.ones((run.steps, step_numbers(layout)))
    rate = run.by_step("learning_rate")
    table[:, Step.RATE] = rate
    table[:, Step.STAY] = 1 - rate * run.by_step("weight_decay")
    table[:, Step.L2] = run.by_step("l2")
    kind, constants = run.optimizer.canonical()
    if kind == "adam":
        # Powers of t in float64 take a GPU longer than the rest of an update.
        t = np.arange(updates + 1, updates + 1 + run.steps, dtype=np.float64)
        table[:, Step.RATE] /= 1 - constants[0] ** t
        table[:, Step.WIDEN] = 1 / np.sqrt(1 - constants[1] ** t)
    factors, step_of = np.unique(run.by_step("dropout_factor"), return_inverse=True)
    for place, mask in enumerate(layout.all_masks):
        rates = [mask.rate * factor for factor in factors.tolist()]
        numbers = [(random.keep_threshold(rate), 1 / (1 - rate)) for rate in rates]
        first = Step.MASKS + 2 * place
        table[:, first : first + 2] = np.array(numbers)[step_of]
    return table


def code(optimizer: Any) -> int:
    """An optimizer's code."""
    return kinds.OPTIMIZERS[optimizer.canonical()[0]]
