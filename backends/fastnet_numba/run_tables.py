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
from fastnet_numba.ops.exchange import copies_updated, parts_added, synchronized
from fastnet_numba.ops.optimizers import UPDATES, segments_updated
from fastnet_numba.ops.penalties import entries_clipped, norm_clipped, penalties
from fastnet_numba.ops.sums import wide_added, wide_taken
from fastnet_numba.prediction import columns_predicted, rows_predicted


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
    run: Run,
    numbers: dict[int, int],
    segments: tuple[float, ...],
    wide: bool,
    narrow: bool,
    address_of: AddressOf,
) -> tuple[Array, Array, Array]:
    """The tables of a run for the kernel: what each step has, the integers, the floats.

    Args:
        run: the run.
        numbers: the integers that are not its own, by their places.
        segments: of the plan.
        wide: whether sums of gradients are added up in float64.
        narrow: whether the rows are in the lanes.
        address_of: compiles or loads the parts of kernels that the run needs.
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
    penalized = run.l1 > 0 or run.uses("l2")
    task, updating = numbers[training.TASK], numbers[training.TASK] >= training.UPDATE
    with_gradients = task in (training.GRADIENT, training.TRAIN)
    together = task != training.PREDICT and numbers[training.WORKERS] > 1
    copied = numbers[training.COPIED] != 0
    changed = penalized or run.clip_value is not None or run.clip_norm is not None
    # Copies are updated by what adds up the parts too, unless something comes between the two.
    added = with_gradients and numbers[training.PARTS] > 1 and (changed or not copied)
    for place, part, needed in (
        (training.OPTIMIZER, UPDATES[OPTIMIZERS[kind]], updating),
        (training.SEGMENTS_UPDATED, segments_updated, updating and len(segments) > 0),
        (training.PENALTIES, penalties, penalized),
        (training.ENTRIES_CLIPPED, entries_clipped, updating and run.clip_value is not None),
        (training.NORM_CLIPPED, norm_clipped, updating and run.clip_norm is not None),
        (training.WIDE_ADDED, wide_added, wide),
        (training.WIDE_TAKEN, wide_taken, wide),
        (training.PARTS_ADDED, parts_added, added),
        (training.SYNCHRONIZED, synchronized, together),
        (training.COPIES_UPDATED, copies_updated, copied),
        (
            training.PREDICTED,
            columns_predicted if narrow else rows_predicted,
            task == training.PREDICT,
        ),
    ):
        if needed:
            int_table[place] = address_of(part)
    if task == training.TRAIN:
        alone = int_table[training.PARTS] == 1 and int_table[training.IN_TEAM] == 0
        int_table[training.SWEEPS] = alone and not (changed or segments)
    clipping = (math.inf if most is None else most for most in (run.clip_value, run.clip_norm))
    floats = [run.l1, *clipping, run.reports_penalty, *constants]
    if segments:
        floats += [0.0] * (training.SEGMENT_TABLE - len(floats)) + list(segments)
    return steps, int_table, np.array(floats, np.float64)
