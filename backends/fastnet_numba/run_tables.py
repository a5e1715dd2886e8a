"""What the compiled `run` is told of a run and a plan, in numbers."""

import math

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.kinds import OPTIMIZERS
from fastnet.contract.loading import lacking
from fastnet.contract.plan import Plan
from fastnet.contract.program import Run
from fastnet_numba import training
from fastnet_numba.addresses import AddressOf
from fastnet_numba.ops.declared import KINDS
from fastnet_numba.ops.optimizers import UPDATES
from fastnet_numba.ops.penalties import entries_clipped, norm_clipped, penalties


def segments_of(plan: Plan) -> tuple[float, ...]:
    """For each stretch of the trained parameters with the same factors, its end and the two.

    Nothing where all factors are 1.
    """
    found: list[tuple[float, float, float]] = []
    for piece in plan.parameters:
        if piece.offset < plan.trained:
            one = (float(piece.offset + piece.size), piece.rate_factor, piece.decay_factor)
            if found and found[-1][1:] == one[1:]:
                found.pop()
            found.append(one)
    if all(one[1:] == (1, 1) for one in found):
        return ()
    return tuple(number for one in found for number in one)


def tables_of(
    run: Run, numbers: dict[int, int], segments: tuple[float, ...], address_of: AddressOf
) -> tuple[Array, Array, Array]:
    """The tables of a run for the kernel: what each step has, the integers, the floats.

    `address_of` compiles or loads the parts of kernels that the run needs.
    """
    steps = np.empty((run.steps, training.PER_STEP))
    steps[:, training.LEARNING_RATE] = run.learning_rate
    steps[:, training.L2] = run.l2
    steps[:, training.WEIGHT_DECAY] = run.weight_decay
    steps[:, training.DROPOUT_FACTOR] = run.dropout_factor
    kind, constants = run.optimizer.canonical()
    if kind not in KINDS["optimizer"]:
        raise lacking("numba", "optimizer", kind)
    int_table = np.zeros(training.INTEGERS, np.int64)
    int_table[training.FIRST_STEP] = run.first_step
    int_table[training.SEED] = run.seed - 2**64 if run.seed >= 2**63 else run.seed
    for place, number in numbers.items():
        int_table[place] = number
    penalized = bool(run.l1 > 0 or (steps[:, training.L2] > 0).any())
    if penalized:
        int_table[training.PENALTIES] = address_of(penalties)
    if numbers[training.TASK] >= training.UPDATE:
        int_table[training.OPTIMIZER] = address_of(UPDATES[OPTIMIZERS[kind]])
        if run.clip_value is not None:
            int_table[training.ENTRIES_CLIPPED] = address_of(entries_clipped)
        if run.clip_norm is not None:
            int_table[training.NORM_CLIPPED] = address_of(norm_clipped)
    if int_table[training.TASK] == training.TRAIN:
        changed = penalized or run.clip_value is not None or run.clip_norm is not None
        alone = int_table[training.PARTS] == 1 and int_table[training.IN_TEAM] == 0
        int_table[training.SWEEPS] = alone and not (changed or segments)
    clipping = (math.inf if most is None else most for most in (run.clip_value, run.clip_norm))
    floats = [run.l1, *clipping, run.reports_penalty, *constants]
    if segments:
        floats += [0.0] * (training.SEGMENT_TABLE - len(floats)) + list(segments)
    return steps, int_table, np.array(floats, np.float64)
