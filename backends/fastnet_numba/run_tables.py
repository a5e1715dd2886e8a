"""What the compiled `run` is told of a run and a plan, in numbers."""

import math

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.kinds import OPTIMIZERS
from fastnet.contract.loading import lacking
from fastnet.contract.plan import Plan
from fastnet.contract.program import Run
from fastnet_numba import training
from fastnet_numba.ops.declared import KINDS


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
    run: Run, numbers: dict[int, int], segments: tuple[float, ...]
) -> tuple[Array, Array, Array]:
    """The tables of a run for the kernel: what each step has, the integers, the floats."""
    steps = np.empty((run.steps, training.PER_STEP))
    steps[:, training.LEARNING_RATE] = run.learning_rate
    steps[:, training.L2] = run.l2
    steps[:, training.WEIGHT_DECAY] = run.weight_decay
    steps[:, training.DROPOUT_FACTOR] = run.dropout_factor
    kind, constants = run.optimizer.canonical()
    if kind not in KINDS["optimizer"]:
        raise lacking("numba", "optimizer", kind)
    int_table = np.empty(training.INTEGERS, np.int64)
    int_table[training.FIRST_STEP] = run.first_step
    int_table[training.SEED] = run.seed - 2**64 if run.seed >= 2**63 else run.seed
    int_table[training.OPTIMIZER] = OPTIMIZERS[kind]
    for place, number in numbers.items():
        int_table[place] = number
    clipping = (math.inf if most is None else most for most in (run.clip_value, run.clip_norm))
    floats = [run.l1, *clipping, run.reports_penalty, *constants]
    if segments:
        floats += [0.0] * (training.SEGMENT_TABLE - len(floats)) + list(segments)
    return steps, int_table, np.array(floats, np.float64)
