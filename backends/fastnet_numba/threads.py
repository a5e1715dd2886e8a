"""Threads: how many a step is divided among, and how they are started."""

import _thread
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from fastnet.arrays.checks import Array
from fastnet.contract.choosing import processors
from fastnet.contract.plan import Plan

#: Multiply-adds of a forward pass that a thread should have. One thread's time over two threads' on
#: two quiet processors (bench/results/numba-2026-11-24.json): 1.4 at 0.2 million in all, 1.5 at
#: 0.4, 1.7 at 0.8 and 1.9 at 1.6. Beside others, threads wait for each other, and the shorter the
#: step is the more that costs, so the second one comes at a million.
WORTH_SHARING = 2**19

#: Multiply-adds of the forward passes of a run below which its parts are done by one thread, with
#: the same bits: to start another takes as long as to do its part.
WORTH_STARTING = 2**22


def wanted(plan: Plan, rows: int, requested: int | None) -> int:
    """The threads for batches of `rows` rows: those requested, else as many as pay."""
    if requested is not None:
        return requested
    share = rows * plan.products // WORTH_SHARING
    return min(processors(), share) if share > 1 else 1  # the system's call takes microseconds


def worth_starting(plan: Plan, rows: int, steps: int) -> bool:
    """Whether so many steps on batches of `rows` rows are worth starting threads for."""
    return steps * rows * plan.products >= WORTH_STARTING


def _start_listed(function: Callable[..., None], given: tuple[Any, ...]) -> None:
    """Start a thread that `threading` knows, and wait until the system lets it run."""
    threading.Thread(target=function, args=given, daemon=True).start()


@cache
def _current_processor() -> Callable[[], int] | None:
    """The C library's function for the processor that a thread runs on, where it has one."""
    import ctypes

    found: Callable[[], int] | None = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return found


def processors_for(workers: int) -> list[int]:
    """A processor for each worker but the first, which stays; none where the system places them.

    The system may start a thread behind the one that starts it, on the same processor, and leave it
    there for nearly all of a run: with two processors, a step of 784-128-10 then takes 1.6 times as
    long (bench/results/numba-2026-11-28.md). So where there are as many workers as processors, each
    has its own. Where there are more processors, the system knows better which of them are free.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        return []
    allowed, current = os.sched_getaffinity(0), _current_processor()
    if len(allowed) != workers or current is None:
        return []
    return sorted(allowed - {current()})[: workers - 1]


def _move_to(processor: int) -> None:
    """Move this thread to a processor, from where the system may move it on."""
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):  # a sandbox may forbid it
        os.sched_setaffinity(0, {processor})
        os.sched_setaffinity(0, allowed)


def in_threads(
    work: Callable[[int], None],
    workers: int,
    give_up: Array,
    optional: bool = False,
    listed: bool = False,
) -> bool:
    """Do `work(0)` here and `work(1)`, ... in threads that are started for it.

    No thread is kept for the next call, so that a fork finds none missing. One that the system
    starts only after the call has returned does nothing.

    Args:
        work: is given a worker's number; it must end early where `give_up[0]` is not 0.
        workers: how many.
        give_up: `(n,)` int64; its first number is set to 1 where a worker failed, or could not be
            started although it is not optional.
        optional: whether `work(0)` also does what others have not begun. Then threads may be
            missing, and one that has not begun when `work(0)` ends is not waited for.
        listed: whether the threads are made by `threading`. They must be if the work may call
            `threading.current_thread`, as `logging` does: it would keep an entry for any other
            thread for ever.

    Returns:
        False if a thread could not be started and is not optional; those that ran have given up.

    Raises:
        BaseException: what `work` raised in any thread, or Ctrl-C here.
    """
    if workers == 1:  # the lines below take longer than the steps of a tiny network
        work(0)
        return True
    failed: list[BaseException] = []
    places = processors_for(workers)

    def join_in(worker: int, begun: threading.Lock, running: threading.Lock) -> None:
        try:
            if begun.acquire(blocking=False):
                if places:
                    _move_to(places[worker - 1])
                work(worker)
        except BaseException as error:
            give_up[0] = 1  # or the others would wait forever
            failed.append(error)
        finally:
            running.release()

    start = _start_listed if listed else _thread.start_new_thread
    started: list[tuple[threading.Lock, threading.Lock]] = []
    missing = False
    try:
        for worker in range(1, workers):
            begun, running = threading.Lock(), threading.Lock()
            running.acquire()
            try:
                start(join_in, (worker, begun, running))
            except RuntimeError:
                missing = not optional
                break
            started.append((begun, running))
        if missing:
            give_up[0] = 1
        else:
            work(0)
        for begun, running in started:
            if not ((optional or missing) and begun.acquire(blocking=False)):
                running.acquire()
    except BaseException:  # Ctrl-C, anywhere
        give_up[0] = 1
        raise
    if failed:
        raise failed[0]
    return not missing


def do_jobs(jobs: Sequence[Callable[[], None]], workers: int) -> None:
    """Do all jobs, in so many threads at most; each thread takes the next one that is left.

    Raises:
        BaseException: what a job raised, or Ctrl-C here; the jobs that are left are not done.
    """
    given_up = np.zeros(1, np.int64)
    left = iter(jobs)  # of a list: the interpreter gives each job to one thread only

    def work(worker: int) -> None:
        while not given_up[0]:
            job = next(left, None)
            if job is None:
                return
            job()

    in_threads(work, max(min(workers, len(jobs)), 1), given_up, optional=True, listed=True)


class Occupied:
    """Counts the threads of this process that are at work on runs.

    Whoever trains several networks in threads of their own, as a search does, has a processor busy
    with each. If a run were divided among several threads all the same, they would wait for each
    other, and for the others' processors. A thread counts for a moment longer than its run, because
    between two runs a fit has other work to do.
    """

    #: Seconds that a thread counts after a run (a choice: about as long as a run, `RUN_SECONDS`).
    MOMENT = 0.05

    def __init__(self) -> None:
        self.threads = 0
        self.lock = threading.Lock()
        #: Until when each thread counts, by its number; infinite while it is at work.
        self.until: dict[int, float] = {}

    @contextmanager
    def by(self, workers: int) -> Iterator[None]:
        """Count so many threads inside a `with` block."""
        own = threading.get_ident()
        with self.lock:
            self._forget()
            self.threads += workers
            self.until[own] = math.inf
        try:
            yield
        finally:
            with self.lock:
                self.threads -= workers
                self.until[own] = time.monotonic() + self.MOMENT

    def left(self) -> int:
        """The processors that are left for a run of this thread, but at least one."""
        own = threading.get_ident()
        with self.lock:
            self._forget()
            between = sum(until < math.inf for other, until in self.until.items() if other != own)
        return max(processors() - self.threads - between, 1)

    def _forget(self) -> None:
        """Leave out the threads that count no longer, with the lock held."""
        now = time.monotonic()
        self.until = {thread: until for thread, until in self.until.items() if until > now}


#: Those of this process.
OCCUPIED = Occupied()


class LoadMonitor:
    """Notices other load on the processors, beside which threads that wait for each other are slow.

    On a quiet machine each worker has a processor nearly all the time. If workers lacked one in two
    runs in a row (in a single run the cause may be gone at once), one worker does all parts of the
    next run, with the same bits. If that is faster, one worker does the runs after it too, for as
    long as those two runs took, because the load may end (NumPy's matrix library has threads that
    spin for a moment after a product), and for twice as long each time that the load is still there
    afterwards. If it is slower, one worker is tried again after such a time. Predictions are not
    judged: their workers take over each other's rows.

    `bench/test_choices.py` compares other constants with these, alone and beside a process that
    computes.
    """

    #: The share of its time in which a worker has a processor, on a quiet machine.
    QUIET = 0.85

    #: Runs in a row whose workers lacked a processor, before one worker is tried.
    IN_A_ROW = 2

    #: How long a finding holds, as a multiple of what the runs before the trial took: at first, and
    #: at most. So beside lasting load trials take a small share of the time.
    PATIENCE = (1, 16)

    #: Runs of fewer seconds are not judged: starting the threads is too large a share of them. A
    #: run may be a single step, so this is longer than a step of 64-256-256-256-1 with 256 rows.
    LEAST = 0.005

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.short = 0
        self.lost = 0.0
        self.patience = self.PATIENCE[0]
        #: What was found, that one worker is faster, and until when it holds.
        self.alone, self.until = False, -math.inf
        #: What several workers did in a second when they lacked a processor; None where nothing is
        #: tried.
        self.together: float | None = None

    def workers(self, parts: int) -> int:
        """How many workers to use for so many parts."""
        if parts == 1 or self.together is not None:
            return 1
        return 1 if self.alone and self.clock() < self.until else parts

    def note(self, parts: int, workers: int, work: int, busy: float, seconds: float) -> None:
        """Judge a run.

        Args:
            parts, workers: of it.
            work: how much was done, in any unit.
            busy: the processor time of all workers, in seconds; not used for one of them.
            seconds: how long it took.
        """
        if parts == 1 or seconds < self.LEAST:
            return
        if workers == 1:
            together = self.together  # once: another thread may clear it
            if together is not None:
                self.alone = work / seconds > together
                self.until = self.clock() + self.patience * self.lost
                self.together, self.lost = None, 0.0
                self.patience = min(2 * self.patience, self.PATIENCE[1])
            return
        if busy >= self.QUIET * workers * seconds:
            self.short, self.lost, self.patience = 0, 0.0, self.PATIENCE[0]
            return
        if self.clock() < self.until:  # what was found still holds
            return
        self.short += 1
        self.lost += seconds
        if self.short >= self.IN_A_ROW:
            self.together = work / seconds
