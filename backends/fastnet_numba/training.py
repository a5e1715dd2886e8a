"""A whole run of training steps, compiled: the path for networks of every size.

A batch is divided into parts. Each part's rows go through the network chunk by chunk and give a
gradient of their own; then the parts' gradients are added and the parameters updated, again in
parts. Workers are the threads that do it: mostly one for each part, but on a busy machine one for
all, with the same bits. Several wait for each other after the gradients, before the update where
penalties or the gradient's norm need all parts, and after the update.

Workers may also be processes that share memory (`team.py`): then each has one part, of rows of its
own, and the host says which, and the mass of the whole batch.
"""

import math

import numpy as np

from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE, bound, gathered
from fastnet_numba.ops.exchange import add_parts, synchronize, update_copies
from fastnet_numba.ops.layers import backward, forward, transpose_weights
from fastnet_numba.ops.losses import sum_of_losses
from fastnet_numba.ops.narrow import narrow_backward, narrow_gather
from fastnet_numba.ops.optimizers import update, update_segments
from fastnet_numba.ops.penalties import clip_entries, clip_norm, penalize
from fastnet_numba.ops.rows import gather
from fastnet_numba.ops.statistics import move_statistics, note_statistics
from fastnet_numba.ops.sums import add_wide, take_wide
from fastnet_numba.ops.sweep import update_others
from fastnet_numba.ops.table import CHUNK, FORWARD, LOSS, MOVED, NOTED, OTHERS, SWEEP, TERMS
from fastnet_numba.prediction import predict_parts
from fastnet_numba.simd.compiled import entry, inlined
from fastnet_numba.simd.vectors import FLUSHING, control_word, set_control_word

#: Tasks: predictions, the loss, its gradient too, an update by a given gradient, training.
PREDICT, LOSS_ONLY, GRADIENT, UPDATE, TRAIN = range(5)

#: A run's integers. TRAINED is the length of the gradient, SIZE_OF_PART the distance between the
#: parts' gradients, SEGMENTS how many stretches of the parameters have factors of their own.
#: BATCHES are those of an epoch. IN_TEAM is 1 where the workers are processes, else 0; COPIED where
#: two workers have a copy of the parameters each; SWEEPS where nothing but the optimizer needs the
#: gradient, which is that of one part: see `sweep.py`.
#: OPTIMIZER and those behind it are addresses, 0 for what the run does not need.
(
    TASK, FIRST_STEP, STEPS, BATCH, BATCHES, ROWS, SEED, UPDATES, PARTS, WORKERS, IN_TEAM, COPIED,
    TRAINED, SIZE_OF_PART, SEGMENTS, SWEEPS,
    OPTIMIZER, SEGMENTS_UPDATED, PENALTIES, ENTRIES_CLIPPED, NORM_CLIPPED, WIDE_ADDED, WIDE_TAKEN,
    PARTS_ADDED, SYNCHRONIZED, COPIES_UPDATED, PREDICTED, INTEGERS,
) = range(28)  # fmt: skip

#: Its floats, before the optimizer's constants. Those of clipping are infinite for none.
#: REPORTS_PENALTY is 1 or 0.
L1, CLIP_VALUE, CLIP_NORM, REPORTS_PENALTY, OPTIMIZER_CONSTANTS = range(5)

#: Behind these constants, for every segment where it ends, and what learning rate and weight decay
#: are multiplied with there.
MOST_CONSTANTS = 4
SEGMENT_TABLE = OPTIMIZER_CONSTANTS + MOST_CONSTANTS

#: Weights of rows from which products with them are not subnormal in float32, if the other factor
#: is a loss or a derivative that matters.
LEAST_WEIGHT = 1e-30

#: What may be another number at each step: columns of the table of steps. The last three are of
#: processes only: where this one's rows begin and end in the order of their epoch, and the mass of
#: all of them.
LEARNING_RATE, L2, WEIGHT_DECAY, DROPOUT_FACTOR, BEGIN, END, MASS, PER_STEP = range(8)

#: Rows whose gradients are summed up in float32, and in batches with more than `MANY_ROWS` (of a
#: part) added in float64: rounding in a long sum goes the same way again and again.
ROWS_AT_ONCE, MANY_ROWS = 1024, 4096


@inlined
def follow(
    narrow, ops, steps, int_table, float_table, p, memory, g, m, losses,
    x, y, labels, weights, order, shared, signals, wide, worker,
):  # fmt: skip
    """The steps of a run.

    Handed over in four tuples, these take a small network's step 40 ns longer, a tenth of it.

    Args:
        narrow: None, or True for the rows in the lanes. Numba leaves out what is not for None, or
            what is only for it, so neither is compiled with the other.
        ops: the layout's table of operations.
        steps: the table of steps, `(steps, PER_STEP)` float64.
        int_table, float_table: the run's integers, and its floats.
        p: parameters `(size,)`; or for two workers a copy each (see `exchange.py`), SIZE_OF_PART
            apart.
        memory: the optimizer's `(slots, trained)`.
        g: a gradient for each part, SIZE_OF_PART apart; or the predictions, flat.
        m: this worker's arena.
        losses: room for each step's loss.
        x, y, labels, weights, order: the data, flat: inputs, targets, class indices, weights of
            rows, and the order of the rows in all epochs of the run. All but x may be empty.
        shared: room for what the parts find, CACHE_LINE_STRIDE for each.
        signals: see `barrier`; each worker counts on from its number there. For predictions the
            numbers of chunks that are taken, of each part, stand behind these.
        wide: zeros, as long as g, in float64: sums of chunks' gradients; empty for few chunks.
        worker: which of WORKERS this is.

    Returns:
        how many steps' losses were found: one whose loss is not finite is the last.
    """
    places = ops[0]
    task, rows, stride = int_table[TASK], int_table[ROWS], int_table[SIZE_OF_PART]
    size = int_table[TRAINED]
    parts, workers = int_table[PARTS], int_table[WORKERS]
    first, last = parts * worker // workers, parts * (worker + 1) // workers
    low, high = bound(size, first, parts), bound(size, last, parts)
    batches, in_team = int_table[BATCHES], int_table[IN_TEAM] != 0
    first_epoch = int_table[FIRST_STEP] // batches
    weighted = len(weights) > 0
    segments, optimizer = int_table[SEGMENTS], int_table[OPTIMIZER]
    constants = float_table[OPTIMIZER_CONSTANTS:]
    may_sweep = int_table[SWEEPS] != 0 and places[SWEEP] >= 0
    clipped = float_table[CLIP_VALUE] < math.inf or float_table[CLIP_NORM] < math.inf
    copies, copied = p, int_table[COPIED] != 0
    own_sum = np.int64(0)
    if copied:
        p = copies[worker * stride : (worker + 1) * stride]
        own_sum = (last - 1) * stride if worker > 0 else own_sum
    summed = g[own_sum : own_sum + stride]  # where this worker's share of the gradient's sum stands
    generation = signals[worker * CACHE_LINE_STRIDE]
    if narrow is None and (task == GRADIENT or task == TRAIN):
        transpose_weights(ops, p, m)
    for s in range(int_table[STEPS]):
        loss = 0.0
        rate, decay = steps[s, LEARNING_RATE], steps[s, WEIGHT_DECAY]
        sweeping, t = may_sweep, int_table[UPDATES] + s + 1
        if task != UPDATE:
            step = int_table[FIRST_STEP] + s
            factor = steps[s, DROPOUT_FACTOR]
            start = step % batches * int_table[BATCH]
            stop = min(start + int_table[BATCH], rows)
            ahead = (step // batches - first_epoch) * rows if len(order) else 0
            mass = float(stop - start)
            if in_team:
                start, stop = np.int64(steps[s, BEGIN]), np.int64(steps[s, END])
            elif weighted:
                mass = 0.0
                for r in range(ahead + start, ahead + stop):
                    mass += weights[order[r]] if len(order) else weights[r]
            mass = steps[s, MASS] if in_team else mass * places[TERMS]
            origin = start
            sweeping = sweeping and mass > 0 and stop - start <= places[CHUNK]

            for part in range(first, last):
                begin, end = start, stop
                if not in_team:
                    begin = start + (stop - start) * part // parts
                    end = start + (stop - start) * (part + 1) // parts
                if task == LOSS_ONLY and part == first:
                    # `forward` packs weights that stay packed with row 0: here with this worker's
                    # first one. There is no dropout, which would need the number in the batch.
                    origin = begin
                own = part * stride
                found = 0.0
                waiting = 0  # rows whose gradient is in g, not in wide
                for at in range(begin, end, places[CHUNK]):
                    count = min(places[CHUNK], end - at)
                    if narrow is None:
                        gather(places, m, x, y, weights, order, ahead + at, count)
                    else:
                        narrow_gather(places, m, x, y, labels, weights, order, ahead + at, count)
                    forward(
                        places[FORWARD], ops, p, m, count, factor, at - origin, int_table[SEED],
                        step,
                    )  # fmt: skip
                    found += sum_of_losses(
                        places[LOSS], places, m, count, order, ahead + at, labels, weighted, mass
                    )
                    if task == LOSS_ONLY:
                        pass
                    elif narrow is None:
                        sweeping = sweeping and math.isfinite(found / mass)
                        backward(
                            ops, p, g, own, m, count, waiting > 0, factor > 0,
                            sweeping, optimizer, constants, memory, rate, decay, t,
                        )  # fmt: skip
                    else:
                        narrow_backward(ops, p, g, own, m, count, waiting > 0)
                    waiting += count
                    if len(wide) and waiting >= ROWS_AT_ONCE:
                        add_wide(int_table[WIDE_ADDED], wide, g, own, size)
                        waiting = 0
                if task != LOSS_ONLY:
                    if begin == end:
                        g[own : own + size] = 0
                    elif len(wide):
                        take_wide(int_table[WIDE_TAKEN], g, wide, own, size, waiting > 0)
                    if narrow is None and places[NOTED] >= 0:
                        note_statistics(places[NOTED], ops, m, g, own)
                shared[part * CACHE_LINE_STRIDE] = found

            generation += 1
            if workers > 1 and not synchronize(
                int_table[SYNCHRONIZED], signals, worker, workers, generation
            ):
                return s
            loss = gathered(shared, parts, 0) / mass if mass > 0 else 0.0
        if task != LOSS_ONLY:
            penalized = float_table[L1] > 0 or steps[s, L2] > 0
            late = copied and not (penalized or clipped)
            if task != UPDATE and parts > 1 and not late:
                add_parts(
                    int_table[PARTS_ADDED], g, parts, stride, low, high, copied or task != TRAIN
                )  # fmt: skip
            if penalized:
                for part in range(first, last):
                    here, there = bound(size, part, parts), bound(size, part + 1, parts)
                    penalty = penalize(
                        int_table[PENALTIES], ops, p, summed, here, there,
                        float_table[L1], steps[s, L2],
                    )  # fmt: skip
                    shared[part * CACHE_LINE_STRIDE + 1] = penalty
                generation += 1
                if workers > 1 and not synchronize(
                    int_table[SYNCHRONIZED], signals, worker, workers, generation
                ):
                    return s
                if float_table[REPORTS_PENALTY] != 0:
                    loss += gathered(shared, parts, 1)
        if worker == 0 or in_team:
            losses[s] = loss
        if task < UPDATE or (task == TRAIN and not math.isfinite(loss)):
            return s + 1

        if float_table[CLIP_VALUE] < math.inf:
            clip_entries(int_table[ENTRIES_CLIPPED], summed, low, high, float_table[CLIP_VALUE])
        if float_table[CLIP_NORM] < math.inf:
            generation = clip_norm(
                int_table[NORM_CLIPPED], summed, shared, signals, size, parts, worker, workers,
                generation, float_table[CLIP_NORM],
            )  # fmt: skip
            if generation == 0:
                return s
        if copied:
            update_copies(
                int_table[COPIES_UPDATED], optimizer, constants, p, g, memory, low, high, rate,
                decay, t, int_table[SEGMENTS_UPDATED], float_table[SEGMENT_TABLE:], segments,
                parts if late else np.int64(0), stride, own_sum, copies, (1 - worker) * stride,
            )  # fmt: skip
        elif segments != 0:
            update_segments(
                int_table[SEGMENTS_UPDATED], optimizer, constants, p, summed, memory, low, high,
                rate, decay, t, float_table[SEGMENT_TABLE:], segments,
            )  # fmt: skip
        elif narrow is None and sweeping:
            update_others(
                places[OTHERS], ops, optimizer, constants, p, g, memory, size, rate, decay, t
            )
        else:
            update(optimizer, constants, p, summed, memory, low, high, low, rate, decay, t)
        if narrow is None and places[MOVED] >= 0:
            move_statistics(places[MOVED], ops, p, g)
        generation += 1
        if workers > 1 and not synchronize(
            int_table[SYNCHRONIZED], signals, worker, workers, generation
        ):
            return s
        if narrow is None and task == TRAIN:
            transpose_weights(ops, p, m)
    if task == PREDICT:  # no steps then
        taken = (workers + 1) * CACHE_LINE_STRIDE
        predict_parts(int_table[PREDICTED], ops, p, m, x, g, rows, parts, first, signals, taken)
    return int_table[STEPS]


@inlined
def flushed(int_table, weights):
    """The control word as it was; from here on subnormal numbers count as 0, but not for
    predictions, nor where rows' weights are so small that products with them are subnormal.
    """
    before = control_word()
    flushing = int_table[TASK] != PREDICT
    for weight in weights:
        if 0 < weight < LEAST_WEIGHT:
            flushing = False
    if flushing:
        set_control_word(before | FLUSHING)
    return before


@entry
def run(
    ops, steps, int_table, float_table, p, memory, g, m, losses,
    x, y, labels, weights, order, shared, signals, wide, worker,
):  # fmt: skip
    """The steps of a run: see `follow`."""
    before = flushed(int_table, weights)
    made = follow(
        None, ops, steps, int_table, float_table, p, memory, g, m, losses,
        x, y, labels, weights, order, shared, signals, wide, worker,
    )  # fmt: skip
    set_control_word(before)
    return made


@entry
def narrow_run(
    ops, steps, int_table, float_table, p, memory, g, m, losses,
    x, y, labels, weights, order, shared, signals, wide, worker,
):  # fmt: skip
    """The same with the rows in the lanes."""
    before = flushed(int_table, weights)
    made = follow(
        True, ops, steps, int_table, float_table, p, memory, g, m, losses,
        x, y, labels, weights, order, shared, signals, wide, worker,
    )  # fmt: skip
    set_control_word(before)
    return made
