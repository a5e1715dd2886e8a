"""Training, gradients and predictions: every backend and peer at every workload.

One time is that of one step or call. Results must agree with NumPy's in float64, else the benchmark
fails. `extra_info["record"]` describes what was timed; `python -m bench.report` reads it.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import contestants
from bench.conftest import participants
from bench.contest import Contest, Task, recorded_clock
from bench.records import Record

pytestmark = [
    pytest.mark.benchmark(timer=recorded_clock),
    # Warnings of other libraries are not errors here.
    pytest.mark.filterwarnings("default"),
]


def test_contest(
    task: Task,
    contestant: str,
    contests: dict[str, Contest],
    threads: int,
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
) -> None:
    """One contestant's times, taken in rounds with all others."""
    reason = contestants.missing(contestant)
    if reason is None and (cannot := contestants.unsupported(contestant, task.work)):
        reason = f"{contestant}, {task.name}: {cannot}"
    if reason is not None:
        pytest.skip(reason)
    if task.name not in contests:
        contest = contests[task.name] = Contest(task)
        rounds = request.config.getoption("--rounds") if benchmark.enabled else 0
        contest.run(participants(request, task), threads, rounds)
    contest = contests[task.name]
    if contestant in contest.problems:
        pytest.fail(f"{contestant} at {task.name}: {contest.problems[contestant]}")
    timing = contest.timings[contestant]
    benchmark.group = f"{task.name}: {task.description}"
    benchmark.extra_info["record"] = Record(
        kind=task.kind,
        workload=task.name,
        contestant=contestant,
        family=contestants.family(contestant),
        what=task.description,
        unit="step" if task.kind == "training" else "call",
        threads=threads,
        axis=task.work.axis,
        value=task.work.value,
        flops=task.flops,
        bytes=task.bytes,
        warm_up=timing.warm_up,
        difference=timing.difference,
        units_per_round=timing.units,
        versions=contestants.versions(contestant),
    ).to_dict()
    seconds = iter(timing.seconds or [timing.warm_up / timing.units])
    benchmark.pedantic(recorded_clock.advance, (seconds,), rounds=max(len(timing.seconds), 1))
