"""A backend's program, with the gradients of all ranks in every step."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.penalties import add_penalty_gradient
from fastnet.contract.program import (
    BY_STEP,
    Data,
    Inputs,
    Program,
    Run,
    State,
    Team,
    TeamRun,
    TeamWork,
)
from fastnet.random import seed_of_fit
from fastnet.records import Record
from fastnet.training import stored_rows
from fastnet.training.distributed.memory import SharedMemory, can_share
from fastnet.training.distributed.ranks import Ranks
from fastnet.training.distributed.shares import Shard, Shares
from fastnet.training.distributed.sums import WeightedSum, sum_for
from fastnet.training.distributed.world import Distributed
from fastnet.training.stored_rows import StoredRows

#: What a rank's number is moved by, so that its shuffles and masks are those of no other fit.
_RANK_STREAM = 2**40


def steps_to_average(first: int, batches: int, every: int) -> int:
    """How many steps from step `first` on there are up to and with the next that averages.

    It is every `every`-th of an epoch, and its last.
    """
    batch = first % batches
    return min(every - batch % every, batches - batch)


class _Part(Record):
    """A run, as this rank has it.

    Attributes:
        run: of all ranks.
        local: on this rank's own rows; None where its batches vary.
        own: the mass of each step on this rank, `(steps,)`.
        total: the same over all ranks.
    """

    run: Run
    local: Run | None
    own: Array
    total: Array


class _TeamOfRanks(Record):
    """All ranks, as the backend's team: `memory` is rank 0's."""

    work: TeamWork
    memory: SharedMemory


class DistributedProgram(Program):
    """Does the steps of a fit on all ranks: each computes its rows' gradient, and all add them up.

    All ranks then have the same parameters, by the same bits. Row counts and masses are known
    before the first step. Where all ranks are on one machine and the backend has a way for a team
    of processes, it does whole runs of steps; else a step has one message: the gradient, with its
    loss.

    Args:
        program: the backend's.
        ranks: the processes.
        shares: which rows of its own this one takes in each step.
        options: of the fit.
    """

    def __init__(
        self, program: Program, ranks: Ranks, shares: Shares, options: Distributed
    ) -> None:
        super().__init__(program.plan, program.dtype)
        self.program = program
        self.ranks, self.options = ranks, options
        #: Of the rows that are in memory; they are others where rows come from files.
        self.shares = shares
        self._batches = shares.batches
        self._part: _Part | None = None
        self._sums: dict[int, WeightedSum] = {}
        self._teams: dict[int, _TeamOfRanks | None] = {}

    def free(self) -> None:
        """Give back the memory that the ranks share, on all of them."""
        for team in self._teams.values():
            if team is not None:
                team.memory.free()
        self._teams = {}
        for one in self._sums.values():
            one.free()
        self._sums = {}

    # --- rows -----------------------------------------------------------------------------------

    def upload(self, data: Data) -> Data:
        """Hand over rows; uneven parts of them step by step, and not now."""
        if not isinstance(data, Shard):
            return self.program.upload(data)
        uneven = self.shares.even is None and self.program.in_team(self.ranks.size, 0) is None
        own = data.own if uneven else self.program.upload(data.own)
        return Shard(own.x, own.y, own.weight, data.total)

    def own_seed(self, seed: int) -> int:
        """This rank's, for shuffles and dropout masks; rank 0 has that of one process."""
        return seed_of_fit(seed, self.ranks.rank * _RANK_STREAM)

    def masses(self, data: Shard, run: Run) -> tuple[Array, Array]:
        """The mass of each step of a run, `(steps,)` float64 each: on this rank, and on all."""
        shares, steps = self.shares, range(run.first_step, run.first_step + run.steps)
        batches = np.arange(steps.start, steps.stop) % shares.batches
        if data.weight is None:
            own, total = np.diff(shares.cuts)[batches].astype(np.float64), shares.all_rows[batches]
        else:
            weight = self.program.to_host(data.weight)
            own = np.array([weight[self._rows_of(run, s)].sum(dtype=np.float64) for s in steps])
            total = self.ranks.sum(own)
        return own * self.plan.loss.each, total * self.plan.loss.each

    def _rows_of(self, run: Run, step: int) -> "slice | Array":
        """This rank's rows in a step."""
        here = self.shares.of(step)
        if run.order is None:
            return here
        epoch = step // self.shares.batches - run.first_step // self.shares.batches
        return np.asarray(self.program.to_host(run.order[epoch, here]))

    # --- steps ----------------------------------------------------------------------------------

    def train(self, state: State, data: Data, run: Run) -> Array:
        """Do the steps of `run`, of which all ranks have the same."""
        assert isinstance(data, Shard)
        if self.options.average_every > 1:
            return self._train_apart(state, data, self._part_of(data, run))
        team = self._team(run.optimizer.slots)
        if team is not None:
            own = replace(run, seed=self.own_seed(run.seed))
            part = TeamRun(own, self.shares.cuts, self._part_of(data, run).total)
            members = Team(self.ranks.rank, team.memory.parts[0], team.memory.barrier)
            return team.work.train(members, state, data.own, part)
        losses = np.empty(run.steps)
        for index in range(run.steps):
            step = run.first_step + index
            loss, _, gradient = self.batch_gradient(state, data, run, step)
            if run.reports_penalty:
                loss += self.program.penalty(state.parameters, run.l1, run.of_step("l2", step))
            losses[index] = loss
            if not math.isfinite(loss):
                return losses[: index + 1]
            self.program.update(state, gradient, run, step)
        return losses

    def _team(self, slots: int) -> _TeamOfRanks | None:
        """All ranks as a team, or None where one cannot; found once, because it takes messages."""
        if slots not in self._teams:
            work = self.program.in_team(self.ranks.size, slots)
            needed = self.ranks.all_of(work and work.bytes)
            self._teams[slots] = None
            # Alike on all ranks: so are their backends and numbers of threads.
            alike = work is not None and needed == [work.bytes] * self.ranks.size
            if work is not None and alike and can_share(self.ranks, work.bytes):
                memory = SharedMemory(self.ranks, 0 if self.ranks.rank else work.bytes)
                self._teams[slots] = _TeamOfRanks(work, memory)
        return self._teams[slots]

    def batch_gradient(
        self, state: State, data: Data, run: Run, step: int
    ) -> tuple[float, float, Any]:
        """The loss, mass and gradient of one step's batch, over all ranks."""
        assert isinstance(data, Shard)
        part = self._part_of(data, run)
        own, total = (float(mass[step - run.first_step]) for mass in (part.own, part.total))
        loss, gradient = self._own_gradient(state, data, part, step)
        loss, gradient = self._add_up(gradient, own / total if total else 0.0, loss)
        return loss, total, gradient

    def update(self, state: State, gradient: Any, run: Run, step: int) -> None:
        """The backend's own update: all ranks have the same gradient."""
        self.program.update(state, gradient, run, step)

    def _part_of(self, data: Shard, run: Run) -> _Part:
        """What this rank does of a run; found once, because it may take a message."""
        if self._part is None or self._part.run is not run:
            local = None
            if self.shares.even is not None:
                seed = self.own_seed(run.seed)
                local = replace(run, batch_size=self.shares.even, seed=seed)
            self._part = _Part(run, local, *self.masses(data, run))
        return self._part

    def _own_gradient(self, state: State, data: Shard, part: _Part, step: int) -> tuple[float, Any]:
        """The loss of this rank's rows in a step, and its gradient."""
        here = self.shares.of(step)
        if here.start == here.stop:
            return 0.0, self.program.to_device(np.zeros(self.plan.trained, self.dtype))
        rows, run = data.own, part.local
        if run is None:
            rows, run = self._one_step(data, part.run, step)
        loss, _, gradient = self.program.batch_gradient(state, rows, run, step)
        return loss, gradient

    def _one_step(self, data: Shard, run: Run, step: int) -> tuple[Data, Run]:
        """This rank's rows in a step, where the backend has them, and the step as a run on them."""
        rows = self._rows_of(run, step)
        own = data.own
        part = Data(
            Inputs(own.x.numbers[rows]),
            own.y[rows],
            None if own.weight is None else own.weight[rows],
        )
        now: dict[str, Any] = {name: run.of_step(name, step) for name in BY_STEP}
        now |= {"first_step": step, "steps": 1, "order": None, "batch_size": len(part)}
        one = replace(run, seed=self.own_seed(run.seed), **now)
        return self.program.upload(part), one

    def _add_up(self, array: Any, factor: float, loss: float) -> tuple[float, Any]:
        """The weighted sums over the ranks of what the backend holds, through the host."""
        host = self.program.to_host(array)
        entries = len(host)
        if entries not in self._sums:
            deterministic = self.options.deterministic
            self._sums[entries] = sum_for(self.ranks, entries, self.dtype, deterministic)
        total, loss = self._sums[entries](host, factor, loss)
        return loss, self.program.to_device(total)

    # --- steps of each rank by itself -----------------------------------------------------------

    def _train_apart(self, state: State, data: Shard, part: _Part) -> Array:
        """Do the steps of a run, with averages of parameters in between and at its end."""
        run, losses, done = part.run, np.empty(part.run.steps), 0
        while done < run.steps:
            first = run.first_step + done
            ahead = steps_to_average(first, self._batches, self.options.average_every)
            steps = min(ahead, run.steps - done)
            here, updates = slice(done, done + steps), state.updates + steps
            own, total = part.own[here], part.total[here]
            found = self._by_itself(state, data, part, first, steps)
            with np.errstate(invalid="ignore"):
                sums = self.ranks.sum(found * own)
            losses[here] = sums / np.where(total > 0, total, 1.0)
            bad = np.flatnonzero(~np.isfinite(losses[here]))
            if len(bad):
                return losses[: done + bad[0] + 1]
            masses = float(total.sum())
            self._average(state, float(own.sum()) / masses if masses else 1 / self.ranks.size)
            state.updates = updates  # also on a rank without rows in some step
            done += steps
        return losses

    def _by_itself(self, state: State, data: Shard, part: _Part, first: int, steps: int) -> Array:
        """Some steps on this rank's rows alone; their losses, NaN after one that is not finite."""
        losses = np.full(steps, math.nan)
        if part.local is not None:
            found = self.program.train(state, data.own, self._middle(part.local, first, steps))
            losses[: len(found)] = found
            return losses
        for index, step in enumerate(range(first, first + steps)):
            here = self.shares.of(step)
            if here.start < here.stop:
                losses[index] = self.program.train(state, *self._one_step(data, part.run, step))[0]
            else:
                losses[index] = 0.0
            if not math.isfinite(losses[index]):
                break
        return losses

    def _middle(self, run: Run, first: int, steps: int) -> Run:
        """Some steps of a run, from step `first` on."""
        here = slice(first - run.first_step, first - run.first_step + steps)
        varying = {
            name: getattr(run, name)[here]
            for name in BY_STEP
            if isinstance(getattr(run, name), np.ndarray)
        }
        order, batches = run.order, self.shares.batches
        if order is not None:
            order = order[first // batches - run.first_step // batches :]
        return replace(run, first_step=first, steps=steps, order=order, **varying)

    def _average(self, state: State, share: float) -> None:
        """Give parameters and memory on all ranks their weighted mean."""
        trained = self.plan.trained
        flat = self.program.to_host(state.parameters)
        memory = self.program.to_host(state.memory)
        both = np.concatenate((flat[:trained], memory.reshape(-1)))
        _, mean = self._add_up(self.program.to_device(both), share, 0.0)
        mean = self.program.to_host(mean)
        flat = flat.copy()
        flat[:trained] = mean[:trained]
        state.parameters = self.program.to_device(flat)
        state.memory = self.program.to_device(mean[trained:].reshape(memory.shape).copy())

    # --- over all rows --------------------------------------------------------------------------

    def loss(self, parameters: Any, data: Data | StoredRows) -> float:
        """The loss over all ranks' rows."""
        own = data.own if isinstance(data, Shard) else data
        mass = self._mass(own)
        loss = stored_rows.loss(self.program, parameters, own)
        total, masses = self.ranks.sum(np.array([loss * mass if mass else 0.0, mass])).tolist()
        return total / masses if masses else 0.0

    def gradient(
        self,
        parameters: Any,
        data: Data,
        l1: float = 0.0,
        l2: float = 0.0,
        dropout: tuple[int, int] | None = None,
    ) -> tuple[float, Array]:
        """The loss over all ranks' rows as one batch, with penalties, and its gradient."""
        own = data.own if isinstance(data, Shard) else data
        mass = self._mass(own)
        total = float(self.ranks.sum(np.array([mass]))[0])
        loss, gradient = self.program.gradient(parameters, own, dropout=dropout)
        put, factor = self.program.to_device, mass / total if total else 0.0
        loss, found = self._add_up(put(gradient), factor, loss)
        gradient = self.program.to_host(found).copy()
        add_penalty_gradient(self.plan, self.program.to_host(parameters), gradient, l1, l2)
        return loss + self.program.penalty(parameters, l1, l2), gradient

    def _mass(self, data: Data | StoredRows) -> float:
        """Of rows where the backend has them, or in files."""
        if data.weight is None:
            return float(len(data) * self.plan.loss.each)
        weight = self.program.to_host(data.weight)
        return float(weight.sum(dtype=np.float64) * self.plan.loss.each)

    # --- as the backend does it -----------------------------------------------------------------

    def predict(self, parameters: Any, x: Inputs) -> Array:
        """Predictions for this rank's own rows."""
        return self.program.predict(parameters, x)

    def penalty(self, parameters: Any, l1: float, l2: float) -> float:
        """The backend's own."""
        return self.program.penalty(parameters, l1, l2)

    def to_device(self, array: Array) -> Any:
        """The backend's own."""
        return self.program.to_device(array)

    def to_host(self, array: Any) -> Array:
        """The backend's own."""
        return self.program.to_host(array)
