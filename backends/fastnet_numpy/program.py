"""A plan, run by NumPy: prediction, loss, gradient, and whole runs of training steps."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.blas import capped
from fastnet.contract import loading
from fastnet.contract.penalties import add_penalty_gradient, penalty
from fastnet.contract.plan import (
    Affine,
    Dropout,
    Elementwise,
    Embed,
    Operation,
    Plan,
    Softmax,
)
from fastnet.contract.program import BY_STEP, Data, Inputs, Program, Run, State
from fastnet_numpy import activations, stacked
from fastnet_numpy.curvature import LossCurvature, hessian_vector
from fastnet_numpy.layers import STAGES, Activation, Draw, Stage
from fastnet_numpy.losses import LOSSES, Mean
from fastnet_numpy.normalizing import RULES
from fastnet_numpy.optimizers import UPDATES, Rate, Update
from fastnet_numpy.threads import wanted

#: Entries of the widest layer that prediction and loss work on together: 4 MiB in float32.
#: Measured on 32-64-64-1, 784-128-10 and 1024-2048-2048-10: from 2^20 on wide layers are at
#: their best, because a block's rows share one reading of the weights; narrow ones lose
#: half their speed again when nothing is split, because layers then leave the cache.
BLOCK_ENTRIES = 2**20

#: Rows up to which predicting does not cap the matrix library's threads: the cap takes half as
#: long as a prediction of one row, and the library shares out no product so small, or where threads
#: are asked for, none of so many weights (OpenBLAS: a vector's from 9,216 on, interface/gemv.c).
FEW_ROWS, NOT_SHARED = 16, 8_192


class Pass:
    """Forward and backward through the operations that lead to the loss, for so many rows.

    Buffers are allocated when it is made, and every call uses them again.
    """

    def __init__(self, plan: Plan, rows: int, parameters: Array, gradient: Array) -> None:
        made: list[tuple[Stage, Operation]] = []
        for op in plan.for_loss:
            stage = STAGES[type(op)](op, rows, parameters, gradient)
            if isinstance(stage, Activation) and op.sources[0] not in plan.spare:
                stage.spare_the_source()
            made.append((stage, op))
        needed = [
            (stage, op) for stage, op in reversed(made) if op.needs_input_gradient or op.trains
        ]
        self.forward = [(stage.forward, op.sources[0], op.target) for stage, op in made]
        self.backward = [(stage.backward, op.sources[0], op.target) for stage, op in needed]
        self.forward_graph = [(stage.forward, op.sources, op.target) for stage, op in made]
        self.backward_graph = [
            (stage.backward, op.sources if op.needs_input_gradient else (), op.target)
            for stage, op in needed
        ]
        self.is_chain = plan.is_chain
        self.values: list[Any] = [None] * (plan.prediction + 1)
        self.source = plan.loss_source
        self.mean = Mean(plan.loss, rows, plan.outputs, parameters.dtype)
        self.d = np.empty((rows, plan.outputs), parameters.dtype)

    def loss(self, x: Array, y: Array, weight: Array | None, draw: Draw | None) -> float:
        """The loss of a batch; its derivative by what it is computed from stays in `d`."""
        values = self.values
        values[0] = x
        if self.is_chain:
            for forward, source, target in self.forward:
                values[target] = forward(values[source], draw)
        else:
            for forward, sources, target in self.forward_graph:
                values[target] = forward(*[values[source] for source in sources], draw)
        return self.mean(values[self.source], y, weight, self.d)

    def derive(self) -> None:
        """Fill the gradient, after `loss`."""
        derivatives = self.values  # by now only the stages need the values, and they keep theirs
        derivatives[self.source] = self.d
        if self.is_chain:
            for backward, source, target in self.backward:
                derivatives[source] = backward(derivatives[target])
        else:
            add_up(self.backward_graph, {self.source: self.d})


def add_up(backward: Iterable[tuple[Any, tuple[int, ...], int]], found: dict[int, Array]) -> None:
    """Go back through a graph, in which a value's derivative is the sum of its readers'.

    Args:
        backward: what turns an operation's derivative into those by its sources, and these and the
            target, the last operation first.
        found: the derivatives by the values' numbers: at first that of the last one, then all
            whose operations were not gone through.
    """
    for function, sources, target in backward:
        derivatives = function(found.pop(target))
        if len(sources) == 1:
            derivatives = (derivatives,)
        for source, d in zip(sources, derivatives, strict=False):  # none where none is needed
            found[source] = found[source] + d if source in found else d


class NumpyProgram(Program):
    """The living definition of a program."""

    def __init__(self, plan: Plan, dtype: np.dtype[Any], threads: int | None) -> None:
        super().__init__(plan, dtype)
        self.threads = threads
        self.widest = max(max(op.inputs, op.units) for op in plan.affine)
        self.block_rows = max(BLOCK_ENTRIES // self.widest, 1)
        most = max(op.weight.size for op in plan.affine)
        self.needs_no_cap = threads is None or most <= NOT_SHARED
        # For each operation, its first source and its target, and which of the four it is: a
        # product, a function, one that has a rule, or (none of these) dropout.
        self.steps = [
            (
                op.sources[0],
                op.target,
                op if isinstance(op, Affine) else None,
                self._function(op),
                op if type(op) in RULES else None,
            )
            for op in plan.for_prediction
        ]
        self._views: tuple[Array | None, list[tuple[Array | None, Array | None]]] = (None, [])
        self.embeds = any(isinstance(op, Embed) for op in plan.operations)
        self.drops = any(isinstance(op, Dropout) for op in plan.operations)
        self.rate_factors = _factors(plan, "rate_factor")
        self.decay_factors = _factors(plan, "decay_factor")

    def _function(self, op: Operation) -> tuple[activations.Function, bool] | None:
        """An activation, and whether what it reads has to stay as it is."""
        if isinstance(op, Softmax):
            function: activations.Function = activations.Softmax((), self.dtype)
        elif isinstance(op, Elementwise):
            function = activations.FUNCTIONS[op.kind](op.constants, self.dtype)
        else:
            return None
        return function, function.needs_z or op.sources[0] not in self.plan.spare

    def to_host(self, array: Array) -> Array:
        """NumPy works where the array is."""
        return array

    def predict(self, parameters: Array, x: Inputs) -> Array:
        """Predictions `(rows, outputs)`, a new array."""
        out = np.empty((len(x), self.plan.outputs), self.dtype)
        with np.errstate(all="ignore"), self._capped(len(x)):
            for block in self._blocks(len(x)):
                out[block] = self._values(parameters, x.numbers[block])[self.plan.prediction]
        return out

    def predict_at_once(self, parameters: Array, x: Any) -> Array | None:
        """Predictions for few rows of the program's dtype, in one piece; None for others."""
        if type(x) is not np.ndarray or x.dtype != self.dtype or not x.flags.c_contiguous:
            return None
        if x.ndim != 2 or x.shape[1] != self.plan.inputs or not 0 < len(x) <= FEW_ROWS:
            return None
        if not self.needs_no_cap or self.embeds:
            return None
        with np.errstate(all="ignore"):
            found = self._values(parameters, x)[self.plan.prediction]
        return found.copy() if found is x else found

    def _capped(self, rows: int) -> AbstractContextManager[None]:
        """The cap for a pass over all rows, block by block, beyond a few."""
        if rows <= FEW_ROWS and self.needs_no_cap:
            return nullcontext()
        return capped(wanted(self.plan, min(rows, self.block_rows), self.threads))

    def _blocks(self, rows: int) -> Iterator[slice]:
        size = self.block_rows
        return (slice(start, start + size) for start in range(0, rows, size))

    def _values(self, parameters: Array, x: Array) -> list[Array]:
        """All values up to the prediction, as fresh arrays, so that threads can share the plan."""
        values = [x] * (self.plan.prediction + 1)
        weights = self._weights(parameters)
        for (source, target, _, activation, op), (w, b) in zip(self.steps, weights, strict=True):
            z = values[source]
            if w is not None:
                a = z.dot(w)  # in half the time of `@`, for a row
                if b is not None:
                    a += b
            elif activation is not None:
                function, keeps = activation
                a = np.empty_like(z) if keeps else z
                function.forward(z, a)
            elif op is not None:
                a = RULES[type(op)].value(op, parameters, *[values[s] for s in op.sources])
            else:  # dropout, which drops nothing here
                a = z
            values[target] = a
        return values

    def _weights(self, parameters: Array) -> list[tuple[Array | None, Array | None]]:
        """Each operation's weights and bias, as views; to make them takes as long as a product."""
        kept, found = self._views
        if kept is not parameters:
            found = []
            for _, _, affine, _, _ in self.steps:
                pieces = (None, None) if affine is None else (affine.weight, affine.bias)
                w, b = (None if piece is None else piece.of(parameters) for piece in pieces)
                found.append((w, b))
            self._views = parameters, found  # in one piece: threads may share it
        return found

    def input_gradient(self, parameters: Array, x: Inputs, d_output: Array) -> Array:
        """The derivative of sum(d_output * prediction) by the input numbers, a new array."""
        with np.errstate(all="ignore"):
            values = self._values(parameters, x.numbers)
            derivatives = {self.plan.prediction: np.array(d_output, self.dtype)}
            add_up(
                [
                    (partial(self._derivative, op, parameters, values), op.sources, op.target)
                    for op in reversed(self.plan.for_prediction)
                ],
                derivatives,
            )
        return derivatives[0]

    def _derivative(self, op: Operation, parameters: Array, values: list[Array], d: Array) -> Any:
        """What an operation makes of the derivative by its prediction, by each of its sources."""
        found = self._function(op)
        if found is not None:
            found[0].backward(d, values[op.sources[0]], values[op.target], np.empty_like(d))
        elif isinstance(op, Affine):
            d = d @ op.weight.of(parameters).T
        elif type(op) in RULES:
            sources = [values[source] for source in op.sources]
            return RULES[type(op)].derivative(op, parameters, d, *sources)
        return d

    def loss_slopes(self, outputs: Array, y: Array) -> Array:
        """The derivative of each row's own loss by what the loss is computed from, a new array."""
        loss = self.plan.loss
        t, d = np.empty_like(outputs), np.empty_like(outputs)
        with np.errstate(all="ignore"):
            LOSSES[loss.kind](outputs, y, t, d, *loss.constants)
        return np.divide(d, loss.each, d)

    def hessian_vector(self, parameters: Array, data: Data, vector: Array) -> Array:
        """The Hessian of the loss over all rows by the parameters, times a vector."""
        found = np.zeros_like(parameters)
        mass = _mass(self.plan, len(data), data.weight) or 1.0
        with np.errstate(all="ignore"), self._capped(len(data)):
            for block in self._blocks(len(data)):
                weight = None if data.weight is None else data.weight[block]
                curvature = LossCurvature(self.plan.loss, data.y[block], weight, mass)
                x = data.x.numbers[block]
                found += hessian_vector(self.plan, parameters, x, curvature, vector)
        return found

    def loss(self, parameters: Array, data: Data) -> float:
        """The loss over all rows, without dropout or penalties: the blocks' weighted mean."""
        total = weights = 0.0
        unused = np.empty_like(parameters)
        passes: dict[int, Pass] = {}
        with np.errstate(all="ignore"), self._capped(len(data)):
            for block in self._blocks(len(data)):
                x, y = data.x.numbers[block], data.y[block]
                weight = None if data.weight is None else data.weight[block]
                share = _mass(self.plan, len(x), weight)
                if len(x) not in passes:
                    passes[len(x)] = Pass(self.plan, len(x), parameters, unused)
                total += share * passes[len(x)].loss(x, y, weight, None)
                weights += share
        return total / weights if weights else 0.0

    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Array]:
        """The loss of one step's batch, its mass and its gradient."""
        gradient = np.zeros_like(state.parameters)
        with np.errstate(all="ignore"), self._capped_for(data, run):
            pass_, x, y, weight = Batches(self.plan, data, run, state.parameters, gradient)(step)
            draw = Draw(run.seed, step, run.of_step("dropout_factor", step))
            loss = pass_.loss(x, y, weight, draw if run.training else None)
            pass_.derive()
        if not self.plan.statistics:
            gradient = gradient[: self.plan.trained]
        return loss, _mass(self.plan, len(x), weight), gradient

    def update(self, state: State, gradient: Array, run: Run, step: int) -> None:
        """Add the penalties' gradient, clip, and take the optimizer's step."""
        with np.errstate(all="ignore"):
            add_penalty_gradient(
                self.plan, state.parameters, gradient, run.l1, run.of_step("l2", step)
            )
            rate, decay = run.of_step("learning_rate", step), run.of_step("weight_decay", step)
            p = state.parameters[: self.plan.trained]
            g = gradient[: self.plan.trained]
            self._update(self._rule(run, state), state, p, g, run, rate, decay)
            self._move_statistics(state.parameters, gradient)

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, changing `state` in place."""
        run.check(self.plan, state, len(data))
        with np.errstate(all="ignore"), self._capped_for(data, run):
            return self._train(state, data, run)

    def train_many(
        self, states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
    ) -> list[Array]:
        """Train several networks: small ones stacked, so that a call serves many."""
        return stacked.train(self, states, data, runs)

    def _capped_for(self, data: Data, run: Run) -> AbstractContextManager[None]:
        """The cap for a run's batches."""
        return capped(wanted(self.plan, min(run.batch_size, len(data)), self.threads))

    def _rule(self, run: Run, state: State) -> Update:
        """The run's optimizer, at work on this state."""
        kind, constants = run.optimizer.canonical()
        if kind not in UPDATES:
            raise loading.lacking("numpy", "optimizer", kind)
        each = self.rate_factors is not None
        return UPDATES[kind](constants, state.memory, self.plan.trained, self.dtype, each)

    def _train(self, state: State, data: Data, run: Run) -> Array:
        p = state.parameters
        g = np.zeros_like(p)
        moved, trained = p[: self.plan.trained], g[: self.plan.trained]
        rule = self._rule(run, state)
        batches = Batches(self.plan, data, run, p, g)
        losses = np.empty(run.steps)
        # Python's own numbers, once: a step of a small network takes little longer than these.
        rates, l2s, decays, factors = (run.by_step(name).tolist() for name in BY_STEP)
        for index in range(run.steps):
            step, l2 = run.first_step + index, l2s[index]
            penalized = run.l1 or l2
            pass_, x, y, weight = batches(step)
            drops = (self.drops and factors[index]) or self.plan.statistics
            draw = Draw(run.seed, step, factors[index]) if drops else None
            loss = pass_.loss(x, y, weight, draw)
            if penalized and run.reports_penalty:
                loss += penalty(self.plan, p, run.l1, l2)
            losses[index] = loss
            if not math.isfinite(loss):
                return losses[: index + 1]
            pass_.derive()
            if penalized:
                add_penalty_gradient(self.plan, p, g, run.l1, l2)
            self._update(rule, state, moved, trained, run, rates[index], decays[index])
            if self.plan.statistics:
                self._move_statistics(p, g)
        return losses

    def _move_statistics(self, p: Array, g: Array) -> None:
        """Move the statistics toward those of a batch, which stand in its gradient."""
        for piece, share in self.plan.statistics:
            mine = piece.of(p)
            mine += (piece.of(g) - mine) * np.asarray(share, p.dtype)

    def _update(
        self, rule: Update, state: State, p: Array, g: Array, run: Run, lr: Rate, decay: float
    ) -> None:
        """Clip the gradient `g` of the trained parameters `p`, and take the optimizer's step."""
        if run.clip_value is not None:
            np.clip(g, -run.clip_value, run.clip_value, g)
        if run.clip_norm is not None:
            norm = _norm(g)
            if norm > run.clip_norm:
                g *= run.clip_norm / norm
        if self.rate_factors is not None:
            lr = lr * self.rate_factors
        if decay:
            factors = 1.0 if self.decay_factors is None else self.decay_factors
            np.multiply(p, 1 - lr * decay * factors, p)
        state.updates += 1
        rule(p, g, lr, state.updates)


def _mass(plan: Plan, rows: int, weight: Array | None) -> float:
    """The rows, or their weights, times the terms of a row."""
    counted = rows if weight is None else float(weight.sum(dtype=np.float64))
    return float(counted * plan.loss.each)


def _norm(g: Array) -> float:
    """The Euclidean norm, summed up in float64."""
    norm = math.sqrt(float(np.square(g, dtype=np.float64).sum()))
    if math.isinf(norm):  # the squares overflowed, the norm need not
        peak = float(np.abs(g).max())
        norm = peak * math.sqrt(float(np.square(g / peak, dtype=np.float64).sum()))
    return norm


def _factors(plan: Plan, name: str) -> Array | None:
    """The pieces' factors, `(trained,)` float64; None where all are 1."""
    if all(getattr(piece, name) == 1 for piece in plan.parameters):
        return None
    factors = np.ones(plan.size)
    for piece in plan.parameters:
        piece.of(factors)[...] = getattr(piece, name)
    return factors[: plan.trained]


class Batches:
    """The batches of a run: for a step, its rows, gathered, and the pass that fits them."""

    def __init__(
        self, plan: Plan, data: Data, run: Run, parameters: Array, gradient: Array
    ) -> None:
        self.plan, self.data, self.order = plan, data, run.order
        self.parameters, self.gradient = parameters, gradient
        self.size = min(run.batch_size, len(data))
        self.count = -(-len(data) // self.size)
        self.first_epoch = run.first_step // self.count
        self.passes: dict[int, tuple[Pass, Array, Array, Array | None]] = {}

    def __call__(self, step: int) -> tuple[Pass, Array, Array, Array | None]:
        epoch, batch = divmod(step, self.count)
        start = batch * self.size
        stop = min(start + self.size, len(self.data))
        pass_, x, y, weight = self._buffers(stop - start)
        if self.order is None:
            if self.count == 1:
                return pass_, x, y, weight
            weight = self.data.weight
            weight = None if weight is None else weight[start:stop]
            return pass_, self.data.x.numbers[start:stop], self.data.y[start:stop], weight
        rows = self.order[epoch - self.first_epoch, start:stop]
        # mode="clip" spares the buffer that the default makes; all rows are in range.
        self.data.x.numbers.take(rows, 0, x, "clip")
        self.data.y.take(rows, 0, y, "clip")
        if weight is not None:
            self.data.weight.take(rows, 0, weight, "clip")
        return pass_, x, y, weight

    def _buffers(self, rows: int) -> tuple[Pass, Array, Array, Array | None]:
        """A pass for so many rows, and buffers for them; the data itself for a full batch."""
        if rows not in self.passes:
            pass_ = Pass(self.plan, rows, self.parameters, self.gradient)
            if self.order is None:
                self.passes[rows] = (pass_, self.data.x.numbers, self.data.y, self.data.weight)
            else:
                x, y = (_like(array, rows) for array in (self.data.x.numbers, self.data.y))
                weight = None if self.data.weight is None else _like(self.data.weight, rows)
                self.passes[rows] = (pass_, x, y, weight)
        return self.passes[rows]


def _like(array: Array, rows: int) -> Array:
    """An empty array like `array`, but for the number of its rows."""
    return np.empty((rows, *array.shape[1:]), array.dtype)
