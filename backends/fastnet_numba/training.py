"""A whole run of training steps, compiled: the path for networks of every size.

Each thread takes a part of a batch's rows through the network, chunk by chunk, and gets a
gradient of its own. Then it adds all threads' gradients for its part of the parameters, and
updates these. With several threads they meet after the gradients, before the update where
penalties or the gradient's norm need everybody's part, and after the update.
"""

import math

from fastnet_numba.compiled import entry, kernel
from fastnet_numba.crew import APART, meet
from fastnet_numba.layers import backward, forward, turn
from fastnet_numba.layout import (
    CHUNK,
    CROSSENTROPY,
    LOSS,
    OUTPUT_WIDTH,
)
from fastnet_numba.losses import crossentropy, elementwise_loss
from fastnet_numba.optimizers import update
from fastnet_numba.penalties import (
    add_slice,
    clip_entries,
    largest,
    penalise,
    scale,
    squares,
)
from fastnet_numba.prediction import predict_rows
from fastnet_numba.rows import gather

#: What is asked for: predictions, the loss alone, its gradient too, or training.
PREDICT, LOSS_ONLY, GRADIENT, TRAIN = range(4)

#: The whole numbers of a run.
(
    TASK, FIRST_STEP, STEPS, BATCH, ROWS, SEED, DROPPING, UPDATES, THREADS, OPTIMIZER, STRIDE,
    RUN_NUMBERS,
) = range(12)  # fmt: skip

#: Its other numbers, before the optimizer's constants. Those of clipping are infinite for none.
L1, L2, CLIP_VALUE, CLIP_NORM, OPTIMIZER_CONSTANTS = range(5)


@entry
def run(
    ops, p, memory, g, m, x, y, labels, weights, order, rates, losses,
    whole, real, shared, signals, thread,
):  # fmt: skip
    """The steps of a run.

    Args:
        ops: the layout's table.
        p: parameters `(size,)`.
        memory: the optimizer's `(slots, size)`.
        g: a gradient for each thread, STRIDE apart; or the predictions, flat.
        m: this thread's arena.
        x, y, weights: the data, flat; y or weights are empty where there are none.
        labels: class indices, or empty.
        order: the rows' order, all epochs of the run one behind the other, or empty.
        rates: the learning rate of each step.
        losses: room for each step's loss.
        whole, real: numbers of the run.
        shared: room for numbers that the threads show each other, APART for each.
        signals: see `meet`.
        thread: which of THREADS this is.

    Returns:
        how many steps' losses were found: one whose loss is not finite is the last.
    """
    places = ops[0]
    task, threads, rows, size = whole[TASK], whole[THREADS], whole[ROWS], len(p)
    batches = -(-rows // whole[BATCH])
    first_epoch = whole[FIRST_STEP] // batches
    each = 1 if places[LOSS] == CROSSENTROPY else places[OUTPUT_WIDTH]
    weighted = len(weights) > 0
    own = thread * whole[STRIDE]
    # Parts of whole cache lines, so that no two threads write to one.
    low = min(size * thread // threads // APART * APART, size)
    high = min(size * (thread + 1) // threads // APART * APART, size)
    if thread == threads - 1:
        high = size
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
        each_mass = mass * each
        factor = 1 / each_mass if each_mass > 0 else 0.0

        begin = start + (stop - start) * thread // threads
        end = start + (stop - start) * (thread + 1) // threads
        loss = 0.0
        more = False
        for at in range(begin, end, places[CHUNK]):
            count = min(places[CHUNK], end - at)
            gather(places, m, x, y, weights, order, ahead + at, count)
            forward(ops, p, m, count, whole[DROPPING], at - start, whole[SEED], step)
            if places[LOSS] == CROSSENTROPY:
                loss += crossentropy(
                    places, m, count, order, ahead + at, labels, weighted, factor
                )
            else:
                loss += elementwise_loss(places, m, count, weighted, factor)
            if task != LOSS_ONLY:
                backward(ops, p, g, own, m, count, more, whole[DROPPING] != 0)
            more = True
        if not more and task != LOSS_ONLY:
            g[own : own + size] = 0

        if threads > 1:
            shared[thread * APART] = loss
            moment += 1
            if not meet(signals, thread, threads, moment):
                return s
            loss = 0.0
            for other in range(threads):
                loss += shared[other * APART]
            for other in range(1, threads):
                if task != LOSS_ONLY:
                    add_slice(g, other * whole[STRIDE], low, high)
        loss *= factor
        if task != LOSS_ONLY and (real[L1] > 0 or real[L2] > 0):
            penalty = penalise(ops, p, g, low, high, real[L1], real[L2])
            if threads > 1:
                shared[thread * APART + 1] = penalty
                moment += 1
                if not meet(signals, thread, threads, moment):
                    return s
                penalty = 0.0
                for other in range(threads):
                    penalty += shared[other * APART + 1]
            loss += penalty
        if thread == 0:
            losses[s] = loss
        if task != TRAIN or not math.isfinite(loss):
            return s + 1

        if real[CLIP_VALUE] < math.inf:
            clip_entries(g, low, high, real[CLIP_VALUE])
        if real[CLIP_NORM] < math.inf:
            # Where the squares overflow, the norm need not: once more, in units of the largest.
            unit = 1.0
            for attempt in range(2):
                part = squares(g, low, high, unit)
                peak = largest(g, low, high)
                if threads > 1:
                    shared[thread * APART + 2 + 2 * attempt] = part
                    shared[thread * APART + 3 + 2 * attempt] = peak
                    moment += 1
                    if not meet(signals, thread, threads, moment):
                        return s
                    part, peak = 0.0, 0.0
                    for other in range(threads):
                        part += shared[other * APART + 2 + 2 * attempt]
                        peak = max(peak, shared[other * APART + 3 + 2 * attempt])
                norm = unit * math.sqrt(part)
                if not (math.isinf(part) and math.isfinite(peak)):
                    break
                unit = peak
            if norm > real[CLIP_NORM]:
                scale(g, low, high, real[CLIP_NORM] / norm)
        update(
            whole[OPTIMIZER], real[OPTIMIZER_CONSTANTS:], p, g, memory, low, high, rates[s],
            whole[UPDATES] + s + 1,
        )  # fmt: skip
        if threads > 1:
            moment += 1
            if not meet(signals, thread, threads, moment):
                return s
        turn(ops, p, m)
    if task == PREDICT:  # no steps then
        low, high = rows * thread // threads, rows * (thread + 1) // threads
        predict_rows(ops, p, m, x, g, low, high)
    return whole[STEPS]
