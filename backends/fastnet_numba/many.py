"""Many networks of one plan at once: tiny ones side by side, others each in a thread of its own.

No thread waits for another: each takes the next network that is left.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnet.arrays import cache_lines
from fastnet.arrays.checks import Array
from fastnet.contract.choosing import processors
from fastnet.contract.program import Data, Run, State
from fastnet_numba import lane_plan, side_by_side
from fastnet_numba.simd.host import LANES
from fastnet_numba.threads import WORTH_STARTING, do_jobs

if TYPE_CHECKING:
    from fastnet_numba.program import NumbaProgram

#: The most vectors of networks whose numbers are prepared together, to save calls of NumPy (a
#: choice).
MOST_GROUPS = 8


def train(
    program: "NumbaProgram", states: Sequence[State], data: Sequence[Data], runs: Sequence[Run]
) -> list[Array]:
    """Train several networks, each by its run; which way it goes depends on that run alone."""
    lanes = program.lane_plan
    found: list[Array] = [program.nothing] * len(runs)
    groups: dict[Any, list[int]] = {}
    rules: dict[int, tuple[str, tuple[float, ...]]] = {}
    jobs: list[Callable[[], None]] = []
    products = 0

    # Memory for gradients is lent to the networks at work: one for each would take as much as all
    # their parameters.
    rooms: list[Any] = []

    def train_alone(place: int) -> None:
        state = states[place]
        with suppress(IndexError):  # not `if`: another thread may take the last one in between
            state.room = rooms.pop()
        found[place] = program.train_alone(state, data[place], runs[place], alone=True)
        rooms.append(state.room)
        state.room = None

    def train_side_by_side(places: list[int], room: Array) -> None:
        assert lanes is not None
        some = side_by_side.Groups(
            program.plan,
            lanes,
            [states[place] for place in places],
            [data[place] for place in places],
            [runs[place] for place in places],
            room,
        )
        for place, losses in zip(places, some.train(program.kernels.side_by_side), strict=True):
            found[place] = losses

    for place, (state, one, run) in enumerate(zip(states, data, runs, strict=True)):
        rows = len(one)
        run.check(program.plan, state, rows)
        products += run.steps * min(run.batch_size, rows) * program.plan.products
        rule = id(run.optimizer)
        if rule not in rules:
            rules[rule] = run.optimizer.canonical()
        kind, constants = rules[rule]
        if lanes is not None and lane_plan.suits(one, run, kind):
            # Those go side by side that have this in common; Adam's factors depend on t.
            common = (*constants, state.updates) if kind == "adam" else ()
            groups.setdefault((rows, kind, common), []).append(place)
        else:
            jobs.append(partial(train_alone, place))
    threads = program.threads or processors()
    width = LANES[program.dtype.itemsize]
    for places in groups.values():
        places.sort(key=lambda place: -runs[place].steps)  # those that end together
        # Several groups together where there are enough for all threads; bits are the same.
        vectors = -(-len(places) // width)
        each = width * min(max(vectors // (2 * threads), 1), MOST_GROUPS)
        # One array for all, whose memory the next run reuses: new memory takes as long as a step.
        steps = [runs[places[first]].steps for first in range(0, len(places), each)]
        sizes = [n * min(each, vectors * width - i * each) for i, n in enumerate(steps)]
        ends = np.cumsum(sizes).tolist()
        room = cache_lines.zeros(ends[-1], program.dtype)
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True)):
            some = places[i * each : (i + 1) * each]
            jobs.append(partial(train_side_by_side, some, room[end - size : end]))
    _share_out(program, jobs, products)
    return found


def losses(
    program: "NumbaProgram", parameters: Sequence[Array], data: Sequence[Data]
) -> list[float]:
    """The losses of several networks, each over all its rows."""
    found = [0.0] * len(data)

    def compute(place: int) -> None:
        found[place] = program.loss_alone(parameters[place], data[place], alone=True)

    jobs = [partial(compute, place) for place in range(len(data))]
    _share_out(program, jobs, sum(map(len, data)) * program.plan.products)
    return found


def _share_out(program: "NumbaProgram", jobs: Sequence[Callable[[], None]], products: int) -> None:
    """Do jobs, of so many multiply-adds of a forward pass in all, in as many threads as pay."""
    do_jobs(jobs, program.threads or processors() if products >= WORTH_STARTING else 1)
