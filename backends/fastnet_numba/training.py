"""A whole run of training steps, compiled: the path for networks of every size.

A batch is shared out in parts. Each part's rows go through the network chunk by chunk, and give a
gradient of their own; then all parts' gradients are added and the parameters updated, again in
parts. Workers are the threads that do it: mostly one for each part, but on a busy machine one for
all, which gives the same bits. Several meet after the gradients, before the update where
penalties or the gradient's norm need everybody's part, and after the update.
"""

import math

from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE, barrier
from fastnet_numba.ops.layers import backward, forward, turn
from fastnet_numba.ops.losses import crossentropy, elementwise_loss
from fastnet_numba.ops.optimizers import update
from fastnet_numba.ops.penalties import add_slice, clip_entries, largest, penalize, scale, squares
from fastnet_numba.ops.rows import gather
from fastnet_numba.ops.table import (
    CHUNK,
    CROSSENTROPY,
    LOSS,
    OUTPUT_WIDTH,
)
from fastnet_numba.prediction import predict_rows
from fastnet_numba.simd.compiled import entry, inlined

#: What is asked for: predictions, the loss alone, its gradient too, or training.
PREDICT, LOSS_ONLY, GRADIENT, TRAIN = range(4)

#: The whole numbers of a run.
(
    TASK, FIRST_STEP, STEPS, BATCH, ROWS, SEED, DROPPING, UPDATES, PARTS, WORKERS, OPTIMIZER,
    STRIDE, RUN_NUMBERS,
) = range(13)  # fmt: skip

#: Its other numbers, before the optimizer's constants. Those of clipping are infinite for none.
L1, L2, CLIP_VALUE, CLIP_NORM, OPTIMIZER_CONSTANTS = range(5)


@inlined
def bound(size, part, parts):
    """Where a part of the flat vector begins, on a cache line: no two workers write to one."""
    return size if part == parts else size * part // parts // CACHE_LINE_STRIDE * CACHE_LINE_STRIDE


@inlined
def gathered(shared, parts, column):
    """The sum of what the parts have found."""
    whole = 0.0
    for part in range(parts):
        whole += shared[part * CACHE_LINE_STRIDE + column]
    return whole


@entry
def run(
    ops, p, memory, g, m, x, y, labels, weights, order, rates, l2s, losses,
    whole, real, shared, signals, worker,
):  # fmt: skip
    """The steps of a run.

    Args:
        ops: the layout's table.
        p: parameters `(size,)`.
        memory: the optimizer's `(slots, size)`.
        g: a gradient for each part, STRIDE apart; or the predictions, flat.
        m: this worker's arena.
        x, y, weights: the data, flat; y or weights are empty where there are none.
        labels: class indices, or empty.
        order: the rows' order, all epochs of the run one behind the other, or empty.
        rates: the learning rate of each step.
        l2s: the L2 of each step, or empty: `real` has it then.
        losses: room for each step's loss.
        whole, real: numbers of the run.
        shared: room for what the parts find, CACHE_LINE_STRIDE for each.
        signals: see `barrier`.
        worker: which of WORKERS this is.

    Returns:
        how many steps' losses were found: one whose loss is not finite is the last.
    """
    places = ops[0]
    task, rows, size, stride = whole[TASK], whole[ROWS], len(p), whole[STRIDE]
    parts, workers = whole[PARTS], whole[WORKERS]
    first, last = parts * worker // workers, parts * (worker + 1) // workers
    low, high = bound(size, first, parts), bound(size, last, parts)
    batches = -(-rows // whole[BATCH])
    first_epoch = whole[FIRST_STEP] // batches
    each = 1 if places[LOSS] == CROSSENTROPY else places[OUTPUT_WIDTH]
    weighted = len(weights) > 0
    moment = 0
    if task >= GRADIENT:
        turn(ops, p, m)
    for s in range(whole[STEPS]):
        step = whole[FIRST_STEP] + s
        start = step % batches * whole[BATCH]
        stop = min(start + whole[BATCH], rows)
        ahead = (step // batches - first_epoch) * rows if len(order) else 0
        mass = float(stop - start)
        if weighted:
            mass = 0.0
            for r in range(ahead + start, ahead + stop):
                mass += weights[order[r]] if len(order) else weights[r]
        mass *= each

        for part in range(first, last):
            begin = start + (stop - start) * part // parts
            end = start + (stop - start) * (part + 1) // parts
            own = part * stride
            loss = 0.0
            more = False
            for at in range(begin, end, places[CHUNK]):
                count = min(places[CHUNK], end - at)
                gather(places, m, x, y, weights, order, ahead + at, count)
                forward(ops, p, m, count, whole[DROPPING], at - start, whole[SEED], step)
                if places[LOSS] == CROSSENTROPY:
                    loss += crossentropy(
                        places, m, count, order, ahead + at, labels, weighted, mass
                    )
                else:
                    loss += elementwise_loss(places, m, count, weighted, mass)
                if task != LOSS_ONLY:
                    backward(ops, p, g, own, m, count, more, whole[DROPPING] != 0)
                more = True
            if not more and task != LOSS_ONLY:
                g[own : own + size] = 0
            shared[part * CACHE_LINE_STRIDE] = loss

        moment += 1
        if workers > 1 and not barrier(signals, worker, workers, moment):
            return s
        loss = gathered(shared, parts, 0) / mass if mass > 0 else 0.0
        if task != LOSS_ONLY:
            for part in range(1, parts):
                add_slice(g, part * stride, low, high)
            l2 = l2s[s] if len(l2s) else real[L2]
            if real[L1] > 0 or l2 > 0:
                for part in range(first, last):
                    here, there = bound(size, part, parts), bound(size, part + 1, parts)
                    penalty = penalize(ops, p, g, here, there, real[L1], l2)
                    shared[part * CACHE_LINE_STRIDE + 1] = penalty
                moment += 1
                if workers > 1 and not barrier(signals, worker, workers, moment):
                    return s
                loss += gathered(shared, parts, 1)
        if worker == 0:
            losses[s] = loss
        if task != TRAIN or not math.isfinite(loss):
            return s + 1

        if real[CLIP_VALUE] < math.inf:
            clip_entries(g, low, high, real[CLIP_VALUE])
        if real[CLIP_NORM] < math.inf:
            # Where the squares overflow, the norm need not: once more, in units of the largest.
            unit = 1.0
            for attempt in range(2, 6, 2):
                for part in range(first, last):
                    here, there = bound(size, part, parts), bound(size, part + 1, parts)
                    shared[part * CACHE_LINE_STRIDE + attempt] = squares(g, here, there, unit)
                    shared[part * CACHE_LINE_STRIDE + attempt + 1] = largest(g, here, there)
                moment += 1
                if workers > 1 and not barrier(signals, worker, workers, moment):
                    return s
                square, peak = gathered(shared, parts, attempt), 0.0
                for part in range(parts):
                    peak = max(peak, shared[part * CACHE_LINE_STRIDE + attempt + 1])
                norm = unit * math.sqrt(square)
                if not (math.isinf(square) and math.isfinite(peak)):
                    break
                unit = peak
            if norm > real[CLIP_NORM]:
                scale(g, low, high, real[CLIP_NORM] / norm)
        update(
            whole[OPTIMIZER], real[OPTIMIZER_CONSTANTS:], p, g, memory, low, high, rates[s],
            whole[UPDATES] + s + 1,
        )  # fmt: skip
        moment += 1
        if workers > 1 and not barrier(signals, worker, workers, moment):
            return s
        turn(ops, p, m)
    if task == PREDICT:  # no steps then
        predict_rows(ops, p, m, x, g, rows * first // parts, rows * last // parts)
    return whole[STEPS]
