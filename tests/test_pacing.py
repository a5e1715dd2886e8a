"""Runs are about as long as wanted, whatever their last batch is."""

import fastnet as fn
from fastnet.training.pacing import (
    COMMIT_TIMES,
    LONGEST_RUN_SECONDS,
    PRODUCT_SECONDS,
    ROW_SECONDS,
    RUN_SECONDS,
    STEP_SECONDS,
    Pacing,
)


def test_the_first_run_is_as_long_as_its_multiply_adds_should_take():
    found, many = Pacing(256, 6_208), Pacing(1_024, 6_000_000)
    seconds = STEP_SECONDS + 256 * (ROW_SECONDS + 6_208 * PRODUCT_SECONDS)
    assert found.steps * seconds <= RUN_SECONDS < (found.steps + 1) * seconds
    assert many.steps == 1


def test_a_fit_begins_with_what_the_last_one_measured(monkeypatch):
    x, y = fn.datasets.xor()
    model = fn.Model(fn.datasets.xor_network(True), backend="numpy")
    lengths = []
    train = model.program.train
    monkeypatch.setattr(
        model.program, "train", lambda *run: lengths.append(run[-1].steps) or train(*run)
    )
    counted = Pacing(4, model.program.plan.products).steps
    model.fit(x, y, epochs=counted + 1)
    assert lengths == [counted, 1]
    wanted = model._fits.pacing.steps
    assert wanted != counted, "a machine of exactly the speed that is counted on"
    model.fit(x, y, epochs=wanted + 1)
    assert lengths[2] == wanted
    model.fit(x, y, epochs=counted, batch_size=1)
    assert lengths[-4:] != [wanted], "other batches take another time"


def test_a_run_is_as_long_as_it_should_take():
    pacing = Pacing(32, 0)
    pacing.measured(32, RUN_SECONDS / 1000, 0.0)
    assert pacing.steps == 1000
    pacing.measured(32_000, RUN_SECONDS * 2, 0.0)
    assert pacing.steps == 500
    pacing.measured(32, RUN_SECONDS * 9, 0.0)
    assert pacing.steps == 1


def test_a_short_tail_does_not_stand_for_whole_batches():
    pacing = Pacing(4_000, 10**9)
    pacing.measured(1, RUN_SECONDS / 1000, 0.0)
    assert pacing.steps == 1


def test_where_the_result_is_slow_to_copy_runs_are_longer_up_to_a_limit():
    pacing = Pacing(10, 0)
    pacing.measured(1_000, 1.0, 0.01)
    assert pacing.steps == 100 * COMMIT_TIMES * 0.01
    pacing.measured(1_000, 1.0, 60.0)
    assert pacing.steps == 100 * LONGEST_RUN_SECONDS
