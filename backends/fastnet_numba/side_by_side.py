"""Tiny networks side by side: each has a lane of all vectors to itself, for all steps of its run.

Alone, such a network leaves most of a processor idle: its instructions wait for each other. Of many
that are trained at once every lane does the same on numbers of its own, so nothing is ever mixed
between lanes, and a network's bits do not depend on its neighbors. Batches are of all rows, of
which four go through the network together. Here the networks' numbers are put into lanes and taken
back; what is done with them stands in `ops/lanes.py`.
"""

from typing import Any

import numpy as np

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.kinds import LOSSES, OPTIMIZERS
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Run, State
from fastnet_numba.lane_plan import LanePlan
from fastnet_numba.ops.lanes import (
    BLOCKS,
    BY_STEP,
    CONSTANTS,
    DECAY,
    DECAYED,
    DEPTH,
    DERIVATIVE,
    EPSILON,
    FACTORS,
    INTEGERS,
    L2,
    LENGTHEN,
    LOSS,
    LOSS_CONSTANT,
    MOMENTA,
    OPTIMIZER,
    OUTPUT,
    PENALIZED,
    PER_STEP,
    SHARES,
    SIZE,
    WIDEN,
    X,
    Y,
)
from fastnet_numba.simd.host import LANES
from fastnet_numba.simd.lanes import ROWS


class Groups:
    """Groups of networks: those of a group are side by side, as many as a vector has lanes.

    Args:
        plan: of all.
        lane_plan: the same, for this path.
        states, data, runs: of each, alike.
        losses: zeros for the losses, `(groups * steps * lanes,)`, in the networks' dtype.
    """

    def __init__(
        self,
        plan: Plan,
        lane_plan: LanePlan,
        states: list[State],
        data: list[Data],
        runs: list[Run],
        losses: Array,
    ) -> None:
        self.states, self.runs = states, runs
        dtype = states[0].parameters.dtype
        count, rows = len(runs), len(data[0])
        self.lanes = LANES[dtype.itemsize]
        self.groups = -(-count // self.lanes)
        width = self.groups * self.lanes
        steps = max(run.steps for run in runs)
        self.losses = losses.reshape(self.groups, steps, self.lanes)
        kind, constants = runs[0].optimizer.canonical()
        slots = runs[0].optimizer.slots
        self.w = cache_lines.zeros((2 + slots) * plan.size * width, dtype)
        self.w = self.w.reshape(self.groups, 2 + slots, plan.size, self.lanes)  # p, memory, g
        self._put(0, [state.parameters for state in states])
        for slot in range(slots):
            self._put(1 + slot, [state.memory[slot] for state in states])
        self._arrange(plan, lane_plan, data, rows, dtype)
        names = ("learning_rate", "l2", "weight_decay")
        by_step = any(isinstance(getattr(run, n), np.ndarray) for run in runs for n in names)
        rates = np.zeros((steps if by_step else 1, BY_STEP, width), dtype)
        for place, name in enumerate(names):
            if by_step:
                for lane, run in enumerate(runs):
                    rates[: run.steps, place, lane] = getattr(run, name)
            else:
                rates[0, place, :count] = [getattr(run, name) for run in runs]
        self.rates = (
            rates.reshape(-1, BY_STEP, self.groups, self.lanes).transpose(2, 0, 1, 3).copy()
        )
        self.factors = np.zeros((steps if kind == "adam" else 0, FACTORS), dtype)
        if kind == "adam":
            beta1, beta2, epsilon, before_correction = constants
            t = np.arange(states[0].updates + 1, states[0].updates + steps + 1)
            self.factors[:, LENGTHEN] = 1 / (1 - beta1**t)
            self.factors[:, WIDEN] = 1 / np.sqrt(1 - beta2**t)
            self.factors[:, EPSILON] = epsilon / np.sqrt(1 - before_correction * beta2**t)
            self.momenta[...] = np.array([beta1, beta2, 1 - beta1, 1 - beta2])[:, None]
        elif kind != "sgd":
            own = np.zeros(width)
            own[:count] = [run.optimizer.canonical()[1][0] for run in runs]
            self.momenta[:, 0] = own.reshape(self.groups, self.lanes)
        self.numbers[OPTIMIZER] = OPTIMIZERS[kind]
        self.numbers[PENALIZED] = rates[:, L2].any()
        self.numbers[DECAYED] = rates[:, DECAY].any()
        self.numbers[PER_STEP] = by_step

    def _put(self, place: int, rows: list[Array]) -> None:
        """Lay out the networks' parameters, or what is as long, each in its lane."""
        for group, own in enumerate(self.w[:, place]):
            here = rows[group * self.lanes : (group + 1) * self.lanes]
            own[:, : len(here)] = np.array(here).T

    def _arrange(
        self, plan: Plan, lane_plan: LanePlan, data: list[Data], rows: int, dtype: np.dtype[Any]
    ) -> None:
        """Lay out rows, targets, weights, constants and room in `m`."""
        size, blocks = self.lanes, -(-rows // ROWS)
        sizes = [
            blocks * plan.inputs * ROWS * size,
            blocks * plan.outputs * ROWS * size,
            blocks * ROWS * size,
            4 * size,
            -(-len(lane_plan.constants) // size) * size,
            lane_plan.room,
        ]
        x, y, shares, momenta, constants, room = np.cumsum([0, *sizes[:-1]]).tolist()
        self.m = cache_lines.zeros(self.groups * sum(sizes), dtype).reshape(self.groups, -1)
        m = self.m
        xs = m[:, x:y].reshape(-1, blocks, plan.inputs, ROWS, size)
        ys = m[:, y:shares].reshape(-1, blocks, plan.outputs, ROWS, size)
        self.shares = m[:, shares:momenta].reshape(-1, blocks * ROWS, size)
        places: dict[int, list[int]] = {}  # lanes with the same rows, which are laid out once
        for lane, one in enumerate(data):
            places.setdefault(id(one), []).append(lane)
        for same in places.values():
            one = data[same[0]]
            targets = one.y
            if targets.dtype == np.intp:
                targets = np.eye(plan.outputs, dtype=dtype)[targets]
            weight = np.ones(rows, dtype) if one.weight is None else one.weight
            mass = float(weight.sum(dtype=np.float64)) * plan.loss.each
            group, lane_of = np.divmod(same, size)
            xs[group, ..., lane_of] = _in_blocks(one.x.numbers, blocks)
            ys[group, ..., lane_of] = _in_blocks(targets.reshape(rows, plan.outputs), blocks)
            self.shares[group, :rows, lane_of] = weight / mass if mass else 0 * weight
        self.momenta = m[:, momenta:constants].reshape(-1, 4, size)
        m[:, constants : constants + len(lane_plan.constants)] = lane_plan.constants
        self.table = lane_plan.table.copy()
        self.table[:, CONSTANTS] += constants
        self.table[:, OUTPUT : DERIVATIVE + 1] += room
        self.numbers = np.zeros(INTEGERS, np.int64)
        self.numbers[DEPTH], self.numbers[BLOCKS] = len(self.table), blocks
        self.numbers[SIZE], self.numbers[LOSS] = plan.size, LOSSES[plan.loss.kind]
        self.numbers[LOSS_CONSTANT] = (
            constants + len(lane_plan.constants) - 1 - bool(plan.loss.constants)
        )
        self.numbers[[X, Y, SHARES, MOMENTA]] = x, y, shares, momenta

    def train(self, compiled: Any) -> list[Array]:
        """Do all steps; return each network's losses."""
        found: list[Array] = []
        for group in range(self.groups):
            found += self._train(group, compiled)
        return found

    def _train(self, group: int, compiled: Any) -> list[Array]:
        runs = self.runs[group * self.lanes : (group + 1) * self.lanes]
        losses = self.losses[group]
        given = (self.w[group], self.m[group], self.rates[group], self.factors, losses)
        buffers = [each.reshape(-1) for each in given]
        made = [0] * len(runs)
        last: list[tuple[int, int, float]] = []  # losses that are not finite
        left = list(range(len(runs)))
        at = 0
        while left:
            end = min(runs[lane].steps for lane in left)
            at = compiled(self.table, self.numbers, *buffers, at, end)
            if at < end:  # a loss is not finite: that network stops before the update
                gone = [lane for lane in left if not np.isfinite(losses[at, lane])]
                last += [(at, lane, losses[at, lane]) for lane in gone]
            else:
                gone = [lane for lane in left if runs[lane].steps == end]
            left = [lane for lane in left if lane not in gone]
            for lane in gone:
                made[lane] = at + (at < end)
                self._take_out(group, lane, at, goes_on=bool(left))
        for step, lane, loss in last:  # the others have done that step once more
            losses[step, lane] = loss
        return [losses[:steps, lane] for lane, steps in enumerate(made)]

    def _take_out(self, group: int, lane: int, updates: int, goes_on: bool) -> None:
        """Hand back a network that is done; where others go on, leave zeros, with a finite loss."""
        state, own = self.states[group * self.lanes + lane], self.w[group, ..., lane]
        state.parameters[...] = own[0]
        if len(state.memory):
            state.memory[...] = own[1:-1]
        state.updates += updates
        if goes_on:
            own[...] = 0
            self.shares[group, :, lane] = 0


def _in_blocks(rows: Array, blocks: int) -> Array:
    """Rows as `(blocks, columns, ROWS)`, zeros behind the last."""
    padded = np.zeros((blocks * ROWS, rows.shape[1]), rows.dtype)
    padded[: len(rows)] = rows
    return padded.reshape(blocks, ROWS, -1).transpose(0, 2, 1)
