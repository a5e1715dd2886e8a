"""Runs are about as long as wanted, whatever their last batch is."""

from fastnet.training.pacing import COMMIT_TIMES, LONGEST_RUN_SECONDS, RUN_SECONDS, Pacing


def test_a_run_is_as_long_as_it_should_take():
    pacing = Pacing(32)
    assert pacing.steps == 1
    pacing.measured(32, RUN_SECONDS / 1000, 0.0)
    assert pacing.steps == 1000
    pacing.measured(32_000, RUN_SECONDS * 2, 0.0)
    assert pacing.steps == 500
    pacing.measured(32, RUN_SECONDS * 9, 0.0)
    assert pacing.steps == 1


def test_a_short_tail_does_not_stand_for_whole_batches():
    pacing = Pacing(4_000)
    pacing.measured(1, RUN_SECONDS / 1000, 0.0)
    assert pacing.steps == 1


def test_where_the_result_is_slow_to_copy_runs_are_longer_up_to_a_limit():
    pacing = Pacing(10)
    pacing.measured(1_000, 1.0, 0.01)
    assert pacing.steps == 100 * COMMIT_TIMES * 0.01
    pacing.measured(1_000, 1.0, 60.0)
    assert pacing.steps == 100 * LONGEST_RUN_SECONDS
