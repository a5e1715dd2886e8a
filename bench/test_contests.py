"""Training, gradients and predictions: every backend and peer at every workload.

One time is one step, or one call. Results agree with NumPy's in float64 before a time counts, else
the benchmark fails. `extra_info["record"]` says what was timed; `python -m bench.report` reads it.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import contestants
from bench.conftest import chosen_for
from bench.contest import ROUNDS, Contest, Match, played
from bench.records import Record

pytestmark = [
    pytest.mark.benchmark(timer=played),
    # Other libraries' warnings are theirs to mend.
    pytest.mark.filterwarnings("default"),
]


def test_contest(
    match: Match,
    contestant: str,
    contests: dict[str, Contest],
    threads: int,
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
) -> None:
    """A contestant's times, taken in turns with everyone else's."""
    reason = contestants.missing(contestant)
    if reason is None and (cannot := contestants.unable(contestant, match.work)):
        reason = f"{contestant}, {match.name}: {cannot}"
    if reason is not None:
        pytest.skip(reason)
    if match.name not in contests:
        contest = contests[match.name] = Contest(match)
        rounds = ROUNDS if benchmark.enabled else 0
        contest.play(chosen_for(request, match), threads, rounds)
    contest = contests[match.name]
    if contestant in contest.problems:
        pytest.fail(f"{contestant} at {match.name}: {contest.problems[contestant]}")
    timing = contest.timings[contestant]
    benchmark.group = f"{match.name}: {match.says}"
    benchmark.extra_info["record"] = Record(
        kind=match.kind,
        workload=match.name,
        contestant=contestant,
        family=contestants.family(contestant),
        what=match.says,
        unit="step" if match.kind == "training" else "call",
        threads=threads,
        axis=match.axis,
        value=match.value,
        flops=match.flops,
        bytes=match.bytes,
        warm_up=timing.warm_up,
        difference=timing.apart,
        units_per_round=timing.units,
        versions=contestants.versions(contestant),
    ).to_dict()
    seconds = iter(timing.seconds or [timing.warm_up / timing.units])
    benchmark.pedantic(played.pass_by, (seconds,), rounds=max(len(timing.seconds), 1))
