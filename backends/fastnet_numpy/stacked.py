"""Many small networks of one plan at once: what each would compute, by one call for all.

A step of a small network takes NumPy's calls longer than its arithmetic. So the numbers of several
are stacked: parameters `(members, size)`, values `(members, rows, units)`; a product of all is one
`np.matmul`, and everything else does to the longer arrays what it does to those of one network.
Each member's numbers are the same, in the same order, so bits do not depend on the others.

Letters: as in `layers.py`.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.blas import capped
from fastnet.contract import plan as plans
from fastnet.contract.plan import Plan
from fastnet.contract.program import Data, Run, State
from fastnet_numpy.layers import STAGES, Activation
from fastnet_numpy.losses import Mean
from fastnet_numpy.optimizers import UPDATES
from fastnet_numpy.sums import MANY_ROWS
from fastnet_numpy.threads import wanted

if TYPE_CHECKING:
    from fastnet_numpy.program import NumpyProgram

#: Multiply-adds of a step's forward pass up to which networks are stacked (bench/test_choices.py).
MOST_PRODUCTS = 2**19

#: Entries of the values between the layers of those that are stacked, at most: they should stay in
#: the cache from one layer to the next.
MOST_ENTRIES = 2**18


def train(
    program: "NumpyProgram", states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
) -> list[Array]:
    """Train several networks, each by its run: stacked, or alone where that takes no longer."""
    groups: dict[Hashable, list[int]] = {}
    found: list[Any] = [None] * len(runs)
    stackable = _suits(program.plan)
    for place, (state, one, run) in enumerate(zip(states, data, runs, strict=True)):
        run.check(program.plan, state, len(one))
        common = _in_common(program.plan, state, one, run) if stackable else None
        groups.setdefault(place if common is None else common, []).append(place)
    for common, places in groups.items():
        batch = min(runs[places[0]].batch_size, len(data[places[0]]))
        most = max(MOST_ENTRIES // (batch * sum(op.units for op in program.plan.affine)), 2)
        for first in range(0, len(places), most):
            here = places[first : first + most]
            networks = [(states[place], data[place], runs[place]) for place in here]
            if isinstance(common, int) or len(here) == 1:
                losses = [program.train(*one) for one in networks]
            else:
                with (
                    np.errstate(all="ignore"),
                    capped(wanted(program.plan, batch, program.threads)),
                ):
                    losses = Stack(program.plan, networks).train()
            for place, own in zip(here, losses, strict=True):
                found[place] = own
    return found


def _suits(plan: Plan) -> bool:
    """Whether networks of a plan can be stacked: layers alone, one after another."""
    known = plans.Affine, plans.Elementwise, plans.Softmax
    return (
        plan.is_chain
        and isinstance(plan.for_loss[0], plans.Affine)
        and all(isinstance(op, known) for op in plan.for_loss)
        and all(one.rate_factor == one.decay_factor == 1 for one in plan.parameters)
    )


def _in_common(plan: Plan, state: State, data: Data, run: Run) -> Hashable | None:
    """What networks that are stacked have in common; None for one that goes alone."""
    rows = len(data)
    batch = min(run.batch_size, rows)
    if batch * plan.products > MOST_PRODUCTS or batch >= MANY_ROWS or data.weight is not None:
        return None
    if run.l1 or run.clip_value is not None or run.clip_norm is not None:
        return None
    kind, constants = run.optimizer.canonical()
    if kind not in UPDATES or (run.reports_penalty and run.uses("l2")):
        return None
    place = run.first_step % -(-rows // batch)
    shapes = rows, batch, place, run.steps, run.order is None, data.y.ndim
    return (*shapes, kind, constants, state.updates)


class Stack:
    """Networks that are trained as one.

    Args:
        plan: of all.
        networks: each one's state, rows and run, alike but for their numbers.
    """

    def __init__(self, plan: Plan, networks: Sequence[tuple[State, Data, Run]]) -> None:
        self.plan = plan
        self.states, self.data, self.runs = (list(part) for part in zip(*networks, strict=True))
        self.p = np.stack([state.parameters for state in self.states])
        self.memory = np.stack([state.memory for state in self.states], axis=1)
        self.g = np.zeros_like(self.p)
        self.count, self.rows = len(self.states), len(self.data[0])
        self.batch = min(self.runs[0].batch_size, self.rows)
        self.batches = -(-self.rows // self.batch)
        by_step = [
            np.stack([run.by_step(name) for run in self.runs], axis=1)
            for name in ("learning_rate", "l2", "weight_decay")
        ]
        self.rates, self.l2s, self.decays = by_step  # each (steps, members)
        self.passes: dict[int, _Pass] = {}

    def train(self) -> list[Array]:
        """Do all steps; return each network's losses."""
        kind, constants = self.runs[0].optimizer.canonical()
        each = bool((self.rates != self.rates[:, :1]).any())
        rule = UPDATES[kind](constants, self.memory, self.p.shape, self.p.dtype, each)
        first, steps, updates = self.runs[0].first_step, len(self.rates), self.states[0].updates
        losses = np.empty((steps, self.count))
        made = [steps] * self.count
        left = np.ones(self.count, np.bool_)
        for index in range(steps):
            pass_ = self._take(first + index, index)
            losses[index] = pass_.loss()
            bad = left & ~np.isfinite(losses[index])
            if bad.any():  # these stop before the update; the others go on beside what is left
                for member in np.flatnonzero(bad).tolist():
                    made[member] = index + 1
                    self._take_out(member, index)
                left &= ~bad
                if not left.any():
                    break
            pass_.derive()
            self._penalize(self.l2s[index])
            rate, decay = self.rates[index], self.decays[index]
            if decay.any():
                self.p *= (1 - rate * decay).astype(self.p.dtype)[:, None]
            rule(self.p, self.g, rate[:, None] if each else float(rate[0]), updates + index + 1)
        for member in np.flatnonzero(left).tolist():
            self._take_out(member, steps)
        return [losses[:count, member] for member, count in enumerate(made)]

    def _penalize(self, l2: Array) -> None:
        """dw += l2 w."""
        if l2.any():
            factors = l2.astype(self.p.dtype)[:, None]
            for piece in self.plan.weights:
                here = slice(piece.offset, piece.offset + piece.size)
                self.g[:, here] += factors * self.p[:, here]

    def _take_out(self, member: int, updates: int) -> None:
        """Hand back a network that is done."""
        state = self.states[member]
        state.parameters[...], state.memory[...] = self.p[member], self.memory[:, member]
        state.updates += updates

    def _take(self, step: int, index: int) -> "_Pass":
        """The pass for a step's batch, with its rows."""
        epoch, batch = divmod(step, self.batches)
        here = slice(batch * self.batch, min((batch + 1) * self.batch, self.rows))
        rows = here.stop - here.start
        if rows not in self.passes:
            self.passes[rows] = _Pass(self.plan, self.p, self.g, rows, self.data[0].y)
        pass_ = self.passes[rows]
        if self.runs[0].order is None:
            if index and self.batches == 1:
                return pass_  # the rows are there
            for member, one in enumerate(self.data):
                pass_.x[member], pass_.y[member] = one.x.numbers[here], one.y[here]
            return pass_
        epoch -= self.runs[0].first_step // self.batches
        orders = [run.order[epoch, here] for run in self.runs]
        # mode="clip" spares the buffer that the default makes; all rows are in range.
        if all(one is self.data[0] for one in self.data):
            self.data[0].x.numbers.take(orders, 0, pass_.x, "clip")
            self.data[0].y.take(orders, 0, pass_.y, "clip")
            return pass_
        for member, (one, order) in enumerate(zip(self.data, orders, strict=True)):
            one.x.numbers.take(order, 0, pass_.x[member], "clip")
            one.y.take(order, 0, pass_.y[member], "clip")
        return pass_


class _Affine:
    """z = x w + b;  dw = x' d,  db = 1' d,  dx = d w': of each member its own."""

    def __init__(self, op: plans.Affine, p: Array, g: Array, rows: int) -> None:
        members, w = len(p), slice(op.weight.offset, op.weight.offset + op.weight.size)
        shape = members, op.inputs, op.units
        self.w, self.dw = p[:, w].reshape(shape), g[:, w].reshape(shape)
        self.b = self.db = None
        if op.bias is not None:
            b = slice(op.bias.offset, op.bias.offset + op.units)
            self.b, self.db = p[:, None, b], g[:, b]
        self.ones = np.ones(rows, p.dtype)
        self.z = np.empty((members, rows, op.units), p.dtype)
        self.dx = np.empty((members, rows, op.inputs), p.dtype)
        self.goes_on = op.needs_input_gradient
        self.x = self.dx

    def forward(self, x: Array) -> Array:
        self.x = x
        np.matmul(x, self.w, self.z)
        if self.b is not None:
            np.add(self.z, self.b, self.z)
        return self.z

    def backward(self, d: Array) -> Array:
        np.matmul(self.x.transpose(0, 2, 1), d, self.dw)
        if self.db is not None:
            np.matmul(self.ones, d, self.db)
        return np.matmul(d, self.w.transpose(0, 2, 1), self.dx) if self.goes_on else d


class _Rowwise:
    """An operation that does the same to every row, whoever's it is."""

    def __init__(self, stage: Activation, shape: tuple[int, ...]) -> None:
        self.stage, self.shape = stage, shape

    def forward(self, x: Array) -> Array:
        return self.stage.forward(x.reshape(-1, self.shape[-1]), None).reshape(self.shape)

    def backward(self, d: Array) -> Array:
        return self.stage.backward(d.reshape(-1, self.shape[-1])).reshape(self.shape)


class _Pass:
    """Forward and backward through all networks, for so many rows of each; see `program.Pass`."""

    def __init__(self, plan: Plan, p: Array, g: Array, rows: int, y: Array) -> None:
        members = len(p)
        self.stages: list[_Affine | _Rowwise] = []
        for op in plan.for_loss:
            if isinstance(op, plans.Affine):
                self.stages.append(_Affine(op, p, g, rows))
            else:
                stage = STAGES[type(op)](op, members * rows, p, g)
                assert isinstance(stage, Activation)
                if op.sources[0] not in plan.spare:
                    stage.spare_the_source()
                self.stages.append(_Rowwise(stage, (members, rows, op.units)))
        self.mean = Mean(plan.loss, rows, plan.outputs, p.dtype)
        self.x = np.empty((members, rows, plan.inputs), p.dtype)
        self.y = np.empty((members, rows, *y.shape[1:]), y.dtype)
        self.t, self.d = (np.empty((members * rows, plan.outputs), p.dtype) for _ in range(2))

    def loss(self) -> Array:
        """The loss of each network's batch, `(members,)`."""
        value, members = self.x, len(self.x)
        for stage in self.stages:
            value = stage.forward(value)
        y = self.y.reshape(len(self.t), *self.y.shape[2:])
        self.mean.terms(value.reshape(self.t.shape), y, self.t, self.d)
        np.multiply(self.d, self.mean.scale_array, self.d)
        sums = np.add.reduce(self.t.reshape(members, -1), 1, np.float64)
        return np.asarray(sums * self.mean.scale)

    def derive(self) -> None:
        """Fill the gradients, after `loss`."""
        d = self.d.reshape(*self.x.shape[:2], -1)
        for stage in reversed(self.stages):
            d = stage.backward(d)
