"""Processes that share memory, as the workers of one run: each has a part of every batch.

Parameters, the optimizer's memory, the parts' gradients and the barrier's numbers stand in memory
that all see, so that compiled code does with processes what it does with threads: each adds up and
updates its own part of the parameters. The bits depend on how many there are.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays.cache_lines import PAIR
from fastnet.arrays.checks import Array
from fastnet.contract.program import Data, State, Team, TeamRun, TeamWork
from fastnet.errors import FastnetError
from fastnet_numba import training
from fastnet_numba.gradients import copies_of
from fastnet_numba.ops.barrier import CACHE_LINE_STRIDE
from fastnet_numba.run_tables import tables_of

if TYPE_CHECKING:
    from fastnet_numba.program import NumbaProgram


def work(program: "NumbaProgram", size: int, slots: int) -> TeamWork | None:
    """How so many processes train; None where each would have several threads, or statistics."""
    plan = program.plan
    if program.threads not in (None, 1) or plan.statistics or plan.size != plan.trained:
        return None
    shapes = _shapes(program, size, slots)
    needed = sum(_room(dtype, shape) for dtype, shape in shapes)
    return TeamWork(needed, partial(_train, program, shapes))


def _shapes(program: "NumbaProgram", size: int, slots: int) -> list[tuple[Any, tuple[int, ...]]]:
    """The shared arrays: signals, what the parts find, the parameters, the optimizer's memory, the
    parts' gradients.

    Two workers have a copy of the parameters each, unless these are too many; otherwise there is
    one for all (see `gradients.copies_of`).
    """
    dtype, trained = program.dtype, program.plan.trained
    copied = copies_of(trained * dtype.itemsize, size)
    return [
        (np.dtype(np.int64), ((size + 1) * CACHE_LINE_STRIDE,)),
        (np.dtype(np.float64), (size * CACHE_LINE_STRIDE,)),
        (dtype, (copied * program.stride or trained,)),
        (dtype, (slots, trained)),
        (dtype, (size * program.stride,)),
    ]


def _room(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Bytes that an array takes, with what is left free behind it."""
    return -(-int(np.prod(shape)) * dtype.itemsize // PAIR) * PAIR


def _train(
    program: "NumbaProgram",
    shapes: list[tuple[Any, tuple[int, ...]]],
    team: Team,
    state: State,
    data: Data,
    team_run: TeamRun,
) -> Array:
    """Do the steps of a run, as one of the workers."""
    found, start = [], 0
    for dtype, shape in shapes:
        found.append(np.ndarray(shape, dtype, team.memory, start))
        start += _room(dtype, shape)
    signals, shared, copies, memory = found[:4]
    size = len(shared) // CACHE_LINE_STRIDE
    given_up = signals[size * CACHE_LINE_STRIDE :]
    try:
        trained = program.plan.trained
        mine = slice(*(trained * (team.rank + n) // size for n in (0, 1)))
        copied = len(copies) > program.stride
        if copied:
            parameters = copies[team.rank * program.stride :][:trained]
            parameters[:] = state.parameters
        else:
            parameters = copies
            parameters[mine] = state.parameters[mine]
        memory[:, mine] = state.memory[:, mine]
        team.barrier()
        losses = _follow(program, team.rank, size, found, copied, state.updates, data, team_run)
        if given_up[0]:
            raise FastnetError("another process of this training failed amid a run of steps.")
        state.parameters[...] = parameters
        state.memory[...] = memory
        state.updates += int(np.isfinite(losses).sum())
        team.barrier()  # before anybody writes there again
    except BaseException:
        given_up[0] = 1  # or the others would wait for ever
        raise
    return losses


def _follow(
    program: "NumbaProgram",
    rank: int,
    size: int,
    arrays: list[Array],
    copied: bool,
    updates: int,
    data: Data,
    team_run: TeamRun,
) -> Array:
    """Let the compiled kernel do this process's part of the steps; their losses."""
    signals, shared, copies, memory, gradients = arrays
    run, cuts = team_run.run, team_run.cuts
    replace(run, order=None).check(
        program.plan, State(copies[: program.plan.size], memory), max(run.batch_size, len(data))
    )
    most = max(int(np.diff(cuts).max()), 1)
    workspace = program.for_rows(most)
    layout = workspace.layout
    numbers = program.numbers(training.TRAIN, run, len(data), updates, size, size)
    numbers |= {
        training.IN_TEAM: 1,
        training.BATCHES: len(cuts) - 1,
        training.COPIED: int(copied),
    }
    wide = program.wide_sums(training.TRAIN, most * size, size)
    steps, int_table, float_table = tables_of(
        run, numbers, program.segments, len(wide) > 0, layout.narrow, program.kernels.address_of
    )
    batches = np.arange(run.first_step, run.first_step + run.steps) % (len(cuts) - 1)
    steps[:, training.BEGIN] = cuts[batches]
    steps[:, training.END] = cuts[batches + 1]
    steps[:, training.MASS] = team_run.masses
    losses = np.empty(run.steps)
    arena = workspace.borrow()
    made = program.kernel_for(layout)(
        workspace.training, steps, int_table, float_table, copies, memory, gradients, arena,
        losses, *program.flat_rows(data, run), shared, signals,
        wide, rank,
    )  # fmt: skip
    workspace.free.append(arena)
    return losses[:made]
